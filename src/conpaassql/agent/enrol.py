"""How a node gets its certificate: once, with the join token that its VM was given."""

import http.client
import json
import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from conpaassql import pki
from conpaassql.agent.layout import Layout
from conpaassql.errors import AgentError, Error, Invalid, Unauthorized
from conpaassql.pki import Identity

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
CALL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What the VM's context says: where the manager is, whom to trust, and the one-time token."""

    manager_url: str
    ca_file: Path
    token_file: Path
    identity: Identity


def ensure_certificate(layout: Layout, invitation: Invitation, stop: threading.Event) -> bool:
    """Return True once ``layout.tls`` holds a certificate; False if ``stop`` was set first.

    The private key is made here and never leaves.  While the manager does not answer, or does
    not know the VM's address yet, the request is repeated with growing pauses; the same key is
    used each time, so that a lost answer does not cost the token.

    Raises:
        Unauthorized: the token is wrong or was used by another key; asking again is useless.
    """
    if (layout.tls / "node.pem").exists():
        return True
    layout.tls.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_file = layout.tls / "node.key"
    if not key_file.exists():
        pki.write_private(key_file, pki.new_key())
    request = pki.signing_request(key_file.read_bytes(), invitation.identity)
    pause_s = FIRST_PAUSE_S
    while not stop.is_set():
        try:
            certificate = _ask(invitation, request)
        except Unauthorized:
            raise
        except Error as exc:
            log.warning("not enrolled yet: %s", exc.says)
            stop.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            continue
        pki.write_private(layout.tls / "ca.pem", invitation.ca_file.read_bytes())
        pki.write_private(layout.tls / "subject", invitation.identity.subject.encode())
        pki.write_private(layout.tls / "node.pem", certificate)
        invitation.token_file.unlink(missing_ok=True)
        return True
    return False


def _ask(invitation: Invitation, request: bytes) -> bytes:
    body = json.dumps(
        {
            "node": invitation.identity.node,
            "token": invitation.token_file.read_text(encoding="ascii").strip(),
            "request": request.decode(),
        }
    )
    connection = _connect(invitation)
    try:
        connection.request("POST", "/enrol", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = json.loads(answer.read(1 << 20))
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise AgentError(f"The manager at {invitation.manager_url} does not answer: {exc}.") from exc
    finally:
        connection.close()
    if answer.status == 200:
        return str(content["certificate"]).encode()
    says = str(content.get("says", answer.reason))
    raise (Unauthorized if answer.status in (401, 403) else AgentError)(says)


def _connect(invitation: Invitation) -> http.client.HTTPConnection:
    url = urlsplit(invitation.manager_url)
    if not url.hostname or url.scheme not in ("http", "https"):
        raise Invalid(f"manager_url = {invitation.manager_url}: it has to be http(s)://host:port.")
    if url.scheme == "http":
        return http.client.HTTPConnection(url.hostname, url.port, timeout=CALL_TIMEOUT_S)
    context = ssl.create_default_context(cafile=str(invitation.ca_file))
    return http.client.HTTPSConnection(url.hostname, url.port, timeout=CALL_TIMEOUT_S, context=context)
