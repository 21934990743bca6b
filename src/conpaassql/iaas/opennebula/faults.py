"""OpenNebula's refusals as errors of ours, by code and by text.

Codes alone do not tell: 512 is a missing right, a quota, a lock and a restricted attribute; 8192
is an unknown image, a missing address and a slip in the template.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from conpaassql.errors import (
    Error,
    IaasBusy,
    IaasDenied,
    IaasError,
    IaasFull,
    IaasMissing,
    IaasQuota,
    IaasRefused,
    Unsupported,
)

AUTHENTICATION, AUTHORIZATION, NO_EXISTS, ACTION = 0x100, 0x200, 0x400, 0x800
RPC_API, INTERNAL, ALLOCATE, LOCKED, REPLICATION = 0x1000, 0x2000, 0x4000, 0x8000, 0x10000
NO_METHOD = -506

_LONGEST = 400
_SAYS = "OpenNebula says: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One answer that is no success.  ``code`` below 0 is an XML-RPC fault; ``object`` is -1 where none is meant."""

    method: str
    code: int
    text: str
    object: int = -1


@dataclass(frozen=True, slots=True)
class _Row:
    code: int  # 0: any
    text: str  # a pattern; empty: any
    kind: Callable[..., Error]
    cure: str


# First match wins.
_ROWS = (
    _Row(AUTHENTICATION, "", IaasDenied, "Look at OPENNEBULA_USER and OPENNEBULA_PASSWORD; a token may have expired."),
    _Row(0, r"limit of \S+ reached for .* quota", IaasQuota, "Free something, or ask the cloud for a larger quota."),
    _Row(0, r"is locked", IaasBusy, "Somebody locked it; have it unlocked (onevm unlock)."),
    _Row(
        0,
        r"restricted attribute FILES",
        IaasDenied,
        "CONTEXT/FILES names files on OpenNebula's front-end, for its administrators only; leave it out and use "
        "OPENNEBULA_FILES_DS or a start script instead.",
    ),
    _Row(0, r"restricted attribute", IaasDenied, "Leave it out; only OpenNebula's administrators may use it."),
    _Row(AUTHORIZATION, r"USE IMAGE", IaasDenied, "Have its owner give the right (oneimage chmod ID 604)."),
    _Row(AUTHORIZATION, r"USE NET", IaasDenied, "Have its owner give the right (onevnet chmod ID 604)."),
    _Row(AUTHORIZATION, "", IaasDenied, "Have this user given the right (chmod or oneacl)."),
    _Row(0, r"Cannot get IP/MAC lease", IaasFull, "Add addresses to the network (onevnet addar)."),
    _Row(0, r"[Nn]ot enough (space|capacity|memory|cpu)", IaasFull, "Free some, or add some to the cloud."),
    _Row(0, r"Not enough (CPU|MEMORY)", IaasFull, "Choose a smaller size, or a host with more."),
    _Row(NO_EXISTS, "", IaasMissing, "Look at its id."),
    _Row(0, r"does not exist|does not own an? |Unknown disk type", IaasMissing, "Look at the ids and names."),
    _Row(
        0,
        r"persistent and already in use",
        IaasBusy,
        "A persistent image is the disk of one VM; make it nonpersistent (oneimage nonpersistent), or wait for its VM.",
    ),
    _Row(
        0,
        r"already in use|it is in state: (LOCKED|CLONE|USED_PERS)|There are \d+ VMs using",
        IaasBusy,
        "Try again later.",
    ),
    _Row(0, r"wrong state|is not available for state|wrong .*state", IaasBusy, "Try again when this has passed."),
    _Row(NO_METHOD, "", Unsupported, "Use OpenNebula 5.12 or later."),
    _Row(0, r"not supported by driver|is not supported", Unsupported, "Do without it, or use another driver there."),
    _Row(REPLICATION, "", IaasError, "The front-end is no leader at the moment."),
    _Row(LOCKED, "", IaasBusy, "Try again later."),
    _Row(
        0,
        r"Error parsing:",
        IaasRefused,
        "A $ in CONTEXT is OpenNebula's own; hand what has one over in base64, a script as START_SCRIPT_BASE64.",
    ),
    _Row(0, r"[Pp]arse error|attribute must|should be a|Invalid NAME", IaasRefused, "Mend the VM template."),
    _Row(0, r"it is in state: ERROR", IaasRefused, "Delete the image and make it again."),
    _Row(0, r"NAME is already taken", IaasRefused, "Choose another name."),
)


def error(refusal: Refusal, secret: str = "") -> Error:
    """Return the error that a refusal means: OpenNebula's sentence, freed of secrets, and what to do."""
    says = clean(refusal.text, secret)
    for row in _ROWS:
        if row.code in (0, refusal.code) and re.search(row.text, refusal.text):
            return row.kind(f"{_SAYS}{says} {row.cure}".rstrip(), code=refusal.code, method=refusal.method)
    return IaasRefused(f"{_SAYS}{says}", code=refusal.code, method=refusal.method)


def parted(says: str) -> tuple[str, str]:
    """Return what is wrong, and what to do (empty: nobody knows): an error's sentence ends with that.

    Behind OpenNebula's own words comes the cure of a row; words of ours end in "; do this".
    """
    if cure := max((row.cure for row in _ROWS if row.cure and says.endswith(row.cure)), key=len, default=""):
        return says.removesuffix(cure).rstrip(), cure
    wrong, _, cure = says.rpartition("; ")
    if not wrong or _SAYS in says:
        return says, ""
    return f"{wrong}.", cure[0].upper() + cure[1:]


def clean(text: str, secret: str = "") -> str:
    """Return a sentence of OpenNebula's without what must not be shown, in one line that ends with a point.

    An error in the expansion of CONTEXT repeats the whole CONTEXT, passwords included.
    """
    if "Error parsing:" in text:
        text = f"Error parsing (the context is not repeated here){_slip(text)}"
    text = re.sub(r"^\[(one|system)\.[\w.]+\]\s*", "", text)
    if secret:
        text = text.replace(secret, "***")
    text = " ".join(text.split()) or "no reason given"
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "..."
    return text if text[-1] in ".!?" else f"{text}."


def _slip(text: str) -> str:
    """Return the end of a parser's error, which is the parser's own: all before it may be a secret."""
    found = re.search(r"\. syntax error, unexpected [\w$]+(, expecting [\w$ ]+)? at line \d+, columns \d+:\d+\Z", text)
    return found[0] if found else ""
