"""Snapshots: images that OpenNebula saves of a VM's first disk, marked so that one look finds them all."""

from collections.abc import Sequence
from datetime import UTC, datetime

from conpaassql.errors import IaasBusy
from conpaassql.iaas.opennebula import catalog, disks, elements, faults, marks
from conpaassql.iaas.opennebula.alone import alone
from conpaassql.iaas.opennebula.cloud import Cloud
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.iaas.opennebula.template import Template, coded, decoded
from conpaassql.offers import Snapshot, SnapshotState

_ROOT_DISK = 0
_PENDING = (0, catalog.LOCKED, 6, 9, 10)  # INIT, LOCKED, CLONE, LOCKED_USED, LOCKED_USED_PERS
_FAILED = (3, catalog.ERROR)  # DISABLED, ERROR


def make(cloud: Cloud, vm_id: str, name: str) -> str:
    """Save the VM's first disk as an image and return its id at once; see ``iaas.Snapshots``.

    A creation that was cut short before the image was marked is completed: OpenNebula notes itself
    which VM an image was saved of.
    """
    vm = cloud.present(vm_id)
    with alone((cloud.config.url, cloud.owner, "snapshot", name)):
        if made := next((one.id for one in each(cloud) if one.name == name), None):
            return made
        number = _unmarked(cloud, vm_id, name)
        if number is None:
            safe = disks.free_name(cloud, name)
            number = int(cloud.rpc.change("vm.disksaveas", int(vm_id), _ROOT_DISK, safe, "", -1))
        _mark(cloud, number, name, elements.text(vm, "NAME"))
        return str(number)


def each(cloud: Cloud) -> Sequence[Snapshot]:
    """Return every snapshot of this owner."""
    return [
        _snapshot(found)
        for found in disks.mine(cloud)
        if elements.text(found, f"TEMPLATE/{marks.SNAPSHOT_OF}") and elements.number(found, "STATE") != catalog.DELETE
    ]


def delete(cloud: Cloud, snapshot_id: str) -> None:
    """Remove a snapshot of this owner; what is none is let be.

    Raises:
        IaasBusy: it is still being made, or a VM is made from it.
    """
    found = next((one for one in each(cloud) if one.id == snapshot_id), None)
    if found is None:
        return
    if found.state is SnapshotState.PENDING:
        raise IaasBusy(f"snapshot {snapshot_id} is still being made; it can go when it is ready.")
    disks.remove_image(cloud, int(snapshot_id))


def _unmarked(cloud: Cloud, vm_id: str, name: str) -> int | None:
    """Return the image of a creation that was cut short; None: there was none."""
    names = disks.names(cloud, name)
    for found in disks.all_images(cloud):
        inside = found.find("TEMPLATE")
        if inside is None or elements.text(inside, marks.OWNER):
            continue
        if elements.text(found, "NAME") in names and elements.text(inside, "SAVED_VM_ID") == vm_id:
            return elements.number(found, "ID")
    return None


def _mark(cloud: Cloud, image: int, name: str, vm_name: str) -> None:
    of_whom = ((marks.OWNER, coded(cloud.owner)), (marks.SNAPSHOT, coded(name)), (marks.SNAPSHOT_OF, coded(vm_name)))
    cloud.rpc.change("image.update", image, Template(of_whom).text(), 1)


def _snapshot(image: Element) -> Snapshot:
    number = elements.number(image, "STATE")
    state = SnapshotState.READY
    if number in _PENDING:
        state = SnapshotState.PENDING
    elif number in _FAILED:
        state = SnapshotState.FAILED
    error = elements.text(image, "TEMPLATE/ERROR")
    return Snapshot(
        id=elements.text(image, "ID"),
        name=decoded(elements.text(image, f"TEMPLATE/{marks.SNAPSHOT}")),
        vm=decoded(elements.text(image, f"TEMPLATE/{marks.SNAPSHOT_OF}")),
        state=state,
        created_at=datetime.fromtimestamp(elements.number(image, "REGTIME"), UTC),
        message=faults.clean(error) if error and state is SnapshotState.FAILED else "",
    )
