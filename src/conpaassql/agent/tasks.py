"""Long work inside the agent: one piece at a time, in a thread, looked at from outside.

Work is a function that is given a ``Progress`` to report to and returns a sentence about what
it found.  It survives the request that began it; its end stays readable until the next begins.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from conpaassql.errors import Conflict, Error
from conpaassql.protocol import Task, TaskState

_log = logging.getLogger(__name__)


class Progress:
    """Where a piece of work stands.  The work writes; anybody may read, at any time."""

    def __init__(self, kind: str) -> None:
        self._lock = threading.Lock()
        self._task = Task(kind=kind, state=TaskState.RUNNING)
        self._cancelled = False
        self._breaks: list[Callable[[], None]] = []

    @property
    def task(self) -> Task:
        """The work as a fact."""
        with self._lock:
            return self._task

    @property
    def cancelled(self) -> bool:
        """Whether the work should end at its next opportunity."""
        return self._cancelled

    def phase(self, word: str) -> None:
        """Say in one word what is being done now."""
        with self._lock:
            self._task = replace(self._task, phase=word)

    def total(self, size_bytes: int) -> None:
        """Say how many bytes there will be; 0: not known."""
        with self._lock:
            self._task = replace(self._task, total_bytes=size_bytes)

    def add(self, size_bytes: int) -> None:
        """Count bytes that are done."""
        with self._lock:
            self._task = replace(self._task, done_bytes=self._task.done_bytes + size_bytes)

    def end(self, state: TaskState, says: str) -> None:
        """Record how the work ended."""
        with self._lock:
            self._task = replace(self._task, state=state, says=says)

    def check(self) -> None:
        """Raise when the work has been cancelled.

        Raises:
            Conflict: the agent is going down.
        """
        if self._cancelled:
            raise Conflict("The agent stopped this work because it is going down; order it again.")

    @contextmanager
    def broken_by(self, stop: Callable[[], None]) -> Iterator[None]:
        """Have ``stop`` called, from another thread, when the work is cancelled inside the block.

        It lets a cancel end a wait that cannot look at ``cancelled``: a read from a socket, or
        for a child process.  ``stop`` is quick and raises nothing.

        Raises:
            Conflict: the work had been cancelled before.
        """
        with self._lock:
            if not self._cancelled:
                self._breaks.append(stop)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._breaks = [each for each in self._breaks if each != stop]

    def cancel(self) -> None:
        """Ask the work to end, and break the waits that it is in."""
        with self._lock:
            self._cancelled = True
            breaks = tuple(self._breaks)
        for stop in breaks:
            stop()


Work = Callable[[Progress], str]


@dataclass(frozen=True, slots=True)
class _Run:
    """One piece of work and its thread."""

    progress: Progress
    thread: threading.Thread


class Tasks:
    """At most one long piece of work at a time.  ``stop`` must be called at the agent's end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._stopped = False

    def start(self, kind: str, work: Work) -> None:
        """Begin ``work``.  The same kind running already is what was asked for: nothing happens.

        Raises:
            Conflict: other work is running, or the agent is going down.
        """
        with self._lock:
            if self._stopped:
                raise Conflict("The agent is going down; ask again when it is back.")
            running = self.running()
            if running == kind:
                return
            if running:
                raise Conflict(f"The agent is busy with: {running}.  Wait for its end.", task=running)
            progress = Progress(kind)
            thread = threading.Thread(target=_perform, args=(progress, work), name=f"task-{kind}", daemon=True)
            self._run = _Run(progress, thread)
            thread.start()

    def current(self) -> Task | None:
        """Return the running work, else the last that ended, else None."""
        run = self._run
        return run.progress.task if run else None

    def running(self) -> str | None:
        """Return the kind of the work that is running, if any is."""
        task = self.current()
        return task.kind if task and task.state is TaskState.RUNNING else None

    def join(self, timeout_s: float) -> Task | None:
        """Wait up to ``timeout_s`` for the running work to end; return ``current()``."""
        run = self._run
        if run:
            run.thread.join(timeout_s)
        return self.current()

    def stop(self, timeout_s: float) -> None:
        """Take no more work; cancel what runs and wait for its end.

        Raises:
            Conflict: the work did not end in ``timeout_s``.
        """
        with self._lock:
            self._stopped = True
            run = self._run
        if run is None:
            return
        run.progress.cancel()
        run.thread.join(timeout_s)
        if run.thread.is_alive():
            raise Conflict(f"The work did not end within {timeout_s:g} s.", task=run.progress.task.kind)


def _perform(progress: Progress, work: Work) -> None:
    """Run ``work`` in this thread; whatever happens, its end is recorded."""
    try:
        says = work(progress)
    except Error as exc:
        _log.warning("%s failed: %s", progress.task.kind, exc.says, exc_info=exc)
        progress.end(TaskState.FAILED, exc.says)
    except Exception as exc:
        # A bug must not look like work that never ends.
        _log.exception("%s failed", progress.task.kind)
        progress.end(TaskState.FAILED, f"A fault of the agent: {type(exc).__name__}: {exc}")
    else:
        progress.end(TaskState.DONE, says)
