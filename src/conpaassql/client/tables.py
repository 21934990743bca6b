"""Plain tables as ``onevm list`` prints them: titles in capitals, columns by blanks, one line each."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

NOTHING = "-"  # a cell is never empty, so that awk and cut find the others
_GAP = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.  ``value`` takes what it shows out of a row; ``right``: numbers stand at the right."""

    title: str
    value: Callable[[Mapping[str, Any]], Any]
    right: bool = False


def column(title: str, key: str, *, right: bool = False) -> Column:
    """Return the column that shows what a row has under ``key``."""
    return Column(title=title, value=lambda row: row.get(key), right=right)


def table(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return lines for a terminal or a pipe, titles first; without rows the titles alone."""
    lines = [[column.title for column in columns]]
    lines += [[cell(column.value(row)) for column in columns] for row in rows]
    widths = [max(cell_len(line[place]) for line in lines) for place in range(len(columns))]
    return "".join(_line(columns, widths, line) for line in lines)


def cell(value: Any) -> str:
    """Return a value in one line: what is not there as "-", lists with commas, mappings as ``key=value``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        value = [f"{key}={cell(item)}" for key, item in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(cell, value)) or NOTHING
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return NOTHING if value is None else plain(str(value)) or NOTHING


def plain(text: str) -> str:
    """Return a text that cannot move a terminal's cursor or begin a line: such characters become escapes.

    The names in a table come from a cloud, where strangers may have chosen them.
    """
    return "".join(_escaped(letter) if unicodedata.category(letter)[0] in "CZ" else letter for letter in text)


def _escaped(letter: str) -> str:
    return letter if letter == " " else letter.encode("unicode_escape").decode("ascii")


def _line(columns: Sequence[Column], widths: Sequence[int], texts: Sequence[str]) -> str:
    padded = [
        (" " * (width - cell_len(text)) + text) if column.right else text + " " * (width - cell_len(text))
        for column, width, text in zip(columns, widths, texts, strict=True)
    ]
    return _GAP.join(padded).rstrip() + "\n"
