"""Disks and NICs of a VM: from what the template says to what the VM holds."""

from __future__ import annotations

from onesim import errors, images, leases, quotas
from onesim.attrs import Vector
from onesim.kernel import Core
from onesim.model import DISABLED, ERROR, IMAGE_STATES, LOCKED, USED_PERSISTENT, Image, Network, User, Vm
from onesim.rights import USE, need

_VOLATILE = ("FS", "SWAP")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CLONING_STATE = "9"  # what a disk says of an image that is still LOCKED
_FROM_NETWORK = ("DNS", "GATEWAY", "GATEWAY6", "MTU", "PHYDEV", "VLAN_ID")


def image_of(core: Core, who: User, disk: Vector) -> Image | None:
    """Return the image that a DISK names; None: it names none.

    Raises:
        errors.OneError: there is no such image.
    """
    if disk.get("IMAGE_ID", "").isdigit():
        found = core.pools.images.get(int(disk["IMAGE_ID"]))
        if found is None:
            raise errors.internal(f"Image with ID: {disk['IMAGE_ID']} does not exist")
        return found
    name = disk.get("IMAGE", "")
    if not name:
        return None
    owner = _owner(core, who, disk, "IMAGE")
    named = (image for image in core.pools.images.values() if image.name == name and image.uid == owner)
    found = next(named, None)
    if found is None:
        text = f"User {owner} does not own an image with name: {name} . Set IMAGE_UNAME or IMAGE_UID of owner"
        raise errors.internal(f"{text} in DISK.")
    return found


def network_of(core: Core, who: User, nic: Vector) -> Network:
    """Return the network that a NIC names.

    Raises:
        errors.OneError: there is no such network.
    """
    if nic.get("NETWORK_ID", "").isdigit():
        found = core.pools.networks.get(int(nic["NETWORK_ID"]))
        if found is None:
            raise errors.internal(f"Virtual network with ID: {nic['NETWORK_ID']} does not exist")
        return found
    name = nic.get("NETWORK", "")
    owner = _owner(core, who, nic, "NETWORK")
    named = (network for network in core.pools.networks.values() if network.name == name and network.uid == owner)
    found = next(named, None)
    if found is None:
        text = f"User {owner} does not own a network with name: {name} . Set NETWORK_UNAME or NETWORK_UID of owner"
        raise errors.internal(f"{text} in NIC.")
    return found


def _owner(core: Core, who: User, vector: Vector, kind: str) -> int:
    if vector.get(f"{kind}_UID", "").isdigit():
        return int(vector[f"{kind}_UID"])
    name = vector.get(f"{kind}_UNAME")
    if name is None:
        return who.id
    return next((user.id for user in core.pools.users.values() if user.name == name), -1)


def number(text: str) -> int:
    """Return an id; -1 for what is none."""
    return int(text) if text.isdigit() else -1


def check_rights(core: Core, who: User, disks: list[Vector], nics: list[Vector]) -> None:
    """Check that a user may use what devices name; what does not exist is complained of later.

    Raises:
        errors.OneError: 512, also for a quota.
    """
    for disk in disks:
        image = _named_image(core, who, disk)
        if image is not None:
            need(who, image, USE, "IMAGE")
    for nic in nics:
        network = _named_network(core, who, nic)
        if network is not None:
            need(who, network, USE, "NET")


def _named_image(core: Core, who: User, disk: Vector) -> Image | None:
    try:
        return image_of(core, who, disk)
    except errors.OneError:
        return None


def _named_network(core: Core, who: User, nic: Vector) -> Network | None:
    try:
        return network_of(core, who, nic)
    except errors.OneError:
        return None


def check_quotas(core: Core, who: User, disks: list[Vector], nics: list[Vector]) -> None:
    """Check the limits on leases and images.

    Raises:
        errors.OneError: 512.
    """
    more: dict[int, int] = {}
    for nic in nics:
        network = _named_network(core, who, nic)
        if network is not None:
            more[network.id] = more.get(network.id, 0) + 1
            quotas.check_network(core, who, network.id, more[network.id])
    for disk in disks:
        image = _named_image(core, who, disk)
        if image is not None:
            quotas.check_image(core, who, image.id, 1)


def fill_disk(core: Core, who: User, vm: Vm, disk: Vector, number: int) -> None:
    """Complete a DISK, and thereby take the image.

    Raises:
        errors.OneError: no such image, or it cannot be taken; neither an image nor a volatile disk.
    """
    image = image_of(core, who, disk)
    if image is not None:
        _from_image(core, disk, image)
    elif disk.get("TYPE", "").upper() in _VOLATILE:
        _volatile(disk)
    else:
        raise errors.internal(f"Unknown disk type {disk.get('TYPE', '')}")
    disk["DISK_ID"] = str(number)
    disk.setdefault("TARGET", _target(vm, disk))


def _from_image(core: Core, disk: Vector, image: Image) -> None:
    state = _acquired(core, image)
    store = core.pools.datastores[image.datastore]
    fixed = {
        "ALLOW_ORPHANS": "NO",
        "CLONE": "NO" if image.persistent else "YES",
        "CLONE_TARGET": "SYSTEM",
        "CLUSTER_ID": "0",
        "DATASTORE": store.name,
        "DATASTORE_ID": str(store.id),
        "DISK_SNAPSHOT_TOTAL_SIZE": "0",
        "DISK_TYPE": "FILE",
        "IMAGE": image.name,
        "IMAGE_ID": str(image.id),
        "IMAGE_STATE": state,
        "LN_TARGET": "NONE",
        "ORIGINAL_SIZE": str(image.size_mb),
        "PERSISTENT_SNAPSHOTS": "YES",
        "SAVE": "YES" if image.persistent else "NO",
        "TM_MAD": store.tm_mad,
        "TYPE": "FILE",
        "SOURCE": "" if state == _CLONING_STATE else image.source,
    }
    if image.persistent:
        fixed["PERSISTENT"] = "YES"
    fixed |= {"CLONING": "YES"} if state == _CLONING_STATE else {"DRIVER": image.format, "FORMAT": image.format}
    disk.update(fixed)
    prefix = image.attrs.text("DEV_PREFIX", "sd")
    for key, value in {"DEV_PREFIX": prefix, "READONLY": "NO", "SIZE": str(image.size_mb)}.items():
        disk.setdefault(key, value)


def _acquired(core: Core, image: Image) -> str:
    vms = images.users_of(core).get(image.id, []) if image.persistent else []  # others may be shared
    state = images.state(images.settled(core, image), vms)
    if state == USED_PERSISTENT:
        raise errors.internal(f"Cannot acquire image {image.id}, it is persistent and already in use")
    if state in (ERROR, DISABLED):
        raise errors.internal(f"Cannot acquire image {image.id}, it is in state: {IMAGE_STATES[state]}")
    if state == LOCKED:
        return _CLONING_STATE
    return str(USED_PERSISTENT) if image.persistent else "2"


def _volatile(disk: Vector) -> None:
    fixed = {
        "ALLOW_ORPHANS": "NO",
        "CLUSTER_ID": "0",
        "DISK_TYPE": "FILE",
        "DRIVER": disk.get("FORMAT", "raw"),
        "FORMAT": disk.get("FORMAT", "raw"),
        "PERSISTENT_SNAPSHOTS": "YES",
    }
    disk.update(fixed)
    disk.setdefault("DEV_PREFIX", "sd")
    disk.setdefault("SIZE", "0")


def _target(vm: Vm, disk: Vector) -> str:
    taken = {other.get("TARGET") for other in vm.attrs.vectors("DISK")}
    prefix = disk["DEV_PREFIX"]
    return next(prefix + letter for letter in _LETTERS if prefix + letter not in taken)


def settle_disk(core: Core, disk: Vector) -> None:
    """Complete a disk once its image, LOCKED before, is READY."""
    image = core.pools.images[int(disk["IMAGE_ID"])]
    disk.pop("CLONING", None)
    state = str(USED_PERSISTENT) if image.persistent else "2"
    disk.update(IMAGE_STATE=state, SOURCE=image.source, DRIVER=image.format, FORMAT=image.format)


def fill_nic(core: Core, who: User, vm: Vm, nic: Vector, number: int) -> None:
    """Complete a NIC, and lease its address; one with NETWORK_MODE = auto waits for the scheduler.

    Raises:
        errors.OneError: no such network, or no address.
    """
    nic["NIC_ID"] = str(number)
    nic.setdefault("NAME", f"NIC{number}")
    if nic.get("NETWORK_MODE", "").upper() == "AUTO" and "NETWORK_ID" not in nic:
        return
    network = network_of(core, who, nic)
    try:
        found, address = leases.take(network, vm.id, nic.get("IP", ""))
    except leases.NoLeaseError as exc:
        raise errors.internal(f"Cannot get IP/MAC lease from virtual network {network.id}.") from exc
    attrs = network.attrs
    for key in _FROM_NETWORK:
        if attrs.text(key):
            nic.setdefault(key, attrs.text(key))
    nic.setdefault("SECURITY_GROUPS", attrs.text("SECURITY_GROUPS", "0"))
    nic.update(
        AR_ID=str(found.id),
        BRIDGE=attrs.text("BRIDGE"),
        BRIDGE_TYPE=attrs.text("BRIDGE_TYPE"),
        CLUSTER_ID="0",
        IP=address,
        MAC=leases.mac_of(address),
        NETWORK=network.name,
        NETWORK_ID=str(network.id),
        TARGET=f"one-{vm.id}-{number}",
        VN_MAD=attrs.text("VN_MAD"),
    )


def free_nic(core: Core, nic: Vector) -> None:
    """Give a NIC's address back."""
    network = core.pools.networks.get(number(nic.get("NETWORK_ID", "")))
    if network is not None and "IP" in nic:
        leases.give_back(network, nic["IP"])


def free_all(core: Core, vm: Vm) -> None:
    """Give back every address; the NICs keep showing them, as those of a DONE VM do."""
    for nic in leases.nics(vm):
        free_nic(core, nic)
    for disk in vm.attrs.vectors("DISK"):
        image = core.pools.images.get(number(disk.get("IMAGE_ID", "")))
        if image is not None and image.persistent:
            image.returned = True


def secure(core: Core, vm: Vm) -> None:
    """Write the rules of the NICs' security groups into the VM."""
    vm.attrs.drop("SECURITY_GROUP_RULE")
    groups = {int(g) for nic in leases.nics(vm) for g in nic.get("SECURITY_GROUPS", "").split(",") if g.isdigit()}
    for number in sorted(groups):
        group = core.pools.secgroups.get(number)
        for rule in group.attrs.vectors("RULE") if group else ():
            own = {"SECURITY_GROUP_ID": str(number), "SECURITY_GROUP_NAME": group.name if group else ""}
            vm.attrs.add("SECURITY_GROUP_RULE", {**rule, **own})
