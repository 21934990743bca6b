"""The OpenNebula driver, through pyone, against the simulator."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from cloud_sim import Simulated, simulated
from conpaassql import iaas
from conpaassql.errors import (
    IaasBusy,
    IaasDenied,
    IaasError,
    IaasFull,
    IaasMissing,
    IaasQuota,
    IaasRefused,
    Unsupported,
)
from conpaassql.iaas import Vm, VmSpec, VmState
from conpaassql.iaas.opennebula import Driver, elements, rpc
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.model import Flavor
from conpaassql.offers import BlockDevice, Extras, Finding, Nic, Snapshot, SnapshotState

PLAIN: dict[str, object] = {
    "slow_s": 0.0,
    "pending_forever": "",
    "unknown": "",
    "boot_failure": "",
    "refuse_terminate": 0,
    "lose_reply": "",
    "shutdown_returns_to_running": 0,
}
HOSTILE = 'x"\nNIC = [ NETWORK_ID = "9" ]\n# \\'


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    folder = tmp_path_factory.mktemp("one")
    with simulated(folder, network="127.70.0.0/16", hypervisor="none", scale=0.02) as found:
        yield found


@pytest.fixture
def sim(cloud: Simulated) -> Iterator[Simulated]:
    """The cloud without faults; each test has an owner of its own."""
    yield cloud
    cloud.control(**PLAIN)


@pytest.fixture
def driver(sim: Simulated, request: pytest.FixtureRequest) -> Iterator[Driver]:
    made = drive(sim, request.node.name)
    yield made
    sim.control(**PLAIN)
    clear(made)


def drive(sim: Simulated, owner: str, **options: str) -> Driver:
    made = iaas.load("opennebula_xmlrpc", {**sim.options, **options}, owner)
    assert isinstance(made, Driver)
    return made


def admin(sim: Simulated) -> Driver:
    return drive(sim, "admin", OPENNEBULA_USER=sim.admin, OPENNEBULA_PASSWORD=sim.admin_password)


def clear(driver: Driver) -> None:
    """Remove what a test has left."""
    eventually(lambda: not [gone(driver, vm) for vm in driver.list()])
    for snapshot in driver.snapshots():
        eventually(lambda snapshot=snapshot: succeeds(lambda: driver.delete_snapshot(snapshot.id)))


def gone(driver: Driver, vm: Vm) -> bool:
    return succeeds(lambda: driver.delete(vm.id))


def succeeds(act: Callable[[], object]) -> bool:
    try:
        act()
    except IaasBusy:
        return False
    return True


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


def spec(name: str = "a-1", *, extras: Extras | None = None, template: str = "", **more: Any) -> VmSpec:
    values: dict[str, Any] = {"flavor": Flavor(), "tags": {}, "context": {}, **more}
    return VmSpec(name=name, template=template, extras=extras or Extras(), **values)


def only(driver: Driver) -> Vm:
    (vm,) = driver.list()
    return vm


def await_state(driver: Driver, state: VmState, name: str = "a-1") -> Vm:
    eventually(lambda: [vm.state for vm in driver.list() if vm.name == name] == [state])
    return next(vm for vm in driver.list() if vm.name == name)


def running(driver: Driver, **more: Any) -> Vm:
    driver.create(spec(**more))
    return await_state(driver, VmState.RUNNING)


def described(driver: Driver, vm_id: str) -> Element:
    """What OpenNebula says of a VM."""
    found = driver._cloud.vm(vm_id)
    assert found is not None
    return found


def groups_of(driver: Driver) -> set[str]:
    """The names of the user's VM groups."""
    found = elements.each_kept(driver._cloud.rpc.read("vmgrouppool.info", -3, -1, -1), "VM_GROUP")
    return {elements.text(one, "NAME") for one in found}


def attributes(element: Element, path: str) -> dict[str, str]:
    found = element.find(path)
    assert found is not None
    return {child.tag: child.text or "" for child in found}


def calls(driver: Driver) -> list[str]:
    """Begin to note the methods that are called."""
    noted: list[str] = []
    transport = driver._cloud.rpc._server("transport")
    exchange = transport._exchange

    def noting(body: bytes) -> Any:
        noted.append(body.split(b"<methodName>")[1].split(b"<")[0].decode())
        return exchange(body)

    transport._exchange = noting
    return noted


class TestLife:
    def test_from_birth_to_end(self, driver: Driver) -> None:
        vm_id = driver.create(spec(tags={"cluster": "c", "node": "7", "odd": HOSTILE}))
        first = only(driver)
        assert (first.id, first.state) == (vm_id, VmState.PENDING)
        assert first.address is not None
        vm = await_state(driver, VmState.RUNNING)
        assert vm.address == first.address
        assert vm.tags == {"cluster": "c", "node": "7", "odd": HOSTILE}
        assert vm.zone.startswith("0:")
        driver.delete(vm_id)
        driver.delete(vm_id)  # it is going
        eventually(lambda: driver.list() == [])
        driver.delete(vm_id)  # DONE is readable for ever

    def test_one_call_per_look(self, driver: Driver) -> None:
        for number in range(3):
            driver.create(spec(f"a-{number}"))
        driver.list()
        noted = calls(driver)
        assert len(driver.list()) == 3
        assert noted == ["one.vmpool.info"]

    def test_a_name_is_given_once(self, driver: Driver, sim: Simulated) -> None:
        drivers = [driver, drive(sim, driver._cloud.owner)]
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda number: drivers[number % 2].create(spec(f"a-{number % 3}")), range(18)))
        assert len(driver.list()) == 3
        assert [ids[number::3] for number in range(3)] == [
            [driver.create(spec(f"a-{number}"))] * 6 for number in range(3)
        ]

    def test_a_lost_answer_makes_no_second_vm(self, driver: Driver, sim: Simulated) -> None:
        sim.control(lose_reply="one.vm.allocate", lost_replies=1)
        with pytest.raises(IaasError) as caught:
            driver.create(spec())
        assert caught.value.retry
        noted = calls(driver)
        assert driver.create(spec()) == only(driver).id
        assert "one.vm.allocate" not in noted

    def test_termination_is_refused_while_it_boots_and_then_holds(self, driver: Driver, sim: Simulated) -> None:
        vm = running(driver)
        sim.control(refuse_terminate=2)
        for _ in range(2):
            with pytest.raises(IaasBusy):
                driver.delete(vm.id)
        driver.delete(vm.id)
        eventually(lambda: driver.list() == [])

    def test_a_shutdown_that_returns_to_running_is_repeated(self, driver: Driver, sim: Simulated) -> None:
        vm = running(driver)
        sim.control(shutdown_returns_to_running=1)
        driver.delete(vm.id)
        await_state(driver, VmState.RUNNING)
        driver.delete(vm.id)
        eventually(lambda: driver.list() == [])

    def test_a_name_in_deletion_is_busy_and_then_free(self, driver: Driver) -> None:
        vm = running(driver)
        driver.delete(vm.id)
        eventually(lambda: succeeds(lambda: driver.create(spec(tags={"turn": "2"}))))
        assert [found.tags for found in driver.list() if found.state is not VmState.DELETING] == [{"turn": "2"}]

    def test_pending_says_why(self, driver: Driver, sim: Simulated) -> None:
        sim.control(pending_forever="a-*", sched_message="[HOST] Not enough CPU on hosts: 0")
        driver.create(spec())
        eventually(lambda: only(driver).message != "")
        assert only(driver).state is VmState.PENDING
        assert "Not enough CPU" in only(driver).message
        driver.delete(only(driver).id)
        eventually(lambda: driver.list() == [])

    def test_a_failed_boot_says_why_and_can_be_deleted(self, driver: Driver, sim: Simulated) -> None:
        sim.control(boot_failure="a-*", boot_error="no such kernel")
        driver.create(spec())
        vm = await_state(driver, VmState.FAILED)
        assert "no such kernel" in vm.message
        driver.delete(vm.id)
        eventually(lambda: driver.list() == [])

    def test_power(self, driver: Driver) -> None:
        vm = running(driver)
        for _ in range(2):
            driver.power_off(vm.id)
            await_state(driver, VmState.STOPPED)
        for _ in range(2):
            driver.power_on(vm.id)
            assert await_state(driver, VmState.RUNNING).address == vm.address
        for order in (driver.power_off, driver.power_on):
            with pytest.raises(IaasMissing):
                order("99999")

    def test_a_power_off_that_comes_to_nothing_is_never_shown_as_off(self, driver: Driver, sim: Simulated) -> None:
        """Who fences with the power trusts STOPPED, and nothing else."""
        vm = running(driver)
        sim.control(shutdown_returns_to_running=1, slow_s=0.0)
        driver.power_off(vm.id)
        seen = {only(driver).state for _ in range(20)}
        assert seen == {VmState.RUNNING}

        def off() -> bool:
            driver.power_off(vm.id)  # asked again, as nobody can see when the first order has come to nothing
            return only(driver).state is VmState.STOPPED

        eventually(off)

    def test_a_host_out_of_sight(self, driver: Driver, sim: Simulated) -> None:
        """Its VM is UNKNOWN: no second one is made of the name, and it can be terminated."""
        vm = running(driver)
        sim.control(unknown="a-1")
        await_state(driver, VmState.UNKNOWN)
        assert driver.create(spec()) == vm.id
        sim.control(unknown="")
        await_state(driver, VmState.RUNNING)

    def test_other_owners_are_never_touched(self, driver: Driver, sim: Simulated) -> None:
        vm = running(driver)
        other = drive(sim, "another")
        assert other.list() == []
        other.delete(vm.id)
        for order in (other.power_off, other.power_on, lambda vm_id: other.label(vm_id, {"a": "b"})):
            with pytest.raises(IaasMissing):
                order(vm.id)
        assert only(driver).state is VmState.RUNNING

    def test_rights_that_were_taken_away_are_said(self, driver: Driver) -> None:
        """The VM is listed all the same; so its deletion must not look as if it had been asked for."""
        vm = running(driver)
        rights = driver._cloud.rpc
        rights.change("vm.chmod", int(vm.id), 0, 1, *(0 for _ in range(7)))
        with pytest.raises(IaasDenied, match="USE VM"):
            driver.delete(vm.id)
        rights.change("vm.chmod", int(vm.id), 1, 1, *(0 for _ in range(7)))

    def test_ids_that_are_none(self, driver: Driver) -> None:
        for vm_id in ("absent", "", "..", "-1", "4711", "9" * 30, "٣"):
            driver.delete(vm_id)


class TestOrder:
    def test_what_is_sent(self, driver: Driver, sim: Simulated) -> None:
        vm = running(driver, context={"CONPAASSQL_NODE": "7", "ODD": "a $HOME", "TEXT": 'say "hi"'})
        found = described(driver, vm.id)
        context = attributes(found, "TEMPLATE/CONTEXT")
        assert (context["CONPAASSQL_NODE"], context["TEXT"]) == ("7", 'say "hi"')
        assert (context["ODD_BASE64"], context["ETH0_IP"]) == ("YSAkSE9NRQ==", vm.address)
        assert "ODD" not in context
        assert elements.text(found, "TEMPLATE/DISK/IMAGE_ID") == sim.image
        assert elements.text(found, "USER_TEMPLATE/LABELS") == "conpaassql"

    def test_a_template_of_2012(self, driver: Driver, sim: Simulated, caplog: pytest.LogCaptureFixture) -> None:
        text = (
            'NAME = x\nCPU = 0.3\nMEMORY = 128\nOS = [ arch = "i686", boot = hd ]\n'
            f'DISK = [ image_id = "{sim.image}", // the image\n bus = "scsi", ]\nNIC = [ NETWORK_ID = {sim.network} ]\n'
            'CONTEXT = [ vmid=$VMID, vmname=$NAME, ip_private="$NIC[IP, NETWORK=$NETWORK"]", target=sdc, ]\n'
            'RANK = "- RUNNING_VMS"\n'
        )
        ordered = spec(template=text, context={"CONPAASSQL_NODE": "1"})
        findings = [found for found in driver.check(ordered) if found.code == "template-repaired"]
        assert len(findings) >= 5
        vm = running(driver, template=text, context={"CONPAASSQL_NODE": "1"})
        assert len([record for record in caplog.records if "OpenNebula: " in record.getMessage()]) == len(findings)
        found = described(driver, vm.id)
        context = attributes(found, "TEMPLATE/CONTEXT")
        assert (context["VMID"], context["VMNAME"], context["IP_PRIVATE"]) == (vm.id, "a-1", vm.address)
        assert (elements.text(found, "TEMPLATE/MEMORY"), context["CONPAASSQL_NODE"]) == ("128", "1")

    def test_names_become_ids(self, driver: Driver) -> None:
        image, network = driver.images()[0], driver.networks()[0]
        vm = running(driver, image=image.name, network=network.name)
        found = described(driver, vm.id)
        assert elements.text(found, "TEMPLATE/DISK/IMAGE_ID") == image.id
        assert elements.text(found, "TEMPLATE/NIC/NETWORK_ID") == network.id

    @pytest.mark.parametrize(
        ("more", "kind"),
        [
            ({"image": "nosuch"}, IaasMissing),
            ({"image": "999"}, IaasMissing),
            ({"network": "nosuch"}, IaasMissing),
            ({"network": "999"}, IaasMissing),
            ({"name": "a/b"}, IaasRefused),
            ({"name": "x" * 129}, IaasRefused),
            ({"name": ""}, IaasRefused),
            ({"flavor_id": "small"}, Unsupported),
            ({"template": "NAME = two words"}, IaasRefused),
            ({"context": {"A B": "x"}}, IaasRefused),
            ({"extras": Extras(security_groups=("nosuch",))}, IaasMissing),
            ({"extras": Extras(key_name="nosuch")}, IaasMissing),
            ({"extras": Extras(key_name="TOKEN_PASSWORD")}, IaasMissing),
            ({"extras": Extras(nics=(Nic(port="p"),))}, Unsupported),
            ({"extras": Extras(hints={"group": "g"})}, Unsupported),
            ({"extras": Extras(files={"relative": "x"})}, Unsupported),
            ({"extras": Extras(availability_zone='x" | "')}, IaasRefused),
            ({"extras": Extras(block_devices=(BlockDevice(device="vdb", size_gib=1, keep=True),))}, Unsupported),
        ],
        ids=str,
    )
    def test_what_is_refused_makes_nothing(
        self, driver: Driver, more: Mapping[str, Any], kind: type[Exception]
    ) -> None:
        with pytest.raises(kind):
            driver.create(spec(**{"name": "a-1", **more}))
        assert driver.list() == []

    def test_files_on_the_front_end_are_explained(self, driver: Driver) -> None:
        text = "CPU = 0.1\nMEMORY = 64\nCONTEXT = [ files = /home/ales/sql/manager/conpaassql-install.sh ]\n"
        with pytest.raises(IaasDenied, match="OPENNEBULA_FILES_DS"):
            driver.create(spec(template=text))
        (finding,) = (found for found in driver.check(spec(template=text)) if found.code == "files")
        assert not finding.ok
        assert "OPENNEBULA_FILES_DS" in finding.cure

    @pytest.mark.parametrize("key", ["TEXT", "CPU", "NAME"])
    def test_nothing_that_is_named_becomes_an_attribute(self, driver: Driver, key: str) -> None:
        vm = running(driver, tags={"t": HOSTILE}, context={key: HOSTILE}, extras=Extras(meta={HOSTILE: HOSTILE}))
        found = described(driver, vm.id)
        assert len(found.findall("TEMPLATE/NIC")) == 1
        assert (elements.text(found, "NAME"), elements.text(found, "TEMPLATE/CPU")) == ("a-1", "0.2")
        driver.label(vm.id, {"role": HOSTILE})
        assert only(driver).labels == {"role": HOSTILE}

    def test_swap_blank_disks_and_placement(self, driver: Driver) -> None:
        extras = Extras(
            swap_mib=64,
            block_devices=(BlockDevice(device="vdc", size_gib=2),),
            hints={"rank": "FREE_CPU", "requirements": "FREE_CPU > 0"},
            availability_zone="0",
        )
        vm_id = driver.create(spec(extras=extras))
        found = described(driver, vm_id)
        disks = [(elements.text(disk, "TYPE"), elements.text(disk, "SIZE")) for disk in found.iterfind("TEMPLATE/DISK")]
        assert disks[1:] == [("swap", "64"), ("fs", "2048")]
        user = attributes(found, "USER_TEMPLATE")
        assert user["SCHED_REQUIREMENTS"] == "(FREE_CPU > 0) & (CLUSTER_ID = 0)"
        assert user["SCHED_RANK"] == "FREE_CPU"

    def test_several_cards(self, driver: Driver, sim: Simulated) -> None:
        nics = (Nic(network=sim.network), Nic(network=driver.networks()[0].name))
        vm = running(driver, extras=Extras(nics=nics, security_groups=("default",)))
        cards = described(driver, vm.id).findall("TEMPLATE/NIC")
        assert [elements.text(card, "SECURITY_GROUPS") for card in cards] == ["0", "0"]
        assert vm.address == elements.text(cards[0], "IP")

    def test_apart(self, driver: Driver) -> None:
        ids = [driver.create(spec(f"a-{number}", extras=Extras(apart="cluster 1"))) for number in range(2)]
        groups = {elements.text(described(driver, vm_id), "TEMPLATE/VMGROUP/VMGROUP_ID") for vm_id in ids}
        assert len(groups) == 1
        assert groups != {""}

    def test_a_group_goes_with_its_last_vm(self, driver: Driver, sim: Simulated) -> None:
        foreign = drive(sim, "another")
        kept = foreign.create(spec(extras=Extras(apart="c")))
        own = driver._cloud.rpc
        by_hand = own.change("vmgroup.allocate", 'NAME = "by-hand"\nROLE = [ NAME = "a" ]')
        for number in range(2):
            driver.create(spec(f"a-{number}", extras=Extras(apart="c")))
            await_state(driver, VmState.RUNNING, f"a-{number}")
        (name,) = (name for name in groups_of(driver) if driver._cloud.owner in name)
        assert name == f"conpaassql-{driver._cloud.owner}-c"
        first, last = sorted(vm.id for vm in driver.list())
        driver.delete(first)
        eventually(lambda: [vm.id for vm in driver.list()] == [last])
        assert name in groups_of(driver)
        driver.delete(last)
        eventually(lambda: not driver.list() and name not in groups_of(driver))
        assert {"by-hand", "conpaassql-another-c"} <= groups_of(driver)
        noted = calls(driver)
        driver.list()
        assert "one.vmgrouppool.info" not in noted
        own.change("vmgroup.delete", by_hand)
        eventually(lambda: succeeds(lambda: foreign.delete(kept)))
        eventually(lambda: not foreign.list() and not groups_of(driver))

    def test_a_group_is_there_for_a_vm_that_is_being_made(
        self, driver: Driver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The last VM of a cluster goes, and in the same moment another is made."""
        driver.delete(running(driver, extras=Extras(apart="c")).id)
        rpc = driver._cloud.rpc
        change = rpc.change

        def meanwhile(method: str, *params: Any) -> Any:
            if method == "vm.allocate":
                eventually(lambda: not driver.list())
            return change(method, *params)

        monkeypatch.setattr(rpc, "change", meanwhile)
        vm_id = driver.create(spec("a-2", extras=Extras(apart="c")))
        assert elements.text(described(driver, vm_id), "TEMPLATE/VMGROUP/VMGROUP_ID") != ""
        monkeypatch.undo()
        driver.list()
        assert len(groups_of(driver)) == 1

    def test_a_group_that_may_not_be_deleted_is_let_be(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        vm = running(driver, extras=Extras(apart="c"))
        rpc = driver._cloud.rpc
        change, asked = rpc.change, []

        def refusing(method: str, *params: Any) -> Any:
            if method == "vmgroup.delete":
                asked.append(params)
                raise IaasDenied("Not authorized.")
            return change(method, *params)

        monkeypatch.setattr(rpc, "change", refusing)
        driver.delete(vm.id)
        eventually(lambda: bool(not driver.list() and asked))
        driver.list()
        assert len(asked) == 1
        monkeypatch.undo()
        rpc.change("vmgroup.delete", *asked[0])

    def test_groups_of_different_names_are_different_groups(self, driver: Driver) -> None:
        names = ("a b", "a-b", "c" * 150 + "1", "c" * 150 + "2", 'x" ]\n$é')
        ids = [driver.create(spec(f"a-{number}", extras=Extras(apart=name))) for number, name in enumerate(names)]
        groups = {elements.text(described(driver, vm_id), "TEMPLATE/VMGROUP/VMGROUP_ID") for vm_id in ids}
        assert len(groups - {""}) == len(names)

    def test_quota(self, driver: Driver, sim: Simulated) -> None:
        me = driver._cloud.rpc
        number = elements.number(elements.parse(me.read("user.info", -1)), "ID")
        boss = admin(sim)._cloud.rpc
        boss.change("user.quota", number, 'VM = [ VMS = "0", CPU = "-2", MEMORY = "-2" ]')
        try:
            with pytest.raises(IaasQuota, match="VMS quota"):
                driver.create(spec())
            (finding,) = (found for found in driver.check(spec()) if found.code == "quota")
            assert not finding.ok
        finally:
            boss.change("user.quota", number, 'VM = [ VMS = "-2", CPU = "-2", MEMORY = "-2" ]')

    def test_no_address_left(self, driver: Driver, sim: Simulated) -> None:
        boss = admin(sim)._cloud.rpc
        text = 'NAME = "tiny"\nVN_MAD = "dummy"\nBRIDGE = "br9"\nAR = [ TYPE = "IP4", IP = "127.70.250.1", SIZE = "1" ]'
        number = boss.change("vn.allocate", text, -1)
        boss.change("vn.chmod", number, -1, -1, -1, -1, -1, -1, 1, -1, -1)
        driver.create(spec(network="tiny"))
        with pytest.raises(IaasFull):
            driver.create(spec("a-2", network="tiny"))
        (finding,) = (found for found in driver.check(spec("a-3", network="tiny")) if found.code == "network")
        assert not finding.ok

    def test_a_locked_vm(self, driver: Driver) -> None:
        vm = running(driver)
        driver._cloud.rpc.change("vm.lock", int(vm.id), 4, False)
        with pytest.raises(IaasBusy, match="locked"):
            driver.delete(vm.id)
        driver._cloud.rpc.change("vm.unlock", int(vm.id))


class TestTemplateOfTheCloud:
    def test_it_is_instantiated_with_what_is_ours(self, driver: Driver, sim: Simulated) -> None:
        body = (
            f'NAME = "golden"\nCPU = "2"\nMEMORY = "4096"\nCUSTOM = "kept"\nDISK = [ IMAGE_ID = "{sim.image}" ]\n'
            f'NIC = [ NETWORK_ID = "{sim.network}" ]\nCONTEXT = [ NETWORK = "YES", THEIRS = "1" ]\n'
        )
        number = driver._cloud.rpc.change("template.allocate", body)
        made = drive(sim, driver._cloud.owner, OPENNEBULA_TEMPLATE_ID="golden")
        vm_id = made.create(spec(context={"CONPAASSQL_NODE": "3"}, tags={"node": "3"}))
        assert made.create(spec()) == vm_id
        found = described(made, vm_id)
        context = attributes(found, "TEMPLATE/CONTEXT")
        assert (context["THEIRS"], context["CONPAASSQL_NODE"]) == ("1", "3")
        assert elements.text(found, "TEMPLATE/MEMORY") == "256"
        assert elements.text(found, "USER_TEMPLATE/CUSTOM") == "kept"
        assert elements.text(found, "TEMPLATE/TEMPLATE_ID") == str(number)
        assert only(made).tags == {"node": "3"}


class TestAbilities:
    def test_catalog(self, driver: Driver, sim: Simulated) -> None:
        assert sim.image in {image.id for image in driver.images()}
        (network,) = (found for found in driver.networks() if found.id == sim.network)
        before = network.free
        assert before is not None
        driver.create(spec())
        (network,) = (found for found in driver.networks() if found.id == sim.network)
        assert network.free == before - 1
        assert driver.flavors() == []

    def test_snapshots(self, driver: Driver, sim: Simulated) -> None:
        vm = running(driver)
        made = driver.snapshot(vm.id, "s-1")
        assert driver.snapshot(vm.id, "s-1") == made
        eventually(lambda: [found.state for found in driver.snapshots()] == [SnapshotState.READY])
        (snapshot,) = driver.snapshots()
        assert (snapshot.id, snapshot.name, snapshot.vm) == (made, "s-1", "a-1")
        assert made in {image.id for image in driver.images()}
        assert drive(sim, "another").snapshots() == []
        drive(sim, "another").delete_snapshot(made)
        eventually(lambda: gone(driver, vm) and driver.list() == [])
        assert [found.vm for found in driver.snapshots()] == ["a-1"]
        driver.create(spec("b-1", image=made))
        with pytest.raises(IaasBusy):
            driver.delete_snapshot(made)
        eventually(lambda: not [gone(driver, found) for found in driver.list()])
        eventually(lambda: succeeds(lambda: driver.delete_snapshot(made)))
        eventually(lambda: driver.snapshots() == [])
        driver.delete_snapshot(made)
        driver.delete_snapshot("no number")

    def test_a_snapshot_cut_short_is_completed(self, driver: Driver, sim: Simulated) -> None:
        vm = running(driver)
        sim.control(lose_reply="one.vm.disksaveas", lost_replies=1)
        with pytest.raises(IaasError):
            driver.snapshot(vm.id, "s-2")
        assert driver.snapshots() == []
        made = driver.snapshot(vm.id, "s-2")
        assert [found.id for found in driver.snapshots()] == [made]

    def test_names_that_other_images_have(self, driver: Driver, sim: Simulated) -> None:
        """OpenNebula has each name of an image once for a user, who may have several managers."""
        vm = running(driver, extras=Extras(data_disk_mib=64))
        made = driver.snapshot(vm.id, "a-1-data")
        assert [(found.id, found.name) for found in driver.snapshots()] == [(made, "a-1-data")]
        assert driver.snapshot(vm.id, "a-1-data") == made
        other = drive(sim, "another")
        other.create(spec("a-1", extras=Extras(data_disk_mib=64)))
        eventually(lambda: not [gone(made, vm) for made in (driver, other) for vm in made.list()])
        for owner in (other, driver):
            eventually(lambda owner=owner: succeeds(lambda: owner.delete_data_disk("a-1")))

    def test_the_data_disk_outlives_the_vm(self, driver: Driver) -> None:
        with_disk = Extras(data_disk_mib=128)
        vm = running(driver, extras=with_disk)
        disk = described(driver, vm.id).findall("TEMPLATE/DISK")[-1]
        image, target = elements.text(disk, "IMAGE_ID"), elements.text(disk, "TARGET")
        assert attributes(described(driver, vm.id), "TEMPLATE/CONTEXT")["CONPAASSQL_DATA_DEVICE"] == target != ""
        with pytest.raises(IaasBusy):
            driver.delete_data_disk("a-1")
        driver.delete(vm.id)
        eventually(lambda: driver.list() == [])
        eventually(lambda: succeeds(lambda: driver.create(spec(extras=with_disk))))
        again = await_state(driver, VmState.RUNNING)
        assert elements.text(described(driver, again.id).findall("TEMPLATE/DISK")[-1], "IMAGE_ID") == image
        driver.delete(again.id)
        eventually(lambda: succeeds(lambda: driver.delete_data_disk("a-1")))
        driver.delete_data_disk("a-1")
        driver.delete_data_disk("never was")

    def test_resize(self, driver: Driver) -> None:
        vm = running(driver)
        driver.resize(vm.id, Flavor(cpu=0.5, memory_mib=512, disk_mib=20480))
        await_state(driver, VmState.RUNNING)
        found = described(driver, vm.id)
        sizes = [elements.text(found, f"TEMPLATE/{name}") for name in ("CPU", "MEMORY", "DISK/SIZE")]
        assert sizes == ["0.5", "512", "20480"]
        driver.resize(vm.id, Flavor(cpu=0.5, memory_mib=512, disk_mib=1))  # never smaller
        assert elements.text(described(driver, vm.id), "TEMPLATE/DISK/SIZE") == "20480"

    def test_labels(self, driver: Driver, sim: Simulated) -> None:
        vm = running(driver, tags={"cluster": "c", "node": "1"})
        assert vm.labels == {"cluster": "c", "node": "1"}
        driver.label(vm.id, {"cluster": "c", "role": "primary"})
        assert only(driver).labels == {"cluster": "c", "role": "primary"}
        user = attributes(described(driver, vm.id), "USER_TEMPLATE")
        assert (user["CONPAASSQL_ROLE"], user["CONPAASSQL_NODE"]) == ("primary", "")
        driver.label(vm.id, {})
        assert only(driver).labels == {}
        assert only(driver).tags == vm.tags
        driver.label(vm.id, {"manager": "evil", "tags": "evil"})
        assert only(driver).labels == {"manager": "evil", "tags": "evil"}
        assert drive(sim, "evil").list() == []

    def test_public_addresses(self, driver: Driver, sim: Simulated) -> None:
        vm = running(driver)
        address = driver.assign(vm.id, sim.network)
        eventually(lambda: only(driver).state is VmState.RUNNING)
        assert driver.assign(vm.id, sim.network) == address
        seen = only(driver)
        assert (seen.address, seen.public_address) == (vm.address, address)
        assert address != vm.address
        eventually(lambda: succeeds(lambda: driver.release(vm.id)))
        eventually(lambda: only(driver).public_address is None)
        driver.release(vm.id)
        driver.release("4711")

    def test_a_public_network_from_the_start(self, driver: Driver, sim: Simulated) -> None:
        vm = running(driver, extras=Extras(public_network=sim.network))
        assert vm.public_address not in (None, vm.address)

    def test_user_data_and_files(self, driver: Driver) -> None:
        extras = Extras(userdata="#!/bin/sh\necho $HOME\n", files={"/etc/motd": "it's $5\n"}, meta={"Für": "mich"})
        vm_id = driver.create(spec(extras=extras))
        context = attributes(described(driver, vm_id), "TEMPLATE/CONTEXT")
        assert "$" not in context["START_SCRIPT_BASE64"]
        assert "USER_DATA" not in context
        driver.create(spec("a-2", extras=Extras(userdata="#cloud-config\n{}\n")))
        (other,) = (vm for vm in driver.list() if vm.name == "a-2")
        assert attributes(described(driver, other.id), "TEMPLATE/CONTEXT")["USERDATA_ENCODING"] == "base64"


class TestChecks:
    def test_a_cloud_that_is_right(self, driver: Driver) -> None:
        findings = list(driver.check(spec(extras=Extras(data_disk_mib=1, apart="c"))))
        assert all(found.ok for found in findings), [found for found in findings if not found.ok]
        assert {"connection", "template", "image", "network", "quota"} <= {found.code for found in findings}

    def test_it_changes_nothing(self, driver: Driver) -> None:
        noted = calls(driver)
        list(driver.check(spec(extras=Extras(data_disk_mib=1, apart="c"), context={"TOKEN": "YES"})))
        assert {name.rpartition(".")[2] for name in noted} <= {"info", "version", "config"}

    def test_hosts_are_seen_by_administrators(self, sim: Simulated) -> None:
        findings = {found.code: found for found in admin(sim).check(spec())}
        assert findings["hosts"].ok
        large = replace(spec(), flavor=Flavor(cpu=100_000, memory_mib=256))
        assert not {found.code: found for found in admin(sim).check(large)}["hosts"].ok

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"OPENNEBULA_PASSWORD": "wrong-one"}, "credentials"),
            ({"OPENNEBULA_USER": "nobody"}, "credentials"),
            ({"OPENNEBULA_URL": "http://127.70.255.254:9", "OPENNEBULA_TIMEOUT_S": "2"}, "connection"),
        ],
        ids=str,
    )
    def test_what_cannot_be_reached_is_fatal(self, sim: Simulated, options: dict[str, str], code: str) -> None:
        (finding,) = drive(sim, "m", **options).check(spec())
        assert (finding.code, finding.ok, finding.fatal) == (code, False, True)
        assert finding.cure
        assert "wrong-one" not in f"{finding}"

    @pytest.mark.parametrize(
        ("more", "code", "cure"),
        [
            ({"image": "nosuch"}, "image", "Look at its name, or have the right given."),
            ({"image": "999"}, "image", "Look at its id."),
            ({"network": "nosuch"}, "network", "Look at its name, or have the right given."),
            ({"network": "999"}, "network", "Look at its id."),
            ({"template": "NAME = two words"}, "template", "Mend the VM template or the options."),
            ({"flavor_id": "x"}, "template", "Mend the VM template or the options."),
        ],
        ids=str,
    )
    def test_what_is_wrong_has_a_cure(self, driver: Driver, more: Mapping[str, Any], code: str, cure: str) -> None:
        wrong: list[Finding] = [found for found in driver.check(spec(**more)) if not found.ok]
        assert [(found.code, found.cure) for found in wrong] == [(code, cure)]
        assert all(cure not in found.says for found in wrong)

    def test_rights_have_a_cure_of_their_own(self, driver: Driver, sim: Simulated) -> None:
        boss = admin(sim)._cloud.rpc
        unset = (-1, -1, -1, -1, -1, -1)
        boss.change("image.chmod", int(sim.image), *unset, 0, -1, -1)
        try:
            (finding,) = (found for found in driver.check(spec()) if not found.ok)
        finally:
            boss.change("image.chmod", int(sim.image), *unset, 1, -1, -1)
        assert (finding.code, finding.cure) == ("image", "Have its owner give the right (oneimage chmod ID 604).")

    @pytest.mark.parametrize("image", ["999", "nosuch", "its own"])
    def test_a_file_image_that_is_none_is_named(self, driver: Driver, sim: Simulated, image: str) -> None:
        """Before anything is made; OpenNebula itself would repeat the whole context."""
        named = sim.image if image == "its own" else image
        made = drive(sim, driver._cloud.owner, OPENNEBULA_FILES_DS=named)
        ordered = spec(extras=Extras(data_disk_mib=1, apart="c"))
        noted = calls(made)
        with pytest.raises(IaasRefused, match=f"OPENNEBULA_FILES_DS names {named}") as caught:
            made.create(ordered)
        assert not [name for name in noted if name.endswith(".allocate")]
        (finding,) = (found for found in made.check(ordered) if not found.ok)
        assert finding.code == "files-ds"
        assert f"OPENNEBULA_FILES_DS names {named}" in finding.says
        assert finding.cure.lower() in caught.value.says.lower()


def test_a_mute_cloud_blocks_nobody_for_long(driver: Driver, sim: Simulated) -> None:
    made = drive(sim, driver._cloud.owner, OPENNEBULA_TIMEOUT_S="0.3")
    sim.control(slow_s=5.0)
    began_s = time.monotonic()
    with pytest.raises(IaasError, match="did not answer"):
        made.list()
    assert time.monotonic() - began_s < 3
    assert rpc.CONNECTIONS <= 10


def test_a_snapshot_has_a_time(driver: Driver) -> None:
    vm = running(driver)
    driver.snapshot(vm.id, "s-3")
    (found,) = driver.snapshots()
    assert isinstance(found, Snapshot)
    assert found.created_at is not None
    assert abs(found.created_at.timestamp() - time.time()) < 120


class TestStatesOfADisk:
    """Kept with the VM, by OpenNebula's disk snapshots."""

    def test_they_are_kept_gone_back_to_and_dropped(self, driver: Driver) -> None:
        vm = running(driver)
        for name in ("before", "after", "before"):
            eventually(lambda name=name: succeeds(lambda: driver.keep_disk(vm.id, name)))  # type: ignore[misc]
            await_state(driver, VmState.RUNNING)
        assert driver.disk_snapshots(vm.id) == ["before", "after"]
        with pytest.raises(IaasBusy):
            driver.revert_disk(vm.id, "before")  # it runs
        eventually(lambda: succeeds(lambda: driver.power_off(vm.id)))
        await_state(driver, VmState.STOPPED)
        eventually(lambda: succeeds(lambda: driver.revert_disk(vm.id, "before")))
        with pytest.raises(IaasMissing, match="keeps no state 'never'"):
            driver.revert_disk(vm.id, "never")
        eventually(lambda: succeeds(lambda: driver.drop_disk(vm.id, "after")))
        driver.drop_disk(vm.id, "never")
        eventually(lambda: driver.disk_snapshots(vm.id) == ["before"])

    def test_nobody_else_s(self, driver: Driver, sim: Simulated) -> None:
        vm = running(driver)
        other = Driver(sim.options, "another")
        with pytest.raises(IaasMissing):
            other.keep_disk(vm.id, "x")
