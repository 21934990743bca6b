"""vm.action, deploy, migrate, recover: what an administrator or a driver orders a VM to do."""

from __future__ import annotations

from onesim import errors, history, life, scheduler, states
from onesim.kernel import Core, Method
from onesim.model import User, Vm
from onesim.objects import HOST, VM
from onesim.rights import ADMIN, MANAGE, need
from onesim.states import ACTIVE, DONE, OFF, UP, At

_TERMINATES = ("terminate", "terminate-hard")
_RESUMES = {
    states.POWEROFF: "resume-poweroff",
    states.SUSPENDED: "resume-suspended",
    states.STOPPED: "resume-stopped",
    states.UNDEPLOYED: "resume-undeployed",
}


def action(core: Core, who: User, name: str, number: int) -> int:
    vm: Vm = VM.get(core, number)
    if name not in states.ALLOWED and name not in _TERMINATES:
        need(who, vm, MANAGE, "VM")
        raise errors.wrong_action(f'Action "{name}" is not supported')
    need(who, vm, ADMIN if name in ("resched", "unresched") else MANAGE, "VM")
    if name in _TERMINATES:
        _terminate(core, who, vm, name)
    else:
        _ordinary(core, who, vm, name)
    return vm.id


def _ordinary(core: Core, who: User, vm: Vm, name: str) -> None:
    if vm.at not in states.ALLOWED[name]:
        text = f"This action is not available for state {states.name(vm.at)}"
        raise errors.wrong_action(f'Error performing action "{name}": {text}')
    if name in history.ACTIONS:
        history.act(vm, history.ACTIONS[name], who)
    plain = name.removesuffix("-hard")
    {"resume": _resume, "hold": _hold, "release": _release}.get(plain, _go)(core, vm, plain)


def _go(core: Core, vm: Vm, name: str) -> None:
    if name in ("resched", "unresched"):
        vm.resched = name == "resched"
    else:
        life.start(core, vm, "undeploy-off" if name == "undeploy" and vm.at == OFF else name)


def _hold(core: Core, vm: Vm, name: str) -> None:
    vm.at = states.HELD


def _release(core: Core, vm: Vm, name: str) -> None:
    vm.attrs.drop("SUBMIT_ON_HOLD")
    scheduler.submit(core, vm, vm.pending_way)


def _resume(core: Core, vm: Vm, name: str) -> None:
    if vm.at == states.LOST:
        life.stop_here(vm, UP)
        return
    way = _RESUMES[vm.at.state]
    if vm.at.state in (states.STOPPED, states.UNDEPLOYED):
        scheduler.submit(core, vm, way)
        return
    history.turn(core, vm)
    vm.history[-1].action = 0
    life.start(core, vm, way)


def _terminate(core: Core, who: User, vm: Vm, name: str) -> None:
    at = vm.at
    if at.state == DONE:
        return
    if not core.faults.refuses_terminate():
        if at in states.AT_ONCE:
            life.start(core, vm, "terminate-now")
            return
        if at in states.WITHOUT_SHUTDOWN or at in (UP, states.LOST):
            failed = at.state == ACTIVE and at.lcm in states.FAILURES
            history.act(vm, history.DELETE if failed else history.ACTIONS[name], who)
            way = "terminate-off" if at in states.WITHOUT_SHUTDOWN else "terminate"
            life.start(core, vm, way)
            return
    shown = states.name(at) if at not in (UP, states.LOST) else "BOOT"  # a fault that was wished for
    text = f"Could not terminate VM {vm.id}, wrong state {shown}."
    raise errors.wrong_action(f'Error performing action "{name}": {text}')


def deploy(
    core: Core, who: User, number: int, host: int, enforce: bool = False, datastore: int = -1, extra: str = ""
) -> int:
    vm: Vm = VM.get(core, number)
    target = HOST.get(core, host)
    need(who, vm, ADMIN, "VM")
    if vm.at not in states.DEPLOYABLE:
        raise errors.wrong_action(f"Could not deploy VM {number}, wrong state {states.name(vm.at)}.")
    store = _datastore(core, vm, datastore)
    if vm.at.state in (states.STOPPED, states.UNDEPLOYED):
        vm.pending_way = _RESUMES[vm.at.state]
    scheduler.deploy(core, vm, target, store)
    return vm.id


def _datastore(core: Core, vm: Vm, wanted: int) -> int:
    """Return the system datastore: the one asked for, that of the VM's last record, or number 0."""
    number = wanted if wanted >= 0 else vm.history[-1].datastore if vm.history else 0
    store = core.pools.datastores.get(number)
    if store is None:
        raise errors.missing("datastore", number)
    if any(disk.get("TM_MAD", store.tm_mad) != store.tm_mad for disk in vm.attrs.vectors("DISK")):
        raise errors.wrong_action(f"Image Datastore does not support transfer mode: {store.tm_mad}")
    return number


def migrate(
    core: Core, who: User, number: int, host: int, live: bool, enforce: bool = False, datastore: int = -1, kind: int = 0
) -> int:
    vm: Vm = VM.get(core, number)
    target = HOST.get(core, host)
    need(who, vm, ADMIN, "VM")
    if vm.at not in (UP, states.LOST, OFF, At(states.SUSPENDED)):
        raise errors.wrong_action(f"Migrate action is not available for state {states.name(vm.at)}")
    last = vm.history[-1]
    if last.host == host:
        raise errors.wrong_action(f"VM is already running on host [{host}] and datastore [{last.datastore}]")
    word = "migrate-live" if live else "migrate"
    history.act(vm, history.ACTIONS[word], who)
    off = vm.at != UP
    history.begin(core, vm, target, last.datastore)
    vm.deploy_id = f"{target.name}:{vm.name}:dummy"
    life.start(core, vm, "migrate-off" if off else word)
    return vm.id


def recover(core: Core, who: User, number: int, operation: int) -> int:
    """0 failure, 1 success, 2 retry, 3 delete, 4 delete and recreate, 5 delete from the data base."""
    vm: Vm = VM.get(core, number)
    need(who, vm, ADMIN, "VM")
    run = _RECOVERIES.get(operation)
    if run is None:
        raise errors.wrong_action("Wrong recovery operation code")
    run(core, vm)
    return vm.id


def _fail(core: Core, vm: Vm) -> None:
    to = {states.PROLOG: states.PROLOG_FAILURE, states.BOOT: states.BOOT_FAILURE}.get(vm.at.lcm)
    if vm.at.state == ACTIVE and to is not None:
        life.stop_here(vm, At(ACTIVE, to))


def _succeed(core: Core, vm: Vm) -> None:
    if vm.way:
        vm.due = core.clock()


def _retry(core: Core, vm: Vm) -> None:
    if vm.at.state == ACTIVE and vm.at.lcm in states.FAILURES:
        life.start(core, vm, "retry")


def _delete(core: Core, vm: Vm) -> None:
    if vm.live:
        history.act(vm, history.DELETE, core.pools.users[0])
        life.finished(core, vm)


def _recreate(core: Core, vm: Vm) -> None:
    if vm.live:
        core.remains.append(vm.id)
        history.close(core, vm)
        scheduler.submit(core, vm, "deploy")


_RECOVERIES = {0: _fail, 1: _succeed, 2: _retry, 3: _delete, 4: _recreate, 5: _delete}

METHODS = {
    "one.vm.action": Method("si", action),
    "one.vm.deploy": Method("ii?bis", deploy),
    "one.vm.migrate": Method("iib?bii", migrate),
    "one.vm.recover": Method("ii", recover),
}
