"""vm.info and the changes of what a VM says: user template, configuration, capacity, schedule."""

from __future__ import annotations

from onesim import (
    allocate,
    contexts,
    errors,
    history,
    life,
    objects,
    quotas,
    restricted,
    scheduler,
    states,
    vminfo,
    vmpool,
    xml,
)
from onesim.attrs import Attrs
from onesim.kernel import Core, Method, parsed
from onesim.model import User, Vm
from onesim.objects import VM
from onesim.rights import MANAGE, USE, need
from onesim.states import AWAITING, HELD, OFF, UP, At

# What updateconf may change; anything else in its template is silently ignored.
_CONFIGURABLE = ("OS", "FEATURES", "INPUT", "GRAPHICS", "VIDEO", "RAW", "CPU_MODEL", "BACKUP_CONFIG", "CONTEXT")
_BEFORE = (AWAITING, HELD, At(states.UNDEPLOYED))
_RESIZABLE = ("CPU", "MEMORY", "VCPU", "CPU_COST", "MEMORY_COST")


def info(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    vm: Vm = VM.get(core, number)
    need(who, vm, USE, "VM")
    return vminfo.whole(vm, decrypt and who.admin)


def monitoring(core: Core, who: User, number: int) -> str:
    vm: Vm = VM.get(core, number)
    need(who, vm, USE, "VM")
    return xml.element("MONITORING_DATA", vmpool.monitored(vm) if vm.monitoring else "")


def update(core: Core, who: User, number: int, text: str, append: int) -> int:
    """Change the user template; works on DONE VMs, too."""
    vm: Vm = VM.get(core, number)
    need(who, vm, MANAGE, "VM")
    attrs = parsed(text, errors.ACTION)
    if append:
        vm.user.merge(attrs)
    else:
        vm.user = attrs
    return number


def update_conf(core: Core, who: User, number: int, text: str, append: int = 0) -> int:
    vm: Vm = VM.get(core, number)
    need(who, vm, MANAGE, "VM")
    attrs = parsed(text)
    restricted.check(who, attrs)
    new = attrs.take(_CONFIGURABLE)
    before = vm.attrs.copy()
    try:
        _configure(core, who, vm, new, append)
    except errors.OneError:
        vm.attrs = before
        raise
    if vm.at == UP:
        life.start(core, vm, "hotplug")
    return number


def _configure(core: Core, who: User, vm: Vm, new: Attrs, append: int) -> None:
    disk_id = (vm.attrs.vector("CONTEXT") or {}).get("DISK_ID")
    old_context = dict(vm.attrs.vector("CONTEXT") or {})
    if not append:
        vm.attrs.drop(*_CONFIGURABLE)
    context = new.take(["CONTEXT"]).vector("CONTEXT")
    vm.attrs.merge(new)
    allocate.check_boot(vm)
    if context is None:
        return
    kept = {key: value for key, value in old_context.items() if not key.startswith("ETH")} if append else {}
    merged = {**kept, **context}
    merged["DISK_ID"] = disk_id or str(len(vm.attrs.vectors("DISK")))
    merged.setdefault("TARGET", "hda")
    contexts.write(core, who, vm, merged)


def resize(core: Core, who: User, number: int, text: str, enforce: bool = False) -> int:
    """Change CPU, MEMORY and VCPU; live where the hypervisor can."""
    vm: Vm = VM.get(core, number)
    need(who, vm, MANAGE, "VM")
    attrs = parsed(text).take(_RESIZABLE)
    for name, kind in (("CPU", "float or integer"), ("MEMORY", "integer")):
        if attrs.has(name) and allocate.number(attrs.text(name)) <= 0:
            raise errors.internal(f"{name} must be a positive {kind} value.")
    cpu, memory = _more(vm, attrs, "CPU"), _more(vm, attrs, "MEMORY")
    owner = core.pools.users.get(vm.uid, who)
    quotas.check_vm(core, owner, cpu, int(memory), machines=0)
    if enforce:
        _check_host(core, vm, cpu, memory)
    if vm.at not in (UP, OFF, *_BEFORE):
        raise errors.wrong_action(f"This action is not available for state {states.name(vm.at)}")
    if vm.at == UP and not core.live_resize:
        raise errors.wrong_action("Hotplug resize not supported by driver dummy")
    vm.attrs.merge(attrs)
    if vm.at in (UP, OFF):
        history.act(vm, history.ACTIONS["resize"], who)
        history.turn(core, vm)
    if vm.at == UP:
        life.start(core, vm, "resize")
    return number


def _more(vm: Vm, attrs: Attrs, name: str) -> float:
    """Return how much more of CPU or MEMORY is asked for; less counts as none."""
    if not attrs.has(name):
        return 0
    return max(0.0, allocate.number(attrs.text(name)) - allocate.number(vm.attrs.text(name)))


def _check_host(core: Core, vm: Vm, cpu: float, memory: float) -> None:
    host = core.pools.hosts.get(vm.history[-1].host) if vm.history else None
    if host is None:
        return
    used_cpu, used_memory = scheduler.used(core, host)
    own = round(allocate.number(vm.attrs.text("CPU")) * 100)
    if used_cpu + round(cpu * 100) > host.cpu:
        raise errors.wrong_action(f"Not enough CPU: {round(cpu * 100) + own}/{host.cpu}")
    if used_memory + memory * 1024 > host.memory_kib:
        raise errors.wrong_action(f"Not enough memory: {round(used_memory + memory * 1024)}/{host.memory_kib}")


def add_schedule(core: Core, who: User, number: int, text: str) -> int:
    vm: Vm = VM.get(core, number)
    need(who, vm, MANAGE, "VM")
    wanted = parsed(text).vector("SCHED_ACTION")
    if wanted is None:
        raise errors.internal("Invalid SCHED_ACTION")
    new = max((int(known["ID"]) for known in vm.schedule), default=-1) + 1
    at = wanted.get("TIME", "0")
    time = str(vm.stime + int(at[1:])) if at.startswith("+") else at
    unused = {
        "REPEAT": "-1",
        "DAYS": "",
        "END_TYPE": "-1",
        "END_VALUE": "-1",
        "DONE": "-1",
        "MESSAGE": "",
        "WARNING": "0",
    }
    own = {"ID": str(new), "PARENT_ID": str(number), "TYPE": "VM", "ACTION": wanted.get("ACTION", "")}
    vm.schedule.append({**own, "ARGS": wanted.get("ARGS", ""), "TIME": time, **unused})
    return new


def delete_schedule(core: Core, who: User, number: int, schedule: int) -> int:
    vm: Vm = VM.get(core, number)
    need(who, vm, MANAGE, "VM")
    if all(known["ID"] != str(schedule) for known in vm.schedule):
        raise errors.wrong_action("Scheduled action doesn't exist")
    vm.schedule = [known for known in vm.schedule if known["ID"] != str(schedule)]
    return number


METHODS = {
    **objects.methods(VM),
    "one.vm.allocate": Method("s?b", allocate.allocate),
    "one.vm.info": Method("i?b", info),
    "one.vm.monitoring": Method("i", monitoring),
    "one.vm.update": Method("isi", update),
    "one.vm.updateconf": Method("is?i", update_conf),
    "one.vm.resize": Method("is?b", resize),
    "one.vm.schedadd": Method("is", add_schedule),
    "one.vm.scheddelete": Method("ii", delete_schedule),
}
