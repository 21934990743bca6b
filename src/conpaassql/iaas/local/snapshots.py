"""Snapshots: copies of VMs' disks, each in a directory of its own with ``snapshot.json`` and ``disk/``.

One counts while somebody is at work on it, and when its disk or its failure is there; what a killed
process has left of another counts for nothing.  Its id is its name.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from conpaassql import localdisk, localvm
from conpaassql.errors import IaasBusy, IaasMissing, IaasRefused
from conpaassql.iaas.local import folders, records, wanted
from conpaassql.iaas.local.place import Place
from conpaassql.offers import Snapshot, SnapshotState


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """What ``snapshot.json`` holds.  ``created_at`` is in ISO 8601."""

    vm: str
    created_at: str


def make(place: Place, vm_id: str, name: str) -> None:
    """Begin a snapshot of a VM, unless there is one of that name."""
    if name == wanted.IMAGE:
        raise IaasRefused(f"a snapshot cannot be called {name}: that is the image that every VM is made from.")
    shelf, vm = place.shelf(name), place.vm(vm_id)
    if _seen(shelf):
        return
    if not records.what(vm):
        raise records.no_such(vm_id)
    place.snapshots.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folders.made(shelf) as lock:
        if _is_made(shelf):
            return
        origin = _Origin(vm=vm_id, created_at=datetime.now(UTC).isoformat())
        folders.write(shelf / "snapshot.json", json.dumps(asdict(origin)))
        localdisk.begin(vm, shelf, lock)


def every(place: Place) -> Sequence[Snapshot]:
    """Return the owner's snapshots."""
    seen = (_seen(shelf) for shelf in folders.inside(place.snapshots))
    return [snapshot for snapshot in seen if snapshot]


def remove(place: Place, name: str) -> None:
    """Remove a snapshot, when it has been made; none there is not an error."""
    shelf = place.shelf(name)
    with folders.locked(shelf) as lock:
        if lock is None:
            return
        grave = folders.entomb(shelf)
    folders.bury(grave)


@contextmanager
def disk_of(place: Place, image: str) -> Iterator[Path | None]:
    """Yield the disk that an image stands for, which stays while it is used; None: an empty one.

    Raises:
        IaasMissing: there is no such image.
        IaasBusy: it is a snapshot that is still being made.
        IaasRefused: it is a snapshot that could not be made.
    """
    if image in ("", wanted.IMAGE):
        yield None
        return
    missing = IaasMissing(f"LOCAL has no image {image}; use {wanted.IMAGE} or the name of a snapshot.")
    if not folders.SAFE.fullmatch(image):
        raise missing
    shelf = place.shelf(image)
    seen = _seen(shelf)
    if not seen:
        raise missing
    if seen.state is SnapshotState.PENDING:
        raise IaasBusy(f"the snapshot {image} is still being made.", image=image)
    with folders.locked(shelf, shared=True) as lock:
        if lock is None or not (shelf / "disk").exists():
            raise IaasRefused(f"the snapshot {image} could not be made; use another one.", image=image)
        yield shelf / "disk"


def sweep(place: Place) -> None:
    """Remove what was cut short, and let VMs go on that it has left standing still."""
    folders.bury_all(place.snapshots)
    for shelf in folders.inside(place.snapshots):
        if _is_made(shelf) or folders.is_locked(shelf):
            continue
        with folders.locked(shelf) as lock:
            if lock is None or _is_made(shelf):
                continue
            if origin := _origin(shelf):
                wake(place.vm(origin.vm))
            folders.bury(folders.entomb(shelf))


def wake(vm: Path) -> None:
    """Let a VM go on that a copy which was cut short has left standing still."""
    with suppress(FileNotFoundError, IaasBusy), localdisk.held(vm, timeout_s=0):  # busy: a living copy will wake it
        localvm.thaw(vm)


def _seen(shelf: Path) -> Snapshot | None:
    at_work = folders.is_locked(shelf)  # asked first: it may end while we look
    origin = _origin(shelf)
    if not origin or not (at_work or _is_made(shelf)):
        return None
    state, message = _state(shelf)
    created_at = datetime.fromisoformat(origin.created_at)
    return Snapshot(id=shelf.name, name=shelf.name, vm=origin.vm, state=state, created_at=created_at, message=message)


def _state(shelf: Path) -> tuple[SnapshotState, str]:
    if (shelf / "disk").exists():
        return SnapshotState.READY, ""
    try:
        return SnapshotState.FAILED, (shelf / "failed").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return SnapshotState.PENDING, ""


def _is_made(shelf: Path) -> bool:
    """Whether the copy has come to an end, good or bad."""
    return (shelf / "disk").exists() or (shelf / "failed").exists()


def _origin(shelf: Path) -> _Origin | None:
    try:
        return _Origin(**json.loads((shelf / "snapshot.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
