"""The OpenNebula simulator's own behaviour: time, guests, faults, many callers at once."""

from __future__ import annotations

import socket
import threading
import xmlrpc.client
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import RemoteDisconnected
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from onesim import methods, server, wire
from onesim.config import Config, HostConfig, ImageConfig, NetworkConfig
from onesim.core import Core
from onesim.errors import Fault
from onesim.faults import Faults
from onesim.hypervisor import BootFailed, Disks

from onesim_replay import Clock

ADMIN, USER = "oneadmin:onepass", "ada:lovelace"
NETWORK = 'NAME = "lan"\nVN_MAD = "dummy"\nBRIDGE = "br7"\nAR = [ TYPE = "IP4", IP = "127.71.0.10", SIZE = "40" ]\n'
TEMPLATE = 'NAME = "db"\nCPU = 0.1\nMEMORY = 64\nDISK = [ IMAGE_ID = 0 ]\nNIC = [ NETWORK_ID = 0 ]\n'
CONTEXT = 'CONTEXT = [ NETWORK = "YES", WHO = "$NAME", PASSWORD = "secret" ]\n'


@dataclass
class Guests:
    """A hypervisor that writes down what it is told, and waits before it boots if it is to."""

    calls: list[tuple[str, int]] = field(default_factory=list)
    booted: list[tuple[Mapping[str, str], str, Disks]] = field(default_factory=list)
    dead: set[int] = field(default_factory=set)
    refuse: str = ""
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def boot(
        self, vm_id: int, name: str, context: Mapping[str, str], memory_mib: int, address: str, disks: Disks = Disks()
    ) -> None:
        assert self.gate.wait(10)
        if self.refuse:
            raise BootFailed(self.refuse)
        self.calls.append(("boot", vm_id))
        self.booted.append((context, address, disks))

    def power_off(self, vm_id: int) -> None:
        self.calls.append(("off", vm_id))

    def destroy(self, vm_id: int) -> None:
        self.calls.append(("destroy", vm_id))

    def alive(self, vm_id: int) -> bool:
        return vm_id not in self.dead

    def save(self, vm_id: int, image: int) -> None:
        self.calls.append(("save", image))

    def forget(self, image: int) -> None:
        self.calls.append(("forget", image))


@dataclass
class World:
    """A core whose clock is moved by hand."""

    config: Config
    guests: Guests = field(default_factory=Guests)
    faults: Faults = field(default_factory=Faults)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.core = Core(self.config, self.guests, self.faults, self.clock)

    def ask(self, method: str, *params: wire.Param, session: str = USER) -> object:
        """Return the value of an answer, or the code and text of a refusal."""
        answer = methods.called(self.core, wire.Call(f"one.{method}", (session, *params)))
        assert isinstance(answer, list)
        return answer[1] if answer[0] else (answer[2], answer[1])

    def vm(self, number: int = 0) -> ElementTree.Element:
        return ElementTree.fromstring(str(self.ask("vm.info", number, session=ADMIN)))

    def at(self, number: int = 0) -> tuple[str | None, str | None]:
        return self.vm(number).findtext("STATE"), self.vm(number).findtext("LCM_STATE")

    def wait(self, seconds: float) -> None:
        """Let time go on, in small steps."""
        for _ in range(round(seconds / 0.05)):
            self.clock.now += 0.05
            self.core.tick()

    def leased(self) -> str | None:
        return ElementTree.fromstring(str(self.ask("vn.info", 0, session=ADMIN))).findtext("USED_LEASES")


def config(hosts: int = 2, **changes: object) -> Config:
    return Config(
        users=(("ada", "lovelace"),),
        hosts=tuple(HostConfig(f"host{number}") for number in range(hosts)),
        networks=(NetworkConfig(NETWORK),),
        images=(ImageConfig('NAME = "debian"\nPATH = "/debian.qcow2"\n'),),
        **changes,  # type: ignore[arg-type]
    )


@pytest.fixture
def world() -> World:
    return World(config())


def running(world: World, template: str = TEMPLATE + CONTEXT) -> int:
    number = world.ask("vm.allocate", template, False)
    assert isinstance(number, int), number
    world.wait(13)
    assert world.at(number) == ("3", "3")
    return number


RUNNING, OFF, PENDING = ("3", "3"), ("8", "0"), ("1", "0")


class TestTime:
    def test_a_vm_is_pending_while_the_scheduler_gathers_and_then_boots(self, world: World) -> None:
        world.ask("vm.allocate", TEMPLATE)
        world.wait(9.8)
        assert world.at() == PENDING
        seen = []
        for _ in range(60):
            world.wait(0.05)
            seen.append(world.at())
        assert list(dict.fromkeys(seen)) == [PENDING, ("3", "0"), ("3", "1"), ("3", "2"), RUNNING]

    def test_seven_vms_are_placed_at_once(self, world: World) -> None:
        for _ in range(7):
            world.ask("vm.allocate", TEMPLATE)
        world.wait(2)
        assert {world.at(number) for number in range(7)} == {RUNNING}

    def test_all_durations_are_scaled(self) -> None:
        world = World(config(scale=0.01))
        world.ask("vm.allocate", TEMPLATE)
        world.wait(0.5)
        assert world.at() == RUNNING

    def test_without_a_host_the_scheduler_says_why_and_looks_again_after_a_minute(self, world: World) -> None:
        for host in (0, 1):
            world.ask("host.status", host, 1, session=ADMIN)
        world.ask("vm.allocate", TEMPLATE)
        world.wait(11)
        said = world.vm().findtext("USER_TEMPLATE/SCHED_MESSAGE")
        assert said is not None and said.endswith("Cannot dispatch VM: No hosts enabled to run VMs")
        world.ask("host.status", 0, 0, session=ADMIN)
        world.wait(50)
        assert world.at() == PENDING
        world.wait(15)
        assert world.at() == RUNNING

    def test_vms_kept_apart_go_to_different_hosts_and_wait_if_there_is_none(self, world: World) -> None:
        group = 'NAME = "g"\nROLE = [ NAME = "replica", POLICY = "ANTI_AFFINED" ]\n'
        assert world.ask("vmgroup.allocate", group) == 0
        for _ in range(3):
            world.ask("vm.allocate", TEMPLATE + 'VMGROUP = [ VMGROUP_ID = "0", ROLE = "replica" ]\n')
        world.wait(15)
        assert [world.at(number) for number in range(3)] == [RUNNING, RUNNING, PENDING]
        hosts = {world.vm(number).findtext("HISTORY_RECORDS/HISTORY/HID") for number in range(2)}
        assert hosts == {"0", "1"}


class TestGuests:
    def test_a_guest_gets_its_context_in_clear_and_the_address_of_its_first_nic(self, world: World) -> None:
        running(world)
        context, address, disks = world.guests.booted[0]
        assert (context["WHO"], context["PASSWORD"], context["ETH0_IP"]) == ("db", "secret", "127.71.0.10")
        assert (address, disks.image) == ("127.71.0.10", 0)
        assert world.vm().findtext("TEMPLATE/CONTEXT/PASSWORD") != "secret"

    def test_a_guest_that_switches_itself_off_is_poweroff_and_keeps_its_address(self, world: World) -> None:
        running(world)
        world.guests.dead.add(0)
        world.wait(1)
        assert (world.at(), world.leased()) == (OFF, "1")
        world.ask("vm.action", "terminate", 0)
        world.wait(3)
        assert (world.at(), world.leased()) == (("6", "0"), "0")
        assert world.guests.calls[-1] == ("destroy", 0)

    def test_a_reboot_restarts_the_guest_in_running(self, world: World) -> None:
        running(world)
        world.ask("vm.action", "reboot", 0)
        assert world.at() == RUNNING
        world.wait(1)
        assert world.guests.calls == [("boot", 0), ("off", 0), ("boot", 0)]

    def test_a_guest_that_does_not_start_is_boot_failure_with_the_reason(self, world: World) -> None:
        world.guests.refuse = "no room"
        world.ask("vm.allocate", TEMPLATE)
        world.wait(13)
        assert world.at() == ("3", "36")
        said = world.vm().findtext("USER_TEMPLATE/ERROR")
        assert said is not None and said.endswith(": no room")
        world.ask("vm.action", "terminate", 0)
        world.wait(3)
        assert (world.at(), world.leased()) == (("6", "0"), "0")

    def test_a_copy_of_a_disk_is_ready_once_the_hypervisor_has_made_it(self, world: World) -> None:
        running(world)
        image = world.ask("vm.disksaveas", 0, 0, "copy", "", -1)
        assert isinstance(image, int)
        assert ElementTree.fromstring(str(world.ask("image.info", image))).findtext("STATE") == "4"
        world.wait(2)
        assert ElementTree.fromstring(str(world.ask("image.info", image))).findtext("STATE") == "1"
        world.ask("image.delete", image)
        assert world.guests.calls[1:] == [("save", image), ("forget", image)]

    def test_a_vm_deleted_while_it_boots_is_destroyed_afterwards(self) -> None:
        with served(config(scale=0.001)) as (world, url):
            world.guests.gate.clear()
            cloud = xmlrpc.client.ServerProxy(url)
            cloud.one.vm.allocate(USER, TEMPLATE, False)
            until(lambda: world.core.pools.vms[0].at == (3, 2))
            cloud.one.vm.recover(ADMIN, 0, 3)  # answered although the hypervisor is at work
            assert world.at() == ("6", "0")
            world.guests.gate.set()
            until(lambda: ("destroy", 0) in world.guests.calls)
            assert world.at() == ("6", "0")


class TestFaults:
    def test_a_terminate_is_refused_while_booting_and_as_often_as_wished(self, world: World) -> None:
        world.ask("vm.allocate", TEMPLATE)
        world.wait(10.3)
        refused = "Could not terminate VM 0, wrong state PROLOG."
        told = world.ask("vm.action", "terminate-hard", 0)
        assert told == (2048, f'[one.vm.action] Error performing action "terminate-hard": {refused}')
        world.wait(3)
        world.faults.change({"refuse_terminate": 1})
        assert world.ask("vm.action", "terminate", 0) != 0
        assert world.ask("vm.action", "terminate", 0) == 0

    def test_a_shutdown_that_fails_ends_in_running_without_a_word(self, world: World) -> None:
        running(world)
        world.faults.change({"shutdown_returns_to_running": 1})
        assert world.ask("vm.action", "terminate", 0) == 0
        assert world.at() == ("3", "12")
        world.wait(2)
        assert world.at() == RUNNING
        assert world.vm().find("USER_TEMPLATE/ERROR") is None

    def test_a_host_out_of_sight_makes_its_vms_unknown(self, world: World) -> None:
        running(world)
        world.faults.change({"unknown": "d*"})
        world.wait(1)
        assert world.at() == ("3", "16")
        world.faults.change({"unknown": ""})
        world.wait(1)
        assert world.at() == RUNNING

    def test_a_lost_reply_has_made_the_vm(self) -> None:
        with served(config()) as (world, url):
            world.faults.change({"lose_reply": "one.vm.allocate", "lost_replies": 2})
            with pytest.raises(RemoteDisconnected):
                xmlrpc.client.ServerProxy(url).one.vm.allocate(USER, TEMPLATE, False)
            assert list(world.core.pools.vms) == [0, 1]  # the library asks again by itself


class TestCallers:
    def test_callers_at_once_get_an_address_each(self) -> None:
        with served(config()) as (world, url):
            with ThreadPoolExecutor(8) as pool:
                ask = [pool.submit(_allocated, url) for _ in range(24)]
                numbers = {each.result() for each in ask}
            addresses = {vm.attrs.vectors("NIC")[0]["IP"] for vm in world.core.pools.vms.values()}
        assert numbers == set(range(24))
        assert len(addresses) == 24

    def test_idle_connections_keep_others_waiting(self) -> None:
        with served(config(max_connections=2)) as (_, url), ExitStack() as idle:
            address = urlsplit(url)
            for _ in range(2):
                idle.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(_allocated, url)
                assert not wait([waiting], timeout=0.3).done
                idle.close()
                assert waiting.result(10) == 0

    def test_a_refused_template_leaves_nothing_but_the_address_counter(self, world: World) -> None:
        assert world.ask("vm.allocate", TEMPLATE + 'OS = [ BOOT = "hd" ]\n') != 0
        assert world.leased() == "0"
        world.ask("vm.allocate", TEMPLATE)
        assert world.vm().findtext("TEMPLATE/NIC/IP") == "127.71.0.11"
        assert world.vm().findtext("ID") == "0"

    def test_a_user_sees_no_hosts_and_no_vms_of_others(self, world: World) -> None:
        world.ask("vm.allocate", TEMPLATE, session=ADMIN)
        assert world.ask("hostpool.info") == "<HOST_POOL></HOST_POOL>"
        assert world.ask("vmpool.info", -2, -1, -1, -1) == "<VM_POOL></VM_POOL>"
        assert world.ask("vm.info", 0) == (512, "[one.vm.info] User [2] : Not authorized to perform USE VM [0].")

    def test_the_short_form_leaves_out_what_users_made_up(self, world: World) -> None:
        world.ask("vm.allocate", TEMPLATE + 'LABELS = "x"\nMINE = "1"\n')
        short = ElementTree.fromstring(str(world.ask("vmpool.info", -3, -1, -1, -1)))
        whole = ElementTree.fromstring(str(world.ask("vmpool.infoextended", -3, -1, -1, -1)))
        assert [each.tag for each in short.find("VM/USER_TEMPLATE") or ()] == ["LABELS"]
        assert [each.tag for each in whole.find("VM/USER_TEMPLATE") or ()] == ["LABELS", "MINE"]

    def test_what_would_end_a_cdata_comes_back_whole(self, world: World) -> None:
        world.ask("vm.allocate", TEMPLATE)
        world.ask("vm.update", 0, "<T><A>x]]&gt;&lt;/A&gt;y &amp; ü</A></T>", 1)
        assert world.vm().findtext("USER_TEMPLATE/A") == "x]]></A>y & ü"

    def test_an_old_core_lacks_younger_methods(self) -> None:
        world = World(config(version="5.12.0"))
        assert world.ask("system.version") == "5.12.0"
        assert world.ask("vmpool.infoextended", -3, -1, -1, -1) == "<VM_POOL></VM_POOL>"
        with pytest.raises(Fault, match="not defined"):
            world.ask("vmpool.infoset", "1", False)


@contextmanager
def served(settings: Config) -> Iterator[tuple[World, str]]:
    """A core behind HTTP, whose time goes on by itself."""
    world = World(settings)
    world.core = Core(settings, world.guests, world.faults)
    with server.serve(world.core) as url:
        yield world, url


def until(holds: object) -> None:
    """Wait for something that another thread does."""
    assert callable(holds)
    moment = threading.Event()
    for _ in range(1000):
        if holds():
            return
        moment.wait(0.01)
    raise AssertionError("it did not come to pass within 10 s")


def _allocated(url: str) -> object:
    answer = xmlrpc.client.ServerProxy(url).one.vm.allocate(USER, TEMPLATE, True)
    assert isinstance(answer, list)
    return answer[1]
