"""Calls to OpenNebula; the only user of pyone.

pyone lends the names of methods, the session and the casts of parameters.  The transport and the
reading of answers are ours: pyone's own has no timeouts, obeys the environment's proxies, drops
the code of an error, and takes half a second to bind a pool of 1,000 VMs to objects.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pyone  # type: ignore[import-untyped]

from conpaassql.errors import ConfigError, IaasBusy, IaasDenied, IaasError, IaasRefused
from conpaassql.iaas.opennebula import elements, faults
from conpaassql.iaas.opennebula.config import Config

CONNECTIONS = 4  # the core serves 15 at a time, everybody's
MAX_ANSWER_BYTES = 256 * 1024 * 1024
_CONNECT_TIMEOUT_S = 10.0
_TRIES = 3
_PAUSE_S = 0.1
_HEADERS = {"Content-Type": "text/xml", "User-Agent": "conpaassql", "Connection": "close"}

# In pyone 7 a factory stands where the class was, which also knows gRPC.
_PyoneServer: Any = pyone.server_xrpc.OneServerXRPC if hasattr(pyone, "server_xrpc") else pyone.OneServer


class Rpc:
    """One OpenNebula and one login.  Safe to use from several threads."""

    def __init__(self, config: Config, *, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        """Connect nothing yet.  ``max_bytes`` bounds an answer.

        Raises:
            ConfigError: the file of trusted authorities cannot be used.
        """
        self._config = config
        self._server = _Server(config.url, config.session)
        self._server._ServerProxy__transport = _Transport(config, max_bytes)

    def read(self, method: str, *params: object) -> str:
        """Call a method that changes nothing and return its text; where the answer is lost, ask again.

        Raises:
            Error: see ``faults``, or the end point cannot be reached or does not answer in time.
        """
        began_s = time.monotonic()
        for attempt in range(1, _TRIES):
            try:
                return str(self._call(method, params))
            except IaasError as exc:
                if not exc.details.get("lost") or time.monotonic() - began_s > self._config.timeout_s / 2:
                    raise
            time.sleep(_PAUSE_S * attempt)  # grants the other side a moment; there is nothing to wait for
        return str(self._call(method, params))

    def change(self, method: str, *params: object) -> Any:
        """Call a method once and return its value.

        Raises:
            Error: as ``read``.  With ``details["lost"]`` nobody knows whether it has happened.
        """
        return self._call(method, params)

    def _call(self, method: str, params: tuple[object, ...]) -> Any:
        name = f"one.{method}"
        try:
            succeeded, value, *rest = self._server.ask(name, params)
        except _Fault as exc:
            refusal = faults.Refusal(method=name, code=exc.code, text=exc.text)
            raise faults.error(refusal, self._config.secret) from exc
        except (ValueError, OverflowError) as exc:
            raise IaasRefused(f"{name}: the answer or a parameter cannot be read: {type(exc).__name__}.") from exc
        if succeeded:
            return value
        code, about = (*rest, 0, -1)[:2] if rest else (0, -1)
        refusal = faults.Refusal(method=name, code=code, text=str(value), object=about)
        raise faults.error(refusal, self._config.secret)


class _Fault(Exception):
    """An XML-RPC fault, which never leaves this module."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class _Server(_PyoneServer):  # type: ignore[misc]
    """pyone's server without its reading of answers."""

    def ask(self, method: str, params: tuple[object, ...]) -> list[Any]:
        """Return the array that is the answer."""
        answer = xmlrpc.client.ServerProxy._ServerProxy__request(  # type: ignore[attr-defined]
            self, method, self._cast_parms(params)
        )
        if not isinstance(answer, list) or len(answer) < 2:
            raise ValueError
        return answer


class _Transport(xmlrpc.client.Transport):
    """HTTP with deadlines, a bound on answers, few connections, and nothing taken from the environment."""

    def __init__(self, config: Config, max_bytes: int) -> None:
        super().__init__()
        self._url = config.url
        self._timeout_s = config.timeout_s
        self._max_bytes = max_bytes
        self._tls = _tls(config)
        self._places = threading.BoundedSemaphore(CONNECTIONS)

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Exchange one body for the values in the answer."""
        with self._place():
            return (_unmarshalled(self._exchange(request_body)),)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(timeout=self._timeout_s):
            raise IaasBusy(f"{self._url}: {CONNECTIONS} calls have been waiting for answers; try again later.")
        try:
            yield
        finally:
            self._places.release()

    def _exchange(self, body: Any) -> bytes:
        ends_at_s = time.monotonic() + self._timeout_s
        try:
            # The core closes every connection after its answer, so there is none to keep.
            with contextlib.closing(self._new_connection()) as connection:
                connection.connect()
                with self._cut_at(ends_at_s, connection.sock):
                    connection.request("POST", urlsplit(self._url).path, body, _HEADERS)
                    response = connection.getresponse()
                    self._check(response.status)
                    answer = response.read(self._max_bytes + 1)
        except ssl.SSLCertVerificationError as exc:
            says = f"{self._url}: its certificate is not trusted ({exc.verify_message}); see OPENNEBULA_CA_FILE."
            raise IaasRefused(says) from exc
        except (OSError, http.client.HTTPException) as exc:
            if isinstance(exc, TimeoutError) or time.monotonic() >= ends_at_s:
                raise self._too_slow() from exc
            says = f"{self._url} cannot be reached or broke off ({type(exc).__name__}); look at OPENNEBULA_URL."
            raise IaasError(says, lost=True) from exc
        if time.monotonic() >= ends_at_s:
            raise self._too_slow()  # it was cut, and nothing has said how long it was to be
        if len(answer) > self._max_bytes:
            raise IaasError(f"{self._url}: an answer is larger than {self._max_bytes} bytes.")
        return answer

    def _new_connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._url)
        timeout_s = min(_CONNECT_TIMEOUT_S, self._timeout_s)
        if self._tls is None:
            return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout_s)
        return http.client.HTTPSConnection(str(parts.hostname), parts.port, timeout=timeout_s, context=self._tls)

    @contextlib.contextmanager
    def _cut_at(self, ends_at_s: float, open_socket: socket.socket) -> Iterator[None]:
        """Cut the connection at a moment: a socket's own timeout begins anew with each byte that drips in."""
        left_s = max(0.001, ends_at_s - time.monotonic())
        open_socket.settimeout(left_s)
        timer = threading.Timer(left_s, _shut, (open_socket,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _check(self, status: int) -> None:
        if status == 200:
            return
        if status >= 500:
            raise IaasError(f"{self._url} answers HTTP {status}; is OpenNebula running behind it?", lost=True)
        if status in (401, 403):
            raise IaasDenied(f"{self._url} answers HTTP {status}; a proxy before OpenNebula lets nobody through.")
        raise IaasRefused(f"{self._url} answers HTTP {status}, as OpenNebula does not; look at OPENNEBULA_URL.")

    def _too_slow(self) -> IaasError:
        says = f"{self._url} did not answer within {self._timeout_s:g} s (OPENNEBULA_TIMEOUT_S); is it busy?"
        return IaasError(says, lost=True)


def _tls(config: Config) -> ssl.SSLContext | None:
    if not config.url.startswith("https:"):
        return None
    try:
        return ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
    except OSError as exc:
        says = f"[iaas] OPENNEBULA_CA_FILE = {config.ca_file}: it holds no certificates in PEM."
        raise ConfigError(says, section="iaas", key="OPENNEBULA_CA_FILE") from exc


def _shut(open_socket: socket.socket) -> None:
    # Past TLS, whose own shutdown would take the reader's state away under it.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(open_socket, socket.SHUT_RDWR)


def _unmarshalled(body: bytes) -> list[Any]:
    """Return the array in an answer.

    Raises:
        _Fault: the answer is a fault.
        IaasError: this is no XML, or no answer of XML-RPC.
    """
    root = elements.parse(body)
    if (fault := root.find("fault/value/struct")) is not None:
        values = {member.findtext("name", ""): _value(member.find("value")) for member in fault.findall("member")}
        raise _Fault(int(values.get("faultCode", 0)), str(values.get("faultString", "")))
    data = root.find("params/param/value/array/data")
    if data is None:
        raise IaasRefused("The answer is not of XML-RPC; does OPENNEBULA_URL lead to OpenNebula?")
    return [_value(value) for value in data.findall("value")]


_TYPES: dict[str, Callable[[str], Any]] = {
    "string": str,
    "i4": int,
    "i8": int,
    "int": int,
    "boolean": lambda text: text.strip() == "1",
    "double": float,
}


def _value(element: elements.Element | None) -> Any:
    """Return what a ``value`` holds; a type that OpenNebula does not use raises ValueError."""
    if element is None:
        raise ValueError
    if len(element) == 0:
        return element.text or ""
    if element[0].tag not in _TYPES:
        raise ValueError(element[0].tag)
    return _TYPES[element[0].tag](element[0].text or "")
