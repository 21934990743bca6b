"""What every command of ``conpaassql`` shares: whom it asks, how it waits for jobs, how it answers."""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import click

from conpaassql import catalog, params
from conpaassql.catalog import Row
from conpaassql.client import ends, found, jobs, tables
from conpaassql.client.ends import End
from conpaassql.client.tables import Column
from conpaassql.client.wire import Answer, Server
from conpaassql.errors import Unavailable

PROGRAM = "conpaassql"
BY_NAME: Mapping[str, Row] = {row.name: row for row in catalog.ROWS}
Body = Callable[..., End]
Shown = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Whom to ask and how to show the answer.  ``manager`` empty: it is looked for."""

    manager: str = ""
    json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an order: the answer, and the job that it began, as it was at the last look."""

    result: Shown
    job: Shown | None = None

    @property
    def running(self) -> bool:
        """Whether the job was not waited for."""
        return self.job is not None and self.job["state"] == "running"


def asking(body: Body) -> Body:
    """Give a command the options that all have, also before the command's name; its body gets an ``Asking``."""

    @click.option("--manager", metavar="URL", default="", help="The manager: https://HOST:PORT or HOST:PORT.")
    @click.option("-j", "--json", "as_json", is_flag=True, help="Print the answer as JSON, not as a table.")
    @click.pass_context
    @functools.wraps(body)
    def run(ctx: click.Context, /, manager: str, as_json: bool, **values: Any) -> End:
        given = ctx.find_root().params
        return body(Asking(manager=manager or given["manager"], json=as_json or given["as_json"]), **values)

    return run


def look(ask: Asking, method: str, **values: Any) -> Shown:
    """Ask for something that changes nothing, and return the answer.

    Raises:
        Error: wrong words, or no manager.
        Exit: the manager refused, and the user has been told.
    """
    given = checked(method, values)
    with _served(ask) as server:
        return _result(server.call(method, given))


def order(ask: Asking, method: str, *, wait: bool, empty: bool = False, **values: Any) -> Outcome:
    """Order something, and follow the job that it begins to its end if ``wait``.

    ``empty``: an empty text is a value, too.

    The manager is always asked not to wait: who waits here sees how far it is, and can go.

    Raises:
        Error: wrong words, or no manager.
        Exit: the manager refused or the job failed, and the user has been told.
    """
    if "synchronous" in {param.name for param in BY_NAME[method].params}:
        values["synchronous"] = False
    given = checked(method, values, empty=empty)
    with _served(ask) as server:
        answer = server.call(method, given)
        outcome = Outcome(result=_result(answer))
        if answer.job is not None:
            first = outcome.result.get("job") or {"id": answer.job, "state": "running"}
            outcome = replace(outcome, job=_followed(server, answer.job) if wait else first)
    if outcome.job and outcome.job["state"] == "failed":
        _fail(ask, outcome, outcome.job)
    return outcome


def follow(ask: Asking, number: int) -> Shown:
    """Return a job when it has ended.

    Raises:
        Error: there is no such job, or no manager.
    """
    with _served(ask) as server:
        return _followed(server, number)


def _followed(server: Server, number: int) -> Shown:
    """Return a job when it has ended; whoever stops waiting is told its number."""
    try:
        return jobs.follow(server, number)
    except (KeyboardInterrupt, Unavailable):
        print(f"{PROGRAM}: Job {number} goes on; {PROGRAM} job show {number} tells how it went.", file=sys.stderr)
        raise


def _fail(ask: Asking, outcome: Outcome, job: Shown) -> NoReturn:
    if ask.json:
        ends.show(told(outcome))
    print(f"{PROGRAM}: The job failed: {job['says']} [{job['code']}]", file=sys.stderr)
    raise click.exceptions.Exit(End.REFUSED)


def checked(method: str, values: Mapping[str, Any], *, empty: bool = False) -> Shown:
    """Return the values that are given at all, ``empty`` texts among them or not, when the manager would take them.

    Raises:
        Invalid: it would not.
    """
    nothing: tuple[Any, ...] = (None, [], {}) if empty else (None, "", [], {})
    given = {name: value for name, value in values.items() if value not in nothing}
    row = BY_NAME[method]
    params.bind(row.params, row.ignored, given)
    return given


def show(ask: Asking, result: Any, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> End:
    """Print an answer: ``result`` as JSON, or ``rows`` as a table."""
    if ask.json:
        ends.show(result)
    else:
        print(tables.table(columns, rows), end="")
    return End.DONE


def accepted(ask: Asking, outcome: Outcome, says: str) -> End:
    """Print how an order went that has nothing to list: ``says`` when all of it is done."""
    job = outcome.job or {}
    if ask.json:
        ends.show(told(outcome))
    elif outcome.running:
        print(begun(outcome))
    elif job.get("says"):  # done, but not all of it: a machine was forgotten that may still run
        print(f"{PROGRAM}: {job['says']} [{job['code']}]", file=sys.stderr)
    else:
        print(says)
    return End.DONE


def begun(outcome: Outcome) -> str:
    """Return what to say of a job that is not waited for."""
    number = outcome.job["id"] if outcome.job else 0
    return f"Job {number} has begun; {PROGRAM} job show {number} tells how it goes."


def told(outcome: Outcome) -> Shown:
    """Return an outcome as JSON shows it: the answer, brought up to date by the job beside it."""
    if not outcome.job:
        return outcome.result
    news = {key: outcome.job[key] for key in outcome.result if key in outcome.job}
    return {**outcome.result, **news, "job": outcome.job}


@contextmanager
def _served(ask: Asking) -> Iterator[Server]:
    with Server(found.manager(ask.manager)) as server:
        yield server


def _result(answer: Answer) -> Shown:
    """Return what the manager answered.  Its refusals are told here, as they say nothing of our own words."""
    if answer.error:
        ends.tell(PROGRAM, answer.error)
        raise click.exceptions.Exit(End.REFUSED)
    if not isinstance(answer.result, dict):
        raise Unavailable("The manager's answer is none that this program knows; is one of them of another version?")
    return answer.result
