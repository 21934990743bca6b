"""The memory of a pretended cloud, which several drivers may share, in several processes too."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from conpaassql import locking
from conpaassql.errors import IaasBusy, IaasError
from conpaassql.model import VmSpec

_LOCK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A VM that is remembered.  Times are by the cloud's clock; ``gone_at_s`` None: nobody deleted it.

    ``spec`` is what it was made from, with its present size, but without context and template.
    """

    id: str
    owner: str
    spec: VmSpec
    address: str
    runs_at_s: float
    gone_at_s: float | None = None
    on: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    public_address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A snapshot that is remembered."""

    id: str
    owner: str
    name: str
    vm: str
    created_at: datetime
    ready_at_s: float


@dataclass(slots=True, kw_only=True)
class State:
    """Everything that is remembered.  ``made`` counts all things ever made; ``disks`` are owner and VM's name."""

    made: int = 0
    machines: dict[str, Machine] = field(default_factory=dict)
    copies: dict[str, Copy] = field(default_factory=dict)
    disks: set[tuple[str, str]] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class Cloud:
    """One pretended cloud.  ``clock`` is in seconds; with a ``file`` the memory outlives the process.

    A cloud with a file needs a clock that all its processes share.
    """

    clock: Callable[[], float] = time.monotonic
    file: Path | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    _state: State = field(default_factory=State)

    @contextmanager
    def opened(self) -> Iterator[State]:
        """Yield the memory, for nobody else to use meanwhile; what is done to it is kept, unless an error leaves.

        Raises:
            IaasError: the file cannot be read or written.
        """
        with self.lock:
            if self.file is None:
                self._forget_the_gone(self._state)
                yield self._state
                return
            with _translated(self.file), _locked(self.file):
                before = _read(self.file)
                state = _state(before, self.file)
                self._forget_the_gone(state)
                yield state
                after = msgspec.json.encode(state)
                if after != before:
                    _write(self.file, after)

    def _forget_the_gone(self, state: State) -> None:
        now_s = self.clock()
        gone = [vm.id for vm in state.machines.values() if vm.gone_at_s is not None and vm.gone_at_s <= now_s]
        for vm_id in gone:
            del state.machines[vm_id]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _state(content: bytes, file: Path) -> State:
    try:
        return msgspec.json.decode(content, type=State) if content else State()
    except msgspec.MsgspecError as exc:
        raise IaasError(f"{file} holds no pretended cloud; remove it, or name another file as DUMMY_STATE.") from exc


def _write(file: Path, content: bytes) -> None:
    """Exchange the file as a whole, so that a killed process leaves the old one or the new one."""
    new = file.with_name(f"{file.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as writer:
        writer.write(content)
    new.replace(file)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep other processes off; by a file of its own, as the other one is exchanged."""
    descriptor = os.open(file.with_name(f"{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not locking.await_lock(descriptor, _LOCK_TIMEOUT_S):
            raise IaasBusy(f"{file}: somebody else has been at work on it for {_LOCK_TIMEOUT_S:g} s.")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise IaasError(f"{file}: {exc.strerror}; see to it, or name another file as DUMMY_STATE.") from exc
