"""Which manager is meant, and the way in to it: by an address, the environment, or what runs on this machine."""

import os
import socket
import urllib.parse
from collections.abc import Mapping

from conpaassql.client import state
from conpaassql.client.state import Door
from conpaassql.errors import Invalid, Unauthorized, Unavailable

PORT = 50000
HOME = "127.0.0.1"
CONNECT_TIMEOUT_S = 5.0
_ANY = {"0.0.0.0": HOME, "::": "::1"}  # what listens everywhere is reached here


def manager(address: str, environ: Mapping[str, str] = os.environ) -> Door:
    """Return the way in to a manager.

    Args:
        address: ``http(s)://...`` or ``HOST[:PORT]``; empty: CONPAASSQL_URL, else the one manager of
            this user that runs on this machine, else the one at 127.0.0.1:50000.
        environ: as for ``state.door``.

    Raises:
        Invalid: the address is none, or several managers run here and none is named.
        ConfigError, Unauthorized: as ``state.door``.
        Unavailable: nobody is there.
    """
    named = address or environ.get("CONPAASSQL_URL", "")
    if "://" in named:
        host, port = _of_url(named)
        return reached(host, port, {**environ, "CONPAASSQL_URL": named})
    host, port = _split(named) if named else _running()
    return reached(host, port, {name: value for name, value in environ.items() if name != "CONPAASSQL_URL"})


def reached(host: str, port: int, environ: Mapping[str, str] = os.environ) -> Door:
    """Find the way in; without a token say first whether there is anybody to talk to.

    Raises:
        ConfigError, Unauthorized: as ``state.door``.
        Unavailable: nobody is there.
    """
    try:
        return state.door(host, port, environ)
    except Unauthorized:
        try:
            socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as exc:
            raise Unavailable(f"There is no manager at {host}:{port} ({exc.strerror or exc}); start it first.") from exc
        raise


def _of_url(url: str) -> tuple[str, int]:
    try:
        parts = urllib.parse.urlsplit(url)
        host, port, usual = parts.hostname, parts.port, {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError as exc:
        raise _no_address() from exc
    if parts.username is not None:
        raise Invalid("The manager's address holds a login; put the token into CONPAASSQL_TOKEN_FILE instead.")
    if not host or not usual:
        raise _no_address()
    return host, port or usual


def _split(text: str) -> tuple[str, int]:
    """Part ``HOST[:PORT]``; an IPv6 address with a port stands in brackets."""
    if text.count(":") > 1 and not text.startswith("["):
        return text, PORT
    host, port = _of_url(f"http://{text}" if _has_port(text) else f"http://{text}:{PORT}")
    return host, port


def _has_port(text: str) -> bool:
    return ":" in text.rpartition("]")[2]


def _no_address() -> Invalid:
    return Invalid("That is no address of a manager; write https://HOST:PORT, http://HOST:PORT or HOST:PORT.")


def _running() -> tuple[str, int]:
    """Return the address of the one manager that has announced itself to this user.

    Raises:
        Invalid: there are several.
    """
    found = sorted(link.name for link in state.announced().glob("*_*") if os.access(link / "admin.token", os.R_OK))
    if len(found) > 1:
        listed = ", ".join(":".join(map(str, _announced(name))) for name in found)
        raise Invalid(f"Several managers run here; say which by --manager: {listed}.")
    return _announced(found[0]) if found else (HOME, PORT)


def _announced(name: str) -> tuple[str, int]:
    host, _, port = name.rpartition("_")
    return _ANY.get(host, host), int(port) if port.isdigit() else PORT
