"""How lists of key=value, network cards and disks are read; what is wrong is in the suite of bad input."""

import pytest

from conpaassql import params_cloud
from conpaassql.catalog_cloud import ROWS
from conpaassql.errors import Invalid
from conpaassql.offers import BlockDevice, Nic


@pytest.mark.parametrize("given", [["NAME=x=y", "minram=512"], {"Name": "x=y", "MINRAM": 512}])
def test_filters(given: object) -> None:
    assert params_cloud.IMAGE_FILTERS("image", given) == (("name", "x=y"), ("minram", 512.0))


def test_one_text_is_a_list_of_one() -> None:
    assert params_cloud.pairs("meta", "a=b=c") == {"a": "b=c"}
    assert params_cloud.files("files", "/etc/motd=a\nb") == {"/etc/motd": "a\nb"}
    assert params_cloud.FLAVOR_FILTERS("flavor", "vcpus=0.5") == (("vcpus", 0.5),)


@pytest.mark.parametrize(
    "given",
    ["net-id=1,v4-fixed-ip=10.0.0.9", ["net_id=1,V4-Fixed-IP=10.0.0.9"], {"net-id": "1", "v4_fixed_ip": "10.0.0.9"}],
)
def test_network_cards(given: object) -> None:
    assert params_cloud.private_nics("private_nics", given) == (Nic(network="1", address="10.0.0.9"),)


def test_several_network_cards() -> None:
    found = params_cloud.public_nics("public_nics", ["net-id=1", "port-id=2"])
    assert found == (Nic(network="1"), Nic(port="2"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("vdb=v1", BlockDevice(device="vdb", source="volume", id="v1", keep=True)),
        ("vdb=v1:::1", BlockDevice(device="vdb", source="volume", id="v1")),
        ("vdb=s1:snap:10:0", BlockDevice(device="vdb", source="snapshot", id="s1", size_gib=10, keep=True)),
        ("vdc=i1:image:4", BlockDevice(device="vdc", source="image", id="i1", size_gib=4)),
        ("vdc=:blank:5", BlockDevice(device="vdc", source="blank", size_gib=5)),
    ],
)
def test_disks(text: str, found: BlockDevice) -> None:
    assert params_cloud.block_devices("block_device", text) == (found,)
    assert params_cloud.block_devices("block_device", [text]) == (found,)
    device, _, rest = text.partition("=")
    assert params_cloud.block_devices("block_device", {device: rest}) == (found,)


@pytest.mark.parametrize("key", ["conpaassql", "ConPaaSSQL_x", "mysql-fabric", "MySQL-Fabric-machine-group-uuid"])
def test_reserved_keys(key: str) -> None:
    with pytest.raises(Invalid, match="reserved"):
        params_cloud.meta("meta", [f"{key}=1"])
    assert params_cloud.meta("meta", [f"x-{key}=1"])


def test_user_data_may_be_long() -> None:
    text = "é" * 32767
    assert params_cloud.long_text("userdata", text) == text
    with pytest.raises(Invalid, match="65535 bytes"):
        params_cloud.long_text("userdata", text + "é")


def test_the_fabric_s_defaults() -> None:
    (create,) = [row for row in ROWS if row.name == "machine_create"]
    defaults = {param.name: param.default for param in create.params if not param.required}
    assert defaults["number_machines"] == 1
    assert (defaults["skip_store"], defaults["wait_spawning"], defaults["synchronous"]) == (False, True, True)
    (register,) = [row for row in ROWS if row.name == "provider_register"]
    assert {param.name: param.default for param in register.params}["provider_type"] == "OPENSTACK"
