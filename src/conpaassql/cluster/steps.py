"""The smallest changes.  Each is safe to repeat, and says in ``says`` what it does, for the event log."""

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
    """Ask the cloud for the node's VM."""


class PowerOnVm(OfNode):
    """Boot the node's VM again."""


class DeleteVm(OfNode):
    """Ask the cloud for the VM's end."""


class Forget(OfNode):
    """The VM is gone: withdraw the node's replica account and its record."""


class Initialise(OfNode):
    """Make the cluster's first, empty database."""


@dataclass(frozen=True, slots=True)
class Clone(OfNode):
    """Copy the database from ``donor``."""

    donor: int


class Follow(OfNode):
    """Let the node replicate from the primary, with an account of its own."""


class StartServer(OfNode):
    """Start mysqld, read-only."""


class StopServer(OfNode):
    """Stop mysqld; the data stay."""


class OpenWrites(OfNode):
    """Let the primary take writes."""


class CloseWrites(OfNode):
    """Refuse writes and cut the users' connections."""


@dataclass(frozen=True, slots=True)
class NamePrimary(OfNode):
    """Record the node as primary in a new term."""

    acknowledgers: frozenset[int]


class ForgetPrimary(Step):
    """Record that the cluster holds no database any more."""


@dataclass(frozen=True, slots=True)
class NameAcknowledgers(Step):
    """Record who may confirm commits, before it takes effect."""

    nodes: frozenset[int]


@dataclass(frozen=True, slots=True)
class SetSemiSync(OfNode):
    """Say whether the node waits for confirmations, and whether it gives them."""

    wait: bool
    acknowledge: bool


@dataclass(frozen=True, slots=True)
class Verify(OfNode):
    """Compare the node's tables with those of ``source``."""

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
        if kind not in (Step, OfNode):
            found.append(kind)
    return tuple(found)
