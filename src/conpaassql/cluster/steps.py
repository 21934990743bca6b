"""The smallest changes.  Each is safe to repeat; its docstring is what the event log says when it was done."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do; ``quiet`` steps leave no event."""

    quiet: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class OfNode(Step):
    """A step about one node."""

    node: int


class CreateVm(OfNode):
    """The cloud was asked for the node's VM."""


class PowerOnVm(OfNode):
    """The node's VM was powered on."""


class DeleteVm(OfNode):
    """The cloud was asked for the VM's end."""


class RecreateVm(OfNode):
    """The cloud was asked for a new VM for the node's disk, since it had lost the old one."""


@dataclass(frozen=True, slots=True)
class DeleteStray(Step):
    """The cloud was asked for the end of a VM whose node had been removed."""

    vm: str


@dataclass(frozen=True, slots=True)
class LabelVm(OfNode):
    """The cloud shows the node's present role."""

    quiet: ClassVar[bool] = True
    role: str


class Forget(OfNode):
    """The VM is gone; the node's replica account and its record were removed."""


class Initialise(OfNode):
    """The cluster's first, empty database was made."""


@dataclass(frozen=True, slots=True)
class Clone(OfNode):
    """The node was told to copy the database from another."""

    donor: int


class Follow(OfNode):
    """The node replicates from the primary, with an account of its own."""


class StartServer(OfNode):
    """The server was started, read-only."""


class StopServer(OfNode):
    """The server was stopped; its data stay."""


class OpenWrites(OfNode):
    """The primary takes writes."""


class CloseWrites(OfNode):
    """The node refuses writes, and its users' connections were cut."""


@dataclass(frozen=True, slots=True)
class NamePrimary(OfNode):
    """The node is on record as primary, in a new term."""

    acknowledgers: frozenset[int]


@dataclass(frozen=True, slots=True)
class RaiseTerm(Step):
    """The term was raised above what the agents know, before a primary is named."""

    term: int


class ForgetPrimary(Step):
    """The record says that the cluster holds no database any more."""


@dataclass(frozen=True, slots=True)
class NameAcknowledgers(Step):
    """It was put on record who may confirm commits, before it takes effect."""

    nodes: frozenset[int]


@dataclass(frozen=True, slots=True)
class SetSemiSync(OfNode):
    """The node was told whether to wait for confirmations, and whether to give them."""

    wait: bool
    acknowledge: bool


@dataclass(frozen=True, slots=True)
class Verify(OfNode):
    """The node was told to compare its tables with those of another."""

    source: int


class LookAgain(Step):
    """Nothing to do but to wait for what is under way."""

    quiet: ClassVar[bool] = True


def every() -> tuple[type[Step], ...]:
    """Return every concrete step (a test holds the performers against it)."""
    found: list[type[Step]] = []
    todo = [Step]
    while todo:
        kind = todo.pop()
        todo.extend(kind.__subclasses__())
        # A dataclass with slots is a class made anew; its first form lingers until it is collected.
        if kind not in (Step, OfNode) and globals().get(kind.__name__) is kind:
            found.append(kind)
    return tuple(found)
