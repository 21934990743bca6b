"""VMs that are only remembered, with delays and failures on demand: for tests and dry runs."""

import fnmatch
import ipaddress
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from conpaassql.errors import ConfigError, IaasError
from conpaassql.iaas import Vm, VmSpec, VmState

NAMES = ("DUMMY", "NULLPROVIDER", "OPENNEBULA_DUMMY")
OPTIONS: Mapping[str, str] = {"DUMMY_DELAY_S": "0", "DUMMY_FAIL": "", "DUMMY_LOSE_ANSWER": ""}

_FIRST = ipaddress.IPv4Address("10.1.0.20")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    vm: Vm
    owner: str
    runs_at_s: float  # by the cloud's clock
    on: bool = True


@dataclass(slots=True, kw_only=True)
class Cloud:
    """The memory of one pretended cloud, which several drivers may share.  ``clock`` is in seconds."""

    clock: Callable[[], float] = time.monotonic
    machines: dict[str, _Machine] = field(default_factory=dict)
    made: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Driver:
    """DUMMY, for one owner.  Implements ``iaas.Driver`` and ``iaas.Power``."""

    def __init__(self, options: Mapping[str, str], owner: str, cloud: Cloud | None = None) -> None:
        """Begin with a cloud of its own unless one is given.

        Raises:
            ConfigError: an option is wrong.
        """
        chosen = {key: options.get(key) or default for key, default in OPTIONS.items()}
        self._delay_s = _seconds(chosen["DUMMY_DELAY_S"])
        self._fail = chosen["DUMMY_FAIL"]
        self._lose = chosen["DUMMY_LOSE_ANSWER"]
        self._owner = owner
        self._cloud = cloud or Cloud()
        self._calls = itertools.count(1)

    def create(self, spec: VmSpec) -> str:
        """Remember a VM, unless this creation is to fail; its id is its number."""
        call = next(self._calls)
        if _matches(self._fail, spec.name, call):
            raise IaasError(f"{spec.name}: this creation fails because DUMMY_FAIL = {self._fail}.")
        with self._cloud.lock:
            vm_id = self._named(spec.name) or self._add(spec)
        if _matches(self._lose, spec.name, call):
            raise IaasError(f"{spec.name}: this answer is lost because DUMMY_LOSE_ANSWER = {self._lose}.")
        return vm_id

    def list(self) -> Sequence[Vm]:
        """List the owner's VMs as they are by now."""
        with self._cloud.lock:
            return [self._now(machine) for machine in self._cloud.machines.values() if machine.owner == self._owner]

    def delete(self, vm_id: str) -> None:
        """Forget a VM."""
        with self._cloud.lock:
            if self._mine(vm_id):
                del self._cloud.machines[vm_id]

    def power_off(self, vm_id: str) -> None:
        """Pretend to cut the power."""
        self._switch(vm_id, on=False)

    def power_on(self, vm_id: str) -> None:
        """Pretend to boot; it takes the same time as the first boot."""
        self._switch(vm_id, on=True)

    def _switch(self, vm_id: str, *, on: bool) -> None:
        with self._cloud.lock:
            machine = self._mine(vm_id)
            if not machine:
                raise IaasError(f"there is no VM {vm_id}.", vm=vm_id)
            if machine.on != on:
                runs_at_s = self._cloud.clock() + self._delay_s
                self._cloud.machines[vm_id] = replace(machine, on=on, runs_at_s=runs_at_s)

    def _named(self, name: str) -> str | None:
        mine = (machine.vm for machine in self._cloud.machines.values() if machine.owner == self._owner)
        return next((vm.id for vm in mine if vm.name == name), None)

    def _mine(self, vm_id: str) -> _Machine | None:
        machine = self._cloud.machines.get(vm_id)
        return machine if machine and machine.owner == self._owner else None

    def _add(self, spec: VmSpec) -> str:
        number = self._cloud.made
        self._cloud.made += 1
        vm = Vm(
            id=str(number),
            name=spec.name,
            state=VmState.BOOTING,
            address=str(_FIRST + number),
            tags=dict(spec.tags),
        )
        machine = _Machine(vm=vm, owner=self._owner, runs_at_s=self._cloud.clock() + self._delay_s)
        self._cloud.machines[vm.id] = machine
        return vm.id

    def _now(self, machine: _Machine) -> Vm:
        if not machine.on:
            return replace(machine.vm, state=VmState.STOPPED)
        runs = self._cloud.clock() >= machine.runs_at_s
        return replace(machine.vm, state=VmState.RUNNING) if runs else machine.vm


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        says = f"[iaas] DUMMY_DELAY_S = {text}: use a number of seconds."
        raise ConfigError(says, section="iaas", key="DUMMY_DELAY_S") from exc


def _matches(rule: str, name: str, call: int) -> bool:
    """Whether ``rule``, a pattern of names or a number n for every n-th call, is about this call."""
    if rule.isdigit():
        return int(rule) > 0 and call % int(rule) == 0
    return bool(rule) and fnmatch.fnmatchcase(name, rule)
