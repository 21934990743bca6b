"""The core's way to print XML: plain numbers, CDATA for what users wrote, empty elements in three forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.sax.saxutils import escape


def cdata(tag: str, text: str) -> str:
    """Return ``<TAG><![CDATA[text]]></TAG>``; a ``]]>`` inside is split, so that the answer stays well-formed."""
    safe = text.replace("]]>", "]]]]><![CDATA[>")
    return f"<{tag}><![CDATA[{safe}]]></{tag}>"


def plain(tag: str, text: object) -> str:
    return f"<{tag}>{escape(str(text))}</{tag}>"


def element(tag: str, *parts: str) -> str:
    return f"<{tag}>{''.join(parts)}</{tag}>"


def plains(values: Mapping[str, object]) -> str:
    """Return plain elements in the order of the mapping."""
    return "".join(plain(tag, value) for tag, value in values.items())


def cdatas(values: Mapping[str, object]) -> str:
    return "".join(cdata(tag, str(value)) for tag, value in values.items())


def ids(tag: str, numbers: Iterable[int]) -> str:
    """Return ``<TAG><ID>1</ID><ID>2</ID></TAG>``, ascending."""
    return element(tag, *(plain("ID", number) for number in sorted(numbers)))
