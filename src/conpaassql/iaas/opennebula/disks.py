"""Data disks: persistent DATABLOCK images that outlive their VM and come back to the next of its name."""

from conpaassql.errors import IaasBusy, IaasMissing, IaasRefused
from conpaassql.iaas.opennebula import catalog, elements, faults, marks
from conpaassql.iaas.opennebula.cloud import MINE, Cloud
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.iaas.opennebula.template import Template, coded

PREFIX = "vd"
_LOCKED_STATES = (0, catalog.LOCKED, 8, 9, 10)  # INIT, LOCKED, USED_PERS, LOCKED_USED, LOCKED_USED_PERS


def mine(cloud: Cloud) -> list[Element]:
    """Return this user's images that this owner made."""
    return [
        found for found in all_images(cloud) if marks.is_of(elements.attributes(found.find("TEMPLATE")), cloud.owner)
    ]


def all_images(cloud: Cloud) -> list[Element]:
    """Return all of this user's images; OpenNebula gives each name once to a user."""
    return elements.each_kept(cloud.rpc.read("imagepool.info", MINE, -1, -1), "IMAGE")


def free_name(cloud: Cloud, name: str) -> str:
    """Return a name for an image: ``name``, or with the owner's behind it where another owner has that one.

    Raises:
        IaasRefused: both are taken.
    """
    taken = {elements.text(found, "NAME") for found in all_images(cloud)}
    for wanted in names(cloud, name):
        if wanted not in taken:
            return wanted
    raise IaasRefused(f"{name!r} is the name of another image; choose another.", name=name)


def names(cloud: Cloud, name: str) -> tuple[str, str]:
    """Return the names that an image of ours can have."""
    return name, f"{name}.{cloud.owner}"


def data_disk(cloud: Cloud, vm_name: str, size_mib: int) -> int:
    """Return the id of the VM's data disk, made where there is none; its size is that of the first time.

    Raises:
        IaasRefused: it could not be made, or is broken.
    """
    found = _find(cloud, vm_name)
    if found is None:
        return _made(cloud, vm_name, size_mib)
    if elements.number(found, "STATE") == catalog.ERROR:
        says = faults.clean(elements.text(found, "TEMPLATE/ERROR"))
        raise IaasRefused(f"the data disk of {vm_name} is broken: {says} Delete its image, if nothing is on it.")
    return elements.number(found, "ID")


def delete(cloud: Cloud, vm_name: str) -> None:
    """Remove the data disk of a VM that is gone.

    Raises:
        IaasBusy: a VM still has it, or it is being made.
    """
    found = _find(cloud, vm_name)
    if found is None:
        return
    if elements.number(found, "STATE") in _LOCKED_STATES or elements.number(found, "RUNNING_VMS"):
        raise IaasBusy(f"the data disk of {vm_name} is still in use; it can go when its VM has gone.", vm=vm_name)
    remove_image(cloud, elements.number(found, "ID"))


def remove_image(cloud: Cloud, image: int) -> None:
    """Delete an image; one that is gone is not an error."""
    try:
        cloud.rpc.change("image.delete", image)
    except IaasMissing:
        return


def datastore(cloud: Cloud) -> int:
    """Return where new images go: the datastore of the options, else the first for images that one may see.

    Raises:
        IaasMissing: there is none.
    """
    if cloud.config.datastore:
        return catalog.id_of(cloud, catalog.DATASTORE, cloud.config.datastore)
    found = [
        elements.number(one, "ID")
        for one in catalog.each(cloud, catalog.DATASTORE)
        if elements.text(one, "TYPE") == "0" and elements.text(one, "STATE", "0") == "0"
    ]
    if not found:
        raise IaasMissing("there is no datastore for images that this user may see; set OPENNEBULA_DATASTORE_ID.")
    return min(found)


def _find(cloud: Cloud, vm_name: str) -> Element | None:
    wanted = coded(vm_name)
    found = (
        one
        for one in mine(cloud)
        if elements.text(one, f"TEMPLATE/{marks.DATA_OF}") == wanted and elements.number(one, "STATE") != catalog.DELETE
    )
    return min(found, key=lambda one: elements.number(one, "ID"), default=None)


def _made(cloud: Cloud, vm_name: str, size_mib: int) -> int:
    body = Template(
        (
            ("NAME", free_name(cloud, f"{vm_name}-data")),
            ("TYPE", "DATABLOCK"),
            ("PERSISTENT", "YES"),
            ("SIZE", str(size_mib)),
            ("DEV_PREFIX", PREFIX),
            (marks.OWNER, coded(cloud.owner)),
            (marks.DATA_OF, coded(vm_name)),
        )
    )
    return int(cloud.rpc.change("image.allocate", body.text(), datastore(cloud)))
