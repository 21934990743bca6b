"""The demo as a newcomer runs it: ``scripts/demo``; whatever ends it, nothing of it is left."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conpaassql.client import demo_place

PROJECT = Path(__file__).parents[2]
NETWORK = "127.43.0.0/16"
PATIENCE_S = 120.0

pytestmark = pytest.mark.real


@pytest.fixture
def home(short_folder: Path) -> Path:
    """A home of its own, since a manager leaves a link there."""
    (short_folder / "h").mkdir()
    return short_folder / "h"


def free_port() -> int:
    """Return a port of this file's range that nobody listens on."""
    for port in range(20280, 20300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("all ports are taken")


def command(place: Path, *words: str) -> list[str]:
    script = str(PROJECT / "scripts" / "demo")
    return [script, "--dir", str(place), "--port", str(free_port()), "--network", NETWORK, *words]


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "CI": "true"}


def processes(place: Path) -> list[str]:
    """Return the command lines of all processes that name ``place`` in their words or their environment."""
    found = []
    for proc in Path("/proc").iterdir():
        if not proc.name.isdigit() or int(proc.name) == os.getpid():
            continue
        try:
            line, environ = (proc / "cmdline").read_bytes(), (proc / "environ").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if os.fsencode(place) in line + environ:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def await_none(place: Path, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while left := processes(place):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@contextmanager
def running(place: Path, home: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a demo whose output can be read line by line; it is ended at the end in any case."""
    with subprocess.Popen(
        command(place, *words),
        cwd="/",
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        try:
            yield demo
        finally:
            if demo.poll() is None:
                demo.send_signal(signal.SIGTERM)
                demo.communicate(timeout=PATIENCE_S)


def read_until(demo: "subprocess.Popen[str]", word: str) -> str:
    """Return what the demo has printed when a line with ``word`` has come."""
    assert demo.stdout is not None
    text = ""
    for line in demo.stdout:
        text += line
        if word in line:
            return text
    raise AssertionError(f"the demo ended before {word!r}: {text}")


@pytest.mark.parametrize("provider", ["local", "opennebula-sim"])
def test_once_makes_a_cluster_and_leaves_nothing(short_folder: Path, home: Path, provider: str) -> None:
    place = short_folder / "d"
    done = subprocess.run(
        command(place, "--once", "--provider", provider),
        cwd="/",
        env=environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["demo"], report["ok"]) == ("conpaassql", True)
    assert set(report["seconds"]) == {"install", "manager", "cluster", "write_and_read", "stop", "total"}
    assert processes(place) == []
    assert not place.exists()
    assert list((home / ".conpaassql").iterdir()) == []


def test_once_says_so_when_it_fails(short_folder: Path, home: Path) -> None:
    (short_folder / "d").mkdir()
    (short_folder / "d" / "thesis.tex").write_text("precious")
    done = subprocess.run(
        command(short_folder / "d", "--once"),
        env=environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["ok"] is False
    assert "no demo made" in done.stderr
    assert (short_folder / "d" / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_demo_that_stays(short_folder: Path, home: Path, ending: signal.Signals) -> None:
    place = short_folder / "d"
    with running(place, home, "--nodes", "1") as demo:
        read_until(demo, "Ctrl-C ends")
        demo.send_signal(ending)
        demo.send_signal(ending)  # impatience must not cut the end short
        demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 0
    assert processes(place) == []
    assert not place.exists()


def test_all_that_the_demo_proposes_works(short_folder: Path, home: Path) -> None:
    with running(short_folder / "d", home, "--nodes", "2") as demo:
        shown = read_until(demo, "Ctrl-C ends")
        proposed = shown.partition("Try:\n")[2].partition("\n\n")[0].splitlines()
        assert len(proposed) == 6
        printed = [_output(line, home) for line in proposed]
        assert "written on the primary" in printed[0]
        cipher = proposed[0].replace("SELECT * FROM greeting", 'SHOW STATUS LIKE "Ssl_version"')
        assert "TLSv1" in _output(cipher, home)
        assert json.loads(printed[1])["result"] == {"serviceNode": [1, 2]}
        assert json.loads(printed[2])["result"] == json.loads(printed[3])
        replica = next(line for line in shown.splitlines() if line.startswith("  replica "))
        address = replica.split()[1].partition(":")[0]
        agent = f"{PROJECT}/scripts/run-agent-client.sh {address} 60000"
        assert json.loads(_output(f"{agent} get_server_state", home))["mysqld"]["read_only"] is False  # by now
        assert "demo" in json.loads(_output(f"{agent} databases", home))["databases"]


def _output(line: str, home: Path) -> str:
    done = subprocess.run(["sh", "-c", line], env=environment(home), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


def test_a_signal_half_way_leaves_nothing(short_folder: Path, home: Path) -> None:
    place = short_folder / "d"
    with running(place, home) as demo:
        read_until(demo, "booting")
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 130
    assert processes(place) == []
    assert not place.exists()


def test_a_killed_demo_takes_its_manager_along_and_the_next_one_clears_up(short_folder: Path, home: Path) -> None:
    place = short_folder / "d"
    with running(place, home, "--nodes", "1") as demo:
        read_until(demo, "Ctrl-C ends")
        demo.kill()
        demo.communicate(timeout=PATIENCE_S)
    with running(place, home, "--nodes", "1") as demo:
        read_until(demo, "Ctrl-C ends")
        assert len([line for line in processes(place) if "mariadbd" in line]) == 1
    await_none(place)
    assert not place.exists()


def test_a_killed_demo_is_cleared_up_also_where_its_place_gave_way(short_folder: Path, home: Path) -> None:
    wanted = short_folder / ("long-" * 16)
    with running(wanted, home, "--nodes", "1") as demo:
        read_until(demo, "Ctrl-C ends")
        demo.kill()
        demo.communicate(timeout=PATIENCE_S)
    place = demo_place.fallback(wanted)
    assert any("mariadbd" in line for line in processes(place))
    with running(wanted, home, "--nodes", "1") as demo:
        assert str(place) in read_until(demo, "The demo keeps")
        read_until(demo, "Ctrl-C ends")
        assert len([line for line in processes(place) if "mariadbd" in line]) == 1
    await_none(place)
    assert not place.exists()
    assert not wanted.exists()


def test_a_simulated_opennebula_ends_with_its_demo(short_folder: Path, home: Path) -> None:
    place = short_folder / "d"
    with running(place, home, "--nodes", "1", "--provider", "opennebula-sim") as demo:
        read_until(demo, "Ctrl-C ends")
        assert [line for line in processes(place) if "-m onesim" in line]
        assert (place / "manager.ini").stat().st_mode & 0o077 == 0  # the cloud's password is in it
        demo.kill()
        demo.communicate(timeout=PATIENCE_S)
    await_none(place)
    with running(place, home, "--once", "--nodes", "1") as demo:
        text, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 0, text
    assert not place.exists()


def test_two_demos_do_not_share_a_place(short_folder: Path, home: Path) -> None:
    place = short_folder / "d"
    with running(place, home, "--nodes", "1") as first:
        read_until(first, "The demo keeps")
        with running(place, home, "--once") as second:
            text, _ = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 1
        assert "already runs" in text
    assert processes(place) == []
