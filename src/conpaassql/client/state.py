"""What a client needs to know of a manager, found on this machine: address, token and authority."""

import ipaddress
import os
import socket
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conpaassql.errors import ConfigError, Unauthorized

SYSTEM = Path("/var/lib/conpaassql")  # the state directory of a manager that root runs
ANY = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where a manager is and what opens it.  ``ca`` None: the machine's own authorities decide."""

    url: str
    token: str = field(repr=False)
    ca: Path | None = None
    loopback: bool = False


def door(host: str, port: int, environ: Mapping[str, str] = os.environ) -> Door:
    """Return how to reach the manager at ``host``.

    Raises:
        ConfigError: a file that the environment names cannot be read.
        Unauthorized: no token was found.
    """
    loopback = is_loopback(host)
    url = environ.get("CONPAASSQL_URL") or f"{_scheme(host, port)}://{_bracketed(host)}:{port}/"
    folders = tuple(_folders(host, port, url))
    token = _token(folders, environ)
    if not token.isascii() or not token.isprintable():
        raise ConfigError("The token holds characters that no token has; is CONPAASSQL_TOKEN_FILE the right file?")
    return Door(url=url, token=token, ca=_authority(folders, environ), loopback=loopback)


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine and no other."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def announced() -> Path:
    """Return the directory where managers of this user leave a link to their state."""
    return Path.home() / ".conpaassql"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _scheme(host: str, port: int) -> str:
    """Return how the manager is spoken to: as it says itself where it is known, else by the kind of address.

    Only a manager that listens on this very address may say http: by the word of another, a token
    would go out in clear to a stranger.
    """
    for name in dict.fromkeys((host, *_addresses(host))):
        if found := _said(announced() / f"{name}_{port}", port):
            return found
    others = (*(announced() / f"{name}_{port}" for name in ANY), SYSTEM)
    if any(_said(folder, port) == "https" for folder in others):
        return "https"
    return "http" if is_loopback(host) else "https"


def _said(folder: Path, port: int) -> str:
    """Return the scheme of the address that a manager left in its state directory; empty: none for this port."""
    try:
        said = urllib.parse.urlsplit((folder / "url").read_text(encoding="ascii").strip())
        return said.scheme if said.scheme in ("http", "https") and said.port == port else ""
    except (OSError, ValueError):  # absent, not for our eyes, or no address
        return ""


def _folders(host: str, port: int, url: str) -> Iterator[Path]:
    """Yield state directories that may belong to the manager, the likeliest first.

    What may belong to another manager is only tried over TLS, where a stranger cannot pose as the
    one whose authority we know, or on this machine.
    """
    names = dict.fromkeys((host, *_addresses(host)))
    if url.startswith("https:"):
        names |= dict.fromkeys(ANY)
    yield from (announced() / f"{name}_{port}" for name in names)
    if url.startswith("https:") or is_loopback(host):
        yield SYSTEM


def _addresses(host: str) -> Iterator[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # the call itself will say that there is no such host
        return
    yield from (str(address[4][0]) for address in found)


def _token(folders: tuple[Path, ...], environ: Mapping[str, str]) -> str:
    if token := environ.get("CONPAASSQL_TOKEN", "").strip():
        return token
    named = environ.get("CONPAASSQL_TOKEN_FILE", "")
    try:
        for file in [Path(named)] if named else [folder / "admin.token" for folder in folders]:
            if named or _is_file(file):
                return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as exc:
        raise ConfigError(f"The token cannot be read: {exc}. Name a readable file by CONPAASSQL_TOKEN_FILE.") from exc
    raise Unauthorized(
        "No token was found; put its file (admin.token of the manager's state directory) into CONPAASSQL_TOKEN_FILE, "
        "or the token into CONPAASSQL_TOKEN."
    )


def _authority(folders: tuple[Path, ...], environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("CONPAASSQL_CA"):
        if not _is_file(Path(named)):
            raise ConfigError(f"CONPAASSQL_CA names {named}, which is no file that can be read.")
        return Path(named)
    return next((folder / "ca.pem" for folder in folders if _is_file(folder / "ca.pem")), None)


def _is_file(path: Path) -> bool:
    """Whether the file can be seen; what we may not look at is not ours."""
    try:
        return path.is_file()
    except PermissionError:
        return False
