"""The cheap look at OpenNebula says what the extended form says, whatever happens to VMs."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from cloud_sim import Simulated, simulated
from conpaassql.errors import Error, IaasBusy
from conpaassql.iaas import Vm, VmSpec, VmState
from conpaassql.iaas.opennebula import Driver
from conpaassql.iaas.opennebula.memory import Memory
from conpaassql.model import Flavor
from conpaassql.offers import Extras, Nic

WITHIN_S = 20.0
STEPS = 30
PLAIN: dict[str, object] = {"boot_failure": "", "pending_forever": "", "lose_reply": ""}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    folder = tmp_path_factory.mktemp("one")
    with simulated(folder, network="127.69.0.0/16", hypervisor="none", scale=0.02) as found:
        yield found


@pytest.fixture
def sim(cloud: Simulated) -> Iterator[Simulated]:
    """The cloud with names whose boot fails, or that find no host."""
    cloud.control(**{**PLAIN, "boot_failure": "f-*", "boot_error": "no such kernel", "pending_forever": "p-*"})
    yield cloud
    cloud.control(**PLAIN)
    for owner in ("m", "stranger"):
        made = Driver(cloud.options, owner)
        eventually(lambda made=made: not [vm for vm in made.list() if not ends(made, vm)])


def ends(driver: Driver, vm: Vm) -> bool:
    with suppress(IaasBusy):
        driver.delete(vm.id)
    return False


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


def called(driver: Driver) -> list[str]:
    """Begin to note the methods that are called."""
    noted: list[str] = []
    read = driver._cloud.rpc.read

    def noting(method: str, *params: object) -> str:
        noted.append(method)
        return read(method, *params)

    driver._cloud.rpc.read = noting  # type: ignore[method-assign]
    return noted


def spec(name: str, template: str = "", **extras: Any) -> VmSpec:
    flavor, tags = Flavor(), {"cluster": "c", "node": name}
    return VmSpec(name=name, flavor=flavor, tags=tags, context={}, template=template, extras=Extras(**extras))


class Play:
    """People and a manager at work on one cloud; ``driver`` is the manager's, which remembers."""

    def __init__(self, sim: Simulated, seed: int) -> None:
        self.sim = sim
        self.random = random.Random(seed)
        self.driver = Driver(sim.options, "m")
        self.stranger = Driver(sim.options, "stranger")
        self.made = 0

    def act(self) -> None:
        """Do something; OpenNebula may refuse it."""
        acts = (self.create, self.create, self.power, self.label, self.cards, self.public, self.end)
        with suppress(Error):
            self.random.choice(acts)()

    def create(self) -> None:
        self.made += 1
        name = f"{self.random.choice('aaafp')}-{self.made}"
        net = self.sim.network
        automatic = 'CPU = "0.1"\nMEMORY = "64"\nNIC = [ NETWORK_MODE = "auto" ]\n'
        kinds = (
            spec(name),
            spec(name, data_disk_mib=64),
            spec(name, nics=(Nic(network=net), Nic(network=net))),
            spec(name, public_network=net),
            spec(name, automatic),
        )
        owner = self.stranger if self.random.random() < 0.2 else self.driver
        owner.create(self.random.choice(kinds))

    def power(self) -> None:
        vm = self.one()
        order = self.random.choice((self.driver.power_off, self.driver.power_on))
        order(vm.id)

    def label(self) -> None:
        labels = {"role": self.random.choice(("primary", "replica")), "turn": str(self.random.random())}
        vm = self.one()
        self.driver.label(vm.id, labels)
        now = {one.id: one.labels for one in self.driver.list()}
        assert now[vm.id] == labels

    def cards(self) -> None:
        """Somebody changes cards, past the driver."""
        vm, rpc = self.one(), self.driver._cloud.rpc
        alias = f'NIC_ALIAS = [ NETWORK_ID = "{self.sim.network}", PARENT = "NIC0" ]'
        card = f'NIC = [ NETWORK_ID = "{self.sim.network}" ]'
        if self.random.random() < 0.3:
            rpc.change("vm.detachnic", int(vm.id), self.random.choice((0, 1, 2)))
        else:
            rpc.change("vm.attachnic", int(vm.id), self.random.choice((alias, card)))

    def public(self) -> None:
        vm = self.one()
        if self.random.random() < 0.5:
            self.driver.assign(vm.id, self.sim.network)
        else:
            self.driver.release(vm.id)

    def end(self) -> None:
        self.driver.delete(self.one().id)

    def one(self) -> Vm:
        """Return one that stays; a VM that is ending may be gone in the next moment."""
        vms = [vm for vm in self.driver.list() if vm.state is not VmState.DELETING]
        if not vms:
            raise IaasBusy("there is none yet.")
        return self.random.choice(vms)

    def settle(self) -> dict[str, Vm]:
        """Compare until all VMs run that can."""
        moving = (VmState.PENDING, VmState.BOOTING, VmState.DELETING)
        return self.until(
            lambda vms: not any(vm.state in moving for name, vm in vms.items() if not name.startswith("p-"))
        )

    def until(self, holds: Callable[[dict[str, Vm]], bool]) -> dict[str, Vm]:
        """Compare until something holds; return the VMs by their names."""
        found: dict[str, Vm] = {}

        def compared() -> bool:
            found.clear()
            found.update({vm.name: vm for vm in self.compare()})
            return holds(found)

        eventually(compared)
        return found

    def compare(self) -> list[Vm]:
        """Look both ways until nothing has moved between two extended looks; return what was seen."""
        deadline = time.monotonic() + WITHIN_S
        while True:
            before = Driver(self.sim.options, "m").list()
            seen = self.driver.list()
            if before == Driver(self.sim.options, "m").list():
                assert seen == before
                return [*seen]
            assert time.monotonic() < deadline, "the cloud does not come to rest"


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_say_the_same_whatever_happens(sim: Simulated, seed: int) -> None:
    play = Play(sim, seed)
    noted = called(play.driver)
    for step in range(STEPS):
        play.act()
        play.compare()
        if step % 3 == 0:
            play.settle()
    looks = [name for name in noted if name.startswith("vmpool.")]
    assert looks.count("vmpool.infoset") > 3
    assert looks.count("vmpool.infoextended") < looks.count("vmpool.info") / 2


def test_both_ways_say_the_same_of_every_state(sim: Simulated) -> None:
    play = Play(sim, 0)
    net = sim.network
    for name in ("a-1", "a-2", "a-3", "p-1", "f-1"):
        play.driver.create(spec(name))
        play.compare()
    play.driver.create(spec("a-4", data_disk_mib=64))
    play.driver.create(spec("a-5", nics=(Nic(network=net), Nic(network=net))))
    play.stranger.create(spec("a-6"))
    automatic = play.driver.create(spec("p-2", 'CPU = "0.1"\nMEMORY = "64"\nNIC = [ NETWORK_MODE = "auto" ]\n'))
    seen = play.settle()
    assert seen["p-1"].message
    assert seen["f-1"].message
    assert (seen["p-2"].id, seen["p-2"].address) == (automatic, None)
    assert "a-6" not in seen
    play.driver.power_off(seen["a-1"].id)
    play.driver.delete(seen["a-2"].id)
    play.driver.assign(seen["a-3"].id, net)
    sim.control(pending_forever="p-1")
    play.until(lambda vms: {"p-2": VmState.RUNNING, "a-1": VmState.STOPPED}.items() <= states(vms).items())
    play.until(lambda vms: "a-2" not in vms and vms["a-3"].state is VmState.RUNNING)
    seen = play.settle()
    assert seen["p-2"].address
    assert seen["a-3"].public_address
    play.driver.release(seen["a-3"].id)
    play.until(lambda vms: vms["a-3"].public_address is None)
    assert {*states(play.settle()).values()} == {VmState.PENDING, VmState.RUNNING, VmState.STOPPED, VmState.FAILED}


def states(vms: Mapping[str, Vm]) -> dict[str, VmState]:
    return {name: vm.state for name, vm in vms.items()}


def test_an_alias_is_taken_for_no_address(sim: Simulated) -> None:
    play = Play(sim, 0)
    for name in ("a-1", "a-2", "a-3"):
        play.driver.create(spec(name))
    eventually(lambda: {vm.state for vm in play.driver.list()} == {VmState.RUNNING})
    vm = play.driver.list()[0]
    rpc, alias = play.driver._cloud.rpc, f'NIC_ALIAS = [ NETWORK_ID = "{sim.network}", PARENT = "NIC0" ]'
    rpc.change("vm.attachnic", int(vm.id), alias)
    assert rpc.read("vmpool.info", -3, int(vm.id), int(vm.id), -1).count("<IP>") == 2  # it is there as a card
    for _ in range(2):
        now = next(one for one in play.compare() if one.id == vm.id)
        assert (now.address, now.public_address) == (vm.address, None)


def test_a_lost_creation_among_many_is_found(sim: Simulated) -> None:
    play = Play(sim, 0)
    for name in ("a-1", "a-2", "a-3"):
        play.driver.create(spec(name))
    sim.control(lose_reply="one.vm.allocate", lost_replies=1)
    with pytest.raises(Error):
        play.driver.create(spec("a-4"))
    noted = called(play.driver)
    vm_id = play.driver.create(spec("a-4"))
    assert noted == ["vmpool.info", "vmpool.infoset"]
    assert [vm.id for vm in play.compare() if vm.name == "a-4"] == [vm_id]
    assert len(play.driver.list()) == 4


@pytest.mark.parametrize("method", ["vmpool.infoextended", "vmpool.infoset"])
def test_a_look_from_before_a_change_brings_nothing_back(sim: Simulated, method: str) -> None:
    play = Play(sim, 0)
    for name in ("a-1", "a-2", "a-3"):
        play.driver.create(spec(name))
    vm = play.driver.list()[0]
    play.driver.label(vm.id, {"role": "replica"})  # so that the next look asks for it
    if method == "vmpool.infoextended":
        play.driver._cloud.memory = Memory()
    read = play.driver._cloud.rpc.read

    def slowly(called: str, *params: object) -> str:
        answer = read(called, *params)
        if called == method:
            play.driver._cloud.rpc.read = read  # type: ignore[method-assign]
            play.driver.label(vm.id, {"role": "primary"})  # while the answer is on its way
        return answer

    play.driver._cloud.rpc.read = slowly  # type: ignore[method-assign]
    old, new = ({one.id: one for one in play.driver.list()}[vm.id].labels for _ in range(2))
    assert (old, new) == ({"role": "replica"}, {"role": "primary"})


def test_several_threads_change_and_look(sim: Simulated) -> None:
    play = Play(sim, 0)
    ids = [play.driver.create(spec(f"a-{number}")) for number in range(4)]

    def relabel(vm_id: str) -> None:
        for turn in range(15):
            play.driver.label(vm_id, {"turn": str(turn)})
            assert [vm.labels for vm in play.driver.list() if vm.id == vm_id] == [{"turn": str(turn)}]

    with ThreadPoolExecutor(len(ids)) as threads:
        assert [*threads.map(relabel, ids)] == [None] * len(ids)
    assert len(play.driver._cloud.memory.known()) == len(ids)
