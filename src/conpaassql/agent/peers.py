"""How one agent takes a stream from another: HTTPS with certificates on both sides.

The standard library's client, since it reads straight into a buffer of ours: a clone moves
gigabytes through here.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from conpaassql import protocol
from conpaassql.errors import AgentError
from conpaassql.protocol import Peer

CONNECT_TIMEOUT_S = 5.0
_MAX_ERROR_BYTES = 1 << 16
_MAX_LINE_BYTES = 1 << 20


class Download:
    """The bytes of one answer, as they come.  All methods raise AgentError for a stream that breaks off."""

    def __init__(self, peer: Peer, response: http.client.HTTPResponse, wire: socket.socket) -> None:
        self._peer = peer
        self._response = response
        self._wire = wire

    @property
    def total_bytes(self) -> int:
        """The size that the sender expects, 0 if it does not say."""
        said = self._response.getheader("X-Total-Bytes", "0")
        return int(said) if said.isdigit() else 0

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer``, as far as there is something; 0 at the proper end."""
        with _translated(self._peer):
            return self._response.readinto(buffer)

    def lines(self) -> Iterator[bytes]:
        """Yield line after line, without its end."""
        while True:
            with _translated(self._peer):
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
def download(tls: Path, peer: Peer, verb: str, patience_s: float = 0.0) -> Iterator[Download]:
    """Call a streaming verb without parameters on another agent.

    Args:
        tls: the folder with ``ca.pem``, ``node.pem`` and ``node.key``.
        peer: whose certificate must carry ``peer.host`` as an address.
        verb: its name.
        patience_s: how long no byte may come; 0: as the table of verbs says.

    Raises:
        AgentError: it does not answer, is not who it should be, or refuses.
    """
    context = _context(tls)
    connection = http.client.HTTPSConnection(peer.host, peer.agent_port, timeout=CONNECT_TIMEOUT_S, context=context)
    try:
        with _translated(peer):
            connection.connect()
            wire = connection.sock
            wire.settimeout(patience_s or protocol.BY_NAME[verb].timeout_s)
            connection.request("GET", f"/v1/{quote(verb)}", headers={"Connection": "close"})
            response = connection.getresponse()
        try:
            _check(peer, response)
            yield Download(peer, response, wire)
        finally:
            response.close()
            wire.close()
    finally:
        connection.close()


def _context(tls: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(tls / "node.pem", tls / "node.key")
    except OSError as exc:
        raise AgentError(f"This node's certificate in {tls} cannot be used: {exc}. Enrol the node again.") from exc
    return context


def _check(peer: Peer, response: http.client.HTTPResponse) -> None:
    if response.status == 200:
        return
    with _translated(peer):
        body = response.read(_MAX_ERROR_BYTES)
    try:
        says = str(json.loads(body)["says"])
    except (ValueError, KeyError, TypeError):
        says = response.reason
    raise AgentError(f"The agent at {peer.host} refused: {says}", node=peer.node, status=response.status)


@contextmanager
def _translated(peer: Peer) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise AgentError(
            f"The agent at {peer.host}:{peer.agent_port} broke off: {type(exc).__name__}: {exc}.", node=peer.node
        ) from exc
