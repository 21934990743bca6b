"""A manager that answers clients as a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.43.0.1"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the pretended manager answers.  ``promised`` more bytes than it sends: it breaks off."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came."""

    authorization: str
    content_type: str
    body: bytes

    @property
    def call(self) -> dict[str, Any]:
        """The JSON-RPC request."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True, slots=True)
class Pretended:
    """A manager that answers as a test says."""

    port: int
    seen: list[Seen]


def ok(result: Any, job: int | None = None) -> Reply:
    """Return an answer."""
    body = json.dumps({"result": result, "error": None, "id": 1}).encode()
    return Reply(body, headers={"Conpaassql-Job": str(job)} if job else {})


def refusal(code: str, status: int = 200) -> Reply:
    """Return a refusal."""
    body: dict[str, Any] = {"result": None, "error": "It is so.", "id": 1, "code": code, "retry": False, "details": {}}
    return Reply(json.dumps(body).encode(), status)


@contextmanager
def pretended(answer: Callable[[Seen], Reply]) -> Iterator[Pretended]:
    """Run a manager that answers by ``answer``."""
    seen: list[Seen] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = self.headers
            seen.append(Seen(headers.get("Authorization", ""), headers.get("Content-Type", ""), self._body()))
            reply = answer(seen[-1])
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.promised))
            self.end_headers()
            self.wfile.write(reply.body)
            self.close_connection = bool(reply.promised)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers["Content-Length"]))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Pretended(server.server_address[1], seen)
        finally:
            server.shutdown()
            thread.join()
