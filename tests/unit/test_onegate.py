"""Reporting to OneGate, against a pretended one."""

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conpaassql.agent import onegate
from conpaassql.agent.onegate import Gate
from conpaassql.errors import AgentError
from onegate_fake import HOST, TOKEN, Pretended, pretending


@pytest.fixture
def pretended() -> Iterator[Pretended]:
    with pretending() as found:
        yield found


def gate(tmp_path: Path, url: str, token: str = TOKEN) -> Gate:
    (tmp_path / "token").write_text(token + "\n")
    return Gate(url=url, vm_id="42", token_file=tmp_path / "token")


def test_it_says_ready(tmp_path: Path, pretended: Pretended) -> None:
    onegate.tell(gate(tmp_path, f"{pretended.url}/"))
    assert pretended.ready == "YES"
    assert pretended.calls == ["/vm READY=YES"]


def test_a_wrong_token_is_an_error_that_does_not_show_it(tmp_path: Path, pretended: Pretended) -> None:
    with pytest.raises(AgentError, match="status 401") as caught:
        onegate.tell(gate(tmp_path, pretended.url, "secret"))
    assert "secret" not in caught.value.says
    assert not pretended.ready


@pytest.mark.parametrize("token", ["secret\nX-Evil: 1", "secret\r", "sécret"])
def test_a_token_that_cannot_be_sent_is_not_shown(tmp_path: Path, pretended: Pretended, token: str) -> None:
    with pytest.raises(AgentError) as caught:
        onegate.tell(gate(tmp_path, pretended.url, f"{token}x"))
    assert "cret" not in caught.value.says
    assert not pretended.calls


@pytest.mark.parametrize("url", ["", "onegate", "ftp://127.76.0.9/", "http://", "http://127.76.0.9:99999"])
def test_a_wrong_address_is_an_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(AgentError):
        onegate.tell(gate(tmp_path, url))


def test_an_absent_token_and_a_silent_gate_are_errors(tmp_path: Path) -> None:
    with pytest.raises(AgentError):
        onegate.tell(Gate(url=f"http://{HOST}:1", vm_id="42", token_file=tmp_path / "absent"))
    with pytest.raises(AgentError, match="ConnectionRefusedError"):
        onegate.tell(gate(tmp_path, f"http://{HOST}:1"))


def test_it_tries_again_until_it_is_taken(tmp_path: Path, pretended: Pretended) -> None:
    pretended.failures = 3
    assert onegate.report(gate(tmp_path, pretended.url), threading.Event(), first_pause_s=0.001)
    assert len(pretended.calls) == 4
    assert pretended.ready == "YES"


def test_it_gives_up_with_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pretending() as found:
        found.failures = 100
        assert not onegate.report(gate(tmp_path, found.url), threading.Event(), first_pause_s=0.001)
        assert len(found.calls) == onegate.TRIES
    assert "status 500" in caplog.text
    assert TOKEN not in caplog.text


def test_beside_the_agent_it_is_not_waited_for(tmp_path: Path, pretended: Pretended) -> None:
    pretended.failures = 100
    begun = time.monotonic()
    with onegate.announced(gate(tmp_path, pretended.url)):
        assert pretended.said.wait(10)
    assert time.monotonic() - begun < onegate.FIRST_PAUSE_S * 5  # it would go on for two minutes
    with onegate.announced(None):
        pass
