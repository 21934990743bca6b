"""The simulator as a process: ready when it says so, guests that live and die, faults on demand, nothing left."""

import base64
import os
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import requests

from cloud_sim import PACKAGE, Simulated, simulated

NETWORK = "127.72.2.0/24"
WITHIN_S = 30.0
RUNNING, POWEROFF, DONE, PENDING = ("3", "3"), ("8", "0"), ("6", "0"), ("1", "0")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cps-") as path:
        yield Path(path)


class Cloud:
    """A client without anything of the driver's."""

    def __init__(self, simulator: Simulated) -> None:
        self.simulator = simulator
        self.session = requests.Session()
        self.session.trust_env = False

    def call(self, method: str, *params: object) -> list[object]:
        """Return the answer's array."""
        session = f"{self.simulator.user}:{self.simulator.password}"
        body = xmlrpc.client.dumps((session, *params), method)  # type: ignore[arg-type]  # it takes what it can write
        answer = self.session.post(self.simulator.url, data=body.encode(), timeout=30)
        (found,), _ = xmlrpc.client.loads(answer.text)
        assert isinstance(found, list)
        return found

    def make(self, name: str, *context: str, image: object = None, more: str = "") -> int:
        """Make a VM from an image, the usual one if none is named; return its number."""
        network, image = self.simulator.network, self.simulator.image if image is None else image
        pairs = ", ".join(("NETWORK = YES", *context))
        text = (
            f"NAME = {name}\nCPU = 0.1\nMEMORY = 64\nDISK = [ IMAGE_ID = {image} ]\nNIC = [ NETWORK_ID = {network} ]\n"
        )
        answer = self.call("one.vm.allocate", f"{text}{more}CONTEXT = [ {pairs} ]")
        assert answer[0], answer
        assert isinstance(answer[1], int)
        return answer[1]

    def vm(self, number: int) -> ElementTree.Element:
        """Return a VM as XML."""
        answer = self.call("one.vm.info", number)
        assert answer[0], answer
        return ElementTree.fromstring(str(answer[1]))

    def state(self, number: int) -> tuple[str | None, str | None]:
        """Return STATE and LCM_STATE."""
        vm = self.vm(number)
        return vm.findtext("STATE"), vm.findtext("LCM_STATE")

    def becomes(self, number: int, state: tuple[str, str]) -> None:
        """Return when a VM is in a state."""
        eventually(lambda: self.state(number) == state)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def image_state(cloud: Cloud, number: object) -> str | None:
    """Return the STATE of an image."""
    return ElementTree.fromstring(str(cloud.call("one.image.info", number)[1])).findtext("STATE")


def script(text: str) -> str:
    encoded = base64.b64encode(f'#!/bin/sh\n. "$CONPAASSQL_CONTEXT"\n{text}\n'.encode()).decode()
    return f'START_SCRIPT_BASE64 = "{encoded}"'


def processes(place: Path) -> list[int]:
    """Return the numbers of all processes that have ``place`` in their environment."""
    found = []
    for proc in Path("/proc").iterdir():
        try:
            if proc.name.isdigit() and os.fsencode(place) in (proc / "environ").read_bytes():
                found.append(int(proc.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_a_guest_lives_as_its_vm_does(folder: Path) -> None:
    with simulated(folder, network=NETWORK) as simulator:
        cloud = Cloud(simulator)
        number = cloud.make("web", script('echo "$ETH0_IP $CONPAASSQL_ADDRESS" >"$CONPAASSQL_ROOT/said"'))
        cloud.becomes(number, RUNNING)
        address = cloud.vm(number).findtext("TEMPLATE/NIC/IP")
        said = simulator.root / "one" / f"one-{number}" / "disk" / "said"
        eventually(lambda: said.exists() and said.read_text() == f"{address} {address}\n")
        assert cloud.call("one.vm.action", "poweroff-hard", number)[0]
        cloud.becomes(number, POWEROFF)
        assert said.exists()
        assert processes(simulator.root / "one" / f"one-{number}") == []
        assert cloud.call("one.vm.action", "resume", number)[0]
        cloud.becomes(number, RUNNING)
        assert cloud.call("one.vm.action", "terminate-hard", number)[0]
        cloud.becomes(number, DONE)
        eventually(lambda: not said.exists())


def test_a_data_block_outlives_its_vms_and_a_saved_disk_can_be_booted(folder: Path) -> None:
    with simulated(folder, network=NETWORK) as simulator:
        cloud = Cloud(simulator)
        text = "NAME = data\nTYPE = DATABLOCK\nSIZE = 10\nPERSISTENT = YES\n"
        _, block, *_ = cloud.call("one.image.allocate", text, 1)
        eventually(lambda: image_state(cloud, block) == "1")
        data, disk = '"$CONPAASSQL_DATA_DIR/f"', '"$CONPAASSQL_ROOT/f"'
        write = script(f"echo x >>{data}; [ -f {disk} ] || cat {data} >{disk}")
        first = cloud.make("a", write, more=f"DISK = [ IMAGE_ID = {block} ]\n")
        said = simulator.root / "one" / f"one-{first}" / "disk" / "f"
        eventually(lambda: said.exists() and said.read_text() == "x\n")
        answer = cloud.call("one.vm.disksaveas", first, 0, "saved", "", -1)
        assert answer[0], answer
        eventually(lambda: image_state(cloud, answer[1]) == "1" and cloud.state(first) == RUNNING)
        assert cloud.call("one.vm.action", "terminate-hard", first)[0]
        cloud.becomes(first, DONE)
        second = cloud.make("b", write, image=answer[1], more=f"DISK = [ IMAGE_ID = {block} ]\n")
        cloud.becomes(second, RUNNING)
        data_dir = simulator.root / ".images" / str(block) / "f"
        eventually(lambda: data_dir.read_text() == "x\nx\n")
        assert (simulator.root / "one" / f"one-{second}" / "disk" / "f").read_text() == "x\n"


def test_a_guest_that_switches_itself_off_is_a_vm_in_poweroff(folder: Path) -> None:
    with simulated(folder, network=NETWORK) as simulator:
        cloud = Cloud(simulator)
        number = cloud.make("web", script('kill -9 "$PPID"'))
        cloud.becomes(number, POWEROFF)


def test_no_guest_outlives_the_simulator(folder: Path) -> None:
    with simulated(folder, network=NETWORK) as simulator:
        cloud = Cloud(simulator)
        cloud.becomes(cloud.make("web"), RUNNING)
        assert processes(simulator.root)
    assert processes(folder / "one") == []


def test_the_password_is_asked_for_and_new_each_time(folder: Path) -> None:
    with simulated(folder, network=NETWORK, hypervisor="none") as first:
        wrong = Cloud(Simulated(**{**vars(first), "password": "secret"}))
        assert wrong.call("one.system.version")[2] == 256
        assert Cloud(first).call("one.system.version")[:2] == [True, "7.4.0"]
    with simulated(folder, network=NETWORK, hypervisor="none") as second:
        assert second.password != first.password
        assert second.password not in repr(second)


def test_a_second_simulator_in_one_place_is_refused(folder: Path) -> None:
    with simulated(folder, network=NETWORK) as first:
        done = subprocess.run(
            [sys.executable, "-m", "onesim", "--root", str(first.root)],
            env={**os.environ, "PYTHONPATH": str(PACKAGE)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "another simulator runs" in done.stderr


@pytest.mark.parametrize("network", ["10.0.0.0/8", "127.0.0.1/32", "x"])
def test_only_networks_of_this_machine_are_taken(folder: Path, network: str) -> None:
    with pytest.raises(AssertionError, match="argument --network"), simulated(folder, network=network):
        pass


def test_vms_that_are_there_from_the_start(folder: Path) -> None:
    more = ("--vm-template", 'OF = "me"')
    with simulated(folder, network=NETWORK, hypervisor="none", vms=9, more=more) as simulator:
        answer = Cloud(simulator).call("one.vmpool.infoextended", -3, -1, -1, 3)
        vms = ElementTree.fromstring(str(answer[1])).findall("VM")
        assert len(vms) == 9
        assert {(vm.findtext("STATE"), vm.findtext("USER_TEMPLATE/OF")) for vm in vms} == {("3", "me")}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """A simulator whose guests are only pretended."""
    with simulated(tmp_path_factory.mktemp("faulty"), network=NETWORK, hypervisor="none") as simulator:
        yield simulator


def test_a_lost_reply_is_that_of_a_vm_that_was_made(faulty: Simulated) -> None:
    cloud = Cloud(faulty)
    faulty.control(lose_reply="one.vm.allocate", lost_replies=1)
    with pytest.raises(requests.ConnectionError):
        cloud.make("lost")
    cloud.make("found")
    pool = ElementTree.fromstring(str(cloud.call("one.vmpool.info", -3, -1, -1, -1)[1]))
    assert {"lost", "found"} <= {vm.findtext("NAME") for vm in pool}


def test_a_refused_terminate_is_refused_as_while_booting(faulty: Simulated) -> None:
    cloud = Cloud(faulty)
    number = cloud.make("tough")
    cloud.becomes(number, RUNNING)
    faulty.control(refuse_terminate=2)
    answers = [cloud.call("one.vm.action", "terminate-hard", number) for _ in range(3)]
    assert [answer[0] for answer in answers] == [False, False, True]
    assert (answers[0][2], "Could not terminate VM" in str(answers[0][1])) == (2048, True)


def test_a_shutdown_that_returns_to_running(faulty: Simulated) -> None:
    cloud = Cloud(faulty)
    number = cloud.make("stubborn")
    cloud.becomes(number, RUNNING)
    faulty.control(shutdown_returns_to_running=1)
    assert cloud.call("one.vm.action", "terminate", number)[0]
    eventually(lambda: faulty.control()["shutdown_returns_to_running"] == 0)
    cloud.becomes(number, RUNNING)
    assert cloud.call("one.vm.action", "terminate", number)[0]
    cloud.becomes(number, DONE)


def test_a_vm_that_stays_pending_says_why(faulty: Simulated) -> None:
    cloud = Cloud(faulty)
    faulty.control(pending_forever="never*", sched_message="No room")
    number, other = cloud.make("never-1"), cloud.make("at-once")
    cloud.becomes(other, RUNNING)
    eventually(lambda: "No room" in (cloud.vm(number).findtext("USER_TEMPLATE/SCHED_MESSAGE") or ""))
    assert cloud.state(number) == PENDING


def test_a_boot_that_fails_says_why(faulty: Simulated) -> None:
    cloud = Cloud(faulty)
    faulty.control(boot_failure="bad*", boot_error="No such machine")
    number = cloud.make("bad-1")
    cloud.becomes(number, ("3", "36"))
    assert "No such machine" in (cloud.vm(number).findtext("USER_TEMPLATE/ERROR") or "")


def test_slow_answers(faulty: Simulated) -> None:
    cloud = Cloud(faulty)
    faulty.control(slow_s=0.5, slow_methods="one.user.*")
    began = time.monotonic()
    cloud.call("one.user.info", -1)
    assert time.monotonic() - began >= 0.5
    faulty.control(slow_s=0.0)


def test_a_wrong_wish_is_refused(faulty: Simulated) -> None:
    with pytest.raises(AssertionError, match="there is no fault nosuch"):
        faulty.control(nosuch=1)
