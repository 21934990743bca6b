"""Plain tables of the command line."""

from typing import Any

import pytest

from conpaassql.client import tables


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (0, "0"),
        (2.0, "2"),
        (0.5, "0.5"),
        (True, "yes"),
        (["a", "b"], "a,b"),
        ({"a": "1", "b": None}, "a=1,b=-"),
        ("a\nb\x1b[2Jc\u202ed\u2028", r"a\nb\x1b[2Jc\u202ed\u2028"),
        ("two words", "two words"),
    ],
)
def test_a_cell_is_one_harmless_line(value: Any, shown: str) -> None:
    assert tables.cell(value) == shown


def test_columns_stand_below_their_titles() -> None:
    columns = (tables.column("NAME", "name"), tables.column("FREE", "free", right=True), tables.column("ID", "id"))
    rows = [{"name": "a", "free": 10000, "id": 1}, {"name": "\u6f22\u5b57x", "free": 1, "id": 2}]
    assert tables.table(columns, rows).splitlines() == [
        "NAME    FREE  ID",
        "a      10000  1",
        "\u6f22\u5b57x      1  2",
    ]


def test_a_table_without_rows_has_its_titles() -> None:
    assert tables.table((tables.column("ID", "id"),), []) == "ID\n"
