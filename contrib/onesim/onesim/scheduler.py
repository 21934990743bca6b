"""The scheduler: gathers pending VMs for a while, then places them, or says why not and tries again much later."""

from __future__ import annotations

import re

from onesim import devices, errors, history, life, states, vmgroups
from onesim.kernel import Core
from onesim.model import Host, Vm
from onesim.states import AWAITING

_TERM = re.compile(r"""\s*\(?\s*(\w+)\s*(=|!=)\s*"?([^"()&|]*?)"?\s*\)?\s*""")


def submit(core: Core, vm: Vm, way: str) -> None:
    """Make a VM PENDING; ``way`` is the way it takes once it has a host."""
    vm.at, vm.way, vm.pending_way, vm.try_at = AWAITING, (), way, None


def run(core: Core) -> None:
    """Place what is due."""
    pending = [vm for vm in core.live_vms() if vm.at == AWAITING]
    new = [vm for vm in pending if vm.try_at is None]
    if new and core.window_until is None:
        core.window_until = core.after(core.config.window_s)
    if core.window_until is not None and (core.clock() >= core.window_until or len(new) >= core.config.window_vms):
        core.window_until = None
        for vm in new:
            vm.try_at = core.clock()
    for vm in pending:
        if vm.try_at is not None and vm.try_at <= core.clock():
            _place(core, vm)


def _place(core: Core, vm: Vm) -> None:
    found = core.faults.pending(vm.name) or host_for(core, vm)
    if isinstance(found, str):
        vm.user.put("SCHED_MESSAGE", f"{core.stamp()}: {found}")
        vm.try_at = core.after(core.config.retry_s)
        return
    deploy(core, vm, found, system_datastore(core))


def system_datastore(core: Core) -> int:
    """Return the system datastore that the scheduler takes: the newest that is enabled."""
    return max((store.id for store in core.pools.datastores.values() if store.kind == 1 and store.enabled), default=0)


def deploy(core: Core, vm: Vm, host: Host, datastore: int) -> None:
    """Send a VM to a host."""
    way, vm.try_at = vm.pending_way, None
    vm.user.drop("SCHED_MESSAGE")
    history.begin(core, vm, host, datastore)
    _automatic_networks(core, vm)
    vm.attrs.put("TM_MAD_SYSTEM", core.pools.datastores[datastore].tm_mad)
    graphics = vm.attrs.vector("GRAPHICS")
    if graphics is not None:
        graphics.setdefault("PORT", str(5900 + vm.id))
    life.start(core, vm, way)


def _automatic_networks(core: Core, vm: Vm) -> None:
    for nic in vm.attrs.vectors("NIC"):
        if nic.get("NETWORK_MODE", "").upper() != "AUTO" or "NETWORK_ID" in nic:
            continue
        for network in core.pools.networks.values():
            nic["NETWORK_ID"] = str(network.id)
            try:
                devices.fill_nic(core, core.pools.users[vm.uid], vm, nic, int(nic["NIC_ID"]))
                break
            except errors.OneError:
                nic.pop("NETWORK_ID")
    devices.secure(core, vm)


def host_for(core: Core, vm: Vm) -> Host | str:
    """Return the emptiest host that takes a VM, or the core's sentence why none does."""
    hosts = [host for host in core.pools.hosts.values() if host.status == 0]
    if not hosts:
        return "Cannot dispatch VM: No hosts enabled to run VMs"
    wanted = vm.user.text("SCHED_REQUIREMENTS")
    try:
        matching = [host for host in hosts if satisfies(host, wanted)]
    except ValueError:
        text = f"(CLUSTER_ID = 0) & !(PIN_POLICY = PINNED) & ( {wanted} )"
        return f"Cannot dispatch VM: Error in SCHED_REQUIREMENTS: '{text[:50]}... see more details in VM log"
    if not matching:
        return "[HOST] No hosts meet requirements: " + wanted
    apart = [host for host in matching if host.id not in vmgroups.forbidden_hosts(core, vm)]
    if not apart:
        return "[HOST] VM Group rules leave no host"
    return _with_room(core, vm, apart)


def _with_room(core: Core, vm: Vm, hosts: list[Host]) -> Host | str:
    cpu = round(float(vm.attrs.text("CPU", "0")) * 100)
    memory = round(float(vm.attrs.text("MEMORY", "0"))) * 1024
    numbers = ",".join(str(host.id) for host in hosts)
    roomy = [(host, used(core, host)) for host in hosts]
    fits_cpu = [(host, use) for host, use in roomy if use[0] + cpu <= host.cpu]
    if not fits_cpu:
        return f"[HOST] Not enough CPU on hosts: {numbers}"
    fits = [(host, use) for host, use in fits_cpu if use[1] + memory <= host.memory_kib]
    if not fits:
        return f"[HOST] Not enough memory on hosts: {numbers}"
    return min(fits, key=lambda pair: (pair[1], pair[0].id))[0]


def satisfies(host: Host, requirements: str) -> bool:
    """Evaluate the simple expressions: terms ``NAME = x`` joined by & and |.

    Raises:
        ValueError: it is none of them.
    """
    if not requirements.strip():
        return True
    return any(all(_term(host, part) for part in either.split("&")) for either in requirements.split("|"))


def _term(host: Host, text: str) -> bool:
    match = _TERM.fullmatch(text)
    if match is None or not match[3]:
        raise ValueError(text)
    name, operator, wanted = match.groups()
    own = {"NAME": host.name, "HOSTNAME": host.name, "ID": str(host.id), "CLUSTER_ID": str(host.cluster)}
    value = own.get(name.upper(), host.attrs.text(name.upper()))
    return (value == wanted) is (operator == "=")


def vms_on(core: Core, host: int) -> list[Vm]:
    """Return the VMs that take room on a host."""
    return [
        vm
        for vm in core.live_vms()
        if vm.history
        and vm.history[-1].host == host
        and vm.at.state in (states.ACTIVE, states.SUSPENDED, states.POWEROFF)
    ]


def used(core: Core, host: Host) -> tuple[int, int]:
    """Return the used CPU (hundredths of a core) and memory (KiB) of a host."""
    own = vms_on(core, host.id)
    cpu = sum(round(float(vm.attrs.text("CPU", "0")) * 100) for vm in own)
    return cpu, sum(round(float(vm.attrs.text("MEMORY", "0"))) * 1024 for vm in own)
