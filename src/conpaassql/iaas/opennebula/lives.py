"""Ending VMs, cutting their power, changing their size and their cards."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from conpaassql.errors import IaasBusy, IaasMissing, Unsupported
from conpaassql.iaas.opennebula import body, catalog, elements, marks, pool, states
from conpaassql.iaas.opennebula.cloud import Cloud
from conpaassql.iaas.opennebula.create import TERMINATE
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.iaas.opennebula.template import Template, vector
from conpaassql.model import Flavor, VmState

_ROOT_DISK = 0
_LIVE_RESIZE = (6, 0)
_POWER_TIMEOUT_S = 60.0
_LOOK_PAUSE_S = 0.25
_GOING_OFF = 18  # SHUTDOWN_POWEROFF
_UP = (VmState.RUNNING, VmState.BOOTING, VmState.PENDING)


def delete(cloud: Cloud, vm_id: str) -> None:
    """Terminate a VM of this owner; one that is gone, going or another's is let be.

    Raises:
        IaasBusy: it cannot be terminated at the moment, as while it boots; ask again.
    """
    found = cloud.vm(vm_id)
    if found is None or pool.state(found) is VmState.DELETING:
        return
    _act(cloud, TERMINATE, vm_id)


def power_off(cloud: Cloud, vm_id: str) -> None:
    """Cut a VM's power; it takes OpenNebula a moment, until when it counts as running."""
    found = cloud.present(vm_id)
    going = elements.number(found, "STATE") == states.ACTIVE and elements.number(found, "LCM_STATE") == _GOING_OFF
    if pool.state(found) is not VmState.STOPPED and not going:
        _act(cloud, "poweroff-hard", vm_id)


def power_on(cloud: Cloud, vm_id: str) -> None:
    """Give a VM its power back."""
    found = cloud.present(vm_id)
    going = elements.number(found, "STATE") == states.ACTIVE and elements.number(found, "LCM_STATE") == _GOING_OFF
    if going or pool.state(found) not in _UP:
        _act(cloud, "resume", vm_id)


def _act(cloud: Cloud, action: str, vm_id: str) -> None:
    try:
        cloud.rpc.change("vm.action", action, int(vm_id))
    except IaasMissing:
        if action != TERMINATE:
            raise


def resize(cloud: Cloud, vm_id: str, flavor: Flavor) -> None:
    """Give a VM another size; where it cannot be done to a running VM, it is powered off for it and back on.

    A disk is never made smaller: one that is larger already stays as it is.

    Raises:
        IaasBusy: the VM did not go off in time; it is left as it is, ask again.
    """
    found = cloud.present(vm_id)
    _grow(cloud, found, flavor.disk_mib)
    if _has_capacity(found, flavor):
        return
    running = pool.state(found) is VmState.RUNNING
    if running and cloud.version() >= _LIVE_RESIZE and _resized_live(cloud, vm_id, flavor):
        return
    if running:
        _act(cloud, "poweroff", vm_id)
        _await(cloud, vm_id, lambda vm: pool.state(vm) is VmState.STOPPED)
    try:
        _resize(cloud, vm_id, flavor)
    finally:
        if running:
            power_on(cloud, vm_id)


def _has_capacity(vm: Element, flavor: Flavor) -> bool:
    cpu = elements.text(vm, "TEMPLATE/CPU")
    same_cpu = abs(float(cpu) - flavor.cpu) < 0.001 if cpu.replace(".", "", 1).isdigit() else False
    return same_cpu and elements.number(vm, "TEMPLATE/MEMORY") == flavor.memory_mib


def _resized_live(cloud: Cloud, vm_id: str, flavor: Flavor) -> bool:
    try:
        _resize(cloud, vm_id, flavor)
    except (IaasBusy, Unsupported):
        return False  # its hypervisor, or its state, does not allow that
    return True


def _resize(cloud: Cloud, vm_id: str, flavor: Flavor) -> None:
    cloud.rpc.change("vm.resize", int(vm_id), body.resized(flavor).text(), True)


def _grow(cloud: Cloud, vm: Element, size_mib: int) -> None:
    disk = next(vm.iterfind("TEMPLATE/DISK"), None)
    if disk is None or elements.number(disk, "SIZE") >= size_mib:
        return
    number = elements.number(vm, "ID")
    cloud.rpc.change("vm.diskresize", number, elements.number(disk, "DISK_ID", _ROOT_DISK), str(size_mib))
    _await(cloud, str(number), lambda now: elements.number(now, "LCM_STATE") not in states.DISK_RESIZES)


def _await(cloud: Cloud, vm_id: str, holds: Callable[[Element], bool]) -> None:
    """Return once the VM is as wanted; OpenNebula tells of nothing, so it is looked at."""
    ends_at_s = time.monotonic() + _POWER_TIMEOUT_S
    while not holds(cloud.present(vm_id)):
        if time.monotonic() > ends_at_s:
            raise IaasBusy(f"VM {vm_id} has not become ready for its new size in {_POWER_TIMEOUT_S:g} s.", vm=vm_id)
        time.sleep(_LOOK_PAUSE_S)


def label(cloud: Cloud, vm_id: str, labels: Mapping[str, str]) -> None:
    """Show labels as attributes of the VM, where ``onevm`` and Sunstone show them."""
    present = marks.labels_of(elements.attributes(cloud.present(vm_id).find("USER_TEMPLATE")))
    text = Template(tuple(marks.labels(labels, present))).text()
    with _forgetting(cloud, vm_id):
        cloud.rpc.change("vm.update", int(vm_id), text, 1)


def assign(cloud: Cloud, vm_id: str, network: str) -> str:
    """Attach a card on a network to a VM, and return its address; the guest's contextualisation configures it.

    Raises:
        IaasFull: the network has no address left.
        IaasBusy: the VM is in a passing state.
    """
    found = cloud.present(vm_id)
    if (card := pool.public_card(found)) is None:
        number = catalog.id_of(cloud, catalog.NETWORK, network)
        with _forgetting(cloud, vm_id):
            # Noted first: a card of which nobody knows would never be released.
            cloud.rpc.change("vm.update", int(vm_id), Template(((marks.PUBLIC, str(number)),)).text(), 1)
            cloud.rpc.change("vm.attachnic", int(vm_id), Template((("NIC", vector(NETWORK_ID=str(number))),)).text())
        card = pool.public_card(cloud.present(vm_id))
    address = pool.address(card) if card is not None else None
    if address is None:
        raise IaasBusy(f"VM {vm_id} has a card on {network}, but no address yet.", vm=vm_id)
    return address


def release(cloud: Cloud, vm_id: str) -> None:
    """Detach the VM's public card, by which its address becomes free."""
    found = cloud.vm(vm_id)
    card = pool.public_card(found) if found is not None else None
    if card is not None:
        with _forgetting(cloud, vm_id):
            cloud.rpc.change("vm.detachnic", int(vm_id), int(card["NIC_ID"]))


@contextmanager
def _forgetting(cloud: Cloud, vm_id: str) -> Iterator[None]:
    """Have the next look ask for the VM, also when nobody knows whether the change has happened."""
    try:
        yield
    finally:
        cloud.memory.forget(int(vm_id))
