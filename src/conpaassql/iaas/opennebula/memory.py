"""What was learned of VMs by their ids, for as long as it can be trusted."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from conpaassql.iaas.opennebula.pool import Kept

# People may change labels, or mark and unmark VMs; it takes us so long to see that.
WHOLE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Turn:
    """The beginning of a look: how many times something had been forgotten, and when it was."""

    number: int
    at_s: float


class Memory:
    """What the short form of a pool leaves out.  Safe to use from several threads.

    What a look has seen may be out of date when it is over; so nothing is learned of a VM that was
    forgotten since the look began.  It holds no more VMs than are listed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing.  ``clock`` gives seconds that never go back."""
        self._clock = clock
        self._kept: dict[int, Kept] = {}
        self._forgotten: dict[int, int] = {}  # the number of each forgetting, by id
        self._number = 0
        self._whole_at_s = float("-inf")
        self._untidy = False
        self._lock = threading.Lock()

    def turn(self) -> Turn:
        """Begin a look."""
        with self._lock:
            return Turn(self._number, self._clock())

    def is_due(self) -> bool:
        """Whether the whole is to be looked at anew."""
        with self._lock:
            return self._clock() - self._whole_at_s >= WHOLE_EVERY_S

    def known(self) -> Mapping[int, Kept]:
        """Return what is known at the moment."""
        with self._lock:
            return dict(self._kept)

    def renew(self, turn: Turn, found: Mapping[int, Kept]) -> None:
        """Put what a look at the whole has found in the place of everything."""
        with self._lock:
            self._note_gone(found)
            self._kept = {}
            self._whole_at_s = turn.at_s
            self._learn(turn, found)
            self._prune(turn, found)

    def learn(self, turn: Turn, found: Mapping[int, Kept], listed: Collection[int]) -> None:
        """Add what a look has found, and let go of what is not listed any more."""
        with self._lock:
            self._learn(turn, found)
            self._prune(turn, listed)

    def forget(self, vm_id: int) -> None:
        """Forget a VM, as after a change of its labels; the next look asks for it."""
        with self._lock:
            self._number += 1
            self._forgotten[vm_id] = self._number
            self._kept.pop(vm_id, None)

    @property
    def untidy(self) -> bool:
        """Whether a VM has gone that was in a VM group, which may be empty since; until ``tidied``."""
        return self._untidy

    def tidied(self) -> None:
        """Take note that groups were seen to."""
        self._untidy = False

    def _note_gone(self, listed: Collection[int]) -> None:
        self._untidy = self._untidy or any(self._kept[one].grouped for one in self._kept.keys() - listed)

    def _learn(self, turn: Turn, found: Mapping[int, Kept]) -> None:
        for vm_id, kept in found.items():
            if self._forgotten.get(vm_id, 0) <= turn.number:
                self._kept[vm_id] = kept

    def _prune(self, turn: Turn, listed: Collection[int]) -> None:
        self._note_gone(listed)
        for vm_id in self._kept.keys() - listed:
            del self._kept[vm_id]
        # One that was forgotten since the look began may just be too new for its list.
        gone = [one for one, number in self._forgotten.items() if one not in listed and number <= turn.number]
        for vm_id in gone:
            del self._forgotten[vm_id]
