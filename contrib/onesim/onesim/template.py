"""OpenNebula's template language: read as the core reads it, with the core's own sentences for what is wrong.

Facts: the core takes the longest token; names are letters, digits and ``_``; a value is quoted, or
runs to the next of ``= # , [ ]`` or blank; ``#`` begins a comment only where a name could stand and
only if its line ends; a character that fits nowhere is skipped; ``]]>`` in an unquoted line or in
the first line of a quoted value ends the reading.  Columns count bytes from the text's begin, and
the line is that of the token's end, from 0.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from onesim import syntax
from onesim.syntax import END, SKIP, Rule, Token

Vector = tuple[tuple[str, str], ...]
Value = str | Vector

_MODES = {
    "names": (
        Rule(SKIP, re.compile(r"[ \t]*#.*\n")),
        Rule(SKIP, re.compile(r"[ \t\n]+")),
        Rule("VARIABLE", re.compile(r"[A-Za-z0-9_]+")),
        Rule("EQUAL", re.compile(r"[ \t]*=[ \t]*"), "values"),
        Rule("EQUAL_EMPTY", re.compile(r"[ \t]*=[ \t]*\n")),
        Rule("COMMA", re.compile(r"[ \t\n]*,[ \t\n]*")),
        Rule("CBRACKET", re.compile(r"[ \t\n]*\][ \t\n]*")),
    ),
    "values": (
        Rule("OBRACKET", re.compile(r"[ \t]*\[[ \t\n]*"), "names"),
        Rule("CCDATA", re.compile(r".*\]\]>.*"), "names"),
        Rule("STRING", re.compile(r'"(?:[^"\\]++|\\"?)*"'), "names"),
        Rule("STRING", re.compile(r"[^=# \t\n,\[\]]+"), "names"),
    ),
}
# Tokens in the order in which the core names them.
_TABLE = {
    "top": {END: "", "VARIABLE": "name"},
    "name": {"EQUAL": "value", "EQUAL_EMPTY": "top"},
    "value": {"OBRACKET": "open", "CCDATA": "cdata", "STRING": "top"},
    "cdata": {},
    "open": {"CBRACKET": "top", "VARIABLE": "key"},
    "key": {"EQUAL": "item"},
    "item": {"STRING": "after"},
    "after": {"COMMA": "next", "CBRACKET": "top"},
    "next": {"VARIABLE": "key"},
}


class TemplateError(Exception):
    """The text is no template; ``str()`` is what the core says, without the method's name."""


@dataclass(frozen=True, slots=True)
class Template:
    """An ordered multimap: names in capitals; a value is a text, or pairs of a key in capitals and a text."""

    attributes: tuple[tuple[str, Value], ...] = ()

    def first(self, name: str) -> Value | None:
        """Return the first value of ``name``; None: there is none."""
        return next((value for key, value in self.attributes if key == name), None)

    def all(self, name: str) -> tuple[Value, ...]:
        """Return every value of ``name``, in order."""
        return tuple(value for key, value in self.attributes if key == name)

    def text(self, name: str, default: str = "") -> str:
        """Return the first value of ``name`` that is a text."""
        return next((value for value in self.all(name) if isinstance(value, str)), default)

    def vectors(self, name: str) -> tuple[dict[str, str], ...]:
        """Return every value of ``name`` that consists of pairs, each as a new dict."""
        return tuple(dict(value) for value in self.all(name) if not isinstance(value, str))

    def without(self, *names: str) -> "Template":
        """Return the same without these names."""
        return Template(tuple(pair for pair in self.attributes if pair[0] not in names))

    def only(self, *names: str) -> "Template":
        """Return the same with these names alone."""
        return Template(tuple(pair for pair in self.attributes if pair[0] in names))

    def plus(self, name: str, value: Value) -> "Template":
        """Return the same with one attribute more, at the end."""
        return Template((*self.attributes, (name, value)))

    def merged(self, other: "Template") -> "Template":
        """Return the same with each name that ``other`` has as ``other`` has it: what an appending update does."""
        return Template(self.without(*other.names()).attributes + other.attributes)

    def names(self) -> tuple[str, ...]:
        """Return each name once, in order."""
        return tuple(dict.fromkeys(name for name, _ in self.attributes))


def pairs(values: dict[str, str]) -> Vector:
    """Return a dict as a value."""
    return tuple(values.items())


def parse(text: str) -> Template:
    """Read a template, in the language or in XML.

    Raises:
        TemplateError: it cannot be read.
    """
    read = _from_xml(text) if text.startswith("<") else Template(tuple(_attributes(text)))
    return Template(tuple((name, _trimmed(name, value)) for name, value in read.attributes))


def render(template: Template) -> str:
    """Return a text that ``parse`` reads as ``template``.

    Raises:
        TemplateError: the language cannot say it: a value with ``]]>``, or a backslash at its end or before a quote.
    """
    text = "".join(f"{name} = {_said(value)}\n" for name, value in template.attributes)
    if parse(text) != template:
        raise TemplateError("The template cannot be written in OpenNebula's language.")
    return text


def _attributes(text: str) -> Iterator[tuple[str, Value]]:
    reading = _Reading()
    try:
        for place, token in syntax.walk(syntax.tokens(text, _MODES, "names", {}), _TABLE, "top", {"top": "VARIABLE"}):
            reading.take(place, token)
            if place == "top":
                yield reading.name, reading.value
    except syntax.Wrong as exc:
        raise TemplateError(f"Parse error: {exc}") from exc


@dataclass(slots=True)
class _Reading:
    """The attribute that is being read."""

    name: str = ""
    key: str = ""
    value: Value = ""

    def take(self, place: str, token: Token) -> None:
        """Take in a token that led to ``place``."""
        match place, token.kind:
            case "name", _:
                self.name, self.value = token.text.upper(), ""
            case "cdata", _:
                raise TemplateError("Parse error.")
            case "top", "STRING":
                self.value = _unquoted(token.text)
            case "open", _:
                self.value = ()
            case "key", _:
                self.key = token.text.upper()
            case "after", _:
                self._add(_unquoted(token.text))

    def _add(self, text: str) -> None:
        """Add a pair; of two with one key the first stays."""
        assert not isinstance(self.value, str)
        if self.key not in dict(self.value):
            self.value = (*self.value, (self.key, text))


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text.replace('\\"', '"')


def _trimmed(name: str, value: Value) -> Value:
    return value.rstrip(" \f\n\r\t\v") if name == "NAME" and isinstance(value, str) else value


def _said(value: Value) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return "[" + ",".join(f" {key} = {_quoted(text)}" for key, text in value) + " ]"


def _quoted(text: str) -> str:
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'


def _from_xml(text: str) -> Template:
    try:
        root = ElementTree.fromstring(text.encode("utf-8", "surrogatepass"))  # noqa: S314  expat bounds what entities become
    except ElementTree.ParseError as exc:
        raise TemplateError("Parse error: XML Template malformed.") from exc
    found = ((element.tag.upper(), _xml_value(element)) for element in root)
    return Template(tuple((name, value) for name, value in found if value is not None))


def _xml_value(element: ElementTree.Element) -> Value | None:
    """Return what an element says; None: it is empty, which the core takes for absent."""
    if len(element):
        return tuple({child.tag.upper(): child.text for child in element if child.text}.items())
    return element.text or None
