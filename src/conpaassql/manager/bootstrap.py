"""What the context of a node's VM holds, so that it becomes a node by itself; pure.

Nothing here may hold a ``$``: OpenNebula expands it once, when the VM is made; a name that it does not know
becomes nothing, and ``$(`` is refused (core 7.4.0).  So what could hold one is in base64.
"""

import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field

_START = """\
#!/bin/sh
# Makes this VM a node of conpaassql. Packed below is conpaassql-install.sh; base64 -d | gzip -d shows it.
umask 077
script=$(mktemp) || exit
trap 'rm -f "$script"' EXIT
base64 -d <<'END' | gzip -d >"$script"
{packed}
END
sh "$script" {role}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a new VM is to install: the wheel's address and checksum, and the script that does it."""

    package_url: str
    package_sha256: str
    install_script: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What a VM has to know to join as ``node``; the token works once, and for this node alone."""

    node: int
    cluster: str
    manager_url: str
    join_token: str = field(repr=False)
    authority_pem: bytes


def context(invitation: Invitation, offer: Offer | None, report_ready: str, given: str = "") -> Mapping[str, str]:
    """Return the context of a node's VM.

    Args:
        offer: what it installs if its image does not hold the agent; None: the image has to.
        report_ready: ``no``, ``agent`` or ``image``; see the option of this name.
        given: the administrator's own CONTEXT; a start script in it is not replaced.
    """
    values = {
        "CONPAASSQL_NODE": str(invitation.node),
        "CONPAASSQL_CLUSTER": invitation.cluster,
        "CONPAASSQL_MANAGER_URL": invitation.manager_url,
        "CONPAASSQL_JOIN_TOKEN": invitation.join_token,
        "CONPAASSQL_CA_BASE64": base64.b64encode(invitation.authority_pem).decode(),
    }
    if offer:
        values |= {"CONPAASSQL_PACKAGE": offer.package_url, "CONPAASSQL_PACKAGE_SHA256": offer.package_sha256}
        if "START_SCRIPT" not in given.upper():
            values["START_SCRIPT_BASE64"] = base64.b64encode(start_script(offer.install_script, "agent")).decode()
    if report_ready != "no":
        # Without a token there is no OneGate; REPORT_READY is for the image's own scripts.
        values |= {"TOKEN": "YES", "REPORT_READY": "YES" if report_ready == "image" else "NO"}
    return values


def start_script(install_script: bytes, role: str) -> bytes:
    """Return the script that a VM runs at each boot: the install script, packed.

    Some clouds take no more than 16 KiB of user data, so it travels compressed.  The same script gives the
    same bytes.
    """
    packed = base64.encodebytes(gzip.compress(install_script, 9, mtime=0)).decode().strip()
    return _START.format(packed=packed, role=role).encode()
