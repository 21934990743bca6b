"""Laws of GTID sets, held against plain sets of (origin, number)."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from conpaassql import gtid
from conpaassql.gtid import GtidSet

UUIDS = [f"{digit * 8}-71ca-11e1-9e33-c80aa9429562" for digit in "0ab"]


@st.composite
def positions(draw: st.DrawFn) -> GtidSet:
    """MariaDB: at most one last transaction per domain."""
    last = draw(st.dictionaries(st.integers(0, 2), st.tuples(st.integers(1, 3), st.integers(1, 30)), max_size=3))
    return gtid.parse(",".join(f"{domain}-{server}-{number}" for domain, (server, number) in last.items()))


@st.composite
def intervals(draw: st.DrawFn) -> GtidSet:
    """MySQL: any spans in any order, overlapping or not."""
    span = st.tuples(st.integers(1, 30), st.integers(0, 6)).map(lambda pair: f"{pair[0]}-{sum(pair)}")
    origin = st.sampled_from([*UUIDS, f"{UUIDS[0]}:tag"])
    parts = draw(st.lists(st.tuples(origin, st.lists(span, min_size=1, max_size=3)), max_size=4))
    return gtid.parse(",".join(":".join([name, *spans]) for name, spans in parts))


sets = positions() | intervals()
pairs = st.tuples(positions(), positions()) | st.tuples(intervals(), intervals())


def plain(gtids: GtidSet) -> set[tuple[str, int]]:
    return {
        (origin, number)
        for origin, spans in gtids.origins
        for first, last in spans
        for number in range(first, last + 1)
    }


@given(sets)
def test_text_reads_back(one: GtidSet) -> None:
    assert gtid.parse(gtid.text(one)) == one


@given(pairs)
def test_what_is_missing_reads_back(pair: tuple[GtidSet, GtidSet]) -> None:
    rest = gtid.minus(*pair)
    assert gtid.parse(gtid.text(rest)) == rest


@given(pairs)
def test_union(pair: tuple[GtidSet, GtidSet]) -> None:
    left, right = pair
    assert plain(gtid.union(left, right)) == plain(left) | plain(right)
    assert gtid.union(left, right) == gtid.union(right, left)
    assert gtid.union(left, left) == left
    assert gtid.union(left, gtid.EMPTY) == left


@given(pairs)
def test_minus(pair: tuple[GtidSet, GtidSet]) -> None:
    left, right = pair
    assert plain(gtid.minus(left, right)) == plain(left) - plain(right)


@given(pairs)
def test_contains(pair: tuple[GtidSet, GtidSet]) -> None:
    left, right = pair
    assert gtid.contains(left, right) == (plain(right) <= plain(left))
    assert gtid.contains(gtid.union(left, right), left)
    assert gtid.is_empty(left) == (not plain(left))


@given(pairs)
def test_the_form_is_the_only_one(pair: tuple[GtidSet, GtidSet]) -> None:
    for found in (*pair, gtid.union(*pair), gtid.minus(*pair)):
        for _, spans in found.origins:
            assert spans
            assert all(first <= last for first, last in spans)
            assert all(left[1] + 1 < right[0] for left, right in pairwise(spans))
