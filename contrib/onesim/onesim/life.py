"""How VMs move: along ways, leg by leg."""

from __future__ import annotations

from onesim import devices, history, states
from onesim.kernel import Core
from onesim.model import Vm
from onesim.states import DONE, OFF, STOPPED, UNDEPLOYED, At, Leg

CLUSTERS = '("CLUSTERS/ID" @> 0)'


def start(core: Core, vm: Vm, way: str) -> None:
    """Set a VM on its way; the first leg is entered at once."""
    vm.way_name = way
    first, *rest = states.WAYS[way]
    vm.way = tuple(rest)
    enter(core, vm, first)


def enter(core: Core, vm: Vm, leg: Leg) -> None:
    vm.at = leg.at
    vm.due = core.after(leg.stay_s)
    history.entered(core, vm)
    if leg.at.state in (STOPPED, UNDEPLOYED) and vm.attrs.vectors("DISK"):
        mode = vm.attrs.text("TM_MAD_SYSTEM")
        vm.attrs.put("AUTOMATIC_DS_REQUIREMENTS", f'{CLUSTERS} & (TM_MAD = "{mode}")')
    if leg.at.state == DONE:
        finished(core, vm)


def finished(core: Core, vm: Vm) -> None:
    """Give back what a VM held; the hypervisor's remains are removed by the next tick."""
    vm.at, vm.way, vm.etime = At(DONE), (), core.now()
    devices.free_all(core, vm)
    for graphics in vm.attrs.vectors("GRAPHICS"):
        graphics.pop("PORT", None)
    core.remains.append(vm.id)


def stop_here(vm: Vm, at: At) -> None:
    """End a VM's way early."""
    vm.at, vm.way = at, ()


def error(core: Core, vm: Vm, said: str) -> None:
    vm.user.put("ERROR", f"{core.stamp()}: {said}")


def guest_off(core: Core, vm: Vm) -> None:
    """A guest was found to be off: 8/0, by nobody's order."""
    history.act(vm, history.GUEST_OFF, None)
    stop_here(vm, OFF)
    history.entered(core, vm)
