"""What LOCAL promises besides what every driver does; and its book of addresses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cloud_kit import LOCAL_NETWORK, NODE, SLEEPER, Make, eventually, local_options, only, plain, swept

from conpaassql import localvm, loopback
from conpaassql.errors import ConfigError, IaasError
from conpaassql.iaas import VmSpec, VmState, local

# Leaves a process that ignores the polite signals, one in a session of its own, and one without an environment.
STRAYS = """\
sh -c 'trap "" TERM HUP INT; echo $$ >"$CONPAASSQL_VM/disk/stubborn"; sleep 600; sleep 600' &
setsid sh -c 'echo $$ >"$CONPAASSQL_VM/disk/apart"; sleep 600; sleep 600' &
disk=$CONPAASSQL_VM/disk
env -i sh -c 'echo $$ >"$0/bare"; exec sleep 600' "$disk" &
wait
"""


def spec(name: str = "a-1", context: Mapping[str, str] | None = None, **tags: str) -> VmSpec:
    return replace(plain(NODE | dict(context or {})), name=name, tags=tags)


@pytest.fixture
def local_make(tmp_path: Path) -> Iterator[Make]:
    init = tmp_path / "init.sh"
    init.write_text(SLEEPER)

    def make(owner: str = "m", **options: str) -> local.Driver:
        return local.Driver(local_options(tmp_path / "l", init) | options, owner)

    with swept(make, 15.0) as made:
        yield made


class TestLocal:
    def test_the_context_reaches_the_vm_as_it_is(self, local_make: Make, tmp_path: Path) -> None:
        script = tmp_path / "print.sh"
        keys = "ODD CONPAASSQL_ADDRESS CONPAASSQL_MEMORY_MIB CONPAASSQL_PYTHON"
        script.write_text(f'. "$CONPAASSQL_CONTEXT"\nfor k in {keys}; do eval "printf \'%s\\0\' \\"\\$$k\\""; done\n')
        driver = local_make(LOCAL_INIT=str(script))
        odd = 'it\'s $HOME `id` \\ "x"\nnext'
        driver.create(spec(context={"ODD": odd}))
        eventually(lambda: only(driver).state is VmState.STOPPED)
        vm = tmp_path / "l" / "m" / "a-1"
        said = (vm / "log" / "console.log").read_text().split("\0")
        assert said[:-1] == [odd, only(driver).address, "256", sys.executable]
        assert (vm / "context.sh").stat().st_mode & 0o777 == 0o600
        assert vm.stat().st_mode & 0o777 == 0o700

    def test_a_script_that_gives_up_is_a_failed_vm_with_last_words(self, local_make: Make, tmp_path: Path) -> None:
        script = tmp_path / "fail.sh"
        script.write_text("echo first\necho no such luck >&2\nexit 3\n")
        driver = local_make(LOCAL_INIT=str(script))
        driver.create(spec())
        eventually(lambda: only(driver).state is VmState.FAILED)
        assert only(driver).message == "no such luck"

    def test_init_sh_says_what_the_context_lacks(self, local_make: Make) -> None:
        driver = local_make(LOCAL_INIT="")
        driver.create(spec(context={"CONPAASSQL_NODE": "1"}))
        eventually(lambda: only(driver).state is VmState.FAILED)
        assert "the context has no CONPAASSQL_MANAGER_URL" in only(driver).message

    def test_a_vm_outlives_its_creator(self, local_make: Make, tmp_path: Path) -> None:
        create_elsewhere(tmp_path)
        driver = local_make()
        assert only(driver).state is VmState.RUNNING
        assert only(driver).tags == {"by": "another"}

    @pytest.mark.parametrize("leader_first", [False, True])
    def test_the_end_is_the_end_of_every_process(self, local_make: Make, tmp_path: Path, leader_first: bool) -> None:
        script = tmp_path / "strays.sh"
        script.write_text(STRAYS)
        driver = local_make(LOCAL_INIT=str(script))
        driver.create(spec())
        vm = tmp_path / "l" / "m" / "a-1"
        notes = [vm / "disk" / name for name in ("stubborn", "apart", "bare")]
        eventually(lambda: all(note.exists() and note.read_text() for note in notes))
        pids = [int(note.read_text()) for note in notes]
        try:
            if leader_first:
                os.kill(int((vm / "session").read_text().split()[0]), signal.SIGKILL)
                eventually(lambda: only(driver).state is VmState.STOPPED)
            driver.delete("a-1")
            assert not any(alive(pid) for pid in pids)
            assert not vm.exists()
        finally:
            for pid in filter(alive, pids):
                os.kill(pid, signal.SIGKILL)

    @pytest.mark.parametrize("delay_ms", [0, 1, 2, 3, 4, 6, 8])
    def test_a_creation_that_is_killed_can_be_repeated(self, local_make: Make, tmp_path: Path, delay_ms: int) -> None:
        creator = subprocess.Popen(creation(tmp_path, ready=True), stdout=subprocess.PIPE, text=True)
        with creator:
            assert creator.stdout
            creator.stdout.readline()
            time.sleep(delay_ms / 1000)  # the moment itself is what is tried
            creator.kill()
        driver = local_make()
        before = driver.list()
        driver.create(spec(by="us"))
        eventually(lambda: only(driver).state is VmState.RUNNING)
        assert len(sessions(tmp_path)) == 1
        if before:
            assert only(driver).address == before[0].address
            assert only(driver).tags == {"by": "another"}
        else:
            assert only(driver).tags == {"by": "us"}

    def test_a_half_made_vm_is_nothing_and_is_swept(self, local_make: Make, tmp_path: Path) -> None:
        half = tmp_path / "l" / "m" / "a-1"
        driver = local_make()
        (half / "disk").mkdir(parents=True)
        (half / "vm.json").write_text(json.dumps({"address": "127.42.9.9", "tags": {}, "flavor": {}}))
        assert driver.list() == []
        local_make()
        assert not half.exists()

    def test_a_disk_with_something_on_it_is_never_swept(self, local_make: Make, tmp_path: Path) -> None:
        driver = local_make()
        driver.create(spec())
        driver.power_off("a-1")
        vm = tmp_path / "l" / "m" / "a-1"
        (vm / "disk" / "data").write_text("precious")
        (vm / "session").unlink()  # as a cut of the power may do
        again = local_make()
        assert only(again).state is VmState.STOPPED
        assert again.create(spec()) == "a-1"
        eventually(lambda: only(again).state is VmState.RUNNING)
        assert (vm / "disk" / "data").read_text() == "precious"

    def test_the_manager_s_secrets_stay_with_the_manager(
        self, local_make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MANAGERS_SECRET", "geheim")
        local_make().create(spec())
        eventually(lambda: len(sessions(tmp_path)) == 1)  # while it becomes another program it shows no environment
        (pid,) = sessions(tmp_path)
        assert b"geheim" not in Path(f"/proc/{pid}/environ").read_bytes()

    @pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "-x", "x" * 200])
    def test_names_that_are_no_directory(self, local_make: Make, name: str) -> None:
        with pytest.raises(IaasError):
            local_make().create(spec(name))

    def test_a_root_too_deep_for_sockets(self, local_make: Make, tmp_path: Path) -> None:
        with pytest.raises(IaasError, match="choose a shorter LOCAL_ROOT"):
            local_make(LOCAL_ROOT=str(tmp_path / ("x" * 60) / ("y" * 40))).create(spec())

    @pytest.mark.parametrize(
        "options", [{"LOCAL_NETWORK": "10.0.0.0/8"}, {"LOCAL_NETWORK": "x"}, {"LOCAL_ROOT": ""}], ids=str
    )
    def test_wrong_options(self, local_make: Make, options: dict[str, str]) -> None:
        with pytest.raises(ConfigError):
            local_make(**options)
        with pytest.raises(ConfigError):
            local_make("a/b")

    def test_listing_is_quick(self, local_make: Make, tmp_path: Path) -> None:
        driver = local_make()
        driver.create(spec())
        eventually(lambda: only(driver).state is VmState.RUNNING)
        one = tmp_path / "l" / "m" / "a-1"
        for number in range(1000):
            other = tmp_path / "l" / "m" / f"b-{number}"
            other.mkdir()
            for name in ("vm.json", "session"):
                (other / name).write_bytes((one / name).read_bytes())
        began = time.perf_counter()
        assert len(driver.list()) == 1001
        took_s = time.perf_counter() - began
        print(f"1001 VMs in {took_s * 1000:.0f} ms")
        assert took_s < 1.0
        for number in range(1000):
            for name in ("vm.json", "session"):
                (tmp_path / "l" / "m" / f"b-{number}" / name).unlink()


class TestLoopback:
    def test_an_address_of_a_holder_that_is_gone_is_given_again(self, tmp_path: Path) -> None:
        network = local.ipaddress.IPv4Network("127.42.7.0/30")  # .1, .2 and .3 can be given
        homes = [tmp_path / str(number) for number in range(4)]
        for home in homes:
            home.mkdir()
        book = tmp_path / "book"
        given = {loopback.reserve(network, home, (60000,), book) for home in homes[:3]}
        assert given == {"127.42.7.1", "127.42.7.2", "127.42.7.3"}
        assert loopback.reserve(network, homes[0], (60000,), book) in given
        with pytest.raises(IaasError, match="no address"):
            loopback.reserve(network, homes[3], (60000,), book)
        homes[1].rmdir()
        assert loopback.reserve(network, homes[3], (60000,), book) in given

    def test_an_address_in_use_is_not_given(self, tmp_path: Path) -> None:
        network = local.ipaddress.IPv4Network("127.42.8.0/30")
        listeners = [loopback.socket.create_server((f"127.42.8.{last}", 60000)) for last in (1, 2)]
        try:
            assert loopback.reserve(network, tmp_path, (60000, 3306), tmp_path / "book") == "127.42.8.3"
        finally:
            for listener in listeners:
                listener.close()

    def test_only_the_holder_gives_back(self, tmp_path: Path) -> None:
        book = tmp_path / "book"
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir()
        loopback.hold("127.42.9.1", one, book)
        loopback.release("127.42.9.1", two, book)
        with pytest.raises(IaasError):
            loopback.hold("127.42.9.1", two, book)
        loopback.release("127.42.9.1", one, book)
        loopback.hold("127.42.9.1", two, book)

    @pytest.mark.parametrize("trap", ["symbolic", "hard", "pipe", "folder"])
    def test_a_note_is_a_trap(self, tmp_path: Path, trap: str) -> None:
        """A note made by somebody who wants another file written over."""
        book, victim = tmp_path / "book", tmp_path / "victim"
        book.mkdir()
        victim.write_text("/gone")
        note = book / "127.42.9.1"
        match trap:
            case "symbolic":
                note.symlink_to(victim)
            case "hard":
                note.hardlink_to(victim)
            case "pipe":
                os.mkfifo(note)
            case _:
                note.mkdir()
        with pytest.raises(IaasError):
            loopback.hold("127.42.9.1", tmp_path, book)
        loopback.release("127.42.9.1", Path("/gone"), book)
        assert victim.read_text() == "/gone"
        assert os.path.lexists(note)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
    def test_a_book_of_somebody_else(self, tmp_path: Path) -> None:
        book = tmp_path / "book"
        book.mkdir()
        os.chown(book, 12345, -1)
        with pytest.raises(IaasError, match="12345"):
            loopback.hold("127.42.9.1", tmp_path, book)


def creation(tmp_path: Path, *, ready: bool = False) -> list[str]:
    """The command line of another process that creates a-1."""
    program = f"""
from conpaassql.iaas import VmSpec, local
from conpaassql.model import Flavor
options = {{"LOCAL_ROOT": {str(tmp_path / "l")!r}, "LOCAL_NETWORK": {LOCAL_NETWORK!r},
           "LOCAL_INIT": {str(tmp_path / "init.sh")!r}}}
driver = local.Driver(options, "m")
print("now", flush={ready})
context = {{"CONPAASSQL_NODE": "1"}}
driver.create(VmSpec(name="a-1", flavor=Flavor(), tags={{"by": "another"}}, context=context, template=""))
"""
    return [sys.executable, "-c", program]


def create_elsewhere(tmp_path: Path) -> None:
    subprocess.run(creation(tmp_path), check=True, stdout=subprocess.DEVNULL)


def sessions(tmp_path: Path) -> list[int]:
    """The leaders of all VMs below a directory that live."""
    found = []
    for vm in (tmp_path / "l" / "m").iterdir():
        mark = f"CONPAASSQL_VM={vm}\0".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and alive(int(entry.name)) and localvm._carries(int(entry.name), mark):
                found.append(int(entry.name))
    return [pid for pid in found if os.getsid(pid) == pid]


def alive(pid: int) -> bool:
    return localvm._process(pid) is not None
