"""An XML-RPC end point that answers what a test tells it, in the shapes that an OpenNebula core uses."""

import ssl
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

ADDRESS = "127.70.0.1"


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An error array."""

    code: int
    text: str
    object: int = -1


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An XML-RPC fault."""

    code: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Raw:
    """Any HTTP answer.  ``pause_s`` comes before it, ``drip_s`` between its bytes; ``cut``: no answer at all."""

    body: bytes = b""
    status: int = 200
    pause_s: float = 0
    drip_s: float = 0
    cut: bool = False
    headers: tuple[tuple[str, str], ...] = ()


Answer = str | int | Refused | Fault | Raw
Reply = Answer | list[Answer] | Callable[..., Answer]


@dataclass
class Script:
    """Answers by method without its prefix; of a list one after the other, the last for ever."""

    replies: dict[str, Reply] = field(default_factory=dict)
    calls: list[tuple[str, tuple[object, ...]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)

    def answer(self, method: str, params: tuple[object, ...]) -> Answer:
        with self.lock:
            self.calls.append((method, params[1:]))
            reply = self.replies.get(method, Fault(code=-506, text=f"Method 'one.{method}' not defined"))
            if isinstance(reply, list):
                reply = reply.pop(0) if len(reply) > 1 else reply[0]
        return reply(*params[1:]) if callable(reply) else reply

    def called(self, method: str) -> list[tuple[object, ...]]:
        return [params for name, params in self.calls if name == method]


@contextmanager
def scripted(*, tls: ssl.SSLContext | None = None, **replies: Reply) -> Iterator[Script]:
    """Serve a script.  Low lines in the names of methods stand for points."""
    script = Script({name.replace("_", "."): reply for name, reply in replies.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with script.lock:
                script.at_once += 1
                script.most_at_once = max(script.most_at_once, script.at_once)
            try:
                self._answer()
            except (BrokenPipeError, ConnectionResetError):
                pass  # the caller has gone
            finally:
                with script.lock:
                    script.at_once -= 1

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.headers.append(dict(self.headers))
            script.paths.append(self.path)
            params, method = xmlrpc.client.loads(body)
            raw = _raw(script.answer(str(method).removeprefix("one."), params))
            script.ended.wait(raw.pause_s)
            if raw.cut:
                return
            self.send_response(raw.status)
            for name, value in raw.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw.body)))
            self.end_headers()
            for part in [raw.body[i : i + 1] for i in range(len(raw.body))] if raw.drip_s else [raw.body]:
                self.wfile.write(part)
                self.wfile.flush()
                if script.ended.wait(raw.drip_s):
                    return

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((ADDRESS, 0), Handler)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]  # a refused handshake
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    script.url = f"{'https' if tls else 'http'}://{ADDRESS}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield script
    finally:
        script.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _raw(answer: Answer) -> Raw:
    match answer:
        case Raw():
            return answer
        case Fault():
            return Raw(body=xmlrpc.client.dumps(xmlrpc.client.Fault(answer.code, answer.text)).encode())
        case Refused():
            parts = ["<boolean>0</boolean>", f"<string>{escape(answer.text)}</string>", f"<i4>{answer.code}</i4>"]
            return _array([*parts, f"<i4>{answer.object}</i4>", "<i8>-1</i8>"])
        case int():
            return _array(["<boolean>1</boolean>", f"<i4>{answer}</i4>", "<i4>0</i4>"])
        case str():
            return _array(["<boolean>1</boolean>", f"<string>{escape(answer)}</string>", "<i4>0</i4>"])


def _array(values: list[str]) -> Raw:
    inner = "".join(f"<value>{value}</value>\n" for value in values)
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<methodResponse>\n<params>\n'
        f"<param><value><array><data>\n{inner}</data></array></value></param>\n</params>\n</methodResponse>\n"
    )
    return Raw(body=body.encode())


def until(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.005)
