"""What the manager offers to new VMs, over HTTP: everything of it, whole, and nothing else."""

import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conpaassql import VERSION, packages
from conpaassql.web.install import offered
from harness import HOST, Rig, running

WHEEL = f"conpaassql-{VERSION}-py3-none-any.whl"
LINK = re.compile(r'<a href="([^"#]+)#sha256=([0-9a-f]{64})">([^<]+)</a>')


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("install")
    (folder / "secret.whl").write_bytes(b"outside")
    further = folder / "packages"
    further.mkdir()
    with zipfile.ZipFile(further / "other-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("other.py", "X = 1\n")
        wheel.writestr("other-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
        wheel.writestr("other-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("other-1.0.dist-info/RECORD", "")
    (further / "big-1.0-py3-none-any.whl").write_bytes(os.urandom(3 << 20))
    (further / "notes.txt").write_text("not for everybody")
    (further / ".hidden-1.0-py3-none-any.whl").write_text("not for everybody")
    (further / "link-1.0-py3-none-any.whl").symlink_to(folder / "secret.whl")
    (further / "folder-1.0-py3-none-any.whl").mkdir()
    os.mkfifo(further / "pipe-1.0-py3-none-any.whl")
    with running(folder) as found:
        yield found


def listed(rig: Rig) -> dict[str, str]:
    """Return name -> checksum as the index says."""
    page = rig.request("GET", "/install/", login=False)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return {name: checksum for _href, checksum, name in LINK.findall(page.body.decode())}


def test_the_index_lists_what_there_is_and_no_more(rig: Rig) -> None:
    assert set(listed(rig)) == {
        WHEEL,
        "ca.pem",
        "conpaassql-install.sh",
        "other-1.0-py3-none-any.whl",
        "big-1.0-py3-none-any.whl",
    }
    assert set(listed(rig)) == set(offered(rig.manager))


def test_without_login_each_comes_whole(rig: Rig) -> None:
    for name, checksum in listed(rig).items():
        found = rig.request("GET", f"/install/{name}", login=False)
        assert found.status == 200
        assert hashlib.sha256(found.body).hexdigest() == checksum, name
        assert found.headers["content-length"] == str(len(found.body))
        assert found.headers["content-type"] == "application/octet-stream"
        assert found.headers["x-content-type-options"] == "nosniff"


def test_the_certificate_is_the_authoritys(rig: Rig) -> None:
    assert rig.request("GET", "/install/ca.pem").body == rig.manager.authority.certificate_pem


def test_the_wheel_is_this_program(rig: Rig) -> None:
    body = rig.request("GET", f"/install/{WHEEL}").body
    with zipfile.ZipFile(io.BytesIO(body)) as wheel:
        assert wheel.read("conpaassql/packages.py") == Path(packages.__file__).read_bytes()
    assert hashlib.sha256(body).hexdigest() == packages.package(rig.manager.settings.manager.package_dir).sha256


def test_a_head_has_the_size_and_no_body(rig: Rig) -> None:
    got = rig.request("GET", f"/install/{WHEEL}")
    head = rig.request("HEAD", f"/install/{WHEEL}", login=False)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(got.body)))
    assert rig.request("HEAD", "/install/", login=False).status == 200
    assert rig.request("HEAD", "/install/nothing.whl", login=False).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/install/nothing.whl",
        "/install/notes.txt",
        "/install/.hidden-1.0-py3-none-any.whl",
        "/install/link-1.0-py3-none-any.whl",
        "/install/folder-1.0-py3-none-any.whl",
        "/install/pipe-1.0-py3-none-any.whl",
        "/install/../store.sqlite",
        "/install/..%2fstore.sqlite",
        "/install/..%2f..%2fsecret.whl",
        "/install/%2e%2e/secret.whl",
        "/install//secret.whl",
        "/install/secret.whl",
        "/install/store.sqlite",
        "/install/packages/other-1.0-py3-none-any.whl",
        "/install/other-1.0-py3-none-any.whl/",
        "/install/%00",
        "/install/" + "a" * 5000 + ".whl",
    ],
)
def test_nothing_else_is_served(rig: Rig, path: str) -> None:
    found = rig.request("GET", path, login=False)
    assert found.status == 404
    assert b"outside" not in found.body
    assert b"for everybody" not in found.body
    assert len(found.body) < 1000


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_is_taken(rig: Rig, verb: str) -> None:
    assert rig.request(verb, f"/install/{WHEEL}", b"x", login=False).status == 405
    assert rig.request(verb, "/install/", b"x", login=False).status == 405


def test_a_wheel_put_there_later_is_offered(rig: Rig) -> None:
    late = rig.manager.settings.manager.packages_dir / "late-1.0-py3-none-any.whl"
    late.write_bytes(b"late")
    try:
        assert listed(rig)[late.name] == hashlib.sha256(b"late").hexdigest()
    finally:
        late.unlink()
    assert rig.request("GET", f"/install/{late.name}").status == 404


def test_pip_finds_what_it_wants_there(rig: Rig, tmp_path: Path) -> None:
    links = f"http://{HOST}:{rig.port}/install/"
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "download", "--no-cache-dir"]
    wanted = ["--no-index", "--no-deps", "--find-links", links, "--dest", str(tmp_path), "conpaassql", "other"]
    environment = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run([*pip, *wanted], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {WHEEL, "other-1.0-py3-none-any.whl"}
