"""The machinery of the core's little languages: tokens, a table of what may follow what, and the sentence if not.

A language is given by rules for each mode of its reader and by a table: place -> token -> next place.
The longest token counts, of equally long ones the first rule's; a character that fits no rule is
skipped.  Columns count bytes from the text's begin, from 1; a line is that of the token's end, from
0 (a real core sometimes adds a number from unused memory).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

END = "$end"
SKIP = ""
_NAMED = 4  # with more tokens that could follow, the core names none


class Wrong(Exception):
    """A token stands where it may not; ``str()`` is the core's sentence."""


class Rule(NamedTuple):
    """What a token looks like, and the mode in which the reader goes on; "": the same."""

    kind: str
    pattern: re.Pattern[str]
    mode: str = ""


class Token(NamedTuple):
    """One token and where it stands; the end of the text stands where the last token stood."""

    kind: str
    text: str
    line: int
    first: int
    last: int


Modes = Mapping[str, Sequence[Rule]]
Table = Mapping[str, Mapping[str, str]]


def tokens(text: str, modes: Modes, mode: str, at_end: Mapping[str, str]) -> Iterator[Token]:
    """Cut ``text`` into tokens; ``at_end`` names the token that a mode makes of the text's end."""
    offset, line, first, last = 0, 0, 1, 1
    while offset < len(text):
        rule, found = _longest(text, offset, modes[mode])
        offset += len(found)
        line += found.count("\n")
        first, last = last, last + len(found.encode("utf-8", "surrogatepass"))
        mode = rule.mode or mode
        if rule.kind:
            yield Token(rule.kind, found, line, first, last)
    if mode in at_end:
        yield Token(at_end[mode], "", line, first, last)
    yield Token(END, "", line, first, last)


def walk(
    found: Iterator[Token], table: Table, place: str, unnamed: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[str, Token]]:
    """Yield each token with the place that it leads to, but for the end.

    ``unnamed`` holds for a place the token that the core does not name though it could follow: its
    parser has by then decided that nothing more comes.

    Raises:
        Wrong: a token may not stand there.
    """
    for token in found:
        following = table[place]
        if token.kind not in following:
            raise Wrong(_sentence(token, [kind for kind in following if kind != unnamed.get(place)]))
        if token.kind == END:
            return
        place = following[token.kind]
        yield place, token


def _longest(text: str, offset: int, rules: Sequence[Rule]) -> tuple[Rule, str]:
    best, length = _NOTHING, 0
    for rule in rules:
        match = rule.pattern.match(text, offset)
        if match and match.end() - offset > length:
            best, length = rule, match.end() - offset
    return best, text[offset : offset + max(length, 1)]


_NOTHING = Rule(SKIP, re.compile("."))


def _sentence(token: Token, expected: Sequence[str]) -> str:
    named = f", expecting {' or '.join(expected)}" if len(expected) <= _NAMED else ""
    return f"syntax error, unexpected {token.kind}{named} at line {token.line}, columns {token.first}:{token.last}"
