"""What is known about a VM: its description in ``vm.json`` and the life of its first process."""

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from conpaassql import localvm
from conpaassql.errors import IaasMissing
from conpaassql.iaas import Vm, VmState
from conpaassql.iaas.local import folders
from conpaassql.localvm import Life

ZONE = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class What:
    """What ``vm.json`` holds.  ``plain``: the VM is no node of ours and boots without init.sh."""

    address: str
    tags: Mapping[str, str]
    flavor: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    plain: bool = False


def what(vm: Path) -> What | None:
    """Return the VM's description; None: it has none yet."""
    try:
        return What(**json.loads((vm / "vm.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def note(vm: Path, description: What) -> None:
    """Write the VM's description, whole or not at all."""
    folders.write(vm / "vm.json", json.dumps(asdict(description)))


def seen(vm: Path) -> Vm | None:
    """Return a VM as it is listed; None: it is half made and nobody's."""
    known = what(vm)
    if not known:
        return None
    life = localvm.life(vm)
    if life is Life.UNBORN and is_half_made(vm) and not folders.is_locked(vm):
        return None
    state, message = _state(vm, life)
    return Vm(
        id=vm.name,
        name=vm.name,
        state=state,
        address=known.address,
        tags=known.tags,
        message=message,
        labels=known.labels,
        zone=f"{ZONE}:{socket.gethostname()}",
    )


def is_whole(vm: Path) -> bool:
    """Whether the VM has been made to the end."""
    return localvm.life(vm) is not Life.UNBORN and what(vm) is not None


def is_half_made(vm: Path) -> bool:
    """Whether the VM never ran, by its first process and by its disk."""
    return localvm.life(vm) is Life.UNBORN and has_empty_disk(vm)


def has_empty_disk(vm: Path) -> bool:
    """Whether there is nothing on the VM's disk, or no disk."""
    try:
        return next((vm / "disk").iterdir(), None) is None
    except FileNotFoundError:
        return True


def no_such(vm_id: str) -> IaasMissing:
    """Return the error for a VM that is not there."""
    return IaasMissing(f"there is no VM {vm_id}.", vm=vm_id)


def _state(vm: Path, life: Life) -> tuple[VmState, str]:
    if life is Life.UNBORN:
        if folders.is_locked(vm):
            return VmState.BOOTING, ""
        life = localvm.life(vm)  # it may have noted itself, and let go of the lock, since it was looked at
    if life is Life.ALIVE:
        return VmState.RUNNING, ""
    if life is Life.UNBORN:
        return VmState.STOPPED, ""
    says = localvm.last_words(vm)
    return (VmState.STOPPED, "") if says is None else (VmState.FAILED, says)
