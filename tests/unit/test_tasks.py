"""Long work: one at a time, its end is always recorded, a cancel reaches it."""

import logging
import threading

import pytest

from conpaassql.agent.tasks import Progress, Tasks
from conpaassql.errors import Conflict, MysqlError
from conpaassql.protocol import TaskState

PATIENCE_S = 10.0


def ended(tasks: Tasks) -> TaskState:
    task = tasks.join(PATIENCE_S)
    assert task is not None
    return task.state


def test_nothing_was_ever_begun() -> None:
    tasks = Tasks()
    assert tasks.current() is None
    assert tasks.running() is None
    tasks.stop(0)


def test_progress_is_a_fact_and_the_end_stays_readable() -> None:
    tasks, go = Tasks(), threading.Event()
    seen = threading.Event()

    def work(progress: Progress) -> str:
        progress.phase("copying")
        progress.total(100)
        progress.add(30)
        progress.add(12)
        seen.set()
        go.wait(PATIENCE_S)
        return "as was expected"

    tasks.start("clone", work)
    assert seen.wait(PATIENCE_S)
    task = tasks.current()
    assert task is not None
    assert (task.state, task.phase, task.done_bytes, task.total_bytes) == (TaskState.RUNNING, "copying", 42, 100)
    go.set()
    assert ended(tasks) is TaskState.DONE
    assert tasks.current() is not None
    assert tasks.current().says == "as was expected"  # type: ignore[union-attr]
    assert tasks.running() is None


def test_the_same_kind_twice_runs_once_and_another_kind_is_refused() -> None:
    tasks, go, runs = Tasks(), threading.Event(), []

    def work(progress: Progress) -> str:
        runs.append(progress)
        go.wait(PATIENCE_S)
        return ""

    tasks.start("clone", work)
    tasks.start("clone", work)
    with pytest.raises(Conflict) as refused:
        tasks.start("verify", work)
    assert refused.value.details["task"] == "clone"
    go.set()
    assert ended(tasks) is TaskState.DONE
    assert len(runs) == 1
    tasks.start("verify", work)
    assert ended(tasks) is TaskState.DONE
    assert len(runs) == 2


def test_an_error_of_ours_becomes_its_sentence() -> None:
    tasks = Tasks()

    def work(_: Progress) -> str:
        raise MysqlError("The server went away.")

    tasks.start("verify", work)
    assert ended(tasks) is TaskState.FAILED
    assert tasks.current().says == "The server went away."  # type: ignore[union-attr]


def test_a_bug_fails_the_task_and_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()

    def work(_: Progress) -> str:
        raise ZeroDivisionError("by nothing")

    with caplog.at_level(logging.ERROR):
        tasks.start("verify", work)
        assert ended(tasks) is TaskState.FAILED
    assert "ZeroDivisionError" in tasks.current().says  # type: ignore[union-attr]
    assert caplog.records[0].exc_info


def test_stop_breaks_a_wait_and_takes_no_more_work() -> None:
    tasks, waiting, broken = Tasks(), threading.Event(), threading.Event()

    def work(progress: Progress) -> str:
        with progress.broken_by(broken.set):
            waiting.set()
            broken.wait(PATIENCE_S)
        progress.check()
        return "not reached"

    tasks.start("clone", work)
    assert waiting.wait(PATIENCE_S)
    tasks.stop(PATIENCE_S)
    task = tasks.current()
    assert task is not None
    assert task.state is TaskState.FAILED
    assert "going down" in task.says
    with pytest.raises(Conflict):
        tasks.start("clone", work)


def test_a_break_is_not_called_after_its_block_nor_begun_after_a_cancel() -> None:
    progress, calls = Progress("clone"), []
    with progress.broken_by(lambda: calls.append("late")):
        pass
    progress.cancel()
    assert calls == []
    with pytest.raises(Conflict), progress.broken_by(lambda: calls.append("never")):
        calls.append("entered")
    assert calls == []


def test_work_that_does_not_end_is_said_so() -> None:
    tasks, go = Tasks(), threading.Event()

    def deaf(_: Progress) -> str:
        go.wait(PATIENCE_S)
        return ""

    tasks.start("clone", deaf)
    with pytest.raises(Conflict):
        tasks.stop(0.01)
    go.set()
    assert ended(tasks) is TaskState.DONE
