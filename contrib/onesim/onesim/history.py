"""HISTORY_RECORDS: a new record whenever a VM goes on after a change."""

from __future__ import annotations

from onesim import states
from onesim.kernel import Core
from onesim.model import Host, Record, User, Vm

DELETE = 13
GUEST_OFF = 44
POWEROFF = 19
ACTIONS = {
    "migrate": 1,
    "migrate-live": 2,
    "undeploy": 5,
    "undeploy-hard": 6,
    "stop": 9,
    "suspend": 10,
    "poweroff": 19,
    "poweroff-hard": 20,
    "disk-attach": 21,
    "disk-detach": 22,
    "nic-attach": 23,
    "nic-detach": 24,
    "disk-snapshot-create": 25,
    "disk-snapshot-delete": 26,
    "terminate": 27,
    "terminate-hard": 28,
    "disk-resize": 29,
    "resize": 35,
    "disk-snapshot-revert": 41,
    "alias-attach": 46,
}
_PROLOGS = (1, 9, 31, 8)
_EPILOGS = (10, 11, 30)


def act(vm: Vm, action: int, who: User | None) -> None:
    """Write into the present record what is being done with the VM, and by whom (None: by itself)."""
    if not vm.history:
        return
    last = vm.history[-1]
    last.action = action
    last.uid, last.gid = (who.id, who.gid) if who else (-1, -1)
    last.request = 1 if who else -1


def begin(core: Core, vm: Vm, host: Host, datastore: int) -> None:
    """Open a record on a host."""
    close(core, vm)
    vm.history.append(Record(host.id, host.name, datastore, core.now()))


def close(core: Core, vm: Vm) -> None:
    if vm.history:
        last = vm.history[-1]
        last.until = last.until or core.now()
        last.running = (last.running[0], last.running[1] or core.now())


def turn(core: Core, vm: Vm) -> None:
    """Close the present record and open the next on the same host; after a change that leaves the VM where it is."""
    if not vm.history:
        return
    before = vm.history[-1]
    close(core, vm)
    new = Record(before.host, before.hostname, before.datastore, core.now(), running=(core.now(), 0))
    vm.history.append(new)
    if vm.at == states.OFF:
        new.running = (core.now(), core.now())
        new.action = POWEROFF


def entered(core: Core, vm: Vm) -> None:
    """Write down the times of prolog, running and epilog as the VM comes into its state."""
    if not vm.history:
        return
    last, now = vm.history[-1], core.now()
    if vm.at.state == states.ACTIVE and vm.at.lcm in _PROLOGS:
        last.prolog = (now, last.prolog[1])
    elif vm.at == states.UP:
        last.running = (last.running[0] or now, 0)
        last.prolog = (last.prolog[0], now if last.prolog[0] else 0)
    elif vm.at.state == states.ACTIVE and vm.at.lcm in _EPILOGS:
        last.epilog = (now, 0)
    elif vm.at.state in (states.STOPPED, states.UNDEPLOYED, states.DONE):
        last.until = last.until or now
        last.epilog = (last.epilog[0], now if last.epilog[0] else 0)
        last.running = (last.running[0], last.running[1] or now)
    elif vm.at == states.OFF:
        last.running = (last.running[0], last.running[1] or now)
