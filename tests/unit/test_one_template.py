"""OpenNebula's template language, as we read and write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conpaassql.errors import IaasRefused
from conpaassql.iaas.opennebula import template
from conpaassql.iaas.opennebula.template import Template

NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(template.is_writable)
VECTORS = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=4).map(tuple)
TEMPLATES = st.lists(st.tuples(NAMES, VALUES | VECTORS), max_size=5).map(lambda items: Template(tuple(items)))

HOSTILE = [
    'x"\nADMIN = "yes',
    '"',
    '""',
    "x ] \nNIC = [ NETWORK_ID = 0",
    "a, B = c",
    "# no comment",
    "a\\b",
    "$NAME",
    "l1\nl2\ttab",
    "čšž 日本 😀",
    "",
    " ",
    "= [ ] ,",
    "<a>&amp;<![CDATA[x",
]
UNWRITABLE = ["ends with \\", 'x\\" = [', "a]]>b", "bell\a", "nul\0", "return\r", "\ud800"]


@given(TEMPLATES)
def test_what_is_written_is_read_back(whole: Template) -> None:
    assert template.parse(whole.text()) == whole


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_stays_one_value(value: str) -> None:
    whole = Template((("A", value), ("V", (("K", value), ("L", "2"))), ("Z", "end")))
    assert template.parse(whole.text()) == whole


@pytest.mark.parametrize("value", UNWRITABLE)
def test_what_the_core_would_misread_is_refused(value: str) -> None:
    with pytest.raises(IaasRefused, match=r"^A: OpenNebula cannot take its value"):
        Template((("A", value),)).text()


@pytest.mark.parametrize("name", ["", "A B", "A=", "1A", "a-b", "A]\nB", "é"])
def test_what_cannot_name_an_attribute_is_refused(name: str) -> None:
    with pytest.raises(IaasRefused):
        Template(((name, "x"),)).text()
    with pytest.raises(IaasRefused):
        Template((("V", ((name, "x"),)),)).text()


@given(st.text())
def test_any_text_can_be_carried(value: str) -> None:
    carried = template.coded(value)
    assert template.is_writable(carried)
    assert template.decoded(carried) == value


def test_most_texts_are_carried_as_they_are() -> None:
    assert template.coded("primary of c-1") == "primary of c-1"
    assert template.decoded("base64:not of ours!") == "base64:not of ours!"


def test_the_language() -> None:
    text = (
        "# a comment\n"
        'name = "x \\"y\\"" # another\n'
        "cpu=0.5\n"
        "Empty =\n"
        'Disk = [ image_id = 3,\n  size="10" ]  NIC = [ NETWORK = net ]\n'
        'RANK = "- RUNNING_VMS"\n'
    )
    assert template.parse(text).items == (
        ("NAME", 'x "y"'),
        ("CPU", "0.5"),
        ("EMPTY", ""),
        ("DISK", (("IMAGE_ID", "3"), ("SIZE", "10"))),
        ("NIC", (("NETWORK", "net"),)),
        ("RANK", "- RUNNING_VMS"),
    )


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("garbage", 1, "ends where = is expected"),
        ("A = 1\nB = two words\n", 2, "'WORDS'|ends where = is expected"),
        ("A = [ B = 1\n", 1, "ends where a comma or ]"),
        ("A = [ B = 1,\n ]", 2, "']' stands where a name"),
        ("A = [ ]", 1, "a name is expected"),
        ("A = 1 // no comment", 1, "'/' has no place"),
        ("\n\n= 5", 3, "a name is expected"),
        ("A = \\\nB", 2, "expected"),
    ],
)
def test_a_slip_is_said_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(IaasRefused, match=says) as caught:
        template.parse(text)
    assert caught.value.details["line"] == line


def test_of_two_equal_keys_the_first_counts() -> None:
    assert template.first((("A", "1"), ("A", "2")), "A") == "1"
    assert template.flat((("A", "1"), ("A", "2"))) == {"A": "1"}
    assert template.merged((("A", "1"), ("B", "2")), {"a": "3"}) == (("B", "2"), ("A", "3"))
