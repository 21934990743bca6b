"""Who may ask: HTTP Basic (the token as password) or Bearer, compared in constant time."""

import base64
import binascii
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
            Forbidden: nobody needs to log in here, but the request was meant for another host (a
                browser that was led to us by a foreign name).
        """
        if self.token_hash is None:
            if not _is_local(request.headers.get("host", "")):
                raise Forbidden("Without logins this manager answers only to loopback names; use 127.0.0.1.")
            return
        given = hashlib.sha256(_token(request.headers.get("authorization", "")).encode()).digest()
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
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _is_local(host: str) -> bool:
    name = host.rsplit(":", 1)[0].strip("[]") if not host.endswith("]") else host.strip("[]")
    if name in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
