"""XML-RPC as xmlrpc-c reads and writes it: strict types in, ``<i4>`` and ``<i8>`` out.

The standard library's marshalling is of no use here: it writes ``<int>``, knows no ``<i8>`` in answers and does not
tell an ``<i8>`` parameter from an ``<i4>``, which the real core does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from onesim import errors

INT_MAX = 2**31 - 1
_NOT_A_CALL = "Call XML not a proper XML-RPC call.  "


@dataclass(frozen=True, slots=True)
class Other:
    """A parameter of a type that no method of the core takes: double, i8, nil, struct ..."""

    tag: str


Param = str | bool | int | list[Any] | Other


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    params: tuple[Param, ...]


@dataclass(frozen=True, slots=True)
class Big:
    """An integer that the core writes as ``<i8>``."""

    value: int


def read(body: bytes) -> Call:
    """Return the call in a request's body.

    Raises:
        errors.Fault: -503, not XML or not a call.
    """
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - loopback only; the real core expands entities, too
    except ElementTree.ParseError as exc:
        said = str(exc).split(":")[0]
        raise errors.Fault(errors.BAD_XML, f"{_NOT_A_CALL}Call is not valid XML.  {said}") from exc
    if root.tag != "methodCall":
        text = f"XML-RPC call should be a <methodCall> element.  Instead, we have a <{root.tag}> element."
        raise errors.Fault(errors.BAD_XML, _NOT_A_CALL + text)
    params = tuple(_value(value) for value in root.findall("params/param/value"))
    return Call((root.findtext("methodName") or "").strip(), params)


def _value(value: ElementTree.Element) -> Param:
    if not len(value):
        return value.text or ""
    kind, text = value[0], value[0].text or ""
    if kind.tag == "string":
        return text
    if kind.tag == "boolean":
        return text.strip() == "1"
    if kind.tag in ("int", "i4"):
        return _integer(text)
    if kind.tag == "array":
        return [_value(child) for child in kind.findall("data/value")]
    if kind.tag == "struct":  # only system.multicall takes one
        return [
            [member.findtext("name") or "", _value(member.find("value"))]  # type: ignore[arg-type]
            for member in kind.findall("member")
        ]
    return Other(kind.tag)


def _integer(text: str) -> int:
    try:
        number = int(text)
    except ValueError as exc:
        raise errors.Fault(errors.BAD_XML, f"{_NOT_A_CALL}Invalid <int> value '{text}'") from exc
    if number > INT_MAX:
        above = f"<int> value {number} is above the range allowed by XML-RPC (maximum is {INT_MAX})"
        raise errors.Fault(errors.BAD_XML, _NOT_A_CALL + above)
    return number


def answer(value: object) -> str:
    """Return a ``methodResponse`` with one value."""
    return _document(f"<params>\n<param>{_written(value)}</param>\n</params>")


def fault(error: errors.Fault) -> str:
    code = f"<member><name>faultCode</name>\n{_written(error.code)}</member>"
    text = f"<member><name>faultString</name>\n{_written(error.text)}</member>"
    return _document(f"<fault>\n<value><struct>\n{code}\n{text}\n</struct></value>\n</fault>")


def _document(inner: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<methodResponse>\n{inner}\n</methodResponse>\n'


def _written(value: object) -> str:
    if isinstance(value, bool):
        return f"<value><boolean>{int(value)}</boolean></value>"
    if isinstance(value, int):
        return f"<value><i4>{value}</i4></value>"
    if isinstance(value, Big):
        return f"<value><i8>{value.value}</i8></value>"
    if isinstance(value, dict):
        members = "\n".join(f"<member><name>{key}</name>\n{_written(item)}</member>" for key, item in value.items())
        return f"<value><struct>\n{members}\n</struct></value>"
    if isinstance(value, list | tuple):
        items = "\n".join(_written(item) for item in value)
        return f"<value><array><data>\n{items}\n</data></array></value>"
    return f"<value><string>{escape(str(value))}</string></value>"
