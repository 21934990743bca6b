"""What our things carry in the cloud: attributes of users, by which they are found again and shown to people."""

import base64
import binascii
import json
from collections.abc import Mapping

from conpaassql.iaas.opennebula.template import Value, coded, decoded

PREFIX = "CONPAASSQL_"
OWNER = "CONPAASSQL_MANAGER"
TAGS = "CONPAASSQL_TAGS"
META = "CONPAASSQL_META"
LABELS = "CONPAASSQL_LABELS"  # the keys of the labels, since one cannot remove an attribute
PUBLIC = "CONPAASSQL_PUBLIC_NETWORK"  # id of the network of the VM's public card
SNAPSHOT = "CONPAASSQL_SNAPSHOT"
SNAPSHOT_OF = "CONPAASSQL_SNAPSHOT_OF"
DATA_OF = "CONPAASSQL_DATA_OF"
APART = "CONPAASSQL_APART"
SUNSTONE = "LABELS"

_OURS = (OWNER, TAGS, META, LABELS, PUBLIC, SNAPSHOT, SNAPSHOT_OF, DATA_OF, APART)
_RESERVED = {name.removeprefix(PREFIX).lower() for name in _OURS}
_SHOWN = ("cluster", "node", "role")  # tags that people see from the first moment


def of_vm(owner: str, tags: Mapping[str, str], meta: Mapping[str, str]) -> tuple[tuple[str, Value], ...]:
    """Return the attributes of a new VM.  Tags and meta may hold anything."""
    shown = {key: tags[key] for key in _SHOWN if key in tags}
    marks = [(OWNER, coded(owner)), (TAGS, packed(tags)), (SUNSTONE, "conpaassql"), *labels(shown, {})]
    return (*marks, (META, packed(meta))) if meta else tuple(marks)


def labels(wanted: Mapping[str, str], present: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the attributes that make ``wanted`` the labels of what has ``present``; the others become empty."""
    gone = [(_attribute(key), "") for key in present if key not in wanted]
    return [
        (LABELS, " ".join(sorted(wanted))),
        *((_attribute(key), coded(value)) for key, value in wanted.items()),
        *gone,
    ]


def labels_of(user: Mapping[str, str]) -> dict[str, str]:
    """Return the labels in a USER_TEMPLATE; they are read from where people see, and may change, them."""
    keys = user.get(LABELS, "").split()
    return {key: decoded(user.get(_attribute(key), "")) for key in keys if _is_key(key)}


def is_of(attributes: Mapping[str, str], owner: str) -> bool:
    """Whether a USER_TEMPLATE, or an image's or a group's TEMPLATE, carries the owner's mark."""
    return decoded(attributes.get(OWNER, "")) == owner


def packed(values: Mapping[str, str]) -> str:
    """Return any mapping as text that OpenNebula can hold."""
    return base64.b64encode(json.dumps(dict(values)).encode()).decode()


def unpacked(text: str) -> dict[str, str]:
    """Return the mapping that was ``packed``; empty where somebody has broken it."""
    try:
        found = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _attribute(key: str) -> str:
    """Return a label's attribute; one that would be taken for a mark of ours gets a name apart."""
    apart = key in _RESERVED or key.startswith("label_")
    return f"{PREFIX}LABEL_{key.upper()}" if apart else f"{PREFIX}{key.upper()}"


def _is_key(key: str) -> bool:
    return key.replace("_", "").isalnum() and key.isascii()
