"""Who may ask: HTTP Basic (the token as password) or Bearer, compared in constant time."""

import base64
import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from conpaassql import pki
from conpaassql.errors import Forbidden, Unauthorized


@dataclass(frozen=True, slots=True)
class Guard:
    """``token_hash`` is the SHA-256 of the admin token; None lets everybody in, on loopback only."""

    token_hash: bytes | None

    def check(self, request: Request) -> None:
        """Let the request pass.

        Raises:
            Unauthorized: no login, or a wrong one.
            Forbidden: a browser sends this for a foreign page; or nobody needs to log in here, but the
                request was meant for another host (a browser that was led to us by a foreign name).
        """
        _check_origin(request)
        if self.token_hash is None:
            if not _is_local(request.headers.get("host", "")):
                raise Forbidden("Without logins this manager answers only to loopback names; use 127.0.0.1.")
            return
        logins = request.headers.getlist("authorization")
        # Two logins: whoever stands before us may have checked the other one.
        token = _token(logins[0]) if len(logins) == 1 else ""
        given = hashlib.sha256(token.encode()).digest()
        if not hmac.compare_digest(given, self.token_hash):
            raise Unauthorized(
                "Log in with HTTP Basic (any name, the admin token as password) or as Bearer; "
                "the token is in the file admin.token of the manager's state directory."
            )


def open_token(folder: Path) -> str:
    """Return the admin token, made at the first start in ``admin.token`` with mode 0600."""
    file = folder / "admin.token"
    if not file.exists():
        pki.write_private(file, f"{secrets.token_urlsafe(32)}\n".encode())
    return file.read_text(encoding="ascii").strip()


def _token(header: str) -> str:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest, validate=True).decode().partition(":")[2]
    except ValueError:  # not base64, not ASCII, not UTF-8
        return ""


def _check_origin(request: Request) -> None:
    """Refuse what a foreign page makes a browser send: forms need no leave to be sent anywhere, logins included."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
        raise Forbidden("A page of another place sent this; call the manager from its own pages or from programs.")


def _is_local(host: str) -> bool:
    name = host.rsplit(":", 1)[0].strip("[]") if not host.endswith("]") else host.strip("[]")
    if host == "" or name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
