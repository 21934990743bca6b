"""What the manager's functions work with; built once, in ``cli``."""

import hashlib
import hmac
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from conpaassql.manager.agents import Agents
from conpaassql.manager.looks import Looks
from conpaassql.manager.providers import Providers
from conpaassql.manager.store import Store
from conpaassql.model import Event
from conpaassql.pki import Authority
from conpaassql.settings import ManagerSettings
from conpaassql.vault import Vault


class Provisioning(Protocol):
    """What sees to the jobs of single machines; see ``provision.Provision``."""

    def wake(self, provider: str) -> None:
        """See to a provider's jobs now."""

    def wait(self, job: int) -> None:
        """Return when the job has ended, or after a bounded time."""

    def progress(self, job: int) -> float:
        """Return how far a running job is, from 0 to 1."""

    def trouble(self, job: int) -> str:
        """Return what keeps a running job at the moment; empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """The manager's resources.

    ``now`` is the time in UTC; ``wake`` makes the loop look at a cluster at once; ``numbers`` never
    repeats a number, not in a later life either (see ``order_numbers``).
    """

    settings: ManagerSettings
    store: Store
    looks: Looks
    agents: Agents
    providers: Providers
    provision: Provisioning
    vault: Vault
    authority: Authority
    join_key: bytes = field(repr=False)
    numbers: Iterator[int]
    now: Callable[[], datetime]
    wake: Callable[[int], None]

    def join_token(self, node_name: str) -> str:
        """Return the join token of a node.

        Derived rather than drawn, so that asking twice for the same VM hands out the same one; that
        it works once is the store's business.
        """
        return hmac.new(self.join_key, node_name.encode(), hashlib.sha256).hexdigest()

    def event(self, cluster: str, code: str, says: str, node: int | None = None, actor: str = "manager") -> None:
        """Write down what happened."""
        self.store.events.add(Event(id=0, at=self.now(), cluster=cluster, node=node, code=code, says=says, actor=actor))

    def provider_event(self, provider: str, code: str, says: str, actor: str = "admin") -> None:
        """Write down what happened to a provider or its machines."""
        event = Event(id=0, at=self.now(), cluster="", node=None, code=code, says=says, actor=actor, provider=provider)
        self.store.events.add(event)


def order_numbers(start: int) -> Iterator[int]:
    """Return rising numbers for orders; those of a later start of the manager are all higher.

    ``next`` on a count is one operation of the interpreter, so threads may share it.
    """
    return itertools.count((start << 32) + 1)
