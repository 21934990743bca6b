"""HTTP as xmlrpc-c's Abyss serves it: one call per connection, only POST, only /RPC2."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from onesim import errors, methods, wire
from onesim.core import Core
from onesim.faults import FaultError

TICK_S = 0.02
_LOOPBACK = "127."
_SIGNED = (
    '<p><HR><b><i><a href="http://xmlrpc-c.sourceforge.net">ABYSS Web Server for XML-RPC For C/C++</a></i></b> '
    "version 1.33.14<br></p>"
)
_WRONG_PATH = (
    "This XML-RPC For C/C++ Abyss XML-RPC server responds to only one URI path.  I don't know what URI path that is, "
    "but it's not the one you requested: '{}'.  (Typically, it's '/RPC2')"
)
_WRONG_METHOD = "POST is the only HTTP method this server understands"
_EMPTY = "According to your content-length HTTP header, your request is empty (zero length)"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 15  # as the core: a connection that sends nothing is closed

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        path = urlsplit(self.path).path
        if path == "/control":
            self._control(body)
        elif path != "/RPC2":
            self._page(404, _WRONG_PATH.format(self.path))
        elif not body:
            self._page(400, _EMPTY)
        else:
            self._call(body)

    def do_GET(self) -> None:
        if self.path == "/control":
            self._control(b"{}")
        elif self.path == "/RPC2":
            self._page(405, _WRONG_METHOD)
        else:
            self._page(404, _WRONG_PATH.format(self.path))

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._page(405, _WRONG_METHOD)

    def do_OPTIONS(self) -> None:
        self._send(200, b"", {"Allow": "POST"})

    def _call(self, body: bytes) -> None:
        core = self.server.core
        method, text = answered(core, body)
        time.sleep(core.faults.delay_s(method))
        if core.faults.loses_reply(method):
            self.close_connection = True
            return
        self._send(200, text.encode(), {"Content-type": "text/xml; charset=utf-8"})

    def _control(self, body: bytes) -> None:
        """Look at or change the injected faults; only from this machine."""
        if not str(self.client_address[0]).startswith(_LOOPBACK):
            self._page(404, _WRONG_PATH.format(self.path))
            return
        try:
            shown = self.server.core.faults.change(json.loads(body or b"{}"))
        except (ValueError, FaultError, AttributeError) as exc:
            self._send(400, str(exc).encode(), {"Content-type": "text/plain; charset=utf-8"})
            return
        self._send(200, json.dumps(shown).encode(), {"Content-type": "application/json"})

    def _page(self, status: int, said: str) -> None:
        page = f"<HTML><HEAD><TITLE>Error {status}</TITLE></HEAD><BODY><H1>Error {status}</H1><P>{said}</P>{_SIGNED}"
        self._send(status, f"{page}</BODY></HTML>".encode(), {"Content-type": "text/html"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        fixed = {"Content-length": str(len(body)), "Connection": "close", "Date": formatdate(usegmt=True)}
        for name, value in {**headers, **fixed, "Server": "Xmlrpc-c_Abyss/1.33.14"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: requests hold passwords."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], core: Core) -> None:
        self.core = core
        self.ending = threading.Event()
        self._room = threading.Semaphore(core.config.max_connections)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection once there is room; further ones wait unaccepted, as with the real core."""
        while not self._room.acquire(timeout=0.05):
            if self.ending.is_set():
                self.shutdown_request(request)
                return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Complain of mistakes of our own, not of a client that goes away in the middle."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def answered(core: Core, body: bytes) -> tuple[str, str]:
    """Return the method's name and the answer to a request's body."""
    name = ""
    try:
        call = wire.read(body)
        name = call.method
        return name, wire.answer(methods.called(core, call))
    except errors.Fault as exc:
        return name, wire.fault(exc)


@contextmanager
def serve(core: Core, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve a core, and let its time go on; yields the URL.  Port 0: one that is free."""
    stop = threading.Event()
    with _Server((host, port), core) as server:
        threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="onesim-http"),
            threading.Thread(target=_tick, args=(core, stop), name="onesim-ticker"),
        ]
        for thread in threads:
            thread.start()
        try:
            yield f"http://{host}:{server.server_address[1]}/RPC2"
        finally:
            server.ending.set()
            server.shutdown()
            stop.set()
            for thread in threads:
                thread.join()


def _tick(core: Core, stop: threading.Event) -> None:
    while not stop.wait(TICK_S):
        core.tick()
