"""One at a time for each name, among the threads of this process: the cloud itself lets names repeat."""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Place:
    lock: threading.Lock = field(default_factory=threading.Lock)
    wanted: int = 0


# Shared by all drivers: a driver that is built anew may meet the work of the one before.
_places: dict[Hashable, _Place] = {}
_guard = threading.Lock()


@contextmanager
def alone(key: Hashable) -> Iterator[None]:
    """Let only one thread in for each key; the others wait for as long as that one takes."""
    with _guard:
        place = _places.setdefault(key, _Place())
        place.wanted += 1
    try:
        with place.lock:
            yield
    finally:
        with _guard:
            place.wanted -= 1
            if not place.wanted:
                del _places[key]
