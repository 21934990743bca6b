"""Changes of a VM's devices: disks, NICs, snapshots, save-as, sizes of disks."""

from __future__ import annotations

from onesim import allocate, contexts, devices, errors, history, images, life, restricted, states
from onesim.attrs import Attrs, Vector
from onesim.kernel import Core, Method, parsed
from onesim.model import LOCKED, Snapshot, User, Vm
from onesim.objects import VM, need_free
from onesim.rights import MANAGE, need
from onesim.states import OFF, UP


def _vm(core: Core, who: User, number: int) -> Vm:
    vm: Vm = VM.get(core, number)
    need(who, vm, MANAGE, "VM")
    return vm


def _ready(vm: Vm, doing: str) -> None:
    """Refuse what is only possible while RUNNING or POWEROFF."""
    if vm.at not in (UP, OFF):
        raise errors.wrong_action(f"Could not {doing} VM {vm.id}, wrong state {states.name(vm.at)}.")


def _as_action(exc: errors.OneError) -> errors.OneError:
    """What is an internal error in allocate is an action error here; refusals stay refusals."""
    return errors.wrong_action(exc.text) if exc.code == errors.INTERNAL else exc


def _changed(core: Core, who: User, vm: Vm, action: str, way: str) -> None:
    off = vm.at == OFF
    history.act(vm, history.ACTIONS[action], who)
    history.turn(core, vm)
    life.start(core, vm, f"{way}-off" if off else way)


def _disk(vm: Vm, number: int) -> Vector:
    found = next((disk for disk in vm.attrs.vectors("DISK") if disk["DISK_ID"] == str(number)), None)
    if found is None:
        raise errors.wrong_action("VM disk does not exist")
    return found


def _free_disk(vm: Vm) -> int:
    taken = [int(disk["DISK_ID"]) for disk in vm.attrs.vectors("DISK")]
    taken.append(int((vm.attrs.vector("CONTEXT") or {}).get("DISK_ID", "-1")))
    return max(taken) + 1


def attach(core: Core, who: User, number: int, text: str) -> int:
    vm = _vm(core, who, number)
    attrs = parsed(text)
    restricted.check(who, attrs)
    disk = attrs.vector("DISK")
    if disk is None:
        raise errors.wrong_action("Internal error parsing DISK attribute")
    devices.check_rights(core, who, [disk], [])
    devices.check_quotas(core, who, [disk], [])
    _ready(vm, "add a new disk to")
    try:
        devices.fill_disk(core, who, vm, disk, _free_disk(vm))
    except errors.OneError as exc:
        raise _as_action(exc) from exc
    _on_host(core, vm, disk)
    vm.attrs.add("DISK", disk)
    _changed(core, who, vm, "disk-attach", "hotplug")
    return number


def _on_host(core: Core, vm: Vm, disk: Vector) -> None:
    """A disk that comes to a placed VM knows the system datastore at once; a volatile one lies in it."""
    store = core.pools.datastores[vm.history[-1].datastore]
    disk["TM_MAD_SYSTEM"] = store.tm_mad
    if "IMAGE_ID" not in disk:
        disk.update(DATASTORE=store.name, DATASTORE_ID=str(store.id), TM_MAD=store.tm_mad)


def detach(core: Core, who: User, number: int, disk_id: int) -> int:
    vm = _vm(core, who, number)
    disk = _disk(vm, disk_id)
    _ready(vm, "detach disk from")
    vm.attrs.drop_vector("DISK", disk)
    _changed(core, who, vm, "disk-detach", "hotplug")
    return number


def attach_nic(core: Core, who: User, number: int, text: str) -> int:
    vm = _vm(core, who, number)
    attrs = parsed(text)
    restricted.check(who, attrs)
    nic, alias = attrs.vector("NIC"), attrs.vector("NIC_ALIAS")
    new = nic if nic is not None else alias
    if new is None:
        raise errors.wrong_action("Internal error parsing NIC attribute")
    devices.check_rights(core, who, [], [new])
    devices.check_quotas(core, who, [], [new])
    if vm.at not in (UP, OFF):
        text = f"Could not add a new NIC to VM {vm.id}, wrong state {states.name(vm.at)}."
        raise errors.wrong_action(text)
    _fill(core, who, vm, new, nic is None)
    vm.attrs.add("NIC" if nic is not None else "NIC_ALIAS", new)
    _nics_changed(core, who, vm, "nic-attach" if nic is not None else "alias-attach")
    return number


def _fill(core: Core, who: User, vm: Vm, nic: Vector, is_alias: bool) -> None:
    taken = [int(other["NIC_ID"]) for name in ("NIC", "NIC_ALIAS") for other in vm.attrs.vectors(name)]
    vm.last_nic = max([vm.last_nic, *taken]) + 1
    try:
        if is_alias:
            allocate.alias(core, who, vm, nic, vm.last_nic)
        else:
            devices.fill_nic(core, who, vm, nic, vm.last_nic)
    except errors.OneError as exc:
        vm.last_nic -= 1
        raise _as_action(exc) from exc


def _nics_changed(core: Core, who: User, vm: Vm, action: str) -> None:
    devices.secure(core, vm)
    contexts.refresh(core, vm)
    if vm.at == UP:
        _changed(core, who, vm, action, "hotplug-nic")


def detach_nic(core: Core, who: User, number: int, nic_id: int) -> int:
    vm = _vm(core, who, number)
    for kind in ("NIC", "NIC_ALIAS"):
        for nic in vm.attrs.vectors(kind):
            if nic["NIC_ID"] == str(nic_id):
                _ready(vm, "detach NIC from")
                devices.free_nic(core, nic)
                vm.attrs.drop_vector(kind, nic)
                _nics_changed(core, who, vm, "nic-detach")
                return number
    raise errors.wrong_action(f"Could not detach NIC with NIC_ID {nic_id}, it does not exist.")


def save_as(core: Core, who: User, number: int, disk_id: int, name: str, kind: str = "", snapshot: int = -1) -> int:
    """Start to copy a disk into a new image and return the image's number."""
    vm = _vm(core, who, number)
    disk = next((disk for disk in vm.attrs.vectors("DISK") if disk["DISK_ID"] == str(disk_id)), None)
    if disk is None or "IMAGE_ID" not in disk:
        raise errors.OneError(errors.INTERNAL, "Cannot use DISK. DISK does not exist.", number)
    _ready(vm, "save disk of")
    need_free(core.pools.images, "image", "IMAGE", name, who.id, number)
    saved = {"SAVED_DISK_ID": str(disk_id), "SAVED_IMAGE_ID": disk["IMAGE_ID"], "SAVED_VM_ID": str(number)}
    source = core.pools.images.get(int(disk["IMAGE_ID"]))
    attrs = Attrs([("NAME", name), ("TYPE", kind or "OS"), *saved.items()])
    if source is not None and not kind:
        attrs.put("TYPE", images.KINDS[source.kind])
    image = images.new(core, who, attrs, int(disk["DATASTORE_ID"]))
    image.format, image.size_mb = disk.get("FORMAT", "raw"), int(disk["SIZE"])
    image.state, image.ready_at = LOCKED, float("inf")
    vm.saving.append(image.id)
    life.start(core, vm, "saveas-off" if vm.at == OFF else "saveas")
    return image.id


def resize_disk(core: Core, who: User, number: int, disk_id: int, size: str) -> int:
    vm = _vm(core, who, number)
    disk = _disk(vm, disk_id)
    if not size.isdigit() or int(size) <= int(disk["SIZE"]):
        raise errors.wrong_action("New disk size has to be greater than current one")
    _ready(vm, "resize disk of")
    disk["SIZE"] = size
    _changed(core, who, vm, "disk-resize", "disk-resize")
    return number


def create_snapshot(core: Core, who: User, number: int, disk_id: int, name: str) -> int:
    vm = _vm(core, who, number)
    disk = _disk(vm, disk_id)
    _ready(vm, "create a new snapshot for")
    taken = vm.snapshots.setdefault(disk_id, [])
    new = vm.next_snapshot.get(disk_id, 0)
    vm.next_snapshot[disk_id] = new + 1
    parent = vm.active_snapshot.get(disk_id, -1)
    taken.append(Snapshot(new, name, parent, core.now(), int(disk["SIZE"])))
    vm.active_snapshot[disk_id] = new
    disk["DISK_SNAPSHOT_TOTAL_SIZE"] = str(sum(snapshot.size_mb for snapshot in taken))
    _changed(core, who, vm, "disk-snapshot-create", "disk-snapshot")
    return new


def _snapshot(vm: Vm, disk_id: int, number: int) -> Snapshot:
    found = next((snapshot for snapshot in vm.snapshots.get(disk_id, ()) if snapshot.id == number), None)
    if found is None:
        raise errors.wrong_action("Snapshot does not exists")
    return found


def revert_snapshot(core: Core, who: User, number: int, disk_id: int, snapshot: int) -> int:
    vm = _vm(core, who, number)
    _snapshot(vm, disk_id, snapshot)
    if vm.at != OFF:
        text = f"Could not revert to disk snapshot for VM {number}, wrong state {states.name(vm.at)}."
        raise errors.wrong_action(text)
    vm.active_snapshot[disk_id] = snapshot
    _changed(core, who, vm, "disk-snapshot-revert", "disk-revert")
    return number


def delete_snapshot(core: Core, who: User, number: int, disk_id: int, snapshot: int) -> int:
    vm = _vm(core, who, number)
    disk, gone = _disk(vm, disk_id), _snapshot(vm, disk_id, snapshot)
    children = [other for other in vm.snapshots[disk_id] if other.parent == snapshot]
    if vm.active_snapshot.get(disk_id) == snapshot:
        raise errors.wrong_action(f"Cannot delete the active snapshot{' with children' if children else ''}")
    if vm.at != OFF:
        text = f"Could not delete disk snapshot from VM {number}, wrong state {states.name(vm.at)}."
        raise errors.wrong_action(text)
    vm.snapshots[disk_id].remove(gone)
    disk["DISK_SNAPSHOT_TOTAL_SIZE"] = str(sum(other.size_mb for other in vm.snapshots[disk_id]))
    _changed(core, who, vm, "disk-snapshot-delete", "disk-delete")
    return number


def rename_snapshot(core: Core, who: User, number: int, disk_id: int, snapshot: int, name: str) -> int:
    vm = _vm(core, who, number)
    _snapshot(vm, disk_id, snapshot).name = name
    return number


def create_system_snapshot(core: Core, who: User, number: int, name: str) -> int:
    vm = _vm(core, who, number)
    _up(vm, "create a new snapshot for")
    new = len(vm.attrs.vectors("SNAPSHOT"))
    own = {"SNAPSHOT_ID": str(new), "NAME": name, "TIME": str(core.now()), "HYPERVISOR_ID": f"snap-{new}"}
    vm.attrs.add("SNAPSHOT", own)
    life.start(core, vm, "snapshot")
    return new


def _up(vm: Vm, doing: str) -> None:
    if vm.at != UP:
        raise errors.wrong_action(f"Could not {doing} VM {vm.id}, wrong state {states.name(vm.at)}.")


def _system_snapshot(vm: Vm, number: int) -> Vector:
    found = next((each for each in vm.attrs.vectors("SNAPSHOT") if each["SNAPSHOT_ID"] == str(number)), None)
    if found is None:
        raise errors.wrong_action(f"Could not find snapshot {number} of VM {vm.id}")
    return found


def revert_system_snapshot(core: Core, who: User, number: int, snapshot: int) -> int:
    vm = _vm(core, who, number)
    _up(vm, "revert to snapshot for")
    _system_snapshot(vm, snapshot)
    life.start(core, vm, "snapshot")
    return number


def delete_system_snapshot(core: Core, who: User, number: int, snapshot: int) -> int:
    vm = _vm(core, who, number)
    _up(vm, "delete snapshot of")
    vm.attrs.drop_vector("SNAPSHOT", _system_snapshot(vm, snapshot))
    life.start(core, vm, "snapshot")
    return number


METHODS = {
    "one.vm.attach": Method("is", attach),
    "one.vm.detach": Method("ii", detach),
    "one.vm.attachnic": Method("is", attach_nic),
    "one.vm.detachnic": Method("ii", detach_nic),
    "one.vm.disksaveas": Method("iis?si", save_as),
    "one.vm.diskresize": Method("iis", resize_disk),
    "one.vm.disksnapshotcreate": Method("iis", create_snapshot),
    "one.vm.disksnapshotrevert": Method("iii", revert_snapshot),
    "one.vm.disksnapshotdelete": Method("iii", delete_snapshot),
    "one.vm.disksnapshotrename": Method("iiis", rename_snapshot),
    "one.vm.snapshotcreate": Method("is", create_system_snapshot),
    "one.vm.snapshotrevert": Method("ii", revert_system_snapshot),
    "one.vm.snapshotdelete": Method("ii", delete_system_snapshot),
}
