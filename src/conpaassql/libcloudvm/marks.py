"""How a VM's name, owner, tags and labels are kept as a cloud's key-value pairs of limited length.

Tags may hold anything under any key, clouds' pairs may not.  So the tags travel as JSON in pure
ASCII, cut into pieces; owner, name and labels are pairs of their own, for people and for filters.

Sources: Nova API, "server metadata" (keys and values up to 255 characters);
EC2 user guide, "Tag restrictions" (keys up to 127, values up to 255, 50 tags).
"""

import json
from collections.abc import Mapping

from conpaassql.errors import IaasRefused

PREFIX = "conpaassql_"
OWNER = f"{PREFIX}owner"
NAME = f"{PREFIX}name"
VM = f"{PREFIX}vm"  # of a snapshot or an address: the VM that it belongs to
SNAPSHOT = f"{PREFIX}snapshot"

_TAGS = f"{PREFIX}tags_"
_LABEL = f"{PREFIX}label_"
_LONGEST = 255


def packed(owner: str, name: str, tags: Mapping[str, str], meta: Mapping[str, str]) -> dict[str, str]:
    """Return the pairs that a VM is made with.

    Raises:
        IaasRefused: a key of ``meta`` is one of ours, or a pair is too long.
    """
    for key, value in meta.items():
        if key.lower().startswith(PREFIX):
            raise IaasRefused(f"meta {key}: names that begin with {PREFIX} are taken; choose another.")
        if not key or len(key) > _LONGEST or len(value) > _LONGEST:
            raise IaasRefused(f"meta {key}: the cloud keeps at most {_LONGEST} characters; shorten it.")
    text = json.dumps(dict(tags), separators=(",", ":")).replace(" ", "\\u0020")  # a blank at a cut may get lost
    pieces = [text[start : start + _LONGEST] for start in range(0, len(text), _LONGEST)]
    kept = {f"{_TAGS}{number}": piece for number, piece in enumerate(pieces)}
    return {**meta, OWNER: owner, NAME: name, **kept}


def tags(pairs: Mapping[str, str]) -> dict[str, str]:
    """Return the tags in a VM's pairs; nothing where somebody has spoilt them."""
    pieces = (pairs.get(f"{_TAGS}{number}") for number in range(len(pairs)))
    try:
        found = json.loads("".join(piece for piece in pieces if piece is not None) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def labels(pairs: Mapping[str, str]) -> dict[str, str]:
    """Return the labels in a VM's pairs."""
    return {key.removeprefix(_LABEL): value for key, value in pairs.items() if key.startswith(_LABEL)}


def labelled(words: Mapping[str, str]) -> dict[str, str]:
    """Return the pairs that show ``words``; what is longer than a pair can be is cut."""
    return {f"{_LABEL}{key}": value[:_LONGEST] for key, value in words.items()}
