"""What every driver promises, tried on each cloud of the table in ``clouds``; and what init.sh does in a VM."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cloud_kit import Cloud, eventually, only
from clouds import ABILITIES, CLOUDS, Open

from conpaassql import iaas, settings
from conpaassql.errors import IaasBusy, IaasError, Unsupported
from conpaassql.iaas import (
    Catalog,
    Checks,
    DataDisks,
    Driver,
    Labels,
    Power,
    PublicAddresses,
    Resizing,
    Snapshots,
    VmState,
    local,
)
from conpaassql.model import Flavor
from conpaassql.offers import BlockDevice, Extras, Nic, SnapshotState

HOSTILE = {"node": "1", "odd": "a'b\"c\n$X `id` é \\ {{ x }} ]]> <&", "empty": "", "more": 'ü, [NAME="x"] # y'}

# One for each thing that a VM can have beyond the plain.
EXTRAS = {
    "availability_zone": Extras(availability_zone="nowhere"),
    "key_name": Extras(key_name="nobody's"),
    "security_groups": Extras(security_groups=("nobody's",)),
    "private_nics": Extras(nics=(Nic(network="nowhere"),)),
    "public_network": Extras(public_network="nowhere"),
    "public_nics": Extras(public_nics=(Nic(network="nowhere"),)),
    "userdata": Extras(userdata="#!/bin/sh\ntrue\n"),
    "swap": Extras(swap_mib=64),
    "block_device": Extras(block_devices=(BlockDevice(device="vdb", size_gib=1),)),
    "scheduler_hints": Extras(hints={"colour": "blue"}),
    "meta": Extras(meta={"a": "b"}),
    "files": Extras(files={"/etc/motd": "hello"}),
    "apart": Extras(apart="together"),
}


@pytest.fixture(scope="module", params=list(CLOUDS))
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Open]]:
    folder = tmp_path_factory.mktemp("c", numbered=True)
    with CLOUDS[request.param].site(folder) as opened:
        yield request.param, opened


@pytest.fixture
def cloud(site: tuple[str, Open]) -> Iterator[Cloud]:
    with site[1]() as found:
        yield found


def able(cloud: Cloud, ability: Any, owner: str = "m") -> Any:
    """Return a driver that has the ability; the test is skipped where the cloud has not."""
    driver = cloud.make(owner)
    if not isinstance(driver, ability):
        pytest.skip(f"this cloud has not: {ability.__name__}")
    return driver


def running(cloud: Cloud, driver: Driver, name: str = "a-1", extras: Extras | None = None) -> str:
    """Make a VM and return its id when it runs."""
    vm_id = driver.create(replace(cloud.spec(name), extras=extras or Extras()))
    cloud.eventually(lambda: state_of(driver, vm_id) is VmState.RUNNING)
    return vm_id


def state_of(driver: Driver, vm_id: str) -> VmState | None:
    return next((vm.state for vm in driver.list() if vm.id == vm_id), None)


class TestTable:
    def test_every_built_in_driver_is_tried_here(self) -> None:
        assert {name for row in CLOUDS.values() for name in row.names} == set(iaas.names())

    def test_the_abilities_are_those_of_the_table(self, site: tuple[str, Open], cloud: Cloud) -> None:
        driver = cloud.make()
        found = {ability for ability in ABILITIES if isinstance(driver, ability)}
        assert found == set(CLOUDS[site[0]].abilities)


class TestEveryDriver:
    def test_a_vm_comes_runs_and_goes(self, cloud: Cloud) -> None:
        driver = cloud.make()
        vm_id = driver.create(cloud.spec())
        cloud.eventually(lambda: only(driver).state is VmState.RUNNING)
        vm = only(driver)
        assert (vm.id, vm.name) == (vm_id, "a-1")
        assert vm.address
        cloud.end(driver, vm_id)
        assert not driver.list()

    def test_create_is_idempotent_by_name(self, cloud: Cloud) -> None:
        driver = cloud.make()
        first = driver.create(cloud.spec())
        before = only(driver)
        assert driver.create(cloud.spec(other="tag")) == first
        assert only(driver).address == before.address

    def test_create_after_a_lost_answer(self, cloud: Cloud) -> None:
        if not cloud.losing:
            pytest.skip("this cloud cannot be made to lose an answer")
        with pytest.raises(IaasError):
            cloud.losing("m").create(cloud.spec())
        driver = cloud.make()
        lost = only(driver)
        assert driver.create(cloud.spec()) == lost.id
        assert only(driver).id == lost.id

    def test_one_name_created_by_several_threads(self, cloud: Cloud) -> None:
        driver = cloud.make()
        with ThreadPoolExecutor(4) as pool:
            ids = set(pool.map(lambda _: driver.create(cloud.spec()), range(4)))
        assert ids == {only(driver).id}

    def test_delete_of_what_is_not_there(self, cloud: Cloud) -> None:
        driver = cloud.make()
        for vm_id in ("absent", "", "..", "a/b", "471100", "-1"):
            driver.delete(vm_id)

    def test_a_deletion_can_be_repeated(self, cloud: Cloud) -> None:
        driver = cloud.make()
        vm_id = running(cloud, driver)
        for _ in range(2):
            cloud.end(driver, vm_id)
        driver.delete(vm_id)

    def test_a_name_can_be_used_again(self, cloud: Cloud) -> None:
        driver = cloud.make()
        cloud.end(driver, driver.create(cloud.spec(turn="1")))
        driver.create(cloud.spec(turn="2"))
        assert only(driver).tags == {"turn": "2"}

    def test_tags_come_back_unchanged(self, cloud: Cloud) -> None:
        driver = cloud.make()
        driver.create(cloud.spec(**HOSTILE))
        assert only(driver).tags == HOSTILE

    def test_owners_are_kept_apart(self, cloud: Cloud) -> None:
        one, two = cloud.make("one"), cloud.make("two")
        vm_id = running(cloud, one)
        other_id = running(cloud, two)
        addresses = {only(one).address, only(two).address}
        assert len(addresses) == 2
        if vm_id != other_id:  # ids of LOCAL are names, which are an owner's own
            two.delete(vm_id)
            one.delete(other_id)
            assert (only(one).id, only(two).id) == (vm_id, other_id)
        for vm in two.list():
            cloud.end(two, vm.id)
        assert only(one).id == vm_id
        assert only(one).state is VmState.RUNNING

    def test_a_second_manager_of_the_same_name_sees_the_same(self, cloud: Cloud) -> None:
        one, two = cloud.make(), cloud.make()
        vm_id = running(cloud, one)
        assert two.create(cloud.spec()) == vm_id
        assert only(one) == only(two)
        cloud.end(two, vm_id)
        assert not one.list()

    def test_creations_at_once_get_addresses_of_their_own(self, cloud: Cloud) -> None:
        drivers = [cloud.make("one"), cloud.make("two")]
        with ThreadPoolExecutor(8) as pool:
            asked = [(driver, f"a-{number % 10}") for number in range(20) for driver in drivers]
            list(pool.map(lambda pair: pair[0].create(cloud.spec(pair[1])), asked))
        cloud.eventually(lambda: all(vm.address for driver in drivers for vm in driver.list()))
        vms = [vm for driver in drivers for vm in driver.list()]
        assert len(vms) == 20
        assert len({vm.address for vm in vms}) == 20

    @pytest.mark.parametrize("option", EXTRAS)
    def test_an_extra_is_given_or_refused_before_anything_is_made(self, cloud: Cloud, option: str) -> None:
        driver = cloud.make()
        spec = replace(cloud.spec(), extras=EXTRAS[option])
        try:
            driver.create(spec)
        except Unsupported as exc:
            assert option in exc.says or exc.details.get("option") == option
            assert not driver.list()
        except IaasError:
            assert not driver.list()  # the cloud knows the option, and has no such thing
        else:
            assert only(driver).name == spec.name


class TestPower:
    def test_off_and_on_again(self, cloud: Cloud) -> None:
        driver = able(cloud, Power)
        vm_id = running(cloud, driver)
        address = only(driver).address
        for _ in range(2):
            driver.power_off(vm_id)
            cloud.eventually(lambda: only(driver).state is VmState.STOPPED)
        for _ in range(2):
            driver.power_on(vm_id)
            cloud.eventually(lambda: only(driver).state is VmState.RUNNING)
        assert only(driver).address == address
        driver.power_off(vm_id)
        cloud.eventually(lambda: only(driver).state is VmState.STOPPED)
        cloud.end(driver, vm_id)

    def test_what_is_not_there(self, cloud: Cloud) -> None:
        driver = able(cloud, Power)
        for order in (driver.power_off, driver.power_on):
            with pytest.raises(IaasError):
                order("absent")

    def test_another_owner_s_vm(self, cloud: Cloud) -> None:
        one, two = able(cloud, Power, "one"), able(cloud, Power, "two")
        vm_id = running(cloud, one)
        for order in (two.power_off, two.power_on):
            with pytest.raises(IaasError):
                order(vm_id)
        assert only(one).state is VmState.RUNNING


class TestCatalog:
    def test_it_has_ids_and_names(self, cloud: Cloud) -> None:
        driver = able(cloud, Catalog)
        assert driver.images()
        assert driver.networks()
        for offered in (driver.images(), driver.flavors(), driver.networks()):
            assert all(one.id and one.name for one in offered)
            assert len({one.id for one in offered}) == len(offered)

    def test_an_image_and_a_network_by_id_and_by_name(self, cloud: Cloud) -> None:
        driver = able(cloud, Catalog)
        image = next(one for one in driver.images() if cloud.plain.image in ("", one.id, one.name))
        network = next(one for one in driver.networks() if cloud.plain.network in ("", one.id, one.name))
        driver.create(replace(cloud.spec("a-1"), image=image.id, network=network.id))
        driver.create(replace(cloud.spec("a-2"), image=image.name, network=network.name))
        cloud.eventually(lambda: {vm.state for vm in driver.list()} == {VmState.RUNNING})

    def test_a_flavor(self, cloud: Cloud) -> None:
        driver = able(cloud, Catalog)
        if not driver.flavors():
            pytest.skip("sizes are free in this cloud")
        driver.create(replace(cloud.spec(), flavor_id=driver.flavors()[0].id))
        cloud.eventually(lambda: only(driver).state is VmState.RUNNING)


class TestSnapshots:
    def made(self, cloud: Cloud, driver: Any, vm_id: str, name: str = "copy-1") -> str:
        """Make a snapshot and return its id when it is ready."""
        made: list[str] = []
        cloud.quiet(lambda: made.append(driver.snapshot(vm_id, name)))
        cloud.eventually(lambda: [found.state for found in driver.snapshots()] == [SnapshotState.READY])
        return made[0]

    def test_it_is_made_once_and_outlives_its_vm(self, cloud: Cloud) -> None:
        driver = able(cloud, Snapshots)
        vm_id = running(cloud, driver)
        copy_id = self.made(cloud, driver, vm_id)
        assert driver.snapshot(vm_id, "copy-1") == copy_id
        cloud.end(driver, vm_id)
        (found,) = driver.snapshots()
        assert (found.id, found.name, found.vm) == (copy_id, "copy-1", "a-1")
        assert found.created_at and found.created_at.tzinfo

    def test_vms_are_made_from_it(self, cloud: Cloud) -> None:
        driver = able(cloud, Snapshots)
        assert isinstance(driver, Catalog)
        copy_id = self.made(cloud, driver, running(cloud, driver))
        assert copy_id in {image.id for image in driver.images()}
        vm_id = driver.create(replace(cloud.spec("b-1"), image=copy_id))
        cloud.eventually(lambda: state_of(driver, vm_id) is VmState.RUNNING)

    def test_it_is_deleted(self, cloud: Cloud) -> None:
        driver = able(cloud, Snapshots)
        copy_id = self.made(cloud, driver, running(cloud, driver))
        for _ in range(2):
            cloud.quiet(lambda: driver.delete_snapshot(copy_id))
        cloud.eventually(lambda: not driver.snapshots())
        for absent in ("absent", "", "..", "a/b", "471100"):
            driver.delete_snapshot(absent)
        assert only(driver).state is VmState.RUNNING

    def test_owners_are_kept_apart(self, cloud: Cloud) -> None:
        one, two = able(cloud, Snapshots, "one"), able(cloud, Snapshots, "two")
        vm_id = running(cloud, one)
        copy_id = self.made(cloud, one, vm_id)
        assert not two.snapshots()
        two.delete_snapshot(copy_id)
        with pytest.raises(IaasError):
            two.snapshot(vm_id, "copy-2")
        assert [found.id for found in one.snapshots()] == [copy_id]

    def test_two_owners_snapshots_of_one_name(self, cloud: Cloud) -> None:
        one, two = able(cloud, Snapshots, "one"), able(cloud, Snapshots, "two")
        for owner in (one, two):
            self.made(cloud, owner, running(cloud, owner))
        assert len(one.snapshots()) == len(two.snapshots()) == 1

    def test_of_what_is_not_there(self, cloud: Cloud) -> None:
        driver = able(cloud, Snapshots)
        with pytest.raises(IaasError):
            driver.snapshot("absent", "copy-1")
        assert not driver.snapshots()


class TestResizing:
    def test_more_memory(self, cloud: Cloud) -> None:
        driver = able(cloud, Resizing)
        vm_id = running(cloud, driver)
        bigger = replace(cloud.plain.flavor, memory_mib=cloud.plain.flavor.memory_mib * 2)
        self.resized(cloud, driver, vm_id, bigger)
        self.resized(cloud, driver, vm_id, bigger)
        if cloud.size:
            assert cloud.size(vm_id) == bigger

    def test_a_disk_does_not_shrink(self, cloud: Cloud) -> None:
        driver = able(cloud, Resizing)
        vm_id = running(cloud, driver)
        self.resized(cloud, driver, vm_id, replace(cloud.plain.flavor, disk_mib=1))
        if cloud.size:
            assert cloud.size(vm_id) == cloud.plain.flavor

    def resized(self, cloud: Cloud, driver: Any, vm_id: str, flavor: Flavor) -> None:
        cloud.quiet(lambda: driver.resize(vm_id, flavor))
        cloud.eventually(lambda: only(driver).state is VmState.RUNNING)

    def test_of_what_is_not_ours(self, cloud: Cloud) -> None:
        one, two = able(cloud, Resizing, "one"), able(cloud, Resizing, "two")
        vm_id = running(cloud, one)
        for absent in (vm_id, "absent"):
            with pytest.raises(IaasError):
                two.resize(absent, Flavor())


class TestDataDisks:
    def test_it_outlives_its_vm_and_comes_back(self, cloud: Cloud) -> None:
        driver = able(cloud, DataDisks)
        assert cloud.data_disks
        extras = Extras(data_disk_mib=64)
        cloud.end(driver, running(cloud, driver, extras=extras))
        assert list(cloud.data_disks()) == ["a-1"]
        vm_id = running(cloud, driver, extras=extras)
        assert list(cloud.data_disks()) == ["a-1"]
        cloud.end(driver, vm_id)
        for _ in range(2):
            cloud.quiet(lambda: driver.delete_data_disk("a-1"))
        cloud.eventually(lambda: not cloud.data_disks())

    def test_it_is_not_taken_from_a_vm(self, cloud: Cloud) -> None:
        driver = able(cloud, DataDisks)
        assert cloud.data_disks
        vm_id = running(cloud, driver, extras=Extras(data_disk_mib=64))
        with pytest.raises(IaasBusy):
            driver.delete_data_disk("a-1")
        assert list(cloud.data_disks()) == ["a-1"]
        cloud.end(driver, vm_id)
        cloud.quiet(lambda: driver.delete_data_disk("a-1"))

    def test_none_unless_asked_for(self, cloud: Cloud) -> None:
        driver = able(cloud, DataDisks)
        assert cloud.data_disks
        running(cloud, driver)
        assert not cloud.data_disks()
        driver.delete_data_disk("absent")

    def test_another_owner_s(self, cloud: Cloud) -> None:
        one, two = able(cloud, DataDisks, "one"), able(cloud, DataDisks, "two")
        assert cloud.data_disks
        cloud.end(one, running(cloud, one, extras=Extras(data_disk_mib=64)))
        two.delete_data_disk("a-1")
        assert list(cloud.data_disks()) == ["a-1"]
        cloud.quiet(lambda: one.delete_data_disk("a-1"))

    def test_two_owners_vms_of_one_name(self, cloud: Cloud) -> None:
        one, two = able(cloud, DataDisks, "one"), able(cloud, DataDisks, "two")
        assert cloud.data_disks
        for owner in (one, two):
            cloud.end(owner, running(cloud, owner, extras=Extras(data_disk_mib=64)))
        assert len(cloud.data_disks()) == 2
        cloud.quiet(lambda: one.delete_data_disk("a-1"))
        cloud.eventually(lambda: len(cloud.data_disks() or ()) == 1)


class TestPublicAddresses:
    def test_each_vm_has_its_own_until_it_is_given_back(self, cloud: Cloud) -> None:
        driver = able(cloud, PublicAddresses)
        one, two = (running(cloud, driver, name) for name in ("a-1", "a-2"))
        given = {vm_id: self.assigned(cloud, driver, vm_id) for vm_id in (one, two)}
        assert given[one] != given[two]
        assert self.assigned(cloud, driver, one) == given[one]
        cloud.eventually(lambda: self.public(driver) == given)
        for _ in range(2):
            cloud.quiet(lambda: driver.release(one))
        cloud.eventually(lambda: self.public(driver) == given | {one: None})

    def test_deleting_the_vm_gives_it_back(self, cloud: Cloud) -> None:
        driver = able(cloud, PublicAddresses)
        vm_id = running(cloud, driver)
        self.assigned(cloud, driver, vm_id)
        if cloud.given:
            assert cloud.given() == 1
        cloud.end(driver, vm_id)
        if cloud.given:
            assert cloud.given() == 0
        running(cloud, driver)
        assert only(driver).public_address is None

    def assigned(self, cloud: Cloud, driver: Any, vm_id: str) -> str:
        found: list[str] = []
        cloud.quiet(lambda: found.append(driver.assign(vm_id, cloud.pool)))
        return found[0]

    def public(self, driver: Driver) -> dict[str, str | None]:
        return {vm.id: vm.public_address for vm in driver.list()}

    def test_a_pool_and_a_vm_that_are_not_there(self, cloud: Cloud) -> None:
        driver = able(cloud, PublicAddresses)
        vm_id = running(cloud, driver)
        if cloud.no_pool:
            with pytest.raises(IaasError):
                driver.assign(vm_id, cloud.no_pool)
        with pytest.raises(IaasError):
            driver.assign("absent", cloud.pool)
        assert only(driver).public_address is None


class TestLabels:
    def test_they_are_shown_exactly(self, cloud: Cloud) -> None:
        driver = able(cloud, Labels)
        vm_id = driver.create(cloud.spec(node="1"))
        cloud.quiet(lambda: driver.label(vm_id, HOSTILE))
        assert only(driver).labels == HOSTILE
        for labels in ({"role": "primary"}, {"role": "replica", "cluster": "c"}, {}):
            cloud.quiet(lambda labels=labels: driver.label(vm_id, labels))
            assert (only(driver).labels or {}) == labels
        assert only(driver).tags == {"node": "1"}

    def test_of_what_is_not_ours(self, cloud: Cloud) -> None:
        one, two = able(cloud, Labels, "one"), able(cloud, Labels, "two")
        vm_id = running(cloud, one)
        for absent in (vm_id, "absent"):
            with pytest.raises(IaasError):
                two.label(absent, {"role": "primary"})
        assert "role" not in (only(one).labels or {})


class TestChecks:
    def test_all_is_well_and_nothing_is_changed(self, cloud: Cloud) -> None:
        driver = able(cloud, Checks)
        found = list(driver.check(cloud.spec()))
        assert found
        assert all(finding.ok for finding in found), found
        assert len({finding.code for finding in found}) == len(found)
        assert not driver.list()

    def test_what_is_wrong_comes_with_a_cure(self, site: tuple[str, Open], cloud: Cloud) -> None:
        driver = able(cloud, Checks)
        if site[0].startswith("dummy"):
            pytest.skip("nothing is ever wrong with DUMMY")
        wrong = [finding for finding in driver.check(replace(cloud.spec(), image="471100")) if not finding.ok]
        assert wrong
        assert all(finding.says and finding.cure for finding in wrong)
        assert not driver.list()


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
