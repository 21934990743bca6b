"""Parameters of operations: their kinds, their spellings, and how a request's values are checked.

Every reading error is an ``Invalid`` whose sentence begins as the texts of 2012 did
(``Missing argument: ...``, ``Unexpected arguments ...``, ``Invalid argument: ...``) and goes on with
what would be right.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conpaassql.errors import Invalid

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NODE_SPELLINGS = ("serviceNodeId", "serviceName", "serviceNameId", "id")
MOST_TEXT = 4096
MOST_NUMBER = 2**63 - 1

Read = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter.  ``aliases`` are other spellings; exactly one of them may be given."""

    name: str
    read: Read
    says: str
    aliases: tuple[str, ...] = ()
    required: bool = True
    default: Any = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """All names by which it may come, the documented one first."""
        return (*self.aliases, self.name) if self.aliases else (self.name,)


def bind(params: tuple[Param, ...], ignored: tuple[str, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked values by parameter name.

    Raises:
        Invalid: one is missing, unexpected, given twice by two spellings, or of the wrong kind; a node
            that is ``ignored`` has to be one all the same, as something else was meant by it.
    """
    known = {spelling for param in params for spelling in param.spellings}
    if extra := sorted(set(given) - known - set(ignored)):
        shown = [name[:64] for name in extra[:10]]
        listed = ", ".join(sorted(param.spellings[0] for param in params)) or "none"
        raise Invalid(f"Unexpected arguments {shown}. This method takes: {listed}.", arguments=shown)
    for spelling in set(given) & set(ignored) & set(NODE_SPELLINGS):
        if given[spelling] is not None:
            node_or_all(spelling, given[spelling])
    return {param.name: _value(param, given) for param in params}


def _value(param: Param, given: Mapping[str, Any]) -> Any:
    found = [spelling for spelling in param.spellings if spelling in given]
    if len(found) > 1:
        raise Invalid(
            f"Invalid argument: {' and '.join(found)} mean the same; give one of them.", arguments=list(found)
        )
    if not found or given[found[0]] is None:
        if param.required:
            raise Invalid(f"Missing argument: {param.spellings[0]}. {param.says}", argument=param.spellings[0])
        return param.default
    return param.read(found[0], given[found[0]])


def wrong(name: str, should: str) -> Invalid:
    """Return the error for a value of the wrong kind."""
    return Invalid(f'Invalid argument: {name} DETAIL:Invalid "{name}". It has to be {should}.', argument=name)


def whole_number(least: int, most: int = MOST_NUMBER) -> Read:
    """Read an integer, also as text of digits."""

    def read(name: str, value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,19}\s*", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise wrong(name, f"a whole number from {least} to {most}" if most != MOST_NUMBER else "a whole number")
        return value

    return read


node_id = whole_number(1)


def node_or_all(name: str, value: Any) -> int | str:
    """Read a node's id, or the word "all"."""
    if value == "all":
        return "all"
    if isinstance(value, str) and not value.strip().isdigit():
        raise wrong(name, 'the id of a node, or "all"')
    number: int = node_id(name, value)
    return number


def cluster_name(name: str, value: Any) -> str:
    """Read the name of a cluster: lower-case letters, digits, inner hyphens; at most 63."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise wrong(name, "a cluster's name: lower-case letters, digits and inner hyphens, at most 63")
    return value


def text(name: str, value: Any) -> str:
    """Read text without NUL, of at most 4,096 characters."""
    if not isinstance(value, str) or len(value) > MOST_TEXT or "\0" in value:
        raise wrong(name, f"text of at most {MOST_TEXT} characters")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise wrong(name, "text in valid Unicode")
    return value


def flag(name: str, value: Any) -> bool:
    """Read yes or no, also as text."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int) and str(value).lower() in words:
        return words[str(value).lower()]
    raise wrong(name, "true or false")


def names(name: str, value: Any) -> tuple[str, ...]:
    """Read a list of names, also as text with commas."""
    if isinstance(value, str):
        value = [part.strip() for part in text(name, value).split(",") if part.strip()]
    if not isinstance(value, list) or len(value) > 1000:
        raise wrong(name, "a list of names")
    return tuple(text(name, item) for item in value)


def mapping(name: str, value: Any) -> dict[str, str]:
    """Read an object of texts or numbers."""
    if not isinstance(value, dict) or len(value) > 1000 or not value:
        raise wrong(name, "an object of option names and values")
    return {text(name, key): text(name, _plain(name, item)) for key, item in value.items()}


def _plain(name: str, item: Any) -> str:
    if isinstance(item, bool):
        return "ON" if item else "OFF"
    if isinstance(item, str | int | float):
        return str(item)
    raise wrong(name, "an object of option names and values")


def one_of(*words: str) -> Read:
    """Read one of some words."""

    def read(name: str, value: Any) -> str:
        if value not in words:
            raise wrong(name, " or ".join(words))
        return str(value)

    return read
