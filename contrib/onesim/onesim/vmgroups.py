"""VM groups: roles whose VMs are kept on different hosts, or together."""

from __future__ import annotations

from onesim import errors, objects, pools, xml
from onesim.attrs import Vector
from onesim.kernel import Core, Method, parsed
from onesim.model import User, Vm, VmGroup
from onesim.objects import VMGROUP, check_name, head, need_free
from onesim.rights import MANAGE, USE, need, owned


def allocate(core: Core, who: User, text: str) -> int:
    attrs = parsed(text)
    name = attrs.text("NAME")
    check_name(name)
    if not name:
        raise errors.OneError(errors.ALLOCATE, "Error allocating a new VM group. NAME cannot be empty.")
    need_free(core.pools.vmgroups, "VM group", "VM GROUP", name, who.id)
    roles = attrs.take(["ROLE"]).vectors("ROLE")
    attrs.drop("NAME")
    group = VmGroup(core.number("vmgroup"), name, attrs=attrs)
    for number, role in enumerate(roles):
        group.roles.append({**role, "ID": str(number)})
    owned(core, group, who)
    core.pools.vmgroups[group.id] = group
    return group.id


def info(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    group: VmGroup = VMGROUP.get(core, number)
    need(who, group, USE, "VMGROUP")
    return shown(core, group)


def shown(core: Core, group: VmGroup) -> str:
    roles = (xml.element("ROLE", xml.cdatas(_role(core, group, role))) for role in group.roles)
    return xml.element("VM_GROUP", head(group), xml.element("ROLES", *roles), group.attrs.xml())


def _role(core: Core, group: VmGroup, role: Vector) -> Vector:
    vms = ",".join(str(vm.id) for vm in members(core, group, role["NAME"]))
    shown = {**role, **({"VMS": vms} if vms else {})}
    return {key: shown[key] for key in sorted(shown)}


def members(core: Core, group: VmGroup, role: str) -> list[Vm]:
    """Return the living VMs of a role."""
    return [vm for vm in core.live_vms() if _of(vm) == (str(group.id), role)]


def _of(vm: Vm) -> tuple[str, str]:
    own = vm.attrs.vector("VMGROUP") or {}
    return own.get("VMGROUP_ID", ""), own.get("ROLE", "")


def pool(core: Core, who: User, filter_flag: int, start: int, end: int) -> str:
    found = pools.chosen(core.pools.vmgroups, who, filter_flag, start, end)
    return xml.element("VM_GROUP_POOL", *(shown(core, group) for group in found))


def delete(core: Core, who: User, number: int) -> int:
    group: VmGroup = VMGROUP.get(core, number)
    need(who, group, MANAGE, "VMGROUP")
    if any(members(core, group, role["NAME"]) for role in group.roles):
        raise errors.wrong_action("Cannot delete VM group. VM group has VMs in its roles.")
    del core.pools.vmgroups[number]
    return number


def join(core: Core, who: User, vm: Vm) -> None:
    """Resolve a new VM's VMGROUP.

    Raises:
        errors.OneError: no such group or role, or no right to use it.
    """
    own = vm.attrs.vector("VMGROUP")
    if own is None:
        return
    group = _named(core, who, own)
    need(who, group, USE, "VMGROUP")
    if all(role["NAME"] != own.get("ROLE") for role in group.roles):
        raise errors.internal(f"Role {own.get('ROLE', '')} does not exist in VM group {group.id}")
    own.update(VMGROUP_ID=str(group.id), VMGROUP_NAME=group.name)


def _named(core: Core, who: User, own: Vector) -> VmGroup:
    if own.get("VMGROUP_ID", "").isdigit():
        found = core.pools.vmgroups.get(int(own["VMGROUP_ID"]))
    else:
        name = own.get("VMGROUP_NAME")
        found = next((each for each in core.pools.vmgroups.values() if (each.name, each.uid) == (name, who.id)), None)
    if found is None:
        raise errors.internal(f"VM group {own.get('VMGROUP_ID', own.get('VMGROUP_NAME', ''))} does not exist")
    return found


def forbidden_hosts(core: Core, vm: Vm) -> set[int]:
    """Return the hosts that a VM may not go to, because another of its ANTI_AFFINED role is there."""
    number, role_name = _of(vm)
    group = core.pools.vmgroups.get(int(number)) if number.isdigit() else None
    if group is None:
        return set()
    role = next((role for role in group.roles if role["NAME"] == role_name), {})
    if role.get("POLICY", "").upper() != "ANTI_AFFINED":
        return set()
    others = (other for other in members(core, group, role_name) if other is not vm and other.history)
    return {other.history[-1].host for other in others}


METHODS = {
    **objects.methods(VMGROUP),
    "one.vmgroup.allocate": Method("s", allocate),
    "one.vmgroup.info": Method("i?b", info),
    "one.vmgroup.delete": Method("i", delete),
    "one.vmgrouppool.info": Method("iii", pool),
}
