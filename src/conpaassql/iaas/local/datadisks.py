"""Data disks: directories that outlive VMs and come back to the next one of the same name.

The lock of their common directory orders the making of a VM and the removal of its data disk.
"""

from pathlib import Path

from conpaassql.errors import IaasBusy
from conpaassql.iaas.local import folders
from conpaassql.iaas.local.place import Place


def provide(place: Place, vm_name: str) -> Path:
    """Return the data directory for a VM whose own directory exists already."""
    place.data.parent.mkdir(exist_ok=True)
    data = place.data / vm_name
    with folders.made(place.data):
        data.mkdir(mode=0o700, exist_ok=True)
    return data


def remove(place: Place, vm_name: str) -> None:
    """Remove the data directory of a VM that is gone; none there is not an error.

    Raises:
        IaasBusy: the VM is still there.
    """
    data = place.data / vm_name
    with folders.locked(place.data) as lock:
        if lock is None or not data.exists():
            return
        if place.vm(vm_name).exists():
            raise IaasBusy(f"{vm_name} still has its data disk; delete the VM first.", vm=vm_name)
        grave = folders.entomb(data)
    folders.bury(grave)
