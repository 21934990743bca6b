"""The thread that talks to agents: what may not happen to it, and what becomes of those who wait."""

import threading
from collections.abc import Iterator

import pycurl
import pytest

from conpaassql.errors import Unavailable
from conpaassql.manager import agents
from conpaassql.manager.agents import _CurlThread, _Transfer


@pytest.fixture
def thread() -> Iterator[_CurlThread]:
    thread = _CurlThread()
    yield thread
    thread.close()


def unanswered() -> _Transfer:
    """A call to a port where nobody listens."""
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, "http://127.44.0.8:1/")
    return _Transfer(curl=curl)


def test_an_answer_has_an_end() -> None:
    transfer = _Transfer(curl=None)
    piece = b"x" * (1 << 20)
    assert [transfer.take(piece) for _ in range(9)] == [len(piece)] * 8 + [-1]


def test_who_waits_hears_that_the_thread_has_ended(thread: _CurlThread, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("a fault")

    monkeypatch.setattr(thread, "_finish", fail)
    transfer = unanswered()
    thread.submit(transfer)
    with pytest.raises(pycurl.error):
        transfer.future.result(5)
    thread._thread.join(5)
    with pytest.raises(Unavailable):
        thread.submit(unanswered())


def test_waking_never_waits(thread: _CurlThread) -> None:
    """Not even when the thread is busy and nobody empties the socket."""
    busy, free = threading.Event(), threading.Event()

    class Slow:
        """What the thread trips over when it takes new transfers."""

        @property
        def curl(self) -> object:
            busy.set()
            free.wait(10)
            raise ValueError("a fault")

        future = agents.Future[tuple[int, bytes]]()

    thread.submit(Slow())  # type: ignore[arg-type]
    assert busy.wait(5)
    waker = threading.Thread(target=lambda: [thread._wake() for _ in range(100_000)], daemon=True)
    waker.start()
    waker.join(5)
    assert not waker.is_alive()
    free.set()
