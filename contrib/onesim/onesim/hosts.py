"""Hosts."""

from __future__ import annotations

from onesim import errors, objects, scheduler, xml
from onesim.kernel import Core, Method
from onesim.model import Host, User
from onesim.objects import HOST, need_free
from onesim.rights import USE, may, need, need_admin

_MONITORED, _DISABLED, _OFFLINE = 2, 4, 8
_STATES = (_MONITORED, _DISABLED, _OFFLINE)


def allocate(core: Core, who: User, name: str, im_mad: str, vm_mad: str, cluster: int = 0) -> int:
    need_admin(who, "CREATE", "HOST")
    need_free(core.pools.hosts, "host", "HOST", name)
    host = Host(core.number("host"), name, im_mad=im_mad, vm_mad=vm_mad, cluster=max(cluster, 0))
    core.pools.hosts[host.id] = host
    return host.id


def info(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    host: Host = HOST.get(core, number)
    need(who, host, USE, "HOST")
    return shown(core, host)


def shown(core: Core, host: Host) -> str:
    state = _STATES[host.status]
    vms = scheduler.vms_on(core, host.id)
    return xml.element(
        "HOST",
        xml.plains({"ID": host.id, "NAME": host.name, "STATE": state, "PREV_STATE": state}),
        xml.cdatas({"IM_MAD": host.im_mad, "VM_MAD": host.vm_mad}),
        xml.plains({"CLUSTER_ID": host.cluster, "CLUSTER": "default"}),
        _share(core, host, len(vms)),
        xml.ids("VMS", (vm.id for vm in vms)),
        _template(host),
        _monitoring(core, host),
    )


def _template(host: Host) -> str:
    own = {
        "ARCH": "x86_64",
        "CPUSPEED": "3200",
        "HOSTNAME": host.name,
        "HYPERVISOR": host.vm_mad,
        "IM_MAD": host.im_mad,
        "KVM_CPU_FEATURES": "sse2",
        "KVM_CPU_MODELS": "kvm64",
        "MEMORY_ENCRYPTION": "none",
        "MODELNAME": "simulated",
        "RESERVED_CPU": "",
        "RESERVED_MEM": "",
        "TOTALCPU": host.cpu,
        "TOTALMEMORY": host.memory_kib,
        "VM_MAD": host.vm_mad,
    }
    own |= {name: value for name, value in host.attrs.pairs if isinstance(value, str)}
    return xml.element("TEMPLATE", xml.cdatas({name: own[name] for name in sorted(own)}))


def _share(core: Core, host: Host, running: int) -> str:
    cpu, memory = scheduler.used(core, host)
    return xml.element(
        "HOST_SHARE",
        xml.plains({"MEM_USAGE": memory, "CPU_USAGE": cpu}),
        xml.plains({"TOTAL_MEM": host.memory_kib, "TOTAL_CPU": host.cpu}),
        xml.plains({"MAX_MEM": host.memory_kib, "MAX_CPU": host.cpu, "RUNNING_VMS": running, "VMS_THREAD": 1}),
        xml.element("DATASTORES", xml.cdatas({"DISK_USAGE": 0, "FREE_DISK": 20480, "MAX_DISK": 20480, "USED_DISK": 0})),
        "<PCI_DEVICES></PCI_DEVICES><NUMA_NODES></NUMA_NODES>",
    )


def _monitoring(core: Core, host: Host) -> str:
    cpu, memory = scheduler.used(core, host)
    capacity = {
        "FREE_CPU": host.cpu - cpu,
        "FREE_MEMORY": host.memory_kib - memory,
        "USED_CPU": cpu,
        "USED_MEMORY": memory,
    }
    return xml.element(
        "MONITORING",
        xml.plains({"TIMESTAMP": core.now(), "ID": host.id}),
        xml.element("CAPACITY", xml.cdatas(capacity)),
        xml.element("SYSTEM", xml.cdatas({"NETRX": 0, "NETTX": 0})),
    )


def pool(core: Core, who: User) -> str:
    seen = [host for host in core.pools.hosts.values() if may(who, host, USE)]
    return xml.element("HOST_POOL", *(shown(core, host) for host in sorted(seen, key=lambda host: -host.id)))


def status(core: Core, who: User, number: int, wanted: int) -> int:
    host: Host = HOST.get(core, number)
    need_admin(who, "ADMIN", "HOST", number)
    if not 0 <= wanted < len(_STATES):
        raise errors.internal("Wrong status code")
    host.status = wanted
    return number


def delete(core: Core, who: User, number: int) -> int:
    HOST.get(core, number)
    need_admin(who, "ADMIN", "HOST", number)
    if scheduler.vms_on(core, number):
        raise errors.wrong_action("Cannot delete host. Can not remove a host with running VMs")
    del core.pools.hosts[number]
    return number


_COMMON = objects.methods(HOST)
METHODS = {
    "one.host.update": _COMMON["one.host.update"],
    "one.host.rename": _COMMON["one.host.rename"],
    "one.host.allocate": Method("sss?i", allocate),
    "one.host.info": Method("i?b", info),
    "one.host.status": Method("ii", status),
    "one.host.delete": Method("i", delete),
    "one.hostpool.info": Method("", pool),
}
