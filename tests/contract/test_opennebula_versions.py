"""The OpenNebula driver against cores of other ages: the simulator leaves out what they had not yet."""

from collections.abc import Iterator

import pytest
from onesim import server
from onesim.config import Config, HostConfig, ImageConfig, NetworkConfig
from onesim.core import Core
from onesim.faults import Faults
from onesim.hypervisor import Nothing
from test_opennebula import eventually, succeeds

from conpaassql import iaas
from conpaassql.errors import Unsupported
from conpaassql.iaas import Vm, VmSpec, VmState
from conpaassql.iaas.opennebula import Driver
from conpaassql.model import Flavor
from conpaassql.offers import Extras, SnapshotState

NETWORK = 'NAME = private\nVN_MAD = dummy\nBRIDGE = b\nAR = [TYPE = IP4, IP = "127.78.1.2", SIZE = 100]'
IMAGE = 'NAME = img\nTYPE = OS\nPATH = "/x"'
SPEC = VmSpec(
    name="a-1",
    flavor=Flavor(cpu=0.5, memory_mib=128, disk_mib=2048),
    tags={"cluster": "c", "node": "1"},
    context={"CONPAASSQL_NODE": "1"},
    template="",
    extras=Extras(data_disk_mib=64, swap_mib=64, apart="c"),
)


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    config = Config(
        users=(("conpaas", "of-the-test"),),
        hosts=(HostConfig("h1"), HostConfig("h2")),
        networks=(NetworkConfig(NETWORK),),
        images=(ImageConfig(IMAGE),),
        scale=0.01,
        version=request.param,
    )
    with server.serve(Core(config, Nothing(), Faults()), "127.0.0.1", 0) as url:
        options = {
            "OPENNEBULA_URL": url,
            "OPENNEBULA_USER": "conpaas",
            "OPENNEBULA_PASSWORD": "of-the-test",
            "OPENNEBULA_IMAGE_ID": "img",
            "OPENNEBULA_NETWORK_ID": "private",
        }
        made = iaas.load("OPENNEBULA", options, "m")
        assert isinstance(made, Driver)
        yield made


def at_version(*versions: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("driver", versions, indirect=True)


@at_version("5.12.0", "6.0.0", "6.10.0", "7.4.0")
def test_all_abilities_from_the_oldest_to_the_newest(driver: Driver) -> None:
    assert all(found.ok for found in driver.check(SPEC))
    vm_id = driver.create(SPEC)
    assert driver.create(SPEC) == vm_id
    vm = await_state(driver, VmState.RUNNING)
    assert (vm.id, vm.address, vm.tags) == (vm_id, "127.78.1.2", SPEC.tags)
    driver.label(vm_id, {"role": "primary"})
    assert only(driver).labels == {"role": "primary"}
    driver.snapshot(vm_id, "s")
    eventually(lambda: [one.state for one in driver.snapshots()] == [SnapshotState.READY])
    eventually(lambda: succeeds(lambda: driver.resize(vm_id, Flavor(cpu=1, memory_mib=256, disk_mib=4096))))
    eventually(lambda: succeeds(lambda: driver.assign(vm_id, "private")))
    eventually(lambda: only(driver).public_address is not None)
    eventually(lambda: succeeds(lambda: driver.release(vm_id)))
    eventually(lambda: only(driver).public_address is None)
    eventually(lambda: succeeds(lambda: driver.power_off(vm_id)))
    await_state(driver, VmState.STOPPED)
    driver.power_on(vm_id)
    await_state(driver, VmState.RUNNING)
    driver.delete(vm_id)
    eventually(lambda: not driver.list())
    driver.delete_snapshot(driver.snapshots()[0].id)
    eventually(lambda: succeeds(lambda: driver.delete_data_disk("a-1")))
    assert [image.name for image in driver.images()] == ["img"]


@at_version("5.8.5")
def test_what_is_too_old_is_said_at_once(driver: Driver) -> None:
    (found,) = driver.check(SPEC)
    assert (found.code, found.fatal) == ("connection", True)
    with pytest.raises(Unsupported, match=r"5\.8\.5; use 5\.12 or later"):
        driver.create(SPEC)
    with pytest.raises(Unsupported, match=r"5\.12 or later"):
        driver.list()


def only(driver: Driver) -> Vm:
    (vm,) = driver.list()
    return vm


def await_state(driver: Driver, state: VmState) -> Vm:
    eventually(lambda: only(driver).state is state)
    return only(driver)
