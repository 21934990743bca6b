"""What every driver promises, tried on each; and what LOCAL promises besides."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest

from conpaassql import iaas, localvm, loopback, settings
from conpaassql.errors import ConfigError, IaasError
from conpaassql.iaas import Driver, Power, Vm, VmSpec, VmState, dummy, local
from conpaassql.model import Flavor

NETWORK = "127.42.0.0/16"
SLEEPER = """\
. "$CONPAASSQL_CONTEXT"
exec sleep 600
"""
# Leaves a process that ignores the polite signals, one in a session of its own, and one without an environment.
STRAYS = """\
sh -c 'trap "" TERM HUP INT; echo $$ >"$CONPAASSQL_VM/disk/stubborn"; sleep 600; sleep 600' &
setsid sh -c 'echo $$ >"$CONPAASSQL_VM/disk/apart"; sleep 600; sleep 600' &
disk=$CONPAASSQL_VM/disk
env -i sh -c 'echo $$ >"$0/bare"; exec sleep 600' "$disk" &
wait
"""


class Make(Protocol):
    """Makes a driver; all drivers of one test see one cloud."""

    def __call__(self, owner: str = "m", **options: str) -> Driver:
        """Make the driver of ``owner``."""


def spec(name: str = "a-1", context: Mapping[str, str] | None = None, **tags: str) -> VmSpec:
    return VmSpec(name=name, flavor=Flavor(), tags=tags, context=context or {}, template="")


def only(driver: Driver) -> Vm:
    (vm,) = driver.list()
    return vm


def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.005)


@pytest.fixture
def local_make(tmp_path: Path) -> Iterator[Make]:
    made: list[Driver] = []
    (tmp_path / "init.sh").write_text(SLEEPER)

    def make(owner: str = "m", **options: str) -> Driver:
        defaults = {
            "LOCAL_ROOT": str(tmp_path / "l"),
            "LOCAL_NETWORK": NETWORK,
            "LOCAL_INIT": str(tmp_path / "init.sh"),
        }
        made.append(local.Driver(defaults | options, owner))
        return made[-1]

    yield make
    for driver in made:
        for vm in driver.list():
            driver.delete(vm.id)


@pytest.fixture
def dummy_make() -> Make:
    cloud = dummy.Cloud()
    return lambda owner="m", **options: dummy.Driver(options, owner, cloud)


@pytest.fixture(params=["local_make", "dummy_make"])
def make(request: pytest.FixtureRequest) -> Make:
    return request.getfixturevalue(request.param)


class TestEveryDriver:
    def test_every_built_in_driver_is_tried_here(self) -> None:
        assert set(iaas.names()) == {*local.NAMES, *dummy.NAMES}

    def test_a_vm_comes_runs_and_goes(self, make: Make) -> None:
        driver = make()
        vm_id = driver.create(spec())
        eventually(lambda: only(driver).state is VmState.RUNNING)
        vm = only(driver)
        assert (vm.id, vm.name) == (vm_id, "a-1")
        assert vm.address
        driver.delete(vm_id)
        assert driver.list() == []

    def test_create_is_idempotent_by_name(self, make: Make) -> None:
        driver = make()
        first = driver.create(spec())
        before = only(driver)
        assert driver.create(spec(other="tag")) == first
        assert only(driver).address == before.address

    def test_delete_of_what_is_not_there(self, make: Make) -> None:
        driver = make()
        for vm_id in ("absent", "", "..", "a/b", "4711"):
            driver.delete(vm_id)

    def test_a_name_can_be_used_again(self, make: Make) -> None:
        driver = make()
        driver.delete(driver.create(spec(turn="1")))
        driver.create(spec(turn="2"))
        assert only(driver).tags == {"turn": "2"}

    def test_tags_come_back_unchanged(self, make: Make) -> None:
        driver = make()
        tags = {"node": "1", "odd": "a'b\"c\n$X `id` é \\ {{ x }} ]", "": "", "Ä ö": "ü"}
        driver.create(spec(**tags))
        assert only(driver).tags == tags

    def test_owners_are_kept_apart(self, make: Make) -> None:
        one, two = make("one"), make("two")
        vm_id = one.create(spec())
        two.create(spec())
        addresses = {only(one).address, only(two).address}
        assert len(addresses) == 2
        for vm in two.list():
            two.delete(vm.id)
        assert only(one).id == vm_id

    def test_a_second_manager_of_the_same_name_sees_the_same(self, make: Make) -> None:
        one, two = make(), make()
        vm_id = one.create(spec())
        assert two.create(spec()) == vm_id
        assert only(one) == only(two)
        two.delete(vm_id)
        assert one.list() == []

    def test_creations_at_once_get_addresses_of_their_own(self, make: Make) -> None:
        drivers = [make("one"), make("two")]
        with ThreadPoolExecutor(8) as pool:
            asked = [(driver, f"a-{number % 10}") for number in range(20) for driver in drivers]
            list(pool.map(lambda pair: pair[0].create(spec(pair[1])), asked))
        vms = [vm for driver in drivers for vm in driver.list()]
        assert len(vms) == 20
        assert len({vm.address for vm in vms}) == 20

    def test_power(self, make: Make) -> None:
        driver = make()
        assert isinstance(driver, Power)
        vm_id = driver.create(spec())
        address = only(driver).address
        for _ in range(2):
            driver.power_off(vm_id)
            assert only(driver).state is VmState.STOPPED
        for _ in range(2):
            driver.power_on(vm_id)
            eventually(lambda: only(driver).state is VmState.RUNNING)
        assert only(driver).address == address
        for order in (driver.power_off, driver.power_on):
            with pytest.raises(IaasError):
                order("absent")


class TestDummy:
    def test_it_takes_its_time(self) -> None:
        clock = [0.0]
        driver = dummy.Driver({"DUMMY_DELAY_S": "5"}, "m", dummy.Cloud(clock=lambda: clock[0]))
        driver.create(spec())
        assert only(driver).state is VmState.BOOTING
        assert only(driver).address == "10.1.0.20"
        clock[0] = 5.0
        assert only(driver).state is VmState.RUNNING

    def test_it_fails_when_told(self) -> None:
        driver = dummy.Driver({"DUMMY_FAIL": "2"}, "m")
        driver.create(spec("a-1"))
        with pytest.raises(IaasError):
            driver.create(spec("a-2"))
        assert [vm.name for vm in driver.list()] == ["a-1"]
        with pytest.raises(IaasError):
            dummy.Driver({"DUMMY_FAIL": "a-*"}, "m").create(spec("a-2"))

    def test_it_loses_answers_when_told(self) -> None:
        driver = dummy.Driver({"DUMMY_LOSE_ANSWER": "1"}, "m")
        with pytest.raises(IaasError):
            driver.create(spec())
        assert only(driver).name == "a-1"

    def test_a_wrong_option(self) -> None:
        with pytest.raises(ConfigError):
            iaas.load("dummy", {"DUMMY_DELAY_S": "soon"}, "m")
        with pytest.raises(ConfigError, match="DUMMY_DELAYS: the driver has no such option"):
            iaas.load("NULLPROVIDER", {"DUMMY_DELAYS": "1", "LOCAL_ROOT": "/x"}, "m")


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


class TestInit:
    """init.sh by itself, as in a VM of OpenNebula, with a stand-in for the agent's interpreter."""

    def boot(self, tmp_path: Path, agent: str) -> subprocess.Popen[str]:
        (tmp_path / "python").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n{agent}\n')
        (tmp_path / "python").chmod(0o755)
        context = {
            "CONPAASSQL_NODE": "7",
            "CONPAASSQL_CLUSTER": "c",
            "CONPAASSQL_MANAGER_URL": "https://10.0.0.1:50000",
            "CONPAASSQL_JOIN_TOKEN": "once",
            "CONPAASSQL_CA_BASE64": "aGFsbG8=",
            "CONPAASSQL_PYTHON": str(tmp_path / "python"),
            "CONPAASSQL_ROOT": str(tmp_path / "node"),
            "ETH0_IP": "10.0.0.7",
        }
        (tmp_path / "context.sh").write_text(local.shell(context))
        script = Path(__file__).parents[2] / "scripts" / "init.sh"
        environment = {"PATH": os.environ["PATH"], "CONPAASSQL_CONTEXT": str(tmp_path / "context.sh")}
        return subprocess.Popen([script], env=environment, stderr=subprocess.PIPE, text=True)

    def test_it_writes_what_the_agent_reads(self, tmp_path: Path) -> None:
        with self.boot(tmp_path, "exit 0") as init:
            assert init.wait(timeout=10) == 0
        agent = settings.load_agent(tmp_path / "node" / "agent.ini")
        assert (agent.node, agent.cluster, agent.address, agent.port) == (7, "c", "10.0.0.7", 60000)
        assert agent.join_token_file and agent.join_token_file.read_text() == "once\n"
        assert agent.join_token_file.stat().st_mode & 0o777 == 0o600
        assert agent.ca_file and agent.ca_file.read_text() == "hallo"
        assert (tmp_path / "calls").read_text() == f"-m conpaassql.agent_cli -c {tmp_path}/node/agent.ini\n"

    def test_an_agent_that_died_is_started_again(self, tmp_path: Path) -> None:
        with self.boot(tmp_path, f'[ "$(wc -l <{tmp_path}/calls)" -gt 1 ] || kill -9 $$; exit 0') as init:
            assert init.wait(timeout=10) == 0
            assert init.stderr
            assert "the agent died with status 137; again in 0 s" in init.stderr.read()
        assert len((tmp_path / "calls").read_text().splitlines()) == 2

    def test_an_agent_that_cannot_be_configured_is_not(self, tmp_path: Path) -> None:
        with self.boot(tmp_path, "echo no such node >&2; exit 78") as init:
            assert init.wait(timeout=10) == 78
        assert len((tmp_path / "calls").read_text().splitlines()) == 1

    def test_it_ends_with_its_agent_when_asked(self, tmp_path: Path) -> None:
        agent = f"trap 'echo bye >{tmp_path}/bye; exit 0' TERM; echo >{tmp_path}/up; while :; do sleep 0.01; done"
        with self.boot(tmp_path, agent) as init:
            eventually((tmp_path / "up").exists)
            init.terminate()
            assert init.wait(timeout=10) == 0
        assert (tmp_path / "bye").exists()


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
options = {{"LOCAL_ROOT": {str(tmp_path / "l")!r}, "LOCAL_NETWORK": {NETWORK!r},
           "LOCAL_INIT": {str(tmp_path / "init.sh")!r}}}
driver = local.Driver(options, "m")
print("now", flush={ready})
driver.create(VmSpec(name="a-1", flavor=Flavor(), tags={{"by": "another"}}, context={{}}, template=""))
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
