"""Settings written as an INI file come back as they were, and no text makes the loader fall over."""

from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from conpaassql.errors import ConfigError
from conpaassql.options import AGENT, MANAGER, Kind, Option
from conpaassql.settings import parse_agent, parse_manager

WORD = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=9)
# A comment's ` #`, a line's last backslash and outer blanks cannot be written; all else can.
TEXT = (
    st.lists(WORD, max_size=4)
    .map(" ".join)
    .filter(lambda text: not text.endswith("\\") and not text.startswith("#") and " #" not in text)
)
SECRET = st.lists(WORD, max_size=4).map(" ".join)

NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True)


def value(option: Option) -> st.SearchStrategy[object]:
    """Values of an option, as the settings hold them."""
    top = 1e6 if option.maximum is None else option.maximum
    return {
        Kind.TEXT: SECRET if option.secret else TEXT,
        Kind.PATH: st.lists(st.from_regex(r"[a-z %$]{0,5}[a-z]", fullmatch=True), min_size=1).map(
            lambda parts: Path("/" + "/".join(parts))
        ),
        Kind.INTEGER: st.integers(int(option.minimum), int(top)),
        Kind.NUMBER: st.floats(option.minimum, top),
        Kind.FLAG: st.booleans(),
        Kind.CHOICE: st.sampled_from(option.choices),
    }[option.kind]


def ini(table: tuple[Option, ...], values: Mapping[str, object]) -> str:
    """Write the values by key as a file, sections in the table's order."""
    lines: list[str] = []
    for section in dict.fromkeys(option.section for option in table):
        lines.append(f"[{section}]")
        lines += [f"{o.key} = {values[o.key]}" for o in table if o.section == section and o.key in values]
    return "\n".join(lines)


def filled(table: tuple[Option, ...], **fixed: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Values for every option of a table."""
    return st.fixed_dictionaries({option.key: fixed.get(option.key, value(option)) for option in table})


FIXED = {
    "auth": st.just("token"),
    "tls": st.sampled_from(["auto", "on"]),
    "DRIVER": st.just("LOCAL"),
    "LOCAL_ROOT": st.just("/r"),
    "name": NAME,
    "NAME": NAME,
}


@given(filled(MANAGER, **FIXED))
def test_manager(values: dict[str, object]) -> None:
    got = parse_manager(ini(MANAGER, values))
    for option in MANAGER:
        if option.section == "iaas" and option.key != "DRIVER":
            assert got.iaas.options[option.key] == str(values[option.key])
        elif option.section == "manager":
            expected = values[option.key] or option.default or values["address"] or "127.0.0.1"
            if option.kind is Kind.FLAG:
                expected = values[option.key]
            assert str(getattr(got.manager, option.key)) == str(expected) or values[option.key] == 0
        elif option.section == "onevm_agent_template" and values[option.key]:
            assert getattr(got.template, option.key.lower()) == values[option.key]
    assert parse_manager(ini(MANAGER, values)) == got


@given(filled(AGENT, address=st.just("127.1.2.3"), manager_url=st.just("https://h:1")))
def test_agent(values: dict[str, object]) -> None:
    got = parse_agent(ini(AGENT, values))
    for option in AGENT:
        if option.section == "agent" and values[option.key] != "":
            assert getattr(got, option.key) == values[option.key]


@given(st.text(st.sampled_from("[]=:#;\\\n \tabmangeriports1%$\0é")))
def test_no_text_makes_the_loader_fall_over(text: str) -> None:
    for parse in (parse_manager, parse_agent):
        try:
            parse(text)
        except ConfigError as exc:
            assert exc.says
