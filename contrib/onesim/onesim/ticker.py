"""What happens by itself: VMs go on, the scheduler places, images get ready, guests switch themselves off.

``tick`` is called again and again by one thread (or by a test that moves the clock by hand).  It holds the core's
lock only to look and to write down, never while the hypervisor works.
"""

from __future__ import annotations

import random

from onesim import devices, history, life, scheduler, states, vminfo
from onesim.hypervisor import BootFailed, Disks
from onesim.images import KINDS, settled
from onesim.kernel import Core
from onesim.model import ERROR, LOCKED, Vm
from onesim.states import ACTIVE, CLONING, CLONING_FAILURE, LOST, OFF, UP, At, Leg

_RESTRICTED_FILES = "/etc"
_AGAIN_S = 1.0  # before the hypervisor is asked again for what it could not do
_DATABLOCK = KINDS.index("DATABLOCK")


class WorkFailed(Exception):
    """A leg cannot be entered; the VM goes to ``to``.

    Attributes:
        to: where the VM is then.
        said: what USER_TEMPLATE/ERROR says; empty: nothing, the core keeps silent.
    """

    def __init__(self, to: At, said: str = "") -> None:
        super().__init__(said)
        self.to = to
        self.said = said


def tick(core: Core) -> None:
    """Do everything whose time has come."""
    with core.ticking:
        with core.lock:
            _copied(core)
            scheduler.run(core)
            due = [vm for vm in core.pools.vms.values() if vm.way and vm.due <= core.clock()]
        for vm in due:
            _walk(core, vm)
        _clean(core)
        _watch(core)


def _walk(core: Core, vm: Vm) -> None:
    """Enter every leg of a VM that is due."""
    while True:
        with core.lock:
            if not vm.way or vm.due > core.clock():
                return
            way, leg = vm.way, vm.way[0]
        try:
            failed = _worked(core, vm, leg)
        except BootFailed:
            vm.due = core.clock() + _AGAIN_S  # the power does not go off, or the disk does not go away
            return
        with core.lock:
            if vm.way is not way:  # somebody recovered it meanwhile
                return
            if failed is None:
                vm.way = way[1:]
                life.enter(core, vm, leg)
            else:
                _failed(core, vm, failed)


def _failed(core: Core, vm: Vm, failed: WorkFailed) -> None:
    life.stop_here(vm, failed.to)
    history.entered(core, vm)
    if failed.said:
        life.error(core, vm, failed.said)


def _worked(core: Core, vm: Vm, leg: Leg) -> WorkFailed | None:
    work = _WORKS.get(leg.work)
    if work is None:
        return None
    try:
        work(core, vm)
    except WorkFailed as exc:
        return exc
    return None


def _prolog(core: Core, vm: Vm) -> None:
    if core.prolog_error:
        raise WorkFailed(At(ACTIVE, states.PROLOG_FAILURE), core.prolog_error)


def _boot(core: Core, vm: Vm) -> None:
    with core.lock:
        context = vminfo.clear_context(vm)
        nic = next(iter(vm.attrs.vectors("NIC")), {})
        memory, disks = int(float(vm.attrs.text("MEMORY", "0"))), _disks(core, vm)
    said = core.faults.boot_error(vm.name) or _forbidden(context.get("FILES", ""))
    try:
        if said:
            raise BootFailed(said)
        core.hypervisor.boot(vm.id, vm.name, context, memory, nic.get("IP", ""), disks)
    except BootFailed as exc:
        raise WorkFailed(_after_failed_boot(vm), str(exc)) from exc
    vm.deploy_id = f"{vm.history[-1].hostname}:{vm.name}:dummy"


def _after_failed_boot(vm: Vm) -> At:
    back = {"resume-poweroff": OFF, "resume-suspended": At(states.SUSPENDED)}
    return back.get(vm.way_name, At(ACTIVE, states.BOOT_FAILURE))


def _forbidden(files: str) -> str:
    bad = next((path for path in files.split() if path.startswith(_RESTRICTED_FILES)), "")
    return f"CONTEXT/FILES cannot use {bad}, it's in restricted directories" if bad else ""


def _disks(core: Core, vm: Vm) -> Disks:
    own = [disk for disk in vm.attrs.vectors("DISK") if disk.get("IMAGE_ID", "").isdigit()]
    data = [
        int(disk["IMAGE_ID"])
        for disk in own
        if (image := core.pools.images.get(int(disk["IMAGE_ID"]))) and image.persistent and image.kind == _DATABLOCK
    ]
    first = int(own[0]["IMAGE_ID"]) if own and int(own[0]["IMAGE_ID"]) not in data else None
    return Disks(image=first, data=data[0] if data else None)


def _off(core: Core, vm: Vm) -> None:
    if vm.way_name in ("terminate", "poweroff") and core.faults.shutdown_returns():
        raise WorkFailed(UP)
    core.hypervisor.power_off(vm.id)


def _destroy(core: Core, vm: Vm) -> None:
    core.hypervisor.destroy(vm.id)


def _saved(core: Core, vm: Vm) -> None:
    with core.lock:
        saving, vm.saving = vm.saving, []
    for image in saving:
        core.hypervisor.save(vm.id, image)
    with core.lock:
        for image in saving:
            if image in core.pools.images:
                core.pools.images[image].ready_at = core.clock()


_WORKS = {"prolog": _prolog, "boot": _boot, "off": _off, "destroy": _destroy, "saved": _saved}


def _copied(core: Core) -> None:
    """VMs that wait for an image: on to PENDING, or to CLONING_FAILURE."""
    for vm in core.live_vms():
        if vm.at.state != CLONING:
            continue
        disks = [disk for disk in vm.attrs.vectors("DISK") if "CLONING" in disk]
        found = [settled(core, core.pools.images[int(disk["IMAGE_ID"])]).state for disk in disks]
        if ERROR in found:
            vm.at = At(CLONING_FAILURE)
        elif LOCKED not in found:
            for disk in disks:
                devices.settle_disk(core, disk)
            scheduler.submit(core, vm, vm.pending_way)


def _clean(core: Core) -> None:
    with core.lock:
        remains, core.remains = core.remains, []
    for vm_id in remains:
        try:
            core.hypervisor.destroy(vm_id)
        except BootFailed:
            with core.lock:
                core.remains.append(vm_id)


def _watch(core: Core) -> None:
    """See which guests have switched themselves off; they become POWEROFF, with lease and quota."""
    with core.lock:
        if core.clock() < core.monitored_at + core.config.monitor_s:
            return
        core.monitored_at = core.clock()
        running = [vm for vm in core.pools.vms.values() if vm.at == UP and not vm.way]
    lost = [vm for vm in running if not core.hypervisor.alive(vm.id)]
    with core.lock:
        _look_out(core)
        for vm in lost:
            if vm.at == UP and not vm.way:
                life.guest_off(core, vm)
        for vm in running:
            _polled(core, vm)


def _look_out(core: Core) -> None:
    """VMs whose host is lost from sight become UNKNOWN, and RUNNING when it is back."""
    for vm in core.live_vms():
        if vm.at in (UP, LOST) and not vm.way:
            vm.at = LOST if core.faults.out_of_sight(vm.name) else UP


def _polled(core: Core, vm: Vm) -> None:
    seed = random.Random(vm.id)  # noqa: S311 - numbers to look at
    memory = int(float(vm.attrs.text("MEMORY", "0"))) * 1024
    vm.polled = core.now()
    names = ("DISKRDBYTES", "DISKRDIOPS", "DISKWRBYTES", "DISKWRIOPS")
    vm.monitoring = {
        "CPU": "0",
        **{name: str(seed.randrange(1000)) for name in names},
        "ID": str(vm.id),
        "MEMORY": str(memory // 2),
        "NETRX": str(seed.randrange(1000)),
        "NETTX": str(seed.randrange(1000)),
        "TIMESTAMP": str(vm.polled),
    }
