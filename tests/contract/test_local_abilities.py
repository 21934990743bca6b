"""LOCAL's abilities: snapshots, data disks, sizes, labels, plain machines, checks."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from cloud_kit import NODE, SLEEPER, eventually, local_options, only, plain, swept

from conpaassql import localvm
from conpaassql.errors import IaasError, IaasMissing, IaasRefused, Unsupported
from conpaassql.iaas import VmSpec, VmState, local
from conpaassql.model import Flavor
from conpaassql.offers import BlockDevice, Extras, Nic, SnapshotState

# Writes a number to one file and then to another, again and again; what lies between them takes long to copy.
COUNTER = """\
cd "$CONPAASSQL_VM/disk"
dd if=/dev/urandom of=m bs=1M count=60 2>/dev/null
n=0
while :; do
    n=$((n + 1))
    echo $n >a.new; mv a.new a
    echo $n >z.new; mv z.new z
done
"""
# Stands still before it copies, until it is let go.
SLOW_CP = """\
#!/bin/sh
echo "$PPID $$" >{folder}/cp.new; mv {folder}/cp.new {folder}/cp.pids
while [ ! -e {folder}/go ]; do sleep 0.01; done
exec /bin/cp "$@"
"""


class Rig(NamedTuple):
    """LOCAL in a directory; ``vm`` is where a-1 is."""

    folder: Path
    driver: local.Driver
    vm: Path

    def again(self, **options: str) -> local.Driver:
        """Make another driver, as a new process would."""
        return local.Driver(local_options(self.folder / "l", self.folder / "init.sh") | options, "m")

    def run(self, script: str = SLEEPER, **of_spec: object) -> str:
        """Make a-1, which runs ``script``, and return its id when it runs."""
        (self.folder / "init.sh").write_text(script)
        vm_id = self.driver.create(spec(**of_spec))
        eventually(lambda: only(self.driver).state is VmState.RUNNING)
        return vm_id

    def copied(self, name: str = "copy", state: SnapshotState = SnapshotState.READY) -> None:
        """Wait until a snapshot has come to an end."""
        eventually(lambda: [found.state for found in self.driver.snapshots()] == [state], 30)
        eventually(lambda: not moves_not(self.vm))


def spec(context: Mapping[str, str] | None = None, **others: object) -> VmSpec:
    return replace(plain(NODE if context is None else context), **others)


def moves_not(vm: Path) -> bool:
    """Whether the VM's first process is stopped."""
    noted = localvm._noted(vm)
    return noted is not None and Path(f"/proc/{noted.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    (tmp_path / "init.sh").write_text(SLEEPER)
    options = local_options(tmp_path / "l", tmp_path / "init.sh")
    with swept(lambda owner="m", **more: local.Driver(options | more, owner), 15.0) as make:
        driver = make()
        assert isinstance(driver, local.Driver)
        yield Rig(tmp_path, driver, tmp_path / "l" / "m" / "a-1")


@pytest.fixture
def slow_cp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cp that waits for the file ``go`` here."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cp").write_text(SLOW_CP.format(folder=tmp_path))
    (folder / "cp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    yield tmp_path
    (tmp_path / "go").touch()


class TestSnapshots:
    def test_it_is_of_one_moment(self, rig: Rig) -> None:
        vm_id = rig.run(COUNTER)
        eventually((rig.vm / "disk" / "z").exists, 10)
        rig.driver.snapshot(vm_id, "copy")
        rig.copied()
        disk = rig.folder / "l" / ".snapshots" / "m" / "copy" / "disk"
        first, last = int((disk / "a").read_text()), int((disk / "z").read_text())
        assert first - last in (0, 1)
        assert (disk / "m").stat().st_size == 60 << 20
        eventually(lambda: int((rig.vm / "disk" / "z").read_text()) > first + 1)  # the VM goes on

    def test_a_vm_from_it_finds_the_files(self, rig: Rig) -> None:
        vm_id = rig.run()
        (rig.vm / "disk" / "data").write_text("precious")
        (rig.vm / "disk" / "link").symlink_to("data")
        rig.driver.snapshot(vm_id, "copy")
        rig.copied()
        (rig.vm / "disk" / "data").write_text("changed")
        rig.driver.delete(vm_id)
        rig.run(image="copy")
        assert (rig.vm / "disk" / "link").read_text() == "precious"
        assert not (rig.vm / "disk.new").exists()

    def test_it_shows_while_it_is_made_and_does_not_hold_up_a_fence(self, rig: Rig, slow_cp: Path) -> None:
        vm_id = rig.run()
        assert rig.driver.snapshot(vm_id, "copy") == rig.driver.snapshot(vm_id, "copy") == "copy"
        eventually((slow_cp / "cp.pids").exists)
        assert [found.state for found in rig.driver.snapshots()] == [SnapshotState.PENDING]
        assert moves_not(rig.vm)
        with pytest.raises(IaasError, match="still being made"):
            rig.driver.create(replace(spec(image="copy"), name="b-1"))
        rig.driver.label(vm_id, {"role": "replica"})
        rig.driver.power_off(vm_id)
        assert only(rig.driver).state is VmState.STOPPED
        (slow_cp / "go").touch()
        rig.copied()

    def test_one_whose_maker_is_killed_counts_for_nothing(self, rig: Rig, slow_cp: Path) -> None:
        vm_id = rig.run()
        rig.driver.snapshot(vm_id, "copy")
        eventually((slow_cp / "cp.pids").exists)
        for pid in (slow_cp / "cp.pids").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        eventually(lambda: not rig.driver.snapshots())
        assert [image.id for image in rig.driver.images()] == ["local"]
        assert moves_not(rig.vm)
        rig.again()  # as the manager does when it starts
        assert not moves_not(rig.vm)
        assert not list((rig.folder / "l" / ".snapshots" / "m").iterdir())
        (slow_cp / "go").touch()
        rig.driver.snapshot(vm_id, "copy")
        rig.copied()

    def test_power_on_wakes_a_vm_that_was_left_standing_still(self, rig: Rig, slow_cp: Path) -> None:
        vm_id = rig.run()
        rig.driver.snapshot(vm_id, "copy")
        eventually((slow_cp / "cp.pids").exists)
        rig.driver.power_on(vm_id)
        assert moves_not(rig.vm)  # not while the copy is being made
        for pid in (slow_cp / "cp.pids").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        eventually(lambda: not rig.driver.snapshots())
        rig.driver.power_on(vm_id)
        eventually(lambda: not moves_not(rig.vm))

    def test_one_that_fails_says_why_and_the_vm_goes_on(self, rig: Rig, slow_cp: Path) -> None:
        (slow_cp / "bin" / "cp").write_text("#!/bin/sh\necho 'cp: x: No space left on device' >&2\nexit 1\n")
        vm_id = rig.run()
        rig.driver.snapshot(vm_id, "copy")
        rig.copied(state=SnapshotState.FAILED)
        assert "No space left" in rig.driver.snapshots()[0].message
        with pytest.raises(IaasRefused):
            rig.driver.create(replace(spec(image="copy"), name="b-1"))
        assert rig.driver.snapshot(vm_id, "copy") == "copy"
        rig.driver.delete_snapshot("copy")
        assert not rig.driver.snapshots()
        assert only(rig.driver).name == "a-1"

    def test_a_creation_from_it_that_is_killed_is_nothing(self, rig: Rig, slow_cp: Path) -> None:
        vm_id = rig.run()
        (rig.vm / "disk" / "data").write_text("precious")
        (slow_cp / "go").touch()
        rig.driver.snapshot(vm_id, "copy")
        rig.copied()
        rig.driver.delete(vm_id)
        for name in ("go", "cp.pids"):
            (slow_cp / name).unlink()
        creator = subprocess.Popen([sys.executable, "-c", creation(rig)], cwd=Path(__file__).parent)
        eventually((slow_cp / "cp.pids").exists, 15)
        assert only(rig.driver).state is VmState.BOOTING
        creator.kill()
        creator.wait(10)
        (_, pid) = (slow_cp / "cp.pids").read_text().split()
        os.kill(int(pid), signal.SIGKILL)
        eventually(lambda: not rig.driver.list())
        assert not rig.again().list()
        assert not rig.vm.exists()
        (slow_cp / "go").touch()
        rig.run(image="copy")
        assert (rig.vm / "disk" / "data").read_text() == "precious"

    def test_images_that_are_none(self, rig: Rig) -> None:
        for image in ("absent", "../m/a-1", "193"):
            with pytest.raises(IaasMissing):
                rig.driver.create(spec(image=image))
        assert not rig.driver.list()
        assert not rig.vm.exists()
        rig.run(image="local")
        for name in ("local", "", "..", "a/b"):
            with pytest.raises(IaasRefused):
                rig.driver.snapshot("a-1", name)


class TestDataDisks:
    def test_the_guest_finds_what_the_last_vm_left(self, rig: Rig) -> None:
        script = '. "$CONPAASSQL_CONTEXT"; cat "$CONPAASSQL_DATA_DIR/data"; echo precious >"$CONPAASSQL_DATA_DIR/data"'
        for expected in ("No such file", "precious"):
            rig.run(script + "\nexec sleep 600\n", extras=Extras(data_disk_mib=64))
            console = rig.vm / "log" / "console.log"
            eventually(lambda console=console, expected=expected: expected in console.read_text())
            rig.driver.delete("a-1")

    def test_it_is_private(self, rig: Rig) -> None:
        rig.run(extras=Extras(data_disk_mib=64))
        data = rig.folder / "l" / ".data" / "m" / "a-1"
        assert data.stat().st_mode & 0o777 == data.parent.stat().st_mode & 0o777 == 0o700


class TestDescription:
    def test_a_new_size_holds_from_the_next_boot(self, rig: Rig) -> None:
        script = '. "$CONPAASSQL_CONTEXT"; echo "$ODD $CONPAASSQL_MEMORY_MIB"; exec sleep 600\n'
        odd = "x'\nCONPAASSQL_MEMORY_MIB='1'\n"
        vm_id = rig.run(script, context={**NODE, "ODD": odd})
        rig.driver.resize(vm_id, Flavor(memory_mib=512))
        rig.driver.resize(vm_id, Flavor(memory_mib=768))
        rig.driver.power_off(vm_id)
        rig.driver.power_on(vm_id)
        console = rig.vm / "log" / "console.log"
        eventually(lambda: console.read_text() == f"{odd} 256\n{odd} 768\n")
        assert (rig.vm / "context.sh").stat().st_mode & 0o777 == 0o600

    def test_changes_at_once_do_not_undo_each_other(self, rig: Rig) -> None:
        vm_id = rig.run(extras=Extras(meta={"who": "we"}))
        with ThreadPoolExecutor(4) as pool:
            orders = [lambda n=n: rig.driver.label(vm_id, {"n": str(n)}) for n in range(20)]
            orders += [lambda n=n: rig.driver.resize(vm_id, Flavor(memory_mib=500 + n)) for n in range(20)]
            for done in [pool.submit(order) for order in orders]:
                done.result()
        rig.driver.label(vm_id, {"role": "primary"})
        what = json.loads((rig.vm / "vm.json").read_text())
        assert what["flavor"]["memory_mib"] >= 500
        assert (what["labels"], what["meta"]) == ({"role": "primary"}, {"who": "we"})

    def test_a_description_of_the_version_before(self, rig: Rig) -> None:
        rig.run()
        what = json.loads((rig.vm / "vm.json").read_text())
        (rig.vm / "vm.json").write_text(json.dumps({key: what[key] for key in ("address", "tags", "flavor")}))
        assert only(rig.driver).state is VmState.RUNNING
        rig.driver.label("a-1", {"role": "primary"})
        assert only(rig.driver).labels == {"role": "primary"}

    def test_the_zone(self, rig: Rig) -> None:
        rig.run(extras=Extras(availability_zone="local"))
        assert only(rig.driver).zone == f"local:{socket.gethostname()}"

    def test_an_address_that_the_context_names(self, rig: Rig) -> None:
        rig.run(context={**NODE, "CONPAASSQL_ADDRESS": "127.42.11.12"})
        assert only(rig.driver).address == "127.42.11.12"
        for address in ("127.42.11.12", "10.0.0.1", "x"):
            with pytest.raises(IaasError):
                rig.driver.create(replace(spec(context={**NODE, "CONPAASSQL_ADDRESS": address}), name="b-1"))
        assert only(rig.driver).name == "a-1"


class TestPlainMachines:
    def test_it_runs_its_script_once_and_stays_up(self, rig: Rig) -> None:
        (rig.folder / "init.sh").write_text("exit 3\n")
        userdata = '#!/bin/sh\n. "$CONPAASSQL_CONTEXT"\necho ran with $ODD\nexit 7\n'
        rig.driver.create(spec(context={"ODD": "x"}, extras=Extras(userdata=userdata)))
        console = rig.vm / "log" / "console.log"
        said = "ran with x\nconpaassql: the user data ended with status 7.\n"
        eventually(lambda: console.read_text() == said)
        rig.driver.power_off("a-1")
        rig.driver.power_on("a-1")
        eventually(lambda: (rig.vm / "session").read_text().count("\n") == 2)
        eventually(lambda: only(rig.driver).state is VmState.RUNNING)
        assert console.read_text() == said

    def test_without_a_script_it_just_stays_up(self, rig: Rig) -> None:
        (rig.folder / "init.sh").write_text("exit 3\n")
        rig.driver.create(spec(context={}))
        eventually(lambda: only(rig.driver).state is VmState.RUNNING)
        assert (rig.vm / "log" / "console.log").read_text() == ""


class TestExtras:
    @pytest.mark.parametrize(
        ("option", "extras"),
        [
            ("key_name", Extras(key_name="k")),
            ("security_groups", Extras(security_groups=("s",))),
            ("private_nics", Extras(nics=(Nic(network="local"),))),
            ("public_network", Extras(public_network="p")),
            ("public_nics", Extras(public_nics=(Nic(network="p"),))),
            ("swap", Extras(swap_mib=1)),
            ("block_device", Extras(block_devices=(BlockDevice(device="vdb"),))),
            ("scheduler_hints", Extras(hints={"a": "b"})),
            ("files", Extras(files={"/a": "b"})),
            ("availability_zone", Extras(availability_zone="nova")),
            ("userdata", Extras(userdata="#cloud-config\n")),
        ],
    )
    def test_what_is_not_to_be_had_is_refused_by_name(self, rig: Rig, option: str, extras: Extras) -> None:
        with pytest.raises(Unsupported) as caught:
            rig.driver.create(spec(context={}, extras=extras))
        assert caught.value.details["option"] == option
        assert not rig.vm.exists()
        assert [finding.code for finding in rig.driver.check(spec(extras=extras)) if not finding.ok] == ["wishes"]

    def test_a_node_has_no_user_data(self, rig: Rig) -> None:
        with pytest.raises(Unsupported, match="not in nodes"):
            rig.driver.create(spec(extras=Extras(userdata="#!/bin/sh\n")))

    def test_sizes_and_networks_that_are_none(self, rig: Rig) -> None:
        for wrong in (spec(flavor_id="m1.small"), spec(network="205")):
            with pytest.raises(IaasMissing):
                rig.driver.create(wrong)
        assert not rig.vm.exists()


class TestChecks:
    def codes(self, rig: Rig, **of_spec: object) -> list[str]:
        return [finding.code for finding in rig.driver.check(spec(**of_spec)) if not finding.ok]

    def test_programs_that_are_missing(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(rig.folder))
        assert self.codes(rig) == ["programs"]

    def test_no_space(self, rig: Rig) -> None:
        assert self.codes(rig, flavor=Flavor(disk_mib=1 << 40)) == ["space"]

    def test_no_script_and_no_image(self, rig: Rig) -> None:
        (rig.folder / "init.sh").unlink()
        assert self.codes(rig, image="absent") == ["init", "image"]

    def test_no_address(self, rig: Rig) -> None:
        driver = rig.again(LOCAL_NETWORK="127.42.13.255/32")
        assert [finding.code for finding in driver.check(spec()) if not finding.ok] == ["addresses"]
        assert driver.networks()[0].free == 0
        assert (rig.driver.networks()[0].free or 0) > 50_000

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_directory_that_cannot_be_written(self, rig: Rig) -> None:
        (rig.folder / "l" / "m").chmod(0o500)
        (found,) = [finding for finding in rig.driver.check(spec()) if not finding.ok]
        assert (found.code, found.fatal) == ("root", True)
        (rig.folder / "l" / "m").chmod(0o700)

    def test_taken_addresses_are_not_free(self, rig: Rig) -> None:
        before = rig.again(LOCAL_NETWORK="127.42.14.0/28").networks()[0].free
        rig.again(LOCAL_NETWORK="127.42.14.0/28").create(spec())
        assert before == 15
        assert rig.again(LOCAL_NETWORK="127.42.14.0/28").networks()[0].free == 14


def creation(rig: Rig) -> str:
    """The program of another process that creates a-1 from the snapshot."""
    return f"""
from dataclasses import replace
from cloud_kit import NODE, local_options, plain
from conpaassql.iaas import local
from pathlib import Path
options = local_options(Path({str(rig.folder / "l")!r}), Path({str(rig.folder / "init.sh")!r}))
local.Driver(options, "m").create(replace(plain(NODE), image="copy"))
"""
