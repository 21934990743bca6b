"""Servers are told apart by their version."""

from dataclasses import fields

import pytest

from conpaassql.agent.flavour import MARIADB, MYSQL, Flavour, detect
from conpaassql.errors import Unsupported


@pytest.mark.parametrize(
    ("version", "flavour"),
    [
        ("10.11.19-MariaDB-0+deb12u1-log", MARIADB),
        ("5.5.5-10.6.12-MariaDB-log", MARIADB),
        ("11.4.2-MariaDB", MARIADB),
        ("8.4.2", MYSQL),
        ("9.7.4-0ubuntu1", MYSQL),
    ],
)
def test_detects(version: str, flavour: Flavour) -> None:
    assert detect(version) is flavour


@pytest.mark.parametrize("version", ["", "5.7.44", "8.0.36", "10.3.39-MariaDB", "nonsense"])
def test_refuses_the_old_and_the_unknown(version: str) -> None:
    with pytest.raises(Unsupported):
        detect(version)


@pytest.mark.parametrize("field", fields(Flavour), ids=lambda field: field.name)
def test_both_flavours_bind_the_same_values(field: object) -> None:
    name = getattr(field, "name")  # noqa: B009 - a Field as the parameter's id shows it
    mine, theirs = getattr(MARIADB, name), getattr(MYSQL, name)
    if isinstance(mine, str):
        assert mine.count("%s") == theirs.count("%s")
