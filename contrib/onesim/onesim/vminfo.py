"""How VMs look: whole in vm.info and the extended pools, short in vmpool.info."""

from __future__ import annotations

from collections.abc import Iterable

from onesim import leases, xml
from onesim.attrs import Vector
from onesim.model import Record, Vm
from onesim.objects import head, locked, owner

_SHORT_DISK = (
    *(
        "DISK_ID",
        "DATASTORE",
        "DATASTORE_ID",
        "IMAGE",
        "IMAGE_ID",
        "SIZE",
        "TYPE",
        "CLONE",
        "CLONE_TARGET",
        "LN_TARGET",
    ),
    "DISK_SNAPSHOT_TOTAL_SIZE",
)
_SHORT_NIC = ("IP", "MAC", "NETWORK", "NETWORK_ID", "NIC_ID", "SECURITY_GROUPS")

# All that the short form shows of USER_TEMPLATE: attributes of one's own are missing there.
_SHORT_USER = (
    *("ERROR", "LABELS", "SCHED_DS_RANK", "SCHED_DS_REQUIREMENTS", "SCHED_MESSAGE", "SCHED_RANK"),
    *("SCHED_REQUIREMENTS", "USER_PRIORITY"),
)


def clear_context(vm: Vm) -> Vector:
    """Return the CONTEXT as the guest gets it: with the password readable."""
    made = dict(vm.attrs.vector("CONTEXT") or {})
    if vm.context_password:
        made["PASSWORD"] = vm.context_password
    return made


def whole(vm: Vm, decrypt: bool = False, short_history: bool = False) -> str:
    """Return a VM as vm.info shows it.

    Args:
        decrypt: show a PASSWORD in CONTEXT in clear.
        short_history: show the last record alone, as pools do.
    """
    records = vm.history[-1:] if short_history else vm.history
    first = len(vm.history) - len(records)
    return xml.element(
        "VM",
        head(vm),
        xml.plain("LAST_POLL", vm.polled),
        xml.plains({"STATE": vm.at.state, "LCM_STATE": vm.at.lcm}),
        xml.plains({"PREV_STATE": vm.at.state, "PREV_LCM_STATE": vm.at.lcm}),
        _times(vm),
        xml.element("MONITORING", xml.cdatas(vm.monitoring)),
        xml.ids("SCHED_ACTIONS", (int(action["ID"]) for action in vm.schedule)),
        _template(vm, decrypt),
        vm.user.xml("USER_TEMPLATE"),
        _history([_record(vm, first + seq, record) for seq, record in enumerate(records)]),
        *map(_snapshots, *_snapped(vm)),
        "<BACKUPS><BACKUP_CONFIG/><BACKUP_IDS></BACKUP_IDS></BACKUPS>",
    )


def _times(vm: Vm) -> str:
    values = {"RESCHED": int(vm.resched), "STIME": vm.stime, "ETIME": vm.etime, "DEPLOY_ID": vm.deploy_id}
    return xml.plains(values)


def _template(vm: Vm, decrypt: bool) -> str:
    attrs = vm.attrs
    if decrypt and vm.context_password:
        attrs = vm.attrs.copy()
        attrs.put("CONTEXT", clear_context(vm))
    inner = attrs.xml().removesuffix("</TEMPLATE>")
    actions = "".join(xml.element("SCHED_ACTION", xml.plains(action)) for action in vm.schedule)
    return f"{inner}{actions}</TEMPLATE>"


def _history(records: list[str]) -> str:
    return xml.element("HISTORY_RECORDS", *records) if records else "<HISTORY_RECORDS/>"


def _record(vm: Vm, seq: int, record: Record) -> str:
    times = {
        "PLAN_ID": -1,
        "ACTION_ID": 0,
        "PSTIME": record.prolog[0],
        "PETIME": record.prolog[1],
        "RSTIME": record.running[0],
        "RETIME": record.running[1],
        "ESTIME": record.epilog[0],
        "EETIME": record.epilog[1],
    }
    done = {"ACTION": record.action, "UID": record.uid, "GID": record.gid, "REQUEST_ID": record.request}
    return xml.element(
        "HISTORY",
        xml.plains({"OID": vm.id, "SEQ": seq, "HOSTNAME": record.hostname, "HID": record.host, "CID": 0}),
        xml.plains({"STIME": record.since, "ETIME": record.until}),
        xml.cdatas({"VM_MAD": "dummy", "TM_MAD": "dummy"}),
        xml.plain("DS_ID", record.datastore),
        xml.plains(times),
        xml.plains(done),
    )


def record(vm: Vm, seq: int) -> str:
    """Return one record as the accounting shows it."""
    return _record(vm, seq, vm.history[seq])


def _snapped(vm: Vm) -> tuple[list[Vm], list[int]]:
    disks = [disk for disk, taken in vm.snapshots.items() if taken]
    return [vm] * len(disks), disks


def _snapshots(vm: Vm, disk: int) -> str:
    active = vm.active_snapshot.get(disk, -1)
    taken = vm.snapshots[disk]
    shown = []
    for snapshot in taken:
        values: dict[str, object] = {"ACTIVE": "YES"} if snapshot.id == active else {}
        children = ",".join(str(other.id) for other in taken if other.parent == snapshot.id)
        values |= {"CHILDREN": children} if children else {}
        values |= {"DATE": snapshot.at, "ID": snapshot.id, "NAME": snapshot.name, "PARENT": snapshot.parent}
        shown.append(xml.element("SNAPSHOT", xml.cdatas({**values, "SIZE": snapshot.size_mb})))
    return xml.element(
        "SNAPSHOTS",
        xml.cdatas(
            {"ALLOW_ORPHANS": "NO", "CURRENT_BASE": -1, "DISK_ID": disk, "NEXT_SNAPSHOT": vm.next_snapshot[disk]}
        ),
        *shown,
    )


def short(vm: Vm) -> str:
    """Return a VM as vmpool.info shows it."""
    return xml.element(
        "VM",
        owner(vm),
        locked(vm),
        xml.plain("LAST_POLL", vm.polled),
        xml.plains({"STATE": vm.at.state, "LCM_STATE": vm.at.lcm}),
        _times(vm),
        _short_template(vm),
        xml.element("MONITORING", xml.cdatas(vm.monitoring)) if vm.monitoring else "<MONITORING/>",
        _short_user(vm),
        _history([_short_record(vm)] if vm.history else []),
    )


def _short_template(vm: Vm) -> str:
    attrs = vm.attrs
    parts = [xml.plains({name: attrs.text(name) for name in ("CPU", "MEMORY", "VCPU")})]
    parts += [_some("DISK", vector, _SHORT_DISK) for vector in attrs.vectors("DISK")]
    nics = sorted(leases.nics(vm), key=lambda nic: int(nic["NIC_ID"]))  # aliases are among them, by number
    parts += [_some("NIC", vector, _SHORT_NIC) for vector in nics]
    parts += [_some("GRAPHICS", vector, sorted(vector)) for vector in attrs.vectors("GRAPHICS")]
    return xml.element("TEMPLATE", *parts)


def _some(name: str, vector: Vector, keys: Iterable[str]) -> str:
    return xml.element(name, xml.cdatas({key: vector.get(key, "") for key in keys}))


def _short_user(vm: Vm) -> str:
    if not vm.user.pairs:
        return "<USER_TEMPLATE/>"
    seen = {name: vm.user.text(name) for name in _SHORT_USER if vm.user.text(name)}
    return xml.element("USER_TEMPLATE", xml.cdatas(seen))


def _short_record(vm: Vm) -> str:
    seq, record = len(vm.history) - 1, vm.history[-1]
    return xml.element(
        "HISTORY",
        xml.plains({"OID": vm.id, "SEQ": seq}),
        xml.cdata("HOSTNAME", record.hostname),
        xml.plains({"HID": record.host, "CID": 0, "DS_ID": record.datastore}),
        xml.cdatas({"VM_MAD": "dummy", "TM_MAD": "dummy", "ACTION": record.action}),
    )
