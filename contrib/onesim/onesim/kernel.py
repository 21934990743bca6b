"""The core: all state behind one lock, the table of methods, and the clock that moves VMs along."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from onesim import errors, wire
from onesim.attrs import Attrs
from onesim.config import Config
from onesim.faults import Faults
from onesim.hypervisor import Hypervisor
from onesim.model import Datastore, Host, Image, Network, SecurityGroup, Thing, User, Vm, VmGroup, VmTemplate
from onesim.template import TemplateError, parse

T = TypeVar("T", bound=Thing)


@dataclass
class Pools:
    """Every object by its number."""

    users: dict[int, User] = field(default_factory=dict)
    groups: dict[int, Thing] = field(default_factory=dict)
    hosts: dict[int, Host] = field(default_factory=dict)
    datastores: dict[int, Datastore] = field(default_factory=dict)
    networks: dict[int, Network] = field(default_factory=dict)
    images: dict[int, Image] = field(default_factory=dict)
    templates: dict[int, VmTemplate] = field(default_factory=dict)
    secgroups: dict[int, SecurityGroup] = field(default_factory=dict)
    vmgroups: dict[int, VmGroup] = field(default_factory=dict)
    vms: dict[int, Vm] = field(default_factory=dict)


class Core:
    """One OpenNebula.

    Methods are functions ``(core, user, *params)``; they run under the lock.  What the hypervisor has to do is done
    by ``tick`` without the lock, so that a slow boot delays nobody's answer.
    """

    def __init__(
        self, config: Config, hypervisor: Hypervisor, faults: Faults, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self.hypervisor = hypervisor
        self.faults = faults
        self.clock = clock
        self.lock = threading.RLock()
        self.ticking = threading.Lock()
        self.pools = Pools()
        self.counts: dict[str, int] = {"vm": config.first_vm_id}
        self.monitored_at = clock()
        self.copy_s = 0.5  # how long an image is LOCKED
        self.copy_error = ""  # why it then ends in ERROR
        self.prolog_error = ""  # why the transfer of disks fails
        self.live_resize = True  # whether the hypervisor can change CPU and memory of a running VM
        self.window_until: float | None = None  # when the scheduler stops gathering
        self.remains: list[int] = []  # VMs that are DONE, whose guests are still to be destroyed
        self._epoch = time.time() - clock()

    def now(self) -> int:
        """Return unix seconds, moved by the core's own clock."""
        return int(self._epoch + self.clock())

    def stamp(self) -> str:
        """Return the time as the core writes it into messages."""
        return time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(self.now()))

    def after(self, seconds: float) -> float:
        """Return when a stretch of real seconds is over, on the core's clock."""
        return self.clock() + seconds * self.config.scale

    def number(self, kind: str, first: int = 0) -> int:
        """Return the next number of a pool; numbers are not used again."""
        taken = self.counts.get(kind, first)
        self.counts[kind] = taken + 1
        return taken

    def live_vms(self) -> Iterable[Vm]:
        return (vm for vm in self.pools.vms.values() if vm.live)


def find(pool: dict[int, T], noun: str, number: int) -> T:
    """Return an object by its number.

    Raises:
        errors.OneError: 1024.
    """
    found = pool.get(number)
    if found is None:
        raise errors.missing(noun, number)
    return found


def parsed(text: str, code: int = errors.INTERNAL) -> Attrs:
    """Read a template that came with a call; some methods answer a wrong one with another code."""
    try:
        return Attrs.of(parse(text))
    except TemplateError as exc:
        raise errors.OneError(code, str(exc)) from exc


Function = Callable[..., object]


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table.

    Attributes:
        takes: a letter per parameter after the session: s text, i integer, b boolean, a array; those after ``?`` may
            be left out.
        run: ``(core, user, *params)``; the answer's value.
    """

    takes: str
    run: Function


_KINDS: dict[str, tuple[type, str]] = {
    "s": (str, "string"),
    "i": (int, "integer"),
    "b": (bool, "boolean"),
    "a": (list, "array"),
}


def checked(takes: str, params: tuple[wire.Param, ...]) -> list[wire.Param]:
    """Return the parameters that a method uses; more than it knows are ignored.

    Raises:
        errors.Fault: too few, or one of another type; XML-RPC's own complaint, not the core's.
    """
    needed, _, optional = takes.partition("?")
    if len(params) < len(needed):
        raise errors.Fault(errors.BAD_PARAMETER, "Not enough parameters")
    taken = list(zip(needed + optional, params, strict=False))
    for letter, value in taken:
        kind, word = _KINDS[letter]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise errors.Fault(errors.BAD_PARAMETER, f"Parameter that is supposed to be {word} is not")
    return [value for _, value in taken]
