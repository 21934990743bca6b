"""Following a job to its end, with a bar on a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import datetime
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from conpaassql.client import tables
from conpaassql.client.wire import Server
from conpaassql.errors import Conflict, Unavailable

POLL_S = 0.25
MOST_SAYS = 400  # letters of a sentence below the bar
GRACE_S = 60.0  # beyond the job's own deadline, for the manager to call it failed


def looks(server: Server, job: int) -> Iterator[dict[str, Any]]:
    """Yield a job as it goes on, until it has ended.  A manager that is away for a moment is waited for.

    Raises:
        Error: there is no such job, or it is not over although its deadline has passed.
    """
    deadline: float | None = None
    while True:
        try:
            found: dict[str, Any] = server.call("get_job", {"job": job}).value()["job"]
        except Unavailable:
            if deadline is None or time.monotonic() > deadline:
                raise
        else:
            deadline = deadline or time.monotonic() + _patience_s(found)
            yield found
            if found["state"] != "running":
                return
        if time.monotonic() > deadline:
            raise Conflict(f"Job {job} is past its deadline and has not ended; get_job {job} shows it.", job=job)
        time.sleep(POLL_S)  # the manager tells nobody that a job has ended; it has to be asked


def follow(server: Server, job: int) -> dict[str, Any]:
    """Return a job when it has ended; on a terminal, show how far it is and what keeps it (on standard error).

    Raises:
        Error: as ``looks``.
    """
    last: dict[str, Any] = {}
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    progress = Progress(*columns, TimeElapsedColumn(), console=console)
    bar = progress.add_task(f"job {job}", total=1.0)
    with Live(progress, console=console) if sys.stderr.isatty() else nullcontext() as live:
        for last in looks(server, job):
            progress.update(bar, completed=last["progress"], description=_words(last))
            if live:
                live.update(Group(progress, *_kept(last)))
    return last


def _words(job: dict[str, Any]) -> str:
    """Return what stands before the bar."""
    if job["state"] != "running":
        return f"job {job['id']} {job['kind']} {job['state']}"
    return f"job {job['id']} {'undoing ' if job.get('undoing') else ''}{job['kind']}"


def _kept(job: dict[str, Any]) -> list[Text]:
    """Return what stands below the bar: what a running job waits for, as the manager says it."""
    return [Text(tables.plain(job["says"])[:MOST_SAYS])] if job["says"] and job["state"] == "running" else []


def _patience_s(job: dict[str, Any]) -> float:
    """Return how long a job may take at most, by the manager's clock alone."""
    with suppress(KeyError, TypeError, ValueError):
        whole = datetime.fromisoformat(job["deadline_at"]) - datetime.fromisoformat(job["created_at"])
        return whole.total_seconds() + GRACE_S
    return GRACE_S
