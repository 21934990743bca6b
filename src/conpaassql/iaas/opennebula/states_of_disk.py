"""States of a VM's first disk that OpenNebula keeps with the VM."""

from collections.abc import Mapping

from conpaassql.errors import IaasMissing
from conpaassql.iaas.opennebula import elements
from conpaassql.iaas.opennebula.alone import alone
from conpaassql.iaas.opennebula.cloud import Cloud

_ROOT_DISK = 0


def kept(cloud: Cloud, vm_id: str) -> Mapping[str, int]:
    """Return the number of each state by name, oldest first; of several of one name the first."""
    found: dict[str, int] = {}
    for disk in cloud.present(vm_id).iterfind("SNAPSHOTS"):
        if elements.number(disk, "DISK_ID") == _ROOT_DISK:
            for one in disk.iterfind("SNAPSHOT"):
                found.setdefault(elements.text(one, "NAME"), elements.number(one, "ID"))
    return found


def keep(cloud: Cloud, vm_id: str, name: str) -> None:
    """Ask for the present state to be kept."""
    with alone((cloud.config.url, cloud.owner, "disk", vm_id)):
        if name not in kept(cloud, vm_id):
            cloud.rpc.change("vm.disksnapshotcreate", int(vm_id), _ROOT_DISK, name)


def revert(cloud: Cloud, vm_id: str, name: str) -> None:
    """Put the disk back; OpenNebula does that to a VM that is off.

    Raises:
        IaasMissing: no such state is kept.
        IaasBusy: the VM is not off.
    """
    number = kept(cloud, vm_id).get(name)
    if number is None:
        raise IaasMissing(f"VM {vm_id} keeps no state {name!r} of its disk; keep one first.", vm=vm_id)
    cloud.rpc.change("vm.disksnapshotrevert", int(vm_id), _ROOT_DISK, number)


def drop(cloud: Cloud, vm_id: str, name: str) -> None:
    """Forget a state.

    Raises:
        IaasBusy: it is the active one and others build upon it.
    """
    number = kept(cloud, vm_id).get(name)
    if number is not None:
        cloud.rpc.change("vm.disksnapshotdelete", int(vm_id), _ROOT_DISK, number)
