"""Pools of VMs."""

from __future__ import annotations

from collections.abc import Iterable

from onesim import errors, pools, states, vminfo, xml
from onesim.kernel import Core, Method
from onesim.model import User, Vm
from onesim.rights import USE, may

ANY, NOT_DONE = -2, -1


def _found(core: Core, who: User, filter_flag: int, start: int, end: int, state: int) -> list[Vm]:
    seen = pools.chosen(core.pools.vms, who, filter_flag, -1, -1)
    if state not in (ANY, NOT_DONE, *states.VM_NAMES, 7):
        raise errors.OneError(errors.RPC_API, f"Incorrect state filter {state}")
    if state == NOT_DONE:
        seen = [vm for vm in seen if vm.live]
    elif state != ANY:
        seen = [vm for vm in seen if vm.at.state == state]
    return pools.paged(seen, start, end)


def _shown(vms: Iterable[Vm], extended: bool) -> str:
    return xml.element(
        "VM_POOL", *(vminfo.whole(vm, short_history=True) if extended else vminfo.short(vm) for vm in vms)
    )


def info(core: Core, who: User, filter_flag: int, start: int, end: int, state: int, search: str = "") -> str:
    if search:
        raise errors.internal("JSON query search is not supported by the SQL backend")
    return _shown(_found(core, who, filter_flag, start, end, state), extended=False)


def extended(core: Core, who: User, filter_flag: int, start: int, end: int, state: int, search: str = "") -> str:
    if search:
        raise errors.internal("JSON query search is not supported by the SQL backend")
    return _shown(_found(core, who, filter_flag, start, end, state), extended=True)


def infoset(core: Core, who: User, numbers: str, whole: bool = False) -> str:
    """Return VMs by their numbers; what is no number of a visible VM is skipped."""
    wanted = {int(part) for part in numbers.split(",") if part.strip().isdigit()}
    seen = [vm for vm in core.pools.vms.values() if vm.id in wanted and may(who, vm, USE)]
    return _shown(sorted(seen, key=lambda vm: -vm.id), whole)


def accounting(core: Core, who: User, filter_flag: int, start: int, end: int) -> str:
    """Return the records of history between two times (unix seconds; -1: no limit)."""
    records = [
        vminfo.record(vm, seq)
        for vm in reversed(pools.chosen(core.pools.vms, who, filter_flag, -1, -1))
        for seq, record in enumerate(vm.history)
        if (start < 0 or not record.until or record.until >= start) and (end < 0 or record.since <= end)
    ]
    return xml.element("HISTORY_RECORDS", *records)


def showback(core: Core, who: User, filter_flag: int, *months: int) -> str:
    return "<SHOWBACK_RECORDS></SHOWBACK_RECORDS>"


def monitoring(core: Core, who: User, filter_flag: int, seconds: int = 0) -> str:
    seen = pools.chosen(core.pools.vms, who, filter_flag, -1, -1)
    return xml.element("MONITORING_DATA", *(monitored(vm) for vm in seen if vm.monitoring))


def monitored(vm: Vm) -> str:
    return xml.element("MONITORING", xml.cdatas(vm.monitoring))


METHODS = {
    "one.vmpool.info": Method("iiii?s", info),
    "one.vmpool.infoextended": Method("iiii?s", extended),
    "one.vmpool.infoset": Method("s?b", infoset),
    "one.vmpool.accounting": Method("iii", accounting),
    "one.vmpool.showback": Method("iiiii", showback),
    "one.vmpool.monitoring": Method("i?i", monitoring),
}
