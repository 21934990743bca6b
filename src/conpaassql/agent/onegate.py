"""Tells OpenNebula's OneGate that this VM is ready, where the VM was given a token.

A hint for ``onevm list`` and OneFlow, and no more: what counts is that the agent has joined.  OneGate
reads the body as a form and takes one ``KEY=VALUE`` (core 7.4.0).
"""

import http.client
import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from conpaassql.errors import AgentError

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
TRIES = 8  # with doubling pauses, two minutes
CALL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Where OneGate is, and where this VM's token for it lies."""

    url: str
    vm_id: str
    token_file: Path


@contextmanager
def announced(gate: Gate | None) -> Iterator[None]:
    """Report READY=YES beside what the caller does meanwhile; None reports nothing.

    A failure is only a line in the log.  The end of the block does not wait for further tries.
    """
    if gate is None:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=report, args=(gate, stop), name="onegate")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def report(gate: Gate, stop: threading.Event, first_pause_s: float = FIRST_PAUSE_S) -> bool:
    """Say READY=YES until OneGate takes it; False when it never did, or ``stop`` was set first."""
    pause_s = first_pause_s
    for _ in range(TRIES):
        try:
            tell(gate)
        except AgentError as exc:
            log.warning("OneGate was not told that this VM is ready: %s", exc.says)
        else:
            log.info("OneGate knows that this VM is ready")
            return True
        if stop.wait(pause_s):
            break
        pause_s *= 2
    return False


def tell(gate: Gate) -> None:
    """Send READY=YES once.

    Raises:
        AgentError: the token cannot be read, or OneGate does not answer or refuses.
    """
    url = urlsplit(gate.url)
    if not url.hostname or url.scheme not in ("http", "https"):
        raise AgentError(f"{gate.url} is no address of OneGate; it has to be http(s)://host:port.")
    try:
        headers = {
            "X-ONEGATE-TOKEN": gate.token_file.read_text(encoding="ascii").strip(),
            "X-ONEGATE-VMID": gate.vm_id,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        with closing(_connection(url.scheme, url.hostname, url.port)) as connection:
            connection.request("PUT", f"{url.path.rstrip('/')}/vm", "READY=YES", headers)
            with closing(connection.getresponse()) as answer:
                status = answer.status
    except (OSError, http.client.HTTPException, ValueError) as exc:
        # Not the exception's text: that of a header which cannot be sent holds the token.
        raise AgentError(f"{gate.url} does not answer ({type(exc).__name__}).") from exc
    if not 200 <= status < 300:
        raise AgentError(f"{gate.url} answered with status {status}; is TOKEN = YES in the VM's context?")


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=CALL_TIMEOUT_S)
    return http.client.HTTPSConnection(host, port, timeout=CALL_TIMEOUT_S, context=ssl.create_default_context())
