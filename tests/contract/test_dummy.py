"""What DUMMY promises besides what every driver does."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cloud_kit import only, plain

from conpaassql import iaas
from conpaassql.errors import ConfigError, IaasError
from conpaassql.iaas import VmSpec, VmState, dummy
from conpaassql.offers import SnapshotState


def named(name: str) -> VmSpec:
    return replace(plain(), name=name)


class TestDummy:
    def test_it_takes_its_time(self) -> None:
        clock = [0.0]
        driver = dummy.Driver({"DUMMY_DELAY_S": "5"}, "m", dummy.Cloud(clock=lambda: clock[0]))
        driver.create(plain())
        assert only(driver).state is VmState.BOOTING
        assert only(driver).address == "10.1.0.20"
        clock[0] = 5.0
        assert only(driver).state is VmState.RUNNING

    def test_it_fails_when_told(self) -> None:
        driver = dummy.Driver({"DUMMY_FAIL": "2"}, "m")
        driver.create(named("a-1"))
        with pytest.raises(IaasError):
            driver.create(named("a-2"))
        assert [vm.name for vm in driver.list()] == ["a-1"]
        with pytest.raises(IaasError):
            dummy.Driver({"DUMMY_FAIL": "a-*"}, "m").create(named("a-2"))

    def test_it_loses_answers_when_told(self) -> None:
        driver = dummy.Driver({"DUMMY_LOSE_ANSWER": "1"}, "m")
        with pytest.raises(IaasError):
            driver.create(plain())
        assert only(driver).name == "a-1"

    def test_a_wrong_option(self) -> None:
        with pytest.raises(ConfigError):
            iaas.load("dummy", {"DUMMY_DELAY_S": "soon"}, "m")
        with pytest.raises(ConfigError, match="DUMMY_DELAYS: the driver has no such option"):
            iaas.load("NULLPROVIDER", {"DUMMY_DELAYS": "1", "LOCAL_ROOT": "/x"}, "m")

    def test_it_forgets_late(self) -> None:
        clock = [0.0]
        driver = dummy.Driver({"DUMMY_DELETE_DELAY_S": "5"}, "m", dummy.Cloud(clock=lambda: clock[0]))
        vm_id = driver.create(plain())
        driver.delete(vm_id)
        clock[0] = 4.0
        driver.delete(vm_id)  # does not begin anew
        assert only(driver).state is VmState.DELETING
        clock[0] = 5.0
        assert not driver.list()

    def test_a_snapshot_takes_its_time(self) -> None:
        clock = [0.0]
        driver = dummy.Driver({"DUMMY_SNAPSHOT_DELAY_S": "5"}, "m", dummy.Cloud(clock=lambda: clock[0]))
        copy_id = driver.snapshot(driver.create(plain()), "copy")
        assert [found.state for found in driver.snapshots()] == [SnapshotState.PENDING]
        assert copy_id not in {image.id for image in driver.images()}
        clock[0] = 5.0
        assert [found.state for found in driver.snapshots()] == [SnapshotState.READY]
        assert copy_id in {image.id for image in driver.images()}

    def test_deletions_and_snapshots_fail_when_told(self) -> None:
        cloud = dummy.Cloud()
        driver = dummy.Driver({"DUMMY_FAIL_DELETE": "*-1", "DUMMY_FAIL_SNAPSHOT": "2"}, "m", cloud)
        ids = [driver.create(named(name)) for name in ("a-1", "a-2")]
        driver.delete(ids[1])
        with pytest.raises(IaasError, match="DUMMY_FAIL_DELETE"):
            driver.delete(ids[0])
        copy_id = driver.snapshot(ids[0], "copy-1")
        with pytest.raises(IaasError, match="DUMMY_FAIL_SNAPSHOT"):
            driver.snapshot(ids[0], "copy-2")
        with pytest.raises(IaasError, match="DUMMY_FAIL_DELETE"):
            driver.delete_snapshot(copy_id)
        assert only(driver).name == "a-1"
        assert [found.name for found in driver.snapshots()] == ["copy-1"]

    def test_answers_to_deletions_and_snapshots_are_lost_when_told(self) -> None:
        driver = dummy.Driver({"DUMMY_LOSE_DELETE": "*", "DUMMY_LOSE_SNAPSHOT": "1"}, "m")
        vm_id = driver.create(plain())
        with pytest.raises(IaasError, match="DUMMY_LOSE_SNAPSHOT"):
            driver.snapshot(vm_id, "copy")
        (copy,) = driver.snapshots()
        with pytest.raises(IaasError, match="DUMMY_LOSE_DELETE"):
            driver.delete_snapshot(copy.id)
        with pytest.raises(IaasError, match="DUMMY_LOSE_DELETE"):
            driver.delete(vm_id)
        assert not driver.list()
        assert not driver.snapshots()
        driver.delete(vm_id)

    def test_two_flavors_match_the_same_filter(self) -> None:
        sizes = [replace(flavor, id="", name="") for flavor in dummy.Driver({}, "m").flavors()]
        assert len(set(sizes)) == len(sizes) - 1

    def test_public_addresses_run_out(self) -> None:
        driver = dummy.Driver({}, "m")
        ids = [driver.create(named(f"a-{number}")) for number in range(255)]
        addresses = {driver.assign(vm_id, "public") for vm_id in ids[:254]}
        assert len(addresses) == 254
        with pytest.raises(IaasError, match="no address left"):
            driver.assign(ids[254], "public")


class TestState:
    def test_it_survives_the_process(self, tmp_path: Path) -> None:
        file = tmp_path / "cloud.json"
        program = f"""
import os, signal
from cloud_kit import plain
from conpaassql.iaas import dummy
driver = dummy.Driver({{"DUMMY_STATE": {str(file)!r}}}, "m")
driver.label(driver.create(plain({{"CONPAASSQL_JOIN_TOKEN": "geheim"}})), {{"role": "primary"}})
os.kill(os.getpid(), signal.SIGKILL)
"""
        done = subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parent)
        assert done.returncode == -9
        vm = only(dummy.Driver({"DUMMY_STATE": str(file)}, "m"))
        assert (vm.name, vm.state, vm.labels) == ("a-1", VmState.RUNNING, {"role": "primary"})
        assert "geheim" not in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600

    def test_processes_share_it(self, tmp_path: Path) -> None:
        file = tmp_path / "cloud.json"
        program = f"""
import sys
from dataclasses import replace
from cloud_kit import plain
from conpaassql.iaas import dummy
driver = dummy.Driver({{"DUMMY_STATE": {str(file)!r}}}, "m")
for number in range(20):
    driver.create(replace(plain(), name=f"{{sys.argv[1]}}-{{number}}"))
"""
        command = [sys.executable, "-c", program]
        processes = [subprocess.Popen([*command, letter], cwd=Path(__file__).parent) for letter in "abc"]
        assert [process.wait(30) for process in processes] == [0, 0, 0]
        vms = dummy.Driver({"DUMMY_STATE": str(file)}, "m").list()
        assert len({vm.name for vm in vms}) == len({vm.id for vm in vms}) == len({vm.address for vm in vms}) == 60

    def test_a_look_does_not_write(self, tmp_path: Path) -> None:
        file = tmp_path / "cloud.json"
        driver = dummy.Driver({"DUMMY_STATE": str(file)}, "m")
        driver.create(plain())
        before = file.stat()
        driver.list()
        assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_a_failure_changes_nothing(self, tmp_path: Path) -> None:
        file = tmp_path / "cloud.json"
        driver = dummy.Driver({"DUMMY_STATE": str(file)}, "m")
        driver.create(plain())
        before = file.read_bytes()
        with pytest.raises(IaasError):
            driver.assign("0", "nowhere")
        assert file.read_bytes() == before

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "cloud.json").write_text("{]")
        with pytest.raises(IaasError, match="holds no pretended cloud"):
            dummy.Driver({"DUMMY_STATE": str(tmp_path / "cloud.json")}, "m").list()
        with pytest.raises(IaasError, match="DUMMY_STATE"):
            dummy.Driver({"DUMMY_STATE": str(tmp_path)}, "m").list()
        with pytest.raises(ConfigError, match="is no directory"):
            dummy.Driver({"DUMMY_STATE": str(tmp_path / "absent" / "cloud.json")}, "m")
