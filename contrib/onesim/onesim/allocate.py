"""A VM from a template: checked in the core's order, so that each mistake has the core's answer."""

from __future__ import annotations

import uuid

from onesim import contexts, devices, errors, quotas, restricted, vmgroups
from onesim.attrs import Attrs, Vector
from onesim.kernel import Core, parsed
from onesim.life import CLUSTERS
from onesim.model import User, Vm
from onesim.objects import check_name
from onesim.rights import owned
from onesim.states import AWAITING, CLONING, HELD, At

# Attributes that belong to the VM; all others are the user's.
_OWN = (
    *("CONTEXT", "CPU", "VCPU", "MEMORY", "DISK", "NIC", "NIC_ALIAS", "NIC_DEFAULT", "OS", "VIDEO"),
    *("FEATURES", "INPUT", "RAW", "CPU_MODEL", "TOPOLOGY", "NUMA_NODE", "PCI", "VMGROUP", "TEMPLATE_ID"),
    *("SCHED_ACTION", "BACKUP_CONFIG", "TM_MAD_SYSTEM", "MEMORY_MAX", "VCPU_MAX", "CPU_COST", "MEMORY_COST"),
    *("DISK_COST", "EMULATOR"),
)


def allocate(core: Core, who: User, text: str, hold: bool = False) -> int:
    return made(core, who, parsed(text), hold).id


def made(core: Core, who: User, attrs: Attrs, hold: bool) -> Vm:
    """Make a VM; whatever is refused leaves nothing but an advanced address counter.

    Raises:
        errors.OneError: anything wrong with the template, rights, quotas, addresses.
    """
    restricted.check(who, attrs)
    devices.check_rights(core, who, attrs.vectors("DISK"), attrs.vectors("NIC") + attrs.vectors("NIC_ALIAS"))
    cpu, memory = capacity(attrs)
    quotas.check_vm(core, who, cpu, memory)
    devices.check_quotas(core, who, attrs.vectors("DISK"), attrs.vectors("NIC") + attrs.vectors("NIC_ALIAS"))
    vm = _new(core, who, attrs, hold)
    try:
        _equip(core, who, vm)
    except errors.OneError:
        devices.free_all(core, vm)
        raise
    vm.id = core.number("vm")  # only what succeeds uses a number up
    core.pools.vms[vm.id] = vm
    if any("CLONING" in disk for disk in vm.attrs.vectors("DISK")):
        vm.at = At(CLONING)
    return vm


def capacity(attrs: Attrs) -> tuple[float, int]:
    """Return CPU and MEMORY (MiB) of a template.

    Raises:
        errors.OneError: absent, or not positive.
    """
    memory, cpu = number(attrs.text("MEMORY")), number(attrs.text("CPU"))
    if memory <= 0:
        raise errors.internal("MEMORY attribute must be a positive integer value.")
    if cpu <= 0:
        raise errors.internal("CPU attribute must be a positive float or integer value.")
    return cpu, int(memory)


def number(text: str) -> float:
    """Return the number in a text; -1: none."""
    try:
        return float(text)
    except ValueError:
        return -1.0


def _new(core: Core, who: User, attrs: Attrs, hold: bool) -> Vm:
    name = attrs.text("NAME")
    check_name(name)
    if len(attrs.vectors("OS")) > 1:
        raise errors.internal("Only one OS attribute can be defined.")
    attrs.drop("NAME")
    coming = core.counts.get("vm", 0)
    vm = Vm(coming, name or f"one-{coming}", stime=core.now())
    vm.attrs = attrs.take(_OWN)
    vm.user = attrs
    vm.at = HELD if hold else AWAITING
    if hold:
        vm.attrs.put("SUBMIT_ON_HOLD", "YES")
    owned(core, vm, who)
    return vm


def _equip(core: Core, who: User, vm: Vm) -> None:
    attrs = vm.attrs
    if attrs.vector("OS") is None:
        attrs.add("OS", {})
    attrs.vectors("OS")[0].setdefault("UUID", str(uuid.uuid4()))
    _nics(core, who, vm)
    _disks(core, who, vm)
    check_boot(vm)
    vmgroups.join(core, who, vm)
    attrs.put("VMID", str(vm.id))
    _context(core, who, vm)
    requirements(vm)
    attrs.pairs += vm.user.take(["GRAPHICS"]).pairs  # which expressions in CONTEXT do not see
    if (old := vm.user.text("REQUIREMENTS")) and not vm.user.has("SCHED_REQUIREMENTS"):
        vm.user.drop("REQUIREMENTS")
        vm.user.add("SCHED_REQUIREMENTS", old)
    contexts.kernel_files(core, vm)


def _nics(core: Core, who: User, vm: Vm) -> None:
    default = vm.attrs.vector("NIC_DEFAULT") or {}
    for count, nic in enumerate(vm.attrs.vectors("NIC")):
        for key, value in default.items():
            nic.setdefault(key, value)
        devices.fill_nic(core, who, vm, nic, count)
    for count, nic in enumerate(vm.attrs.vectors("NIC_ALIAS")):
        alias(core, who, vm, nic, len(vm.attrs.vectors("NIC")) + count)
    devices.secure(core, vm)


def alias(core: Core, who: User, vm: Vm, nic: Vector, number: int) -> None:
    """Complete a NIC_ALIAS and tie it to its NIC.

    Raises:
        errors.OneError: no such NIC, no address.
    """
    parent = next((other for other in vm.attrs.vectors("NIC") if other.get("NAME") == nic.get("PARENT")), None)
    if parent is None:
        raise errors.internal("Wrong or missing PARENT for the alias.")
    taken = [int(other) for other in parent.get("ALIAS_IDS", "").split(",") if other]
    nic.update(PARENT_ID=parent["NIC_ID"], ALIAS_ID=str(len(taken)), NAME=f"NIC{parent['NIC_ID']}_ALIAS{number}")
    devices.fill_nic(core, who, vm, nic, number)
    parent["ALIAS_IDS"] = ",".join(map(str, [*taken, number]))


def _disks(core: Core, who: User, vm: Vm) -> None:
    for count, disk in enumerate(vm.attrs.vectors("DISK")):
        try:
            devices.fill_disk(core, who, vm, disk, count)
        except errors.OneError as exc:
            raise errors.OneError(exc.code, f"DISK {count}: {exc.text}") from exc


def check_boot(vm: Vm) -> None:
    """Check OS/BOOT.

    Raises:
        errors.OneError: not a list of this VM's disks and NICs.
    """
    order = (vm.attrs.vector("OS") or {}).get("BOOT", "")
    disks = {disk["DISK_ID"] for disk in vm.attrs.vectors("DISK")}
    nics = {nic["NIC_ID"] for nic in vm.attrs.vectors("NIC")}
    for device in order.split(",") if order else ():
        kind, index = device[:-1].rstrip("0123456789"), device.lstrip("abcdefghijklmnopqrstuvwxyz")
        if kind not in ("disk", "nic") or not index.isdigit():
            text = f'Wrong OS/BOOT value: "{order}" should be a comma-separated list of disk# or nic#'
            raise errors.internal(text)
        if index not in (disks if kind == "disk" else nics):
            raise errors.internal(f"Wrong OS/BOOT value. Device with {kind.upper()}_ID {index} not found")


def requirements(vm: Vm) -> None:
    """Write what the scheduler must respect because of the devices."""
    if vm.attrs.vectors("DISK"):
        vm.attrs.put("AUTOMATIC_DS_REQUIREMENTS", CLUSTERS)
    if vm.attrs.vectors("NIC"):
        vm.attrs.put("AUTOMATIC_NIC_REQUIREMENTS", CLUSTERS)
    clusters = "(CLUSTER_ID = 0) & " if vm.attrs.vectors("DISK") or vm.attrs.vectors("NIC") else ""
    vm.attrs.put("AUTOMATIC_REQUIREMENTS", f"{clusters}!(PIN_POLICY = PINNED)")


def _context(core: Core, who: User, vm: Vm) -> None:
    given = vm.attrs.vector("CONTEXT")
    if given is None:
        return
    given["DISK_ID"] = str(len(vm.attrs.vectors("DISK")))
    given.setdefault("TARGET", "hda")
    contexts.write(core, who, vm, given)
