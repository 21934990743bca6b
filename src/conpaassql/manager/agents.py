"""How the manager talks to agents: one thread and one CurlMulti for all calls, mutual TLS throughout."""

import logging
import queue
import selectors
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import msgspec
import pycurl

from conpaassql import errors, mtls, protocol
from conpaassql.errors import AgentError, Error, Unavailable
from conpaassql.protocol import AgentFacts, Shape, Verb

log = logging.getLogger(__name__)

Reply = TypeVar("Reply")

CONNECT_TIMEOUT_S = 2.0
FACTS_TIMEOUT_S = 1.5
MOST_ANSWER_BYTES = 8 << 20


class Agents(Protocol):
    """The seam between the manager and its agents; tests put a pretend one here."""

    def call(self, host: str, verb: str, request: object) -> Any:
        """Give an order and return the verb's reply type.

        Raises:
            Error: what the agent raised, rebuilt; AgentError when it does not answer in the verb's time.
        """

    def facts(self, hosts: Mapping[int, str]) -> Mapping[int, AgentFacts]:
        """Look at many nodes at once; those that do not answer in time are absent from the result."""

    def download(self, host: str, verb: str, request: object) -> Iterator[bytes]:
        """Yield a stream of the agent; raises AgentError when it breaks off."""

    def upload(self, host: str, verb: str, request: object, chunks: Iterable[bytes]) -> Any:
        """Send a stream and return the verb's reply."""

    def close(self) -> None:
        """End everything that is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Files: the authority, and the manager's own certificate and key."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(slots=True, kw_only=True)
class _Transfer:
    """One call on its way."""

    curl: Any
    body: BytesIO = field(default_factory=BytesIO)
    future: "Future[tuple[int, bytes]]" = field(default_factory=Future)

    def take(self, piece: bytes) -> int:
        """Keep a piece of the answer; -1 ends the transfer: an agent must not fill the manager's memory."""
        if self.body.tell() + len(piece) > MOST_ANSWER_BYTES:
            return -1
        return self.body.write(piece)


class CurlAgents:
    """Agents over HTTPS.  Connections are kept and used again."""

    def __init__(self, credentials: Credentials, port: int = protocol.AGENT_PORT) -> None:
        self._credentials = credentials
        self._port = port
        self._io = _CurlThread()

    def call(self, host: str, verb: str, request: object) -> Any:
        """See ``Agents``."""
        known = protocol.BY_NAME[verb]
        transfer = self._start(host, known, request, known.timeout_s)
        status, body = _result(transfer, host, known.timeout_s + CONNECT_TIMEOUT_S)
        return _reply(known, status, body, host)

    def facts(self, hosts: Mapping[int, str]) -> Mapping[int, AgentFacts]:
        """See ``Agents``."""
        verb = protocol.BY_NAME["facts"]
        transfers = {node: self._start(host, verb, protocol.Empty(), FACTS_TIMEOUT_S) for node, host in hosts.items()}
        found: dict[int, AgentFacts] = {}
        for node, transfer in transfers.items():
            try:
                status, body = _result(transfer, hosts[node], FACTS_TIMEOUT_S + CONNECT_TIMEOUT_S)
                found[node] = _reply(verb, status, body, hosts[node])
            except Error as exc:
                log.debug("node %s: %s", node, exc.says)
        return found

    def download(self, host: str, verb: str, request: object) -> Iterator[bytes]:
        """See ``Agents``."""
        known = protocol.BY_NAME[verb]
        with mtls.download(self._peer(host), known, request) as stream:
            yield from stream.chunks()

    def upload(self, host: str, verb: str, request: object, chunks: Iterable[bytes]) -> Any:
        """See ``Agents``."""
        known = protocol.BY_NAME[verb]
        return mtls.upload(self._peer(host), known, request, chunks)

    def close(self) -> None:
        """See ``Agents``."""
        self._io.close()

    def _peer(self, host: str) -> mtls.Endpoint:
        files = self._credentials
        return mtls.Endpoint(host=host, port=self._port, ca=files.ca, certificate=files.certificate, key=files.key)

    def _start(self, host: str, verb: Verb, request: object, timeout_s: float) -> _Transfer:
        assert verb.shape is Shape.CALL
        curl = pycurl.Curl()
        transfer = _Transfer(curl=curl)
        authority = f"[{host}]" if ":" in host else host
        curl.setopt(pycurl.URL, f"https://{authority}:{self._port}/v1/{quote(verb.name)}")
        curl.setopt(pycurl.POSTFIELDS, msgspec.json.encode(request))
        curl.setopt(pycurl.HTTPHEADER, ["Content-Type: application/json", "Expect:"])
        curl.setopt(pycurl.CAINFO, str(self._credentials.ca))
        curl.setopt(pycurl.SSLCERT, str(self._credentials.certificate))
        curl.setopt(pycurl.SSLKEY, str(self._credentials.key))
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(CONNECT_TIMEOUT_S * 1000))
        curl.setopt(pycurl.TIMEOUT_MS, int(timeout_s * 1000))
        curl.setopt(pycurl.NOPROXY, "*")
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.WRITEFUNCTION, transfer.take)
        self._io.submit(transfer)
        return transfer


def _result(transfer: _Transfer, host: str, timeout_s: float) -> tuple[int, bytes]:
    try:
        return transfer.future.result(timeout_s)
    except (pycurl.error, FutureTimeout) as exc:
        text = exc.args[1] if len(exc.args) > 1 else "no answer in time"
        raise AgentError(f"The agent at {host} does not answer: {text}.", host=host) from exc


def _reply(verb: Verb, status: int, body: bytes, host: str) -> Any:
    try:
        if status == 200:
            return msgspec.json.decode(body, type=verb.reply)
        wrong = msgspec.json.decode(body, type=mtls.WireError)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise AgentError(f"The agent at {host} answers in another language: {exc}.", host=host) from exc
    raise errors.from_wire(wrong.code, wrong.says, wrong.details)


class _CurlThread:
    """Owns the CurlMulti: epoll for sockets, a socket pair to be woken by, and a queue of new transfers."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, 10000)
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._timer_s: float | None = None
        self._new: queue.SimpleQueue[_Transfer | None] = queue.SimpleQueue()
        self._running: dict[Any, _Transfer] = {}
        self._submitting = threading.Lock()  # nothing is put into the queue after its last reader has gone
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="agents", daemon=True)
        self._thread.start()

    def submit(self, transfer: _Transfer) -> None:
        """Start a transfer; its future gets (status, body) or pycurl.error."""
        with self._submitting:
            if self._closed:
                raise Unavailable("The manager does not talk to agents any more: it stops, or its log tells why.")
            self._new.put(transfer)
        self._wake()

    def close(self) -> None:
        """Give up what is under way and end the thread."""
        with self._submitting:
            self._closed = True
            self._new.put(None)
        self._wake()
        self._thread.join(5)
        for end in (self._wake_in, self._wake_out):
            end.close()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # full: the thread has been told often enough
            self._wake_out.send(b".")

    def _watch(self, what: int, descriptor: int, _multi: Any, _data: Any) -> None:
        """Register what libcurl wants to know about a socket."""
        known = descriptor in self._selector.get_map()
        if what == pycurl.POLL_REMOVE:
            if known:
                self._selector.unregister(descriptor)
            return
        mask = (selectors.EVENT_READ if what & pycurl.POLL_IN else 0) | (
            selectors.EVENT_WRITE if what & pycurl.POLL_OUT else 0
        )
        if known:
            self._selector.modify(descriptor, mask)
        else:
            self._selector.register(descriptor, mask)

    def _set_timer(self, milliseconds: int) -> None:
        self._timer_s = None if milliseconds < 0 else milliseconds / 1000

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as exc:
            log.critical("no agent can be asked any more; start the manager again", exc_info=exc)
        finally:
            self._end()

    def _end(self) -> None:
        """Tell everybody who waits, and everybody who comes later."""
        with self._submitting:
            self._closed = True
        waiting = list(self._running.values())
        with suppress(queue.Empty):
            while True:
                if transfer := self._new.get_nowait():
                    waiting.append(transfer)
        for transfer in waiting:
            transfer.future.set_exception(pycurl.error(0, "the manager has stopped asking"))
        with suppress(pycurl.error):
            for curl in self._running:
                self._multi.remove_handle(curl)
            self._multi.close()
        self._selector.close()

    def _serve(self) -> None:
        while True:
            ready = self._selector.select(self._timer_s)
            if not ready:
                self._timer_s = None
                self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            for key, mask in ready:
                if key.fileobj is self._wake_in:
                    self._wake_in.recv(4096)
                else:
                    self._multi.socket_action(key.fd, _curl_mask(mask))
            if not self._take_new():
                return
            self._finish()

    def _take_new(self) -> bool:
        while True:
            try:
                transfer = self._new.get_nowait()
            except queue.Empty:
                return True
            if transfer is None:
                return False
            self._running[transfer.curl] = transfer
            self._multi.add_handle(transfer.curl)
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _finish(self) -> None:
        while True:
            left, good, bad = self._multi.info_read()
            for curl in good:
                transfer = self._done(curl)
                transfer.future.set_result((curl.getinfo(pycurl.RESPONSE_CODE), transfer.body.getvalue()))
                curl.close()
            for curl, number, text in bad:
                self._done(curl).future.set_exception(pycurl.error(number, text))
                curl.close()
            if not left:
                return

    def _done(self, curl: Any) -> _Transfer:
        self._multi.remove_handle(curl)
        return self._running.pop(curl)


def _curl_mask(mask: int) -> int:
    return (pycurl.CSELECT_IN if mask & selectors.EVENT_READ else 0) | (
        pycurl.CSELECT_OUT if mask & selectors.EVENT_WRITE else 0
    )
