"""Starting the manager: what is wrong is said by section and key, with status 78 and no traceback."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conpaassql import cli

INI = "[iaas]\nDRIVER = DUMMY\n[manager]\nport = {port}\n{manager}\n[onevm_agent_template]\n{template}\n"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """The manager takes over the root logger, with a stream that the test's end closes."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def started(tmp_path: Path, *arguments: str, manager: str = "", template: str = "") -> int:
    if "state_dir" not in manager:
        manager += f"\nstate_dir = {tmp_path / 'state'}"
    file = tmp_path / "manager.ini"
    file.write_text(INI.format(port=1, manager=manager, template=template))
    umask = os.umask(0o022)
    try:
        return cli.manager_main(["-c", str(file), *arguments])
    finally:
        os.umask(umask)


@pytest.mark.parametrize(
    ("manager", "template", "says"),
    [
        ("state_dir = {file}/state", "", "[manager] state_dir"),
        ("logfile = {absent}/log", "", "[manager] logfile"),
        ("name = a/b", "", "[manager] name"),
        ("tls = off\naddress = 10.0.0.1", "", "[manager] tls"),
        ("", "NAME = ../x", "[onevm_agent_template] NAME"),
        ("", "FILENAME = {absent}", "[onevm_agent_template] FILENAME"),
        ("", "FILENAME = {broken}", "[onevm_agent_template] FILENAME"),
    ],
)
def test_what_is_wrong_at_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], manager: str, template: str, says: str
) -> None:
    names = {name: tmp_path / name for name in ("file", "absent", "broken")}
    names["file"].write_text("")
    names["broken"].write_text("{{ NOBODY }}")
    status = started(tmp_path, manager=manager.format(**names), template=template.format(**names))
    assert status == cli.EX_CONFIG
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("template", ["FILENAME = /nowhere", "NAME = -x"])
def test_a_check_finds_it_too(tmp_path: Path, template: str) -> None:
    assert started(tmp_path, "--check", template=template) == cli.EX_CONFIG
    assert started(tmp_path, "--check") == 0


def test_a_driver_is_loaded_by_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "manager.ini"
    file.write_text(f"[iaas]\nDRIVER = NONE\n[manager]\nstate_dir = {tmp_path}/state\n")
    assert cli.manager_main(["-c", str(file), "--check"]) == cli.EX_CONFIG
    assert "[iaas] DRIVER" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = cli.settings.parse_manager(
        f"[iaas]\nDRIVER = DUMMY\n[manager]\nstate_dir = {tmp_path / 'state'}\naddress = 127.44.0.9\nport = 50000\n"
    )
    umask = os.umask(0o022)
    try:
        with cli.running(found):
            url = tmp_path / "state" / "url"
            assert url.read_text() == "http://127.44.0.9:50000\n"
            assert url.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(umask)
