"""HTTP plumbing that manager and agent share.

Errors become statuses here and nowhere else.  Uvicorn serves; mutual TLS is ours to add, since
uvicorn does not hand the peer's certificate to the application.
"""

import logging
import signal
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import h11
import msgspec
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from conpaassql.errors import Conflict, Error, Invalid, TooLarge

log = logging.getLogger(__name__)

Asked = TypeVar("Asked")
Made = TypeVar("Made")

_PEER = "conpaassql.peer"
_ABORT = "conpaassql.abort"
JSON_TYPE = "application/json; charset=utf-8"
BODY_PATIENCE_S = 60.0  # for the next piece of a streamed body, and for the whole of one that is read at once
SEND_PATIENCE_S = 60.0  # for a caller who takes nothing of an answer
MOST_CONNECTIONS = 2000  # more are told 503: a thousand agents and their users, and files enough for each


class HttpProtocol(H11Protocol):
    """Uvicorn's HTTP/1.1 that knows its peer, and refuses in JSON what is no HTTP, or has headers without end."""

    def send_400_response(self, msg: str) -> None:
        """Answer and hang up; what follows on the connection cannot be made out."""
        body = msgspec.json.encode(error_body(Invalid(f"{msg.rstrip('.')}; its headers are malformed or too large.")))
        length = str(len(body)).encode()
        headers = [(b"content-type", JSON_TYPE.encode()), (b"content-length", length), (b"connection", b"close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def connection_made(self, transport: Any) -> None:
        """Put the subject of the peer's certificate, and the way to hang up, into each request's scope."""
        super().connection_made(transport)
        inner: ASGIApp = self.app  # once per connection: the handshake is over
        subject = _subject(transport.get_extra_info("peercert") or {})

        async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
            scope[_PEER] = subject
            scope[_ABORT] = transport.abort
            await inner(scope, receive, send)

        self.app = with_peer


def _subject(certificate: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for part in certificate.get("subject", ()) for key, value in part}


def peer(request: Request) -> Mapping[str, str]:
    """Return the subject fields of the caller's checked certificate; empty without one."""
    found: Mapping[str, str] = request.scope.get(_PEER, {})
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files of a TLS server.  With ``client_ca`` only callers with its certificates get in."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return a server context: TLS 1.2 or newer."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.certificate, tls.key)
    if tls.client_ca:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket, so that a taken port is an error of ours and not a log line.

    Raises:
        Conflict: somebody listens there already, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sees TCP and sets TCP_NODELAY; without, each answer waits 40 ms for an ACK.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as exc:
        bound.close()
        raise Conflict(
            f"Cannot listen on {host}:{port} ({exc.strerror}); stop what uses it, or configure another port.",
            host=host,
            port=port,
        ) from exc
    bound.listen(2048)
    return bound


class HttpServer:
    """One uvicorn server on a socket of ours; ends in an orderly way on SIGTERM and SIGINT."""

    def __init__(self, app: ASGIApp, bound: socket.socket, tls: Tls | None, *, grace_s: float = 2.0) -> None:
        self._socket = bound
        config = uvicorn.Config(
            app,
            http=HttpProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=int(grace_s),
            ssl_context_factory=(lambda _config, _default: tls_context(tls)) if tls else None,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until ``stop`` or a signal; to be called in the main thread."""
        try:
            with _survived_signals():
                self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Ask ``run`` to return; from any thread."""
        self._server.should_exit = True


class Stream(StreamingResponse):
    """Sends what ``pieces`` yields, and closes it when the answer ends, however it ends.

    Starlette leaves the iterator of a caller who went away to the garbage collector, which may
    take its time, and a program that feeds the iterator would run on.  The first piece is fetched
    here, in the endpoint's thread, so that what goes wrong before it is still a proper answer.

    A caller who takes nothing for ``SEND_PATIENCE_S`` is hung up on: what feeds the iterator is dear.

    Raises:
        Error: what the first piece raised.
    """

    def __init__(
        self,
        pieces: Iterator[bytes],
        media_type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        first = next(pieces, b"")
        super().__init__(chain((first,), pieces), media_type=media_type, headers=headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then close the source; no thread is inside it any more by then."""
        stuck = False

        async def send_in_time(message: Message) -> None:
            nonlocal stuck
            with anyio.move_on_after(SEND_PATIENCE_S) as patience:
                await send(message)
            if patience.cancelled_caught:
                stuck = True
                raise ClientDisconnect

        try:
            await super().__call__(scope, receive, send_in_time)
        except ClientDisconnect:
            if not stuck:
                raise
            log.warning("a caller took nothing of a stream for %g s and was hung up on", SEND_PATIENCE_S)
            scope[_ABORT]()  # an orderly close would wait for the caller to take what is left
        finally:
            if isinstance(self._pieces, Generator):
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._pieces.close)


@contextmanager
def _survived_signals() -> Iterator[None]:
    """Keep uvicorn's last act harmless: it raises the signal that ended it once more.

    By then it has put back the handlers that it found; with Python's own, SIGTERM would end the
    process before its owner has closed anything.
    """
    if threading.current_thread() is not threading.main_thread():  # uvicorn does not listen to signals there
        yield
        return
    found = {number: signal.signal(number, lambda _number, _frame: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)


def stop_on_signals(stop: threading.Event) -> None:
    """Set ``stop`` on SIGTERM and SIGINT (for programs that serve nothing yet)."""

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)


def body_chunks(request: Request) -> Iterator[bytes]:
    """Yield the request's body as it comes, inside a worker thread, with back-pressure.

    Raises:
        Invalid: it broke off, or nothing more came for too long.
    """
    stream = request.stream()
    while True:
        try:
            chunk = anyio.from_thread.run(_next_chunk, stream, BODY_PATIENCE_S)
        except StopAsyncIteration:
            return
        if chunk:
            yield chunk


async def _next_chunk(stream: AsyncIterator[bytes], patience_s: float) -> bytes:
    try:
        with anyio.fail_after(patience_s):
            return await anext(stream)
    except TimeoutError as exc:
        raise Invalid(f"Nothing more of the body came for {patience_s:g} s; send it again.") from exc
    except ClientDisconnect as exc:
        raise Invalid("The body broke off before its end; send it again.") from exc


def check_size(size: int, limit: int) -> None:
    """Refuse a body over ``limit`` bytes.

    Raises:
        TooLarge: it is.
    """
    if size > limit:
        raise TooLarge(
            f"The body has more than {limit} bytes; send less, or raise max_body_mib in the configuration.",
            limit_bytes=limit,
        )


async def whole_body(request: Request, limit: int, within_s: float = BODY_PATIENCE_S) -> bytes:
    """Return the body, refused as soon as it passes ``limit`` bytes.  No thread waits for it.

    Raises:
        TooLarge: it did.
        Invalid: it broke off, or was not all there ``within_s`` from now.
    """
    declared = request.headers.get("content-length", "0")
    check_size(int(declared) if declared.isdigit() else 0, limit)
    body = bytearray()
    try:
        with anyio.fail_after(within_s):
            async for chunk in request.stream():
                body += chunk
                check_size(len(body), limit)
    except TimeoutError as exc:
        raise Invalid(f"The body was not all there within {within_s:g} s; send it again.") from exc
    except ClientDisconnect as exc:
        raise Invalid("The body broke off before its end; send it again.") from exc
    return bytes(body)


def error_body(error: Error) -> dict[str, Any]:
    """Return an error as it travels."""
    return {"code": error.code, "says": error.says, "retry": error.retry, "details": error.details}


def as_error(exc: Exception) -> Error:
    """Return an error of ours as it is; log anything else whole and say no more than that it happened."""
    if isinstance(exc, Error):
        return exc
    log.error("unexpected error", exc_info=exc)
    return Error("Something went wrong inside; the manager's or agent's log has the details.")


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``content`` as JSON with a charset, as the clients of 2012 expect."""
    return Response(msgspec.json.encode(content), status, media_type=JSON_TYPE, headers=dict(headers or {}))


def attempt(work: Callable[[], Made]) -> Made | Error:
    """Return what ``work`` makes, or the error that it raised: the one place where any exception is caught."""
    try:
        return work()
    except Exception as exc:
        return as_error(exc)


def guarded(endpoint: Callable[[Asked], Response]) -> Callable[[Asked], Response]:
    """Turn what ``endpoint`` raises into an answer."""

    def answer(asked: Asked) -> Response:
        found = attempt(lambda: endpoint(asked))
        return json_response(error_body(found), found.status) if isinstance(found, Error) else found

    return answer
