"""OpenNebula's template language: read strictly, written so that no value can become an attribute.

A template is lines ``NAME = "value"`` and ``NAME = [ KEY = "value", ... ]``; names may repeat.
In a value ``\\"`` is a quote; nothing else is escaped.  The core's parser takes the longest
string that it can, so a backslash before a quote or at the end would swallow what follows; it
refuses ``]]>``; and a call with a control character never reaches it.
Source: the behaviour of a 7.4.0 core.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from conpaassql.errors import IaasRefused

Pairs = tuple[tuple[str, str], ...]
Value = str | Pairs
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNWRITABLE = re.compile(r"\\(?:\"|\Z)|\]\]>|[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CODED = "base64:"


@dataclass(frozen=True, slots=True)
class Template:
    """An ordered multimap; names are in capitals.  A value is text or, of a vector, pairs."""

    items: tuple[tuple[str, Value], ...] = ()

    def first(self, name: str) -> str:
        """Return the text of the first attribute of that name; empty: there is none, or it is a vector."""
        found = next((value for key, value in self.items if key == name), "")
        return found if isinstance(found, str) else ""

    def vectors(self, name: str) -> list[Pairs]:
        """Return every vector of that name."""
        return [value for key, value in self.items if key == name and not isinstance(value, str)]

    def has(self, name: str) -> bool:
        """Whether there is an attribute of that name."""
        return any(key == name for key, _ in self.items)

    def without(self, *names: str) -> "Template":
        """Return the template without every attribute of those names."""
        return Template(tuple(item for item in self.items if item[0] not in names))

    def plus(self, name: str, *values: Value) -> "Template":
        """Return the template with further attributes of one name."""
        return Template((*self.items, *((name, value) for value in values)))

    def with_(self, name: str, *values: Value) -> "Template":
        """Return the template with these attributes in the place of all of that name."""
        return self.without(name).plus(name, *values)

    def text(self) -> str:
        """Return the template in OpenNebula's language.

        Raises:
            IaasRefused: a name or a value cannot be written in it.
        """
        return "".join(f"{_line(name, value)}\n" for name, value in self.items)


def is_writable(value: str) -> bool:
    """Whether a value can be written in the language and comes back as it was."""
    return not _UNWRITABLE.search(value)


def coded(value: str) -> str:
    """Return a writable form of any text; most texts stay as they are.  ``decoded`` is its way back."""
    if is_writable(value) and not value.startswith(_CODED):
        return value
    return _CODED + base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()


def decoded(value: str) -> str:
    """Return the text that ``coded`` was given; what was not written by it stays as it is."""
    if not value.startswith(_CODED):
        return value
    try:
        return base64.b64decode(value.removeprefix(_CODED), validate=True).decode("utf-8", "surrogatepass")
    except ValueError:
        return value


def first(pairs: Pairs, key: str) -> str:
    """Return the value of a key; empty: there is none.  Of two equal keys the core takes the first."""
    return next((value for name, value in pairs if name == key), "")


def merged(pairs: Pairs, others: Mapping[str, str]) -> Pairs:
    """Return pairs with ``others`` in them, which win."""
    names = {name.upper() for name in others}
    return (
        *((key, value) for key, value in pairs if key not in names),
        *((key.upper(), value) for key, value in others.items()),
    )


def _line(name: str, value: Value) -> str:
    if isinstance(value, str):
        return _pair(name, value)
    inner = ",\n  ".join(_pair(key, text) for key, text in value)
    return f"{_name(name)} = [\n  {inner}\n]"


def _pair(name: str, value: str) -> str:
    if found := _UNWRITABLE.search(value):
        what = "a backslash before a quote or at its end" if found[0][0] == "\\" else repr(found[0])
        raise IaasRefused(f"{name}: OpenNebula cannot take its value, which has {what}; leave that out.")
    quoted = value.replace('"', '\\"')
    return f'{_name(name)} = "{quoted}"'


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise IaasRefused(f"{name!r} cannot name an attribute of OpenNebula; use letters, digits and low lines.")
    return name.upper()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # NAME, =, [, ], ",", TEXT
    text: str
    line: int


# As the core's own: a name or a value begins after =, and only there; blanks part nothing else.
_SPACE = re.compile(r"(?:[ \t]*#[^\n]*(?:\n|\Z)|[ \t\r\n])+")
_WORD = re.compile(r"[A-Za-z0-9_]+")
_EQUAL = re.compile(r"[ \t]*=[ \t]*")
_BARE = re.compile(r"[^=#\s,\[\]]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\"|\\(?!"))*)"')


def parse(text: str) -> Template:
    """Return the template that a text means.

    Raises:
        IaasRefused: it is not in the language; ``details`` hold the ``line``.
    """
    tokens = list(_tokens(text))
    return Template(tuple(_attributes(tokens)))


def _tokens(text: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(text):
        if space := _SPACE.match(text, position):
            line += space[0].count("\n")
            position = space.end()
        elif equal := _EQUAL.match(text, position):
            yield _Token("=", "=", line)
            position = equal.end()
            value = _QUOTED.match(text, position) or _BARE.match(text, position)
            if value:
                yield _Token("TEXT", _unquoted(value), line)
                line += value[0].count("\n")
                position = value.end()
        elif (char := text[position]) in "[],":
            yield _Token(char, char, line)
            position += 1
        elif word := _WORD.match(text, position):
            yield _Token("NAME", word[0].upper(), line)
            position = word.end()
        else:
            raise _slip(line, f"{char!r} has no place here")


def _unquoted(value: re.Match[str]) -> str:
    return value[0] if value.re is _BARE else value[1].replace('\\"', '"')


def _attributes(tokens: list[_Token]) -> Iterator[tuple[str, Value]]:
    position = 0
    while position < len(tokens):
        name = _expect(tokens, position, "NAME", "a name")
        _expect(tokens, position + 1, "=", "=")
        follower = tokens[position + 2] if position + 2 < len(tokens) else None
        if follower and follower.kind == "[":
            pairs, position = _vector(tokens, position + 3)
            yield name.text, pairs
        elif follower and follower.kind == "TEXT":
            yield name.text, follower.text
            position += 3
        else:
            yield name.text, ""
            position += 2


def _vector(tokens: list[_Token], position: int) -> tuple[Pairs, int]:
    """Return the pairs of a vector and the position after its end."""
    pairs: list[tuple[str, str]] = []
    while True:
        name = _expect(tokens, position, "NAME", "a name")
        _expect(tokens, position + 1, "=", "=")
        position += 2
        value = ""
        if position < len(tokens) and tokens[position].kind == "TEXT":
            value = tokens[position].text
            position += 1
        pairs.append((name.text, value))
        if position < len(tokens) and tokens[position].kind == "]":
            return tuple(pairs), position + 1
        _expect(tokens, position, ",", "a comma or ]")
        position += 1


def _expect(tokens: list[_Token], position: int, kind: str, says: str) -> _Token:
    if position >= len(tokens):
        raise _slip(tokens[-1].line, f"the template ends where {says} is expected")
    token = tokens[position]
    if token.kind != kind:
        raise _slip(token.line, f"{token.text!r} stands where {says} is expected")
    return token


def _slip(line: int, says: str) -> IaasRefused:
    return IaasRefused(f"The VM template, line {line}: {says}; values with blanks need quotes.", line=line)


def vector(**values: str) -> Pairs:
    """Return the pairs that are not empty."""
    return tuple((key, value) for key, value in values.items() if value)


def flat(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return pairs as a mapping; of two equal keys the first counts, as it does in the core."""
    found: dict[str, str] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found
