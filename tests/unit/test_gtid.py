"""GTID sets by example: what servers write, and what follows."""

import pytest

from conpaassql import gtid
from conpaassql.errors import Invalid

A = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
B = "4e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("", ""),
        ("0-1-100", "0-1-100"),
        ("1-2-7,0-1-100", "0-1-100,1-2-7"),
        ("0-1-100,0-2-90", "0-1-100"),
        ("0-1-91..100", "0-1-91..100"),
        (f"{A}:1-5:7", f"{A}:1-5:7"),
        (f"{A.upper()}:1-5:6,\n{B}:3", f"{A}:1-6,{B}:3"),
        (f"{A}:1-3:app:5:7", f"{A}:1-3,{A}:app:5:7"),
    ],
)
def test_reads_and_writes(given: str, written: str) -> None:
    assert gtid.text(gtid.parse(given)) == written
    assert gtid.parse(written) == gtid.parse(given)


@pytest.mark.parametrize("wrong", ["x", "0-1", "0-1-0", "0-1-9..3", A, f"{A}:0", f"{A}:5-3", f"{A}:1-", f"{A[:-1]}:1"])
def test_refuses_what_is_not_a_set(wrong: str) -> None:
    with pytest.raises(Invalid):
        gtid.parse(wrong)


@pytest.mark.parametrize(
    ("whole", "part", "holds"),
    [
        ("0-1-100", "0-1-100", True),
        ("0-1-100", "0-2-99", True),
        ("0-1-100", "0-1-101", False),
        ("0-1-100", "1-1-1", False),
        ("0-1-100,1-1-1", "1-1-1", True),
        ("0-1-1", "", True),
        ("", "0-1-1", False),
        (f"{A}:1-10", f"{A}:2-9", True),
        (f"{A}:1-4:6-10", f"{A}:4-6", False),
        (f"{A}:1-10", f"{B}:1", False),
    ],
)
def test_contains(whole: str, part: str, holds: bool) -> None:
    assert gtid.contains(gtid.parse(whole), gtid.parse(part)) is holds


@pytest.mark.parametrize(
    ("left", "right", "rest"),
    [
        ("0-1-100", "0-2-90", "0-1-91..100"),
        ("0-1-100", "0-2-100", ""),
        ("0-1-100,1-1-5", "0-2-100", "1-1-5"),
        (f"{A}:1-10", f"{A}:3-4:8", f"{A}:1-2:5-7:9-10"),
    ],
)
def test_minus(left: str, right: str, rest: str) -> None:
    assert gtid.text(gtid.minus(gtid.parse(left), gtid.parse(right))) == rest


def test_a_fork_shows_where_both_end_alike() -> None:
    assert gtid.forked(gtid.parse("0-1-100"), gtid.parse("0-2-100"))
    assert not gtid.forked(gtid.parse("0-1-100"), gtid.parse("0-1-100"))
    assert not gtid.forked(gtid.parse("0-1-100"), gtid.parse("0-2-99"))
    assert not gtid.forked(gtid.parse("0-1-100"), gtid.parse("1-2-100"))
