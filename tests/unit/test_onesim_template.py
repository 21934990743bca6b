"""The simulator reads OpenNebula's template language as the real core does, and says the same when it cannot."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onesim import template
from onesim.template import Template, TemplateError

READ = [
    ("a = 1", (("A", "1"),)),
    ("A=1 B=2\nC = x", (("A", "1"), ("B", "2"), ("C", "x"))),
    ('A = "two words"', (("A", "two words"),)),
    ('A = "say \\"hi\\""', (("A", 'say "hi"'),)),
    ('A = "l1\nl2 # no comment, [x] = y"', (("A", "l1\nl2 # no comment, [x] = y"),)),
    ("A =\nB = 1", (("A", ""), ("B", "1"))),
    ('A = ""', (("A", ""),)),
    ("# all of it\nA = 1 # and this\n", (("A", "1"),)),
    ('V = [ x = 1, Y="2 3",z=a.b/c ]', (("V", (("X", "1"), ("Y", "2 3"), ("Z", "a.b/c"))),)),
    ("V = [\n  A = 1,\n\n  B = 2\n]\n", (("V", (("A", "1"), ("B", "2"))),)),
    ("V = []", (("V", ()),)),
    ("V = [ A = 1, a = 2 ]", (("V", (("A", "1"),)),)),
    ("D = [ A = 1 ]\nD = [ A = 2 ]", (("D", (("A", "1"),)), ("D", (("A", "2"),)))),
    ("A = back\\slash", (("A", "back\\slash"),)),
    ('A = "end\\"', (("A", "end\\"),)),
    ("A = čšž", (("A", "čšž"),)),
    ('NAME = "x  "', (("NAME", "x"),)),
    ("", ()),
    ("  \n# nothing\n", ()),
    ("A = 1; B = 2", (("A", "1;"), ("B", "2"))),
    (
        "<TEMPLATE><a>1</a><V><X>2</X><Y><![CDATA[a<b]]></Y></V></TEMPLATE>",
        (("A", "1"), ("V", (("X", "2"), ("Y", "a<b")))),
    ),
    ("<T><A/><B></B><V><X/></V></T>", (("V", ()),)),
]


@pytest.mark.parametrize(("text", "attributes"), READ, ids=[text for text, _ in READ])
def test_what_is_read(text: str, attributes: tuple[tuple[str, template.Value], ...]) -> None:
    assert template.parse(text).attributes == attributes


WRONG = [
    ("this is not", "syntax error, unexpected VARIABLE, expecting EQUAL or EQUAL_EMPTY at line 0, columns 6:8"),
    ("garbage", "syntax error, unexpected $end, expecting EQUAL or EQUAL_EMPTY at line 0, columns 1:8"),
    ("A = 1\n, B = 2", "syntax error, unexpected COMMA, expecting $end at line 1, columns 6:9"),
    ("A = \n= [", "syntax error, unexpected EQUAL, expecting $end at line 1, columns 6:8"),
    ("A = [ B", "syntax error, unexpected $end, expecting EQUAL at line 0, columns 7:8"),
    ('V = [ A = "x"', "syntax error, unexpected $end, expecting COMMA or CBRACKET at line 0, columns 11:14"),
    ("V = [ A = 1, ]\n", "syntax error, unexpected CBRACKET, expecting VARIABLE at line 1, columns 14:16"),
    ("V = [ A = 1, // why\n B = 2 ]", "syntax error, unexpected VARIABLE, expecting EQUAL at line 1, columns 22:23"),
    ("V = [ A = [ B = 1 ] ]", "syntax error, unexpected OBRACKET, expecting STRING at line 0, columns 11:13"),
    ("A = ", "syntax error, unexpected $end, expecting OBRACKET or CCDATA or STRING at line 0, columns 2:5"),
    ("č = 1\nA B", "syntax error, unexpected EQUAL, expecting $end at line 0, columns 3:6"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[text for text, _ in WRONG])
def test_what_is_wrong_is_named_with_its_place_in_bytes(text: str, says: str) -> None:
    with pytest.raises(TemplateError) as caught:
        template.parse(text)
    assert str(caught.value) == f"Parse error: {says}"


@pytest.mark.parametrize("text", ['A = "x]]>y"', "A = x]]>", "V = [ A = x]]> ]"])
def test_the_end_of_cdata_is_refused_without_a_place(text: str) -> None:
    with pytest.raises(TemplateError, match=r"^Parse error\.$"):
        template.parse(text)


@pytest.mark.parametrize("text", ["<TEMPLATE><A>1", "<A>1</A><B>2</B>", "<A>]]>x]]></A", "<"])
def test_bad_xml_is_refused(text: str) -> None:
    with pytest.raises(TemplateError, match=r"^Parse error: XML Template malformed\.$"):
        template.parse(text)


NAMES = st.from_regex(r"[A-Z0-9_]{1,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(
    lambda text: "]]>" not in text and not text.endswith("\\")
)
VECTORS = st.dictionaries(NAMES, TEXTS, max_size=4).map(template.pairs)


@given(st.lists(st.tuples(NAMES.filter(lambda name: name != "NAME"), TEXTS | VECTORS), max_size=6))
def test_what_is_written_is_read_again(attributes: list[tuple[str, template.Value]]) -> None:
    made = Template(tuple(attributes))
    assert template.parse(template.render(made)) == made


@given(st.text(st.sampled_from('AB1_=[],"\\#<>/ \t\n.č$'), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read = template.parse(text)
    except TemplateError as exc:
        assert str(exc).startswith("Parse error")
    else:
        assert all(name == name.upper() for name, _ in read.attributes)


@pytest.mark.parametrize("end", ['"', "", '\\"'])
def test_a_long_value_is_read_at_once(end: str) -> None:
    value = 'x\\"y\\z ' * 100_000
    began = time.monotonic()
    with suppress(TemplateError):
        template.parse(f'A = "{value}{end}')
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("value", ["a]]>b", "a\\"])
def test_what_the_language_cannot_say_is_not_written(value: str) -> None:
    with pytest.raises(TemplateError):
        template.render(Template((("A", value), ("B", "1"))))


def test_a_template_is_asked_and_changed_by_name() -> None:
    made = template.parse("A = 1\nD = [ X = 1 ]\nD = [ X = 2 ]\nA = 2")
    assert (made.first("A"), made.text("A"), made.text("NO", "-"), made.first("NO")) == ("1", "1", "-", None)
    assert made.vectors("D") == ({"X": "1"}, {"X": "2"})
    assert made.names() == ("A", "D")
    assert made.without("D").attributes == (("A", "1"), ("A", "2"))
    assert made.only("D").plus("Z", "9").names() == ("D", "Z")
    assert made.merged(template.parse("A = 3")).all("A") == ("3",)
