"""What runs the guests: nothing at all, or LOCAL VMs of conpaassql."""

import base64
import binascii
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from conpaassql.errors import Error, IaasBusy, IaasMissing
from conpaassql.iaas import Flavor, VmSpec, VmState, local
from conpaassql.iaas.local import folders, records
from conpaassql.offers import Extras

_OWNER = "one"  # short: sockets below it have 107 bytes for their path
_COPY_TIMEOUT_S = 60.0
_BIRTH_TIMEOUT_S = 10.0


class BootFailed(Exception):
    """The hypervisor could not do it; ``str()`` is why, as USER_TEMPLATE/ERROR shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disks:
    """Ids of images that a guest uses; None: it has none such.

    ``image`` is that of the first disk; only one that ``save`` made has anything in it.  ``data`` is
    a persistent DATABLOCK, whose content outlives the VM.
    """

    image: int | None = None
    data: int | None = None


class Hypervisor(Protocol):
    """Runs guests.  Every call is safe to repeat and may raise BootFailed; an unknown id is no error."""

    def boot(
        self, vm_id: int, name: str, context: Mapping[str, str], memory_mib: int, address: str, disks: Disks = Disks()
    ) -> None:
        """Start a guest, or start one again that is off, with what its disk held.

        ``context`` is the expanded CONTEXT, ``address`` that of the first NIC ("" if there is none).
        """

    def power_off(self, vm_id: int) -> None:
        """Cut the power; the disk stays."""

    def destroy(self, vm_id: int) -> None:
        """Cut the power and remove the disk; data on a persistent image stay."""

    def alive(self, vm_id: int) -> bool:
        """Whether a guest runs; one that switched itself off does not."""

    def save(self, vm_id: int, image: int) -> None:
        """Copy the guest's first disk into an image."""

    def forget(self, image: int) -> None:
        """Remove what is in an image."""


class Nothing:
    """Guests that are not there, and always alive."""

    def boot(
        self, vm_id: int, name: str, context: Mapping[str, str], memory_mib: int, address: str, disks: Disks = Disks()
    ) -> None:
        """Do nothing."""

    def power_off(self, vm_id: int) -> None:
        """Do nothing."""

    def destroy(self, vm_id: int) -> None:
        """Do nothing."""

    def alive(self, vm_id: int) -> bool:
        """Say yes."""
        return True

    def save(self, vm_id: int, image: int) -> None:
        """Do nothing."""

    def forget(self, image: int) -> None:
        """Do nothing."""


class Local:
    """Guests that are LOCAL VMs of conpaassql: processes of this machine at the addresses that their NICs have.

    A guest whose context has CONPAASSQL_NODE boots as a prepared image of conpaassql would; any
    other runs its start script, or user data that are a script, once, and stays up.
    """

    def __init__(self, root: Path, init: Path | None = None) -> None:
        """Keep everything in ``root``; ``init`` boots the guests that are nodes (conpaassql's own init.sh).

        Raises:
            conpaassql.errors.ConfigError: ``root`` cannot be used.
        """
        options = {"LOCAL_ROOT": str(root), "LOCAL_INIT": str(init) if init else ""}
        self._driver = local.Driver(options, _OWNER)
        self._home = root.absolute() / _OWNER
        self._data = root.absolute() / ".images"

    def boot(
        self, vm_id: int, name: str, context: Mapping[str, str], memory_mib: int, address: str, disks: Disks = Disks()
    ) -> None:
        """Make the VM, or give it its power back; its memory may have changed meanwhile."""
        flavor = Flavor(cpu=1, memory_mib=memory_mib, disk_mib=0)
        with _translated():
            if self._state(vm_id) is None:
                self._create(_spec(vm_id, name, {**context, **self._own(address, disks)}, flavor), disks)
            else:
                self._driver.resize(_name(vm_id), flavor)
                self._driver.power_on(_name(vm_id))
            _await_birth(self._home / _name(vm_id))

    def power_off(self, vm_id: int) -> None:
        """Kill the VM's processes."""
        with _translated(), suppress(IaasMissing):
            self._driver.power_off(_name(vm_id))

    def destroy(self, vm_id: int) -> None:
        """Remove the VM."""
        with _translated():
            self._driver.delete(_name(vm_id))

    def alive(self, vm_id: int) -> bool:
        """Whether the VM's first process lives."""
        with _translated():
            return self._state(vm_id) in (VmState.BOOTING, VmState.RUNNING)

    def save(self, vm_id: int, image: int) -> None:
        """Begin to copy the VM's disk; a guest that boots from it waits for the end."""
        with _translated(), suppress(IaasMissing):
            self._driver.snapshot(_name(vm_id), _name(image))

    def forget(self, image: int) -> None:
        """Remove the copy, and what guests wrote to it as their data disk."""
        with _translated():
            self._driver.delete_snapshot(_name(image))
            shutil.rmtree(self._data / str(image), ignore_errors=True)

    def close(self) -> None:
        """Remove every VM, also those that an earlier simulator left in this directory."""
        with _translated():
            for vm in self._driver.list():
                self._driver.delete(vm.id)

    def _state(self, vm_id: int) -> VmState | None:
        seen = records.seen(self._home / _name(vm_id))
        return seen.state if seen else None

    def _own(self, address: str, disks: Disks) -> dict[str, str]:
        """Return what LOCAL wants to find in a context besides."""
        own = {"CONPAASSQL_ADDRESS": address} if address else {}
        if disks.data is not None:
            data = self._data / str(disks.data)
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            own["CONPAASSQL_DATA_DIR"] = str(data)
        return own

    def _create(self, spec: VmSpec, disks: Disks) -> None:
        saved = {snapshot.id for snapshot in self._driver.snapshots()}
        if disks.image is not None and _name(disks.image) in saved:
            spec = replace(spec, image=_name(disks.image))
        deadline = time.monotonic() + _COPY_TIMEOUT_S
        while True:
            try:
                self._driver.create(spec)
                return
            except IaasBusy:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)  # the copy is made by another process, which tells nobody


def _name(number: int) -> str:
    return f"{_OWNER}-{number}"


def _spec(vm_id: int, name: str, context: Mapping[str, str], flavor: Flavor) -> VmSpec:
    userdata = "" if "CONPAASSQL_NODE" in context else _script(context)
    return VmSpec(
        name=_name(vm_id),
        flavor=flavor,
        tags={"name": name},
        context=context,
        template="",
        extras=Extras(userdata=userdata),
    )


def _script(context: Mapping[str, str]) -> str:
    """Return what a guest's contextualisation would run at its first boot; "": nothing."""
    encoded = [context.get("START_SCRIPT_BASE64", "")]
    plain = [context.get("START_SCRIPT", "")]
    user_data = context.get("USER_DATA") or context.get("USERDATA") or ""
    (encoded if context.get("USERDATA_ENCODING") == "base64" else plain).append(user_data)
    scripts = [*map(_decoded, encoded), *plain]
    return next((script for script in scripts if script.startswith("#!")), "")


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""  # a guest would not find a script in it either


def _await_birth(vm: Path) -> None:
    """Return when the guest's first process has noted itself, which the lock that it was given tells."""
    deadline = time.monotonic() + _BIRTH_TIMEOUT_S
    while folders.is_locked(vm) and time.monotonic() < deadline:
        time.sleep(0.002)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Error as exc:
        raise BootFailed(f"Error deploying virtual machine: {exc.says}") from exc
    except OSError as exc:
        raise BootFailed(f"Error deploying virtual machine: {exc.filename}: {exc.strerror}") from exc
