"""Who may use what of a cloud at the same time: a name that is being made, a connection that is being used."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from conpaassql.errors import IaasBusy

Link = TypeVar("Link")

_LINKS = 4  # calls at once, per driver


class Names:
    """One lock per name, so that two threads do not make the same VM twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[str, threading.Lock] = {}

    @contextmanager
    def held(self, name: str, timeout_s: float) -> Iterator[None]:
        """Hold a name.

        Raises:
            IaasBusy: another thread has not let go of it in time.
        """
        with self._lock:
            lock = self._taken.setdefault(name, threading.Lock())
        if not lock.acquire(timeout=timeout_s):
            raise IaasBusy(f"{name} is being made by another call; try again.")
        try:
            yield
        finally:
            lock.release()


class Lent(Generic[Link]):
    """A few links, made when they are needed, each lent to one thread at a time."""

    def __init__(self, cloud: str, timeout_s: float, make: Callable[[], Link]) -> None:
        self._cloud = cloud
        self._timeout_s = timeout_s
        self._make = make
        self._places = threading.BoundedSemaphore(_LINKS)
        self._free: list[Link] = []  # append and pop are atomic

    @contextmanager
    def lent(self) -> Iterator[Link]:
        """Lend a link.

        Raises:
            IaasBusy: every one is in use, and stays so.
        """
        if not self._places.acquire(timeout=self._timeout_s):
            raise IaasBusy(f"{_LINKS} calls to {self._cloud} are under way; none has ended in {self._timeout_s:g} s.")
        try:
            link = self._free.pop() if self._free else self._make()
            try:
                yield link
            finally:
                self._free.append(link)
        finally:
            self._places.release()
