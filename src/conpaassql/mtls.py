"""Streams to and from an agent: HTTPS with certificates on both sides.

The standard library's client, since it reads straight into a buffer of ours: a clone moves
gigabytes through here.
"""

import http.client
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from conpaassql import errors
from conpaassql.errors import AgentError
from conpaassql.protocol import Verb

CONNECT_TIMEOUT_S = 5.0
_MAX_ERROR_BYTES = 1 << 16
_MAX_LINE_BYTES = 1 << 24
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An agent, and the files by which both sides know each other.  Its certificate must carry ``host``."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WireError:
    """An error as an agent sends it."""

    code: str
    says: str
    details: dict[str, Any] = field(default_factory=dict)  # Detail; msgspec reads no union of two lists


class Download:
    """The bytes of one answer, as they come.  All methods raise AgentError for a stream that breaks off."""

    def __init__(self, endpoint: Endpoint, response: http.client.HTTPResponse, wire: socket.socket) -> None:
        self._endpoint = endpoint
        self._response = response
        self._wire = wire

    @property
    def total_bytes(self) -> int:
        """The size that the sender expects, 0 if it does not say."""
        said = self._response.getheader("X-Total-Bytes") or "0"
        return int(said) if said.isdigit() else 0

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer``, as far as there is something; 0 at the proper end."""
        with _translated(self._endpoint):
            return self._response.readinto(buffer)

    def chunks(self) -> Iterator[bytes]:
        """Yield what comes, in pieces."""
        while True:
            with _translated(self._endpoint):
                piece = self._response.read1(_CHUNK_BYTES)
            if not piece:
                return
            yield piece

    def lines(self) -> Iterator[bytes]:
        """Yield line after line, without its end."""
        while True:
            with _translated(self._endpoint):
                line = self._response.readline(_MAX_LINE_BYTES)
            if not line:
                return
            yield line.rstrip(b"\n")

    def wait_up_to(self, timeout_s: float) -> None:
        """Change how long no byte may come."""
        self._wire.settimeout(timeout_s)

    def cut(self) -> None:
        """End a read that waits in another thread."""
        with suppress(OSError):  # closed already
            # SSLSocket.shutdown would pull the TLS state from under the reader.
            socket.socket.shutdown(self._wire, socket.SHUT_RDWR)


@contextmanager
def download(endpoint: Endpoint, verb: Verb, request: object) -> Iterator[Download]:
    """Ask for a stream; the verb's ``timeout_s`` is how long no byte may come.

    Raises:
        Error: what the agent raised, rebuilt; AgentError when it does not answer or is somebody else.
    """
    with _connected(endpoint, verb.timeout_s) as connection:
        with _translated(endpoint):
            connection.request("GET", _path(verb, request), headers={"Connection": "close"})
            wire = connection.sock
            response = connection.getresponse()
        try:
            _check(endpoint, response)
            yield Download(endpoint, response, wire)
        finally:
            response.close()
            wire.close()


def upload(endpoint: Endpoint, verb: Verb, request: object, chunks: Iterable[bytes]) -> Any:
    """Send a stream and return the verb's reply.

    When the agent refuses in the middle it stops reading; what it said is then told rather than
    the broken pipe that follows.

    Raises:
        Error: what the agent raised, rebuilt; AgentError when it does not answer; whatever ``chunks`` raises.
    """
    with _connected(endpoint, verb.timeout_s) as connection:
        headers = {"Content-Type": "application/octet-stream", "Connection": "close", "Transfer-Encoding": "chunked"}
        with _translated(endpoint):
            connection.putrequest("POST", _path(verb, request))
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
        with suppress(BrokenPipeError, ConnectionResetError):
            _send(endpoint, connection, chunks)
        with _translated(endpoint):
            response = connection.getresponse()
        _check(endpoint, response)
        with _translated(endpoint):
            return msgspec.json.decode(response.read(_MAX_LINE_BYTES), type=verb.reply)


def _send(endpoint: Endpoint, connection: http.client.HTTPSConnection, chunks: Iterable[bytes]) -> None:
    for piece in chunks:
        try:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except OSError as exc:
            raise _broken(endpoint, exc) from exc
    connection.send(b"0\r\n\r\n")


@contextmanager
def _connected(endpoint: Endpoint, patience_s: float) -> Iterator[http.client.HTTPSConnection]:
    connection = http.client.HTTPSConnection(
        endpoint.host, endpoint.port, timeout=CONNECT_TIMEOUT_S, context=_context(endpoint)
    )
    try:
        with _translated(endpoint):
            connection.connect()
            connection.sock.settimeout(patience_s)
        yield connection
    finally:
        connection.close()


def _path(verb: Verb, request: object) -> str:
    return f"/v1/{quote(verb.name)}?request={quote(msgspec.json.encode(request).decode())}"


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(endpoint.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(endpoint.certificate, endpoint.key)
    except OSError as exc:
        raise AgentError(f"The certificate {endpoint.certificate} cannot be used: {exc}.") from exc
    return context


def _check(endpoint: Endpoint, response: http.client.HTTPResponse) -> None:
    if response.status == 200:
        return
    with _translated(endpoint):
        wrong = msgspec.json.decode(response.read(_MAX_ERROR_BYTES), type=WireError)
    raise errors.from_wire(wrong.code, wrong.says, wrong.details)


def _broken(endpoint: Endpoint, exc: Exception) -> AgentError:
    return AgentError(
        f"The agent at {endpoint.host}:{endpoint.port} broke off: {type(exc).__name__}: {exc}.", host=endpoint.host
    )


@contextmanager
def _translated(endpoint: Endpoint) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError, msgspec.MsgspecError) as exc:
        raise _broken(endpoint, exc) from exc
