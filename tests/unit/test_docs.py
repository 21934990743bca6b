"""What the documents tell people to type: programs, options, operations, keys and templates that there really are."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from conpaassql import catalog, iaas, options, params, settings
from conpaassql.client import command, words
from conpaassql.client import options as spelling
from conpaassql.iaas.opennebula import template

TOP = Path(__file__).parents[2]
PAGES = sorted([*TOP.glob("*.md"), *TOP.glob("docs/**/*.md"), *TOP.glob("contrib/**/*.md")])
GUIDE = TOP / "docs" / "opennebula.md"
DECISIONS = sorted((TOP / "docs" / "decisions").glob("*.md"))
ABILITIES = (
    iaas.Power,
    iaas.Catalog,
    iaas.Snapshots,
    iaas.DiskSnapshots,
    iaas.Resizing,
    iaas.DataDisks,
    iaas.PublicAddresses,
    iaas.Labels,
    iaas.Checks,
)

STATIONS = (
    "oneuser create",
    "onevnet create",
    "python -m conpaassql.publish",
    "onetemplate instantiate",
    "conpaassql provider register",
    "conpaassql check provider",
)

# OpenNebula's own commands, as its sources of 5.12 to 7 have them.
ONE: Mapping[str, tuple[str, ...]] = {
    "oneuser": ("create", "token-create", "quota", "show"),
    "oneimage": ("chmod", "show"),
    "onemarketapp": ("list", "export"),
    "onevnet": ("create", "chmod", "show", "addar"),
    "onetemplate": ("create", "instantiate"),
    "onevm": ("list", "show", "disk-saveas", "terminate"),
}
UNTOLD = {"config", "alone", "memory", "elements", "cloud"}  # small things inside a driver
PLAIN = {"export", "poweroff", "mariadb", "mkdir", "scp"}  # of the system, or of somebody else


@dataclass(frozen=True)
class Line:
    """One command of a page; its continuation lines are joined."""

    page: Path
    text: str

    @property
    def words(self) -> list[str]:
        """The words behind settings of the environment, programs without their folder."""
        found = shlex.split(self.text, comments=True)
        while found and re.fullmatch(r"[A-Z_]+=.*", found[0]):
            found.pop(0)
        return [found[0].rpartition("/")[2], *found[1:]] if found else []


def fenced(page: Path, kind: str) -> list[str]:
    """Return the blocks of a kind: sh, ini, or one for OpenNebula's templates."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[Line]:
    """Yield what stands in blocks for a shell, and in indented ones that begin with a program of ours."""
    text = page.read_text()
    indented = re.findall(
        r"^    ((?:\.venv/bin/|scripts/)?(?:conpaassql |run-manager-client\.sh )(?:.*\\\n)*.*)", text, re.MULTILINE
    )
    for block in (*fenced(page, "sh"), *indented):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and "[OPTIONS]" not in line:
                yield Line(page, line.strip())


LINES = [line for page in PAGES for line in commands(page)]


def identity(line: Line) -> str:
    return f"{line.page.name}: {line.text[:60]}"


@pytest.mark.parametrize("line", LINES, ids=identity)
def test_every_command_can_be_given(line: Line) -> None:
    program, *rest = line.words
    if program == "conpaassql":
        accepted(rest)
    elif program == "run-manager-client.sh":
        called(rest)
    elif program in ("sh", "python"):
        ran(program, rest)
    elif program in ONE:
        assert rest[0] in ONE[program], f"{program} has no {rest[0]}"
    elif program == "curl":
        posted(rest)
    elif program == "conpaassql-manager":
        assert set(rest) & {"-c"}
        assert set(rest) <= {"-c", "--check", "manager.ini", "conf/manager.ini"}
    else:
        assert program in PLAIN or (TOP / "scripts" / program).exists(), f"there is no {program}"


def accepted(rest: list[str]) -> None:
    """Let click read a command line to its end, without doing anything."""
    found: click.Command = command.root
    left = spelling.spelled(rest)
    while isinstance(found, click.Group):
        found = found.commands[spelling.dashes(left.pop(0))]
    parent = click.Context(command.root, token_normalize_func=spelling.dashes)
    with found.make_context(str(found.name), left, parent=parent):
        pass


def called(rest: list[str]) -> None:
    host, port, verb, *values = [word for word in rest if word != "--wait"]
    assert port.isdigit(), host
    if verb != "--help":
        words.read(verb, values)


def ran(program: str, rest: list[str]) -> None:
    """``python -m MODULE`` or a script."""
    if program == "sh":
        assert (TOP / "scripts" / rest[0]).exists()
        return
    module = rest[rest.index("-m") + 1]
    places = [TOP / "src" / module.replace(".", "/"), TOP / "contrib" / module / module / "__main__"]
    assert any(place.with_suffix(".py").exists() for place in places), f"there is no module {module}"
    source = next(place.with_suffix(".py") for place in places if place.with_suffix(".py").exists()).read_text()
    for word in rest:
        assert not word.startswith("--") or f'"{word}"' in source, f"{module} has no {word}"


def posted(rest: list[str]) -> None:
    """A call of JSON-RPC names an operation, and only parameters that it takes."""
    body = json.loads(rest[rest.index("-d") + 1])
    rows = {verb: row for row in catalog.ROWS for verb in (row.name, *row.spellings)}
    row = rows[body["method"]]
    params.bind(row.params, row.ignored, body["params"])


def test_the_guide_goes_all_the_way() -> None:
    """The commands that a person needs for a first cluster are all there."""
    told = [" ".join(line.words) for line in commands(GUIDE)]
    for part in STATIONS:
        assert any(line.startswith(part) for line in told), part
    verbs = {line.split()[3] for line in told if line.startswith("run-manager-client.sh")}
    assert verbs >= {"create_cluster", "add_nodes", "set_up_replica_master", "remove_nodes", "configure_user"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_configuration_shown_can_be_read(page: Path) -> None:
    for block in fenced(page, "ini"):
        found = settings.parse_manager(block)
        iaas.load(found.iaas.driver, found.iaas.options, found.manager.name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_template_shown_can_be_read(page: Path) -> None:
    for block in fenced(page, "one"):
        assert template.parse(block).items


def test_options_that_the_guide_names_are_options() -> None:
    """A word such as OPENNEBULA_FILES_DS, in whatever place, is in the table."""
    known = {option.key for option in options.MANAGER}
    named = set(re.findall(r"`(OPENNEBULA_[A-Z_]+|DATA_DISK_SIZE|DIFFERENT_HOSTS|DISK_SIZE)\b", GUIDE.read_text()))
    named -= {"OPENNEBULA_XMLRPC", "OPENNEBULA_CONTEXT_SCRIPT_"}
    assert len(named) > 5
    assert named <= known


def test_the_table_of_abilities_is_true() -> None:
    """A row for each ability; a column for each driver, named by its first word."""
    drivers = {module.NAMES[0]: module.Driver for module in iaas.modules()}
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in (TOP / "docs" / "providers.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    heads, *told = rows
    assert set(heads[1:]) == set(drivers)
    assert [row[0] for row in told] == [ability.__name__ for ability in ABILITIES]
    for row, ability in zip(told, ABILITIES, strict=True):
        for name, cell in zip(heads[1:], row[1:], strict=True):
            assert (cell == "yes") == issubclass(drivers[name], ability), f"{name} {row[0]}"  # type: ignore[arg-type]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in {_anchor(line) for line in there.read_text().splitlines()}, f"{page.name}: {target}"


def _anchor(line: str) -> str:
    """Return what a heading can be linked by."""
    if not line.startswith("#"):
        return ""
    return re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_decisions_say_why_what_and_at_what_price(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.name[:4]} ")
    places = [text.index(f"**{part}.**") for part in ("Context", "Choice", "Price")]
    assert places == sorted(places)


def test_the_architecture_names_every_module() -> None:
    """A module that nobody wrote a word about is found here."""
    text = (TOP / "ARCHITECTURE.md").read_text()
    assert len(text.splitlines()) <= 150
    source = TOP / "src" / "conpaassql"
    groups = [source, *(source / name for name in ("manager", "cluster", "agent", "web", "iaas/opennebula"))]
    names = {path.stem for group in groups for path in group.glob("*.py") if not path.name.startswith("_")}
    names |= {path.parent.name for path in source.glob("*/__init__.py")}
    missing = {name for name in names - UNTOLD if not re.search(rf"\b{name}\b", text)}
    assert not missing
