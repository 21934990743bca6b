"""Faults to inject: what goes wrong, for which VMs or methods, and how often.

They are wished as one JSON object through ``/control``; what is not named in it stays as it was.
Patterns are those of a shell (``*``, ``?``, ``[..]``); an empty one fits nothing.
"""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase


class FaultError(ValueError):
    """What was wished is no fault, or not of the right type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What goes wrong.  Counts go down to 0 as they are used; -1 never ends."""

    slow_s: float = 0.0  # every answer to a method that fits comes so much later
    slow_methods: str = "*"
    pending_forever: str = ""  # names of VMs that the scheduler never places
    sched_message: str = "[HOST] Not enough CPU on hosts: 0"  # what is shown for them
    unknown: str = ""  # names of VMs whose host is out of sight
    boot_failure: str = ""  # names of VMs whose boot fails
    boot_failures: int = -1  # how many boots
    boot_error: str = "Error deploying virtual machine: injected"
    refuse_terminate: int = 0  # so many times a terminate is refused, as while a VM boots
    lose_reply: str = ""  # methods that are done, but whose answer is cut off
    lost_replies: int = 1
    shutdown_returns_to_running: int = 0  # so many times a terminate or poweroff is accepted and then not done


class Faults:
    """The present wish; any thread may ask or change it."""

    def __init__(self, wish: Wish | None = None) -> None:
        self._lock = threading.Lock()
        self._wish = wish or Wish()

    def shown(self) -> dict[str, object]:
        """Return the present wish, as ``/control`` answers it."""
        with self._lock:
            return asdict(self._wish)

    def change(self, wished: Mapping[str, object]) -> dict[str, object]:
        """Take over what is named; return all.

        Raises:
            FaultError: an unknown name, or a value of the wrong type.
        """
        known = {field.name: type(field.default) for field in fields(Wish)}
        for name, value in wished.items():
            _check(name, value, known)
        with self._lock:
            self._wish = replace(self._wish, **wished)  # type: ignore[arg-type]  # checked above
            return asdict(self._wish)

    def delay_s(self, method: str) -> float:
        """Return how much later the answer to ``method`` comes."""
        wish = self._wish
        return wish.slow_s if fnmatchcase(method, wish.slow_methods) else 0.0

    def pending(self, name: str) -> str | None:
        """Return why a VM of this name is not placed; None: it may be."""
        wish = self._wish
        return wish.sched_message if _fits(name, wish.pending_forever) else None

    def out_of_sight(self, name: str) -> bool:
        """Whether a VM of this name is UNKNOWN."""
        return _fits(name, self._wish.unknown)

    def boot_error(self, name: str) -> str | None:
        """Return why this boot of a VM fails; None: it does not.  Counts."""
        if _fits(name, self._wish.boot_failure) and self._use("boot_failures"):
            return self._wish.boot_error
        return None

    def refuses_terminate(self) -> bool:
        """Whether this terminate is refused.  Counts."""
        return self._use("refuse_terminate")

    def loses_reply(self, method: str) -> bool:
        """Whether the connection is cut instead of this answer.  Counts."""
        return _fits(method, self._wish.lose_reply) and self._use("lost_replies")

    def shutdown_returns(self) -> bool:
        """Whether the VM of this terminate or poweroff goes on running, without a word.  Counts."""
        return self._use("shutdown_returns_to_running")

    def _use(self, name: str) -> bool:
        with self._lock:
            left: int = getattr(self._wish, name)
            if left > 0:
                self._wish = replace(self._wish, **{name: left - 1})  # type: ignore[arg-type]  # all counts are int
            return left != 0


def _check(name: str, value: object, known: Mapping[str, type]) -> None:
    if name not in known:
        raise FaultError(f"there is no fault {name}; there are {', '.join(known)}.")
    kind = known[name]
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise FaultError(f"{name} is to be a {kind.__name__}.")


def _fits(name: str, pattern: str) -> bool:
    return bool(pattern) and fnmatchcase(name, pattern)
