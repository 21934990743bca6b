"""What the agent itself must remember across its own death: one small JSON file."""

import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from conpaassql.errors import AgentError, StaleTerm, Unavailable

ORDER_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The memory of one agent.

    ``running`` is the last wish about mysqld: a server that was stopped on purpose stays stopped.
    ``failures`` counts deaths of mysqld in quick succession, the last one mended at ``tried_at``
    (seconds of the wall clock); ``restarts`` counts all of them.
    """

    node: int
    term: int = 0
    made_data: bool = False  # the data directory is ours; without it, files there are foreign
    account_password: str = ""  # of this node's replication account; never leaves the node
    position: str = ""  # GTID set at which a fresh copy stands, until the server is told before it first follows
    verified: str = ""  # how the last comparison with a source ended
    running: bool = False
    restarts: int = 0
    failures: int = 0
    tried_at: float = 0.0
    says: str = ""  # the last thing that went wrong, for people


class StateFile:
    """``State`` on disk, mode 0600, replaced as a whole; safe to use from several threads."""

    def __init__(self, path: Path, node: int) -> None:
        """Load ``path``; an absent file is a new agent for ``node``.

        Raises:
            AgentError: the file cannot be read, or belongs to another node.
        """
        self._path = path
        self._fields = threading.Lock()
        self._orders = threading.RLock()
        self._state = _load(path, node)
        self._number = 0
        if not self._state.account_password:
            self.change(account_password=secrets.token_urlsafe(24))

    def read(self) -> State:
        """Return what is remembered now."""
        with self._fields:
            return self._state

    def change(self, **changes: Any) -> State:
        """Replace some fields, on disk before in memory; nothing is written when nothing changes.

        Raises:
            AgentError: the disk takes no more; nothing has changed.
        """
        with self._fields:
            new = replace(self._state, **changes)
            if new != self._state:
                replace_file(self._path, json.dumps(asdict(new), indent=1))
                self._state = new
            return new

    def accept(self, term: int, number: int = 0) -> None:
        """Remember the highest term seen, and in it the highest number.

        The number need not survive the agent: neither does an order that it has not begun.

        Raises:
            StaleTerm: ``term`` is lower, or ``number`` is and is not 0; details hold what is known.
        """
        with self._fields:
            known = self._state.term
            late = term == known and 0 < number < self._number
        if term < known or late:
            raise StaleTerm(
                f"This order is of term {term}, number {number}, and the node knows term {known}, number "
                f"{self._number}. Another order has overtaken it; read the cluster again.",
                term=term,
                known=known,
            )
        if term > known:
            self.change(term=term)
        if number:
            self._number = number

    @contextmanager
    def alone(self, timeout_s: float = ORDER_PATIENCE_S) -> Iterator[None]:
        """Hold off all other orders, so that none works against another.

        Raises:
            Unavailable: another order ran longer than ``timeout_s``.
        """
        if not self._orders.acquire(timeout=timeout_s):
            raise Unavailable("The agent is busy with another order. Try again in a moment.")
        try:
            yield
        finally:
            self._orders.release()

    @contextmanager
    def if_idle(self) -> Iterator[bool]:
        """As ``alone``, without waiting: False when an order is being carried out."""
        free = self._orders.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._orders.release()

    @contextmanager
    def order(self, term: int, number: int = 0) -> Iterator[None]:
        """Carry out one order of ``term``, alone; a newer order cannot come in between.

        Raises:
            StaleTerm, Unavailable: as ``accept`` and ``alone``.
        """
        with self.alone():
            self.accept(term, number)
            yield


def replace_file(path: Path, text: str) -> None:
    """Write ``path`` with mode 0600 so that after any crash either the old or the new text is there.

    Raises:
        AgentError: it cannot be written; the old text is still there.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(new, text)
        new.replace(path)
    except OSError as exc:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise AgentError(f"{path} cannot be written: {exc.strerror}. Look at the disk of this node.") from exc


def _write(new: Path, text: str) -> None:
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _load(path: Path, node: int) -> State:
    """Read the file.  Fields that this version does not know are ignored, missing ones get their default."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return State(node=node)
    except (OSError, ValueError) as exc:
        raise AgentError(
            f"{path} cannot be read ({exc}). Restore it, or remove it to have the data treated as foreign."
        ) from exc
    known = {field.name for field in fields(State)}
    state = State(**{name: value for name, value in found.items() if name in known})
    if state.node != node:
        raise AgentError(f"{path} belongs to node {state.node}, and this is node {node}. Use another directory.")
    return state
