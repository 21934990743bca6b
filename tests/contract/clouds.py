"""Every cloud that this machine can offer, for the suite that all drivers have to pass.

A row of ``CLOUDS`` says how a cloud is opened and which abilities its driver has; a test holds the
table against the drivers, so that neither a new driver nor a lost ability is overlooked.
"""

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import msgspec
import pyone
import requests
from cloud_kit import LOCAL_NETWORK, NODE, SLEEPER, Cloud, local_options, plain, swept
from moto.server import ThreadedMotoServer

import fake_nova
from cloud_sim import simulated
from conpaassql.iaas import (
    Catalog,
    Checks,
    DataDisks,
    DiskSnapshots,
    Driver,
    Labels,
    Power,
    PublicAddresses,
    Resizing,
    Snapshots,
    dummy,
    ec2,
    local,
    opennebula,
    openstack,
)
from conpaassql.iaas.local import records
from conpaassql.model import Flavor

EC2_IMAGE = "ami-12c6146b"  # one of those that moto comes with
DATABLOCK = 2  # OpenNebula's number for it
ABILITIES = (Power, Catalog, Snapshots, DiskSnapshots, Resizing, DataDisks, PublicAddresses, Labels, Checks)

Open = Callable[[], AbstractContextManager[Cloud]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of cloud.

    ``site`` opens what several tests use, in a directory, and yields what opens a cloud for one test.
    """

    names: tuple[str, ...]
    site: Callable[[Path], AbstractContextManager[Open]]
    abilities: Collection[type]


@contextmanager
def local_site(folder: Path) -> Iterator[Open]:
    """LOCAL, with VMs that sleep."""
    init = folder / "init.sh"
    init.write_text(SLEEPER)

    @contextmanager
    def opened() -> Iterator[Cloud]:
        root = folder / uuid.uuid4().hex[:6]

        def make(owner: str = "m", **options: str) -> Driver:
            return local.Driver(local_options(root, init) | options, owner)

        def data_disks() -> Collection[str]:
            return [found.name for found in (root / ".data").glob("*/*")]

        def size(vm_id: str) -> Flavor:
            (vm,) = root.glob(f"[!.]*/{vm_id}")
            what = records.what(vm)
            assert what
            return msgspec.convert(what.flavor, Flavor)

        with swept(make, 15.0) as made:
            yield Cloud(make=made, plain=plain(NODE), data_disks=data_disks, size=size, patience_s=15.0)

    yield opened


@contextmanager
def dummy_site(folder: Path, *, stored: bool = False) -> Iterator[Open]:
    """DUMMY in memory, or (``stored``) as processes share it."""

    @contextmanager
    def opened() -> Iterator[Cloud]:
        file = folder / f"{uuid.uuid4().hex}.json"
        cloud = dummy.Cloud(file=file if stored else None)

        def make(owner: str = "m", **options: str) -> Driver:
            if stored:
                return dummy.Driver({"DUMMY_STATE": str(file)} | options, owner)
            return dummy.Driver(options, owner, cloud)

        def data_disks() -> Collection[str]:
            with cloud.opened() as state:
                return [name for _, name in state.disks]

        def size(vm_id: str) -> Flavor:
            with cloud.opened() as state:
                return state.machines[vm_id].spec.flavor

        def given() -> int:
            with cloud.opened() as state:
                return sum(machine.public_address is not None for machine in state.machines.values())

        with swept(make, 5.0) as made:
            yield Cloud(
                make=made,
                plain=plain(NODE),
                losing=lambda owner: made(owner, DUMMY_LOSE_ANSWER="1"),
                data_disks=data_disks,
                size=size,
                pool="public",
                given=given,
            )

    yield opened


@contextmanager
def stored_dummy_site(folder: Path) -> Iterator[Open]:
    """DUMMY whose memory is a file."""
    with dummy_site(folder, stored=True) as opened:
        yield opened


@contextmanager
def opennebula_site(folder: Path) -> Iterator[Open]:
    """OPENNEBULA_XMLRPC on a simulator without guests; each test is owners of its own there."""
    with simulated(folder, network=LOCAL_NETWORK, hypervisor="none", scale=0.01) as one:
        user = pyone.OneServer(one.url, session=f"{one.user}:{one.password}")

        def data_disks() -> Collection[str]:
            return [
                image.NAME.removesuffix("-data") for image in user.imagepool.info(-3, -1, -1).IMAGE if image.TYPE == 2
            ]

        def size(vm_id: str) -> Flavor:
            told = user.vm.info(int(vm_id)).TEMPLATE
            disk = told["DISK"][0] if isinstance(told["DISK"], list) else told["DISK"]
            return Flavor(cpu=float(told["CPU"]), memory_mib=int(told["MEMORY"]), disk_mib=int(disk["SIZE"]))

        @contextmanager
        def opened() -> Iterator[Cloud]:
            turn = uuid.uuid4().hex[:8]

            def make(owner: str = "m", **options: str) -> Driver:
                return opennebula.Driver(one.options | options, f"{owner}-{turn}")

            def losing(owner: str) -> Driver:
                one.control(lose_reply="one.vm.allocate", lost_replies=1)
                return made(owner)

            with swept(make, 60.0) as made:
                yield Cloud(
                    make=made,
                    plain=plain(NODE),
                    losing=losing,
                    patience_s=60.0,
                    data_disks=data_disks,
                    size=size,
                    pool=one.network,
                )

        yield opened


@contextmanager
def openstack_site(_folder: Path) -> Iterator[Open]:
    """OPENSTACK on a pretended Nova, a new one for each test."""

    @contextmanager
    def opened() -> Iterator[Cloud]:
        with fake_nova.running() as nova:

            def make(owner: str = "m", **options: str) -> Driver:
                return openstack.Driver(nova.options | options, owner)

            def losing(owner: str) -> Driver:
                nova.lose("POST .*/servers$")
                return make(owner)

            with swept(make, 15.0) as made:
                yield Cloud(
                    make=made,
                    plain=plain(NODE),
                    losing=losing,
                    patience_s=15.0,
                    pool="public",
                    given=lambda: len(nova.floating),
                )

    yield opened


@contextmanager
def ec2_site(_folder: Path) -> Iterator[Open]:
    """EC2 on moto, which is emptied for each test; its VMs have no public address of themselves."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    admin = boto3.client(
        "ec2", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )

    @contextmanager
    def opened() -> Iterator[Cloud]:
        requests.post(f"{url}/moto-api/reset", timeout=30).raise_for_status()
        (vpc,) = admin.describe_vpcs()["Vpcs"]
        subnet = admin.create_subnet(VpcId=vpc["VpcId"], CidrBlock="172.31.200.0/24")["Subnet"]["SubnetId"]
        options = {"EC2_URL": url, "EC2_USER": "tester", "EC2_PASSWORD": "secret", "EC2_IMAGE_ID": EC2_IMAGE}
        with swept(lambda owner="m", **more: ec2.Driver(options | more, owner), 15.0) as made:
            yield Cloud(
                make=made,
                plain=plain(NODE, image=EC2_IMAGE, network=subnet),
                patience_s=15.0,
                pool="amazon",
                given=lambda: len(admin.describe_addresses()["Addresses"]),
                no_pool="",  # moto does not look
            )

    try:
        yield opened
    finally:
        admin.close()
        server.stop()


CLOUDS: Mapping[str, Row] = {
    "local": Row(
        names=local.NAMES,
        site=local_site,
        abilities=(Power, Catalog, Snapshots, Resizing, DataDisks, Labels, Checks),
    ),
    "dummy": Row(names=dummy.NAMES, site=dummy_site, abilities=set(ABILITIES) - {DiskSnapshots}),
    "dummy-file": Row(names=dummy.NAMES, site=stored_dummy_site, abilities=set(ABILITIES) - {DiskSnapshots}),
    "opennebula": Row(names=opennebula.NAMES, site=opennebula_site, abilities=ABILITIES),
    "openstack": Row(
        names=openstack.NAMES,
        site=openstack_site,
        abilities=(Power, Catalog, Snapshots, Resizing, PublicAddresses, Labels, Checks),
    ),
    "ec2": Row(
        names=ec2.NAMES,
        site=ec2_site,
        abilities=(Power, Catalog, Snapshots, Resizing, PublicAddresses, Labels, Checks),
    ),
}
