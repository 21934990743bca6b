"""The wheel that new VMs install: whole, correct by its own record, and the same each time."""

import ast
import base64
import csv
import hashlib
import importlib.metadata
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conpaassql import VERSION, packages
from conpaassql.errors import ConfigError

TOP = Path(__file__).parents[2]
SOURCE = TOP / "src" / "conpaassql"
REQUIREMENTS = TOP / "templates" / "vm" / "agent-requirements.txt"


@pytest.fixture
def made(tmp_path: Path) -> packages.Package:
    return packages.package(tmp_path / "made")


def test_it_is_named_and_described_as_pip_wants_it(made: packages.Package) -> None:
    assert made.path.name == f"conpaassql-{VERSION}-py3-none-any.whl"
    assert made.sha256 == hashlib.sha256(made.path.read_bytes()).hexdigest()
    with zipfile.ZipFile(made.path) as wheel:
        info = f"conpaassql-{VERSION}.dist-info"
        assert b"Name: conpaassql\n" in wheel.read(f"{info}/METADATA")
        assert b"conpaassql-agent" in wheel.read(f"{info}/entry_points.txt")
        assert b"Root-Is-Purelib: true\n" in wheel.read(f"{info}/WHEEL")
        assert wheel.testzip() is None


def test_its_record_tells_every_file(made: packages.Package) -> None:
    with zipfile.ZipFile(made.path) as wheel:
        record = {row[0]: row[1:] for row in csv.reader(wheel.read(wheel.namelist()[-1]).decode().splitlines())}
        assert sorted(record) == sorted(wheel.namelist())
        assert len(wheel.namelist()) == len(set(wheel.namelist()))
        for name, (digest, size) in record.items():
            data = wheel.read(name)
            if name.endswith("/RECORD"):
                assert (digest, size) == ("", "")
                continue
            wanted = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={wanted}", str(len(data))), name


def test_it_holds_what_an_agent_and_a_manager_need(made: packages.Package) -> None:
    with zipfile.ZipFile(made.path) as wheel:
        names = set(wheel.namelist())
    modules = {f"conpaassql/{path.relative_to(SOURCE).as_posix()}" for path in SOURCE.rglob("*.py")}
    assert modules and modules <= names
    assert {f"conpaassql/templates/vm/{name}" for name in ("init.sh", "conpaassql-install.sh")} <= names
    assert {"conpaassql/py.typed", "conpaassql/templates/mysql/my.cnf"} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    assert packages.package(tmp_path / "one").sha256 == packages.package(tmp_path / "two").sha256


def test_scripts_may_be_run(made: packages.Package) -> None:
    with zipfile.ZipFile(made.path) as wheel:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in wheel.infolist()}
    assert modes["conpaassql/templates/vm/init.sh"] == 0o755
    assert modes["conpaassql/cli.py"] == 0o644


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        packages.package(tmp_path / "file" / "below")


def test_a_checksum_follows_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"one")
    assert packages.sha256(file) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"other")
    assert packages.sha256(file) == hashlib.sha256(b"other").hexdigest()


class TestAgentRequirements:
    """An agent's VM is given what the agent imports, and nothing that only a manager needs."""

    def names(self) -> set[str]:
        return {canonical(found) for found in re.findall(r"^([A-Za-z0-9._-]+)", REQUIREMENTS.read_text(), re.M)}

    def test_they_are_what_the_agent_imports(self) -> None:
        assert self.names() == imported("conpaassql.agent_cli")

    def test_they_have_the_bounds_of_the_whole(self) -> None:
        bounds = {
            canonical(re.match(r"[A-Za-z0-9._-]+", line)[0]): re.sub(r"\s", "", line)  # type: ignore[index]
            for line in re.findall(r'"([A-Za-z][^"]*[<>=][^"]*)",', (TOP / "setup.py").read_text())
        }
        for line in REQUIREMENTS.read_text().splitlines():
            if line and not line.startswith("#"):
                name = canonical(re.match(r"[A-Za-z0-9._-]+", line)[0])  # type: ignore[index]
                if name in bounds:
                    assert sorted(line.lower()) == sorted(bounds[name].lower()), line

    def test_what_only_managers_need_is_missing(self) -> None:
        assert not self.names() & {"pyone", "apache-libcloud", "sqlalchemy", "alembic", "pycurl", "requests", "lxml"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(module: str) -> set[str]:
    """The distributions that our own modules name when ``module`` is loaded."""
    program = f"import sys, {module}; print(*(n for n in sys.modules if n.startswith('conpaassql')))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    of = importlib.metadata.packages_distributions()
    tops = {top for name in done.stdout.split() for top in imports_of(name)}
    return {canonical(of[top][0]) for top in tops if top not in sys.stdlib_module_names and top != "conpaassql"}


def imports_of(module: str) -> set[str]:
    path = SOURCE.parent / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found
