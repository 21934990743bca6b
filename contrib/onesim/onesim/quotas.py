"""Limits of users; what is used is counted from the VMs that live, so it cannot go wrong."""

from __future__ import annotations

from onesim import errors, xml
from onesim.attrs import Attrs, Vector
from onesim.kernel import Core
from onesim.model import User, Vm

UNLIMITED, DEFAULT = -2.0, -1.0
_VM_LIMITS = (
    "CPU",
    "MEMORY",
    "PCI_DEV",
    "PCI_NIC",
    "RUNNING_CPU",
    "RUNNING_MEMORY",
    "RUNNING_PCI_DEV",
    "RUNNING_PCI_NIC",
    "RUNNING_VMS",
    "SYSTEM_DISK_SIZE",
    "VMS",
)
_KINDS = ("DATASTORE", "NETWORK", "VM", "IMAGE")


def set_limits(user: User, wanted: Attrs) -> None:
    """Take over the limits that are named; others stay."""
    for name, value in wanted.pairs:
        if not isinstance(value, dict):
            continue
        old = next((known for known in user.quota.vectors(name) if known.get("ID") == value.get("ID")), None)
        if old is None:
            user.quota.add(name, dict(value))
        else:
            old.update(value)


def check_vm(core: Core, user: User, cpu: float, memory: int, machines: int = 1) -> None:
    """Refuse what goes beyond the user's limits; administrators have none.

    Args:
        cpu: more of it than now; likewise memory (MiB) and machines.

    Raises:
        errors.OneError: 512.
    """
    limits = user.quota.vector("VM")
    if limits is None:
        return
    used = _vm_used(core, user)
    for name, more in (("VMS", machines), ("MEMORY", memory), ("CPU", cpu)):
        if more:
            _check(user, limits, name, used[name] + more, f"{name} quota in VM.")


def check_network(core: Core, user: User, network: int, more: int) -> None:
    limits = _limits(user, "NETWORK", network)
    where = f"LEASES quota in NETWORK with ID: {network}."
    if limits:
        _check(user, limits, "LEASES", _leases(core, user, network) + more, where)


def check_image(core: Core, user: User, image: int, more: int) -> None:
    limits = _limits(user, "IMAGE", image)
    if limits:
        _check(user, limits, "RVMS", _rvms(core, user, image) + more, f"RVMS quota in IMAGE with ID: {image}.")


def _check(user: User, limits: Vector, name: str, would: float, where: str) -> None:
    limit = _number(limits.get(name, "-1"))
    if user.id == 0 or limit < 0 or would <= limit + 1e-9:
        return
    text = f"User [{user.id}] : user [{user.id}] limit of {limits[name]} reached for {where}"
    raise errors.OneError(errors.AUTHORIZATION, text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return DEFAULT


def _limits(user: User, kind: str, number: int) -> Vector:
    return next((known for known in user.quota.vectors(kind) if known.get("ID") == str(number)), {})


def _own(core: Core, user: User) -> list[Vm]:
    return [vm for vm in core.live_vms() if vm.uid == user.id]


def _vm_used(core: Core, user: User) -> dict[str, float]:
    own = _own(core, user)
    disks = sum(int(disk.get("SIZE", 0) or 0) for vm in own for disk in vm.attrs.vectors("DISK"))
    return {
        "VMS": len(own),
        "CPU": sum(_number(vm.attrs.text("CPU")) for vm in own),
        "MEMORY": sum(_number(vm.attrs.text("MEMORY")) for vm in own),
        "SYSTEM_DISK_SIZE": disks,
    }


def _leases(core: Core, user: User, network: int) -> int:
    nics = (nic for vm in _own(core, user) for name in ("NIC", "NIC_ALIAS") for nic in vm.attrs.vectors(name))
    return sum(nic.get("NETWORK_ID") == str(network) for nic in nics)


def _rvms(core: Core, user: User, image: int) -> int:
    disks = (disk for vm in _own(core, user) for disk in vm.attrs.vectors("DISK"))
    return sum(disk.get("IMAGE_ID") == str(image) for disk in disks)


def shown(core: Core, user: User) -> str:
    """Return the four elements of a user's limits and use.

    A kind appears once a limit of it was set or something of it is used, as long as the user is not oneadmin, who is
    not counted.
    """
    return _shown(
        {
            "DATASTORE": [],
            "NETWORK": [_network(core, user, number) for number in _counted(core, user, "NETWORK", "NETWORK_ID")],
            "VM": _vm(core, user),
            "IMAGE": [_image(core, user, number) for number in _counted(core, user, "IMAGE", "IMAGE_ID")],
        }
    )


def defaults() -> str:
    return none("DEFAULT_USER_QUOTAS")


def none(tag: str, *before: str) -> str:
    """Return an element that says that there are no limits."""
    return xml.element(tag, *before, _shown({kind: [] for kind in _KINDS}))


def _shown(vectors: dict[str, list[Vector]]) -> str:
    return "".join(
        xml.element(f"{kind}_QUOTA", *(xml.element(kind, xml.cdatas(vector)) for vector in vectors[kind]))
        for kind in _KINDS
    )


def _counted(core: Core, user: User, kind: str, key: str) -> list[int]:
    limited = {known["ID"] for known in user.quota.vectors(kind) if "ID" in known}
    if user.id == 0:
        return sorted(map(int, limited))
    names = ("NIC", "NIC_ALIAS") if kind == "NETWORK" else ("DISK",)
    used = {
        vector[key]
        for vm in _own(core, user)
        for name in names
        for vector in vm.attrs.vectors(name)
        if vector.get(key, "").isdigit()
    }
    return sorted(map(int, limited | used))


def _network(core: Core, user: User, number: int) -> Vector:
    limit = _limits(user, "NETWORK", number).get("LEASES", "-1")
    return {"ID": str(number), "LEASES": limit, "LEASES_USED": str(_leases(core, user, number))}


def _image(core: Core, user: User, number: int) -> Vector:
    limit = _limits(user, "IMAGE", number).get("RVMS", "-1")
    return {"ID": str(number), "RVMS": limit, "RVMS_USED": str(_rvms(core, user, number))}


def _vm(core: Core, user: User) -> list[Vector]:
    used = _vm_used(core, user)
    limits = user.quota.vector("VM")
    if limits is None and (user.id == 0 or not used["VMS"]):
        return []
    vector: Vector = {}
    for name in _VM_LIMITS:
        vector[name] = (limits or {}).get(name, "-1")
        count = used.get(name.removeprefix("RUNNING_"), 0.0)
        vector[f"{name}_USED"] = f"{count:.2f}" if name.endswith("CPU") and count else f"{count:.0f}"
    return [vector]
