"""conpaassql-install.sh by itself: what it refuses, before anything of the package has run."""

import base64
import functools
import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conpaassql import httpd, packages, pki
from conpaassql.httpd import Tls
from conpaassql.iaas import local

HOST = "127.76.0.1"
SCRIPT = Path(__file__).parents[2] / "scripts" / "conpaassql-install.sh"
SECRET = "the-one-time-token"


@dataclass(frozen=True)
class Served:
    """A folder that is served over HTTPS by a name-less stranger's little server."""

    folder: Path
    url: str
    authority: bytes
    asked: list[str]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "served"
    folder.mkdir()
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, _format: str, *arguments: Any) -> None:
            asked.append(str(arguments[0]))

    authority = pki.new_authority("tests")
    (tmp_path / "s").mkdir()
    certificate, key = pki.open_identity(tmp_path / "s", "manager", authority, (HOST,))
    server = ThreadingHTTPServer((HOST, 0), functools.partial(Handler, directory=str(folder)))
    server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]  # a client who hangs up in the handshake
    context = httpd.tls_context(Tls(certificate=certificate, key=key))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Served(folder, f"https://{HOST}:{server.server_address[1]}", authority.certificate_pem, asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def wheel(tmp_path: Path) -> packages.Package:
    return packages.package(tmp_path / "made")


def run(
    tmp_path: Path, *arguments: str, changes: dict[str, str] | None = None, **context: str
) -> subprocess.CompletedProcess[str]:
    """Run the script with a context, and a prefix of its own."""
    (tmp_path / "context.sh").write_text(local.shell({"CONPAASSQL_JOIN_TOKEN": SECRET, **context}))
    environment = {
        "PATH": os.environ["PATH"],
        "CONPAASSQL_CONTEXT": str(tmp_path / "context.sh"),
        "CONPAASSQL_PREFIX": str(tmp_path / "opt"),
        "PIP_CONFIG_FILE": os.devnull,
        "TMPDIR": str(tmp_path),
        **(changes or {}),
    }
    done = subprocess.run(
        ["sh", SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert SECRET not in done.stdout + done.stderr
    return done


def offered(served: Served, wheel: packages.Package, **changes: str) -> dict[str, str]:
    """Put the wheel where it is served, and return the context that tells of it."""
    (served.folder / wheel.path.name).write_bytes(wheel.path.read_bytes())
    return {
        "CONPAASSQL_PACKAGE": f"{served.url}/{wheel.path.name}",
        "CONPAASSQL_PACKAGE_SHA256": wheel.sha256,
        "CONPAASSQL_CA_BASE64": base64.b64encode(served.authority).decode(),
        **changes,
    }


def nothing_was_installed(tmp_path: Path) -> None:
    assert [path.name for path in (tmp_path / "opt").iterdir()] == []
    assert not list(tmp_path.glob("tmp.*"))


def test_a_package_that_was_tampered_with_is_refused(tmp_path: Path, served: Served, wheel: packages.Package) -> None:
    context = offered(served, wheel)
    other = wheel.path.read_bytes() + b" "
    (served.folder / wheel.path.name).write_bytes(other)
    done = run(tmp_path, **context)
    assert done.returncode == 1
    assert f"has the checksum {hashlib.sha256(other).hexdigest()}, not {wheel.sha256}" in done.stderr
    nothing_was_installed(tmp_path)


def test_a_manager_of_another_authority_is_refused(tmp_path: Path, served: Served, wheel: packages.Package) -> None:
    other = base64.b64encode(pki.new_authority("others").certificate_pem).decode()
    done = run(tmp_path, **offered(served, wheel, CONPAASSQL_CA_BASE64=other))
    assert done.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr
    assert served.asked == []
    nothing_was_installed(tmp_path)


def test_a_package_that_is_not_there_is_named(tmp_path: Path, served: Served, wheel: packages.Package) -> None:
    done = run(tmp_path, **offered(served, wheel, CONPAASSQL_PACKAGE=f"{served.url}/other.whl"))
    assert done.returncode == 1
    assert "other.whl cannot be fetched" in done.stderr
    nothing_was_installed(tmp_path)


@pytest.mark.parametrize("missing", ["CONPAASSQL_PACKAGE", "CONPAASSQL_PACKAGE_SHA256"])
def test_a_context_without_a_package_is_explained(tmp_path: Path, missing: str) -> None:
    context = {"CONPAASSQL_PACKAGE": "x", "CONPAASSQL_PACKAGE_SHA256": "y"}
    del context[missing]
    done = run(tmp_path, **context)
    assert done.returncode == 1
    assert f"has no {missing};" in done.stderr
    nothing_was_installed(tmp_path)


def test_an_unknown_role_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "router")
    assert (done.returncode, done.stderr.count("usage:")) == (1, 1)
    assert not (tmp_path / "opt").exists()


def test_a_prepared_image_is_only_started(tmp_path: Path) -> None:
    """Nothing is fetched, and no context is needed."""
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / ".installed").write_text("image 0123\n")
    begun = time.monotonic()
    for role in ("agent", "manager", "image"):
        assert run(tmp_path, role).returncode == 0
    assert time.monotonic() - begun < 5
    assert [path.name for path in (tmp_path / "opt").iterdir()] == [".installed"]


def test_what_was_prepared_for_agents_is_no_manager(tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / ".installed").write_text("agent 0123\n")
    assert run(tmp_path, "agent").returncode == 0
    assert "has no CONPAASSQL_PACKAGE;" in run(tmp_path, "manager").stderr


class TestDebian:
    """Which of Debian's packages are asked for, with a pretended apt-get: nothing is installed on this machine."""

    TOOLS = ("sh", "cat", "sed", "sort", "tail", "mkdir", "rm", "ln", "flock", "setsid", "setpriv", "sleep")
    PROGRAMS = ("mariadb-backup", "mbstream", "mariadb", "mariadb-dump", "mariadb-install-db", "mariadbd")

    def machine(self, tmp_path: Path, apt_cache: str, *, root: bool = True, broken: bool = False) -> Path:
        """Make a PATH without MariaDB's programs, whose apt-get notes what it is asked for and brings them."""
        path = tmp_path / "bin"
        path.mkdir()
        for tool in self.TOOLS:
            (path / tool).symlink_to(shutil.which(tool) or "/nonexistent")
        brings = "" if broken else "\n".join(f'ln -sf /bin/true "{path}/{name}"' for name in self.PROGRAMS)
        self.program(path / "id", f"echo {0 if root else 1000}")
        self.program(path / "apt-cache", apt_cache)
        noting = f'echo "$@" >>{tmp_path}/asked; case " $* " in *" install "*) ;; *) exit 0 ;; esac'
        self.program(path / "apt-get", f"{noting}\n{brings or 'exit 100'}")
        return path

    def program(self, path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def asked(self, tmp_path: Path) -> list[str]:
        """Return the names of the packages that apt-get was asked to install, last time."""
        lines = (tmp_path / "asked").read_text().splitlines()
        words = next(line for line in reversed(lines) if " install " in line).split()
        return words[words.index("--no-install-recommends") + 1 :]

    @pytest.mark.parametrize(
        ("apt_cache", "wanted"),
        [
            ("exit 0", ["mariadb-server-core", "mariadb-client-core", "mariadb-client", "mariadb-backup"]),
            (
                '[ "$1" = pkgnames ] || exit 100\nprintf "mariadb-server-core-%s\\n" 10.3 10.6 10.5',
                ["mariadb-server-core-10.6", "mariadb-client-core-10.6", "mariadb-client-10.6", "mariadb-backup"],
            ),
        ],
        ids=["debian-12", "ubuntu-22.04"],
    )
    def test_what_is_missing_is_installed_by_its_name_there(
        self, tmp_path: Path, apt_cache: str, wanted: list[str]
    ) -> None:
        path = self.machine(tmp_path, apt_cache)
        done = run(tmp_path, "agent", changes={"PATH": str(path)})
        assert self.asked(tmp_path) == wanted
        assert "has no CONPAASSQL_PACKAGE;" in done.stderr  # it went on

    def test_what_is_there_is_not_installed_again(self, tmp_path: Path) -> None:
        path = self.machine(tmp_path, "exit 0")
        run(tmp_path, "agent", changes={"PATH": str(path)})
        (tmp_path / "asked").unlink()
        run(tmp_path, "agent", changes={"PATH": str(path)})
        run(tmp_path, "manager", changes={"PATH": str(path)})
        assert not (tmp_path / "asked").exists()

    def test_without_root_it_says_what_is_missing(self, tmp_path: Path) -> None:
        done = run(tmp_path, "agent", changes={"PATH": str(self.machine(tmp_path, "exit 0", root=False))})
        assert done.returncode == 1
        assert "missing: " in done.stderr and "mbstream" in done.stderr
        assert not (tmp_path / "asked").exists()

    def test_an_apt_that_fails_is_tried_again_and_then_reported(self, tmp_path: Path) -> None:
        path = self.machine(tmp_path, "exit 0", broken=True)
        done = run(tmp_path, "agent", changes={"PATH": str(path)})
        assert done.returncode == 1
        assert "apt-get could not install mariadb-server-core" in done.stderr
        assert (tmp_path / "asked").read_text().count(" install ") == 3
