"""Fixtures of the system tests: short paths (sockets have 108 bytes) and one prepared data directory."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from installation import LOCAL, Installation, installation

TEMPLATE = Path(tempfile.gettempdir()) / "conpaassql-tests-template"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path leaves room for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="cps-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> str:
    """Where VMs come from: this machine itself, unless a test asks for more by ``on_each_provider``."""
    return str(getattr(request, "param", LOCAL))


@pytest.fixture
def install(short_folder: Path, provider: str) -> Iterator[Callable[..., Installation]]:
    """Make installations that are gone after the test; each has a network of its own."""
    with ExitStack() as stack:
        made: list[Installation] = []

        def make(name: str = "a", network: str = "127.50.0.0/16", **options: object) -> Installation:
            found = stack.enter_context(installation(short_folder / name, network, TEMPLATE, provider, **options))
            made.append(found)
            return found

        yield make
        for found in made:
            _keep_template(found)


def _events(store: Path) -> str:
    """Return the newest events of a manager."""
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute(
            "SELECT at, cluster, node, code, says FROM events ORDER BY id DESC LIMIT 40"
        ).fetchall()
    return "\n".join(str(row) for row in reversed(rows))


def _keep_template(found: Installation) -> None:
    """Let later tests start from the prepared data directory that the first one made."""
    made = found.vms / "template"
    if made.is_dir() and not made.is_symlink() and not TEMPLATE.exists():
        try:
            made.rename(TEMPLATE)
        except OSError:
            return  # another worker was faster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the newest lines of every log to the report of a failed test, since its folder goes away."""
    report = yield
    folder = item.funcargs.get("short_folder") if isinstance(item, pytest.Function) else None
    if report.when == "call" and report.failed and isinstance(folder, Path):
        for log in sorted({*folder.glob("*/*.log"), *folder.rglob("log/*.log")}):
            report.sections.append((str(log), log.read_text(errors="replace")[-3000:]))
        for store in sorted(folder.glob("*/s/store.sqlite")):
            report.sections.append((str(store), _events(store)))
    return report
