"""Laws of parameters: what is right comes through unchanged, and what is wrong is Invalid and nothing else."""

import json
import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness
from conpaassql import params
from conpaassql.errors import Invalid
from conpaassql.params import Param
from conpaassql.web.operations import OPERATIONS, Effect
from harness import Rig

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
ANY_TEXT = st.text(st.characters(codec=None, categories=None))  # lone surrogates and controls too
NAMES = st.from_regex(params.NAME, fullmatch=True)
GOOD_TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=50)
EVERY = [(operation, param) for operation in OPERATIONS for param in operation.params]


def spellings(param: Param) -> st.SearchStrategy[str]:
    return st.sampled_from(param.spellings)


@pytest.mark.parametrize(("operation", "param"), EVERY, ids=lambda thing: thing.name)
@settings(max_examples=40)
@given(value=JSON | ANY_TEXT)
def test_a_reader_raises_nothing_but_invalid(operation: object, param: Param, value: object) -> None:
    try:
        param.read(param.name, value)
    except Invalid as exc:
        assert exc.says.startswith(f"Invalid argument: {param.name}")
        assert exc.says.endswith(".")


@given(data=st.data(), given_=st.dictionaries(st.text(max_size=12), JSON, max_size=5))
def test_binding_raises_nothing_but_invalid(data: st.DataObject, given_: dict[str, object]) -> None:
    operation = data.draw(st.sampled_from(OPERATIONS))
    for param in operation.params:
        if data.draw(st.booleans()):
            given_[data.draw(spellings(param))] = data.draw(JSON)
    try:
        bound = params.bind(operation.params, operation.ignored, given_)
    except Invalid as exc:
        assert len(exc.says) < 5000
    else:
        assert set(bound) == {param.name for param in operation.params}


@given(number=st.integers(1, params.MOST_NUMBER), data=st.data())
def test_numbers_as_number_or_text(number: int, data: st.DataObject) -> None:
    text = f"{data.draw(st.sampled_from(['', ' ', chr(10)]))}{number}"
    assert params.node_id("n", number) == params.node_id("n", text) == params.node_or_all("n", text) == number


@given(low=st.integers(-50, 50), span=st.integers(0, 100), number=st.integers(-200, 200))
def test_numbers_keep_their_bounds(low: int, span: int, number: int) -> None:
    read = params.whole_number(low, low + span)
    if low <= number <= low + span:
        assert read("n", number) == number
    else:
        with pytest.raises(Invalid):
            read("n", number)


@given(text=ANY_TEXT)
def test_text_comes_through_unchanged_or_not_at_all(text: str) -> None:
    bad = "\0" in text or len(text) > params.MOST_TEXT or any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)
    if bad:
        with pytest.raises(Invalid):
            params.text("t", text)
    else:
        assert params.text("t", text) == text


@given(name=NAMES)
def test_names_of_clusters(name: str) -> None:
    assert params.cluster_name("c", name) == name
    assert len(name) <= 63
    assert set(name) <= set(string.ascii_lowercase + string.digits + "-")


@given(names=st.lists(st.text(string.ascii_letters + string.digits + " _", min_size=1).map(str.strip).filter(bool)))
def test_lists_as_list_or_text(names: list[str]) -> None:
    assert params.names("d", names) == tuple(names)
    if len(",".join(names)) <= params.MOST_TEXT:
        assert params.names("d", " , ".join(names)) == tuple(names) or len(" , ".join(names)) > params.MOST_TEXT


@given(options=st.dictionaries(GOOD_TEXT, GOOD_TEXT | st.booleans() | st.integers(), min_size=1, max_size=5))
def test_options_become_text(options: dict[str, Any]) -> None:
    found = params.mapping("o", options)
    assert set(found) == set(options)
    for name, value in options.items():
        assert found[name] == ({True: "ON", False: "OFF"}[value] if isinstance(value, bool) else str(value))


@given(flag=st.booleans())
def test_flags(flag: bool) -> None:
    for word in ({True: ("true", "YES", "1", 1), False: ("false", "No", "0", 0)})[flag]:
        assert params.flag("f", word) is flag


@given(data=st.data())
def test_every_spelling_binds_the_same(data: st.DataObject) -> None:
    operation, param = data.draw(st.sampled_from([(o, p) for o, p in EVERY if p.read is params.node_id]))
    value = data.draw(st.integers(1, 10**6))
    alone = (param,)
    results = [params.bind(alone, operation.ignored, {name: value}) for name in param.spellings]
    assert results == [{param.name: value}] * len(param.spellings)
    if len(param.spellings) > 1:
        with pytest.raises(Invalid, match="mean the same"):
            params.bind(alone, operation.ignored, dict.fromkeys(param.spellings[:2], value))


# --- GET and POST


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with harness.running(tmp_path_factory.mktemp("params")) as rig:
        rig.grow(2)
        rig.freeze()
        yield rig


READS = [operation for operation in OPERATIONS if operation.effect in (Effect.LOOK, Effect.READ)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_read_says_the_same_by_get_and_by_post(rig: Rig, data: st.DataObject) -> None:
    """Right or wrong, with parameters as an object or as text, with any id that is text."""
    operation = data.draw(st.sampled_from(READS))
    asked: dict[str, object] = {}
    for param in operation.params:
        if data.draw(st.booleans()):
            value = st.integers(0, 3) | st.sampled_from(["default", "1", "x", "all"]) | JSON
            asked[data.draw(spellings(param))] = data.draw(value)
    id_ = data.draw(GOOD_TEXT)
    before = rig.world()
    posted = rig.call(operation.name, asked, id=id_)
    assert rig.get(operation.name, asked, id=id_).json == posted
    as_text = json.dumps({"method": operation.name, "params": json.dumps(asked), "id": id_}).encode()
    assert rig.post(as_text).json == posted
    assert rig.world() == before
