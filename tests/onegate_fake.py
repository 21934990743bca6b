"""A pretended OneGate that knows one VM and behaves as the real one of 7.4.0."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.76.0.9"
TOKEN = "dG9rZW4="


@dataclass
class Pretended:
    """What OneGate knows of VM 42, and how often it fails before it works."""

    url: str = ""
    ready: str = ""
    failures: int = 0
    calls: list[str] = field(default_factory=list)
    said: threading.Event = field(default_factory=threading.Event)


@contextmanager
def pretending() -> Iterator[Pretended]:
    found = Pretended()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found.calls.append(f"{self.path} {body}")
            self.answer(body)
            found.said.set()

        def answer(self, body: str) -> None:
            if found.failures:
                found.failures -= 1
                return self.end(500, b"Internal server error")
            login = (self.headers["X-ONEGATE-TOKEN"], self.headers["X-ONEGATE-VMID"])
            if login != (TOKEN, "42") or self.path != "/vm":
                return self.end(401, b"Not authorized")
            found.ready = dict([body.split("=")])["READY"]
            return self.end(200, b"")

        def end(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    found.url = f"http://{HOST}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
