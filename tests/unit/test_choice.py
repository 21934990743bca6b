"""Image and size of a machine: what filters and defaults come to."""

import pytest

from conpaassql import settings
from conpaassql.errors import MachineError
from conpaassql.manager import choice
from conpaassql.manager.choice import Size
from conpaassql.manager.provider import Defaults
from conpaassql.model import Flavor
from conpaassql.model_cloud import Filters
from conpaassql.offers import Image, OfferedFlavor

BASE = Flavor(cpu=0.2, memory_mib=256, disk_mib=10240)
IMAGES = (
    Image(id="1", name="debian", min_disk_gib=4, min_ram_mib=256),
    Image(id="2", name="ubuntu", min_disk_gib=4, min_ram_mib=512),
    Image(id="3", name="ubuntu", min_disk_gib=8, min_ram_mib=512),
    Image(id="debian", name="misleading"),
)
FLAVORS = (
    OfferedFlavor(id="a", name="small", vcpus=1, ram_mib=512, disk_gib=10),
    OfferedFlavor(id="b", name="big", vcpus=2, ram_mib=2048, disk_gib=20, swap_mib=512),
    OfferedFlavor(id="c", name="bigger", vcpus=2, ram_mib=2048, disk_gib=40),
)


@pytest.mark.parametrize(
    ("filters", "default", "found"),
    [
        ((("name", "debian"),), "", "1"),
        ((("id", "2"),), "", "2"),
        ((("name", "ubuntu"), ("mindisk", 8.0)), "debian", "3"),
        ((("minram", 256.0),), "", "1"),
        ((), "1", "1"),
        ((), "misleading", "debian"),
        ((), "debian", "debian"),  # an id goes before a name
    ],
)
def test_one_image_is_found(filters: Filters, default: str, found: str) -> None:
    assert choice.image(IMAGES, filters, default) == found


@pytest.mark.parametrize(
    ("filters", "default", "says"),
    [
        ((("name", "fedora"),), "debian", "No image matches name=fedora"),
        ((("name", "Debian"),), "", "No image matches name=Debian"),
        ((("name", "ubuntu"),), "", r"2 images match name=ubuntu: ubuntu \(id 2\), ubuntu \(id 3\)"),
        ((("name", "debian"), ("minram", 512.0)), "", "No image matches name=debian, minram=512"),
        ((), "", "no default image"),
        ((), "fedora", "the default"),
        ((), "ubuntu", "2 images match"),
    ],
)
def test_no_image_is_guessed(filters: Filters, default: str, says: str) -> None:
    with pytest.raises(MachineError, match=says):
        choice.image(IMAGES, filters, default)


def test_candidates_are_not_endless() -> None:
    many = [Image(id=str(number), name="same") for number in range(1000)]
    with pytest.raises(MachineError, match="and 980 more") as caught:
        choice.image(many, (("name", "same"),), "")
    assert len(caught.value.says) < 1000


@pytest.mark.parametrize(
    ("filters", "default", "found"),
    [
        ((("name", "small"),), "", "a"),
        ((("vcpus", 2.0), ("swap", 512.0)), "", "b"),
        ((("disk", 40.0),), "small", "c"),
        ((), "big", "b"),
        ((), "vcpus=2, disk=40", "c"),
    ],
)
def test_one_flavor_is_found(filters: Filters, default: str, found: str) -> None:
    assert choice.flavor(FLAVORS, filters, default, BASE) == Size(flavor_id=found, free=BASE)


def test_no_flavor_is_guessed() -> None:
    with pytest.raises(MachineError, match="2 flavors match vcpus=2, ram=2048"):
        choice.flavor(FLAVORS, (("vcpus", 2.0), ("ram", 2048.0)), "", BASE)
    with pytest.raises(MachineError, match="no default flavor"):
        choice.flavor(FLAVORS, (), "", BASE)


@pytest.mark.parametrize(
    ("filters", "default", "found"),
    [
        ((("vcpus", 2.0), ("ram", 1024.0), ("disk", 20.0)), "", Flavor(cpu=2, memory_mib=1024, disk_mib=20480)),
        ((("ram", 1024.0),), "", Flavor(cpu=0.2, memory_mib=1024, disk_mib=10240)),
        ((), "ram=512,vcpus=0.5", Flavor(cpu=0.5, memory_mib=512, disk_mib=10240)),
        ((("swap", 5.0),), "", BASE),
    ],
)
def test_sizes_are_free_where_flavors_have_no_names(filters: Filters, default: str, found: Flavor) -> None:
    assert choice.flavor((), filters, default, BASE) == Size(free=found)


@pytest.mark.parametrize("key", ["vcpus", "ram", "disk"])
def test_a_machine_is_not_made_of_nothing(key: str) -> None:
    with pytest.raises(MachineError, match=f"more than 0 of {key}"):
        choice.flavor((), ((key, 0.0),), "", BASE)
    assert choice.flavor((), (("ram", 0.5),), "", BASE).free.memory_mib == 1


@pytest.mark.parametrize(("filters", "default"), [((("name", "small"),), ""), ((("id", "a"),), ""), ((), "small")])
def test_a_name_is_none_where_flavors_have_no_names(filters: Filters, default: str) -> None:
    with pytest.raises(MachineError, match="no named flavors"):
        choice.flavor((), filters, default, BASE)


def test_a_cloud_that_shows_nothing_is_believed() -> None:
    assert choice.unseen((("name", "small"),), "", BASE) == Size(flavor_id="small", free=BASE)
    assert choice.unseen((), "big", BASE) == Size(flavor_id="big", free=BASE)
    assert choice.unseen((("vcpus", 2.0),), "big", BASE).free.cpu == 2
    assert choice.unseen((), "", BASE) == Size(free=BASE)


def test_nodes_follow_the_template_at_home_and_the_defaults_abroad() -> None:
    lines = "[onevm_agent_template]\nIMAGE_ID = 7\nNETWORK_ID = 8\nCPU = 2\n"
    template = settings.parse_manager(lines).template
    home = choice.of_nodes("default", Defaults(image="x", flavor="big"), template)
    assert (home.image, home.network, home.flavor_id, home.flavor.cpu) == ("7", "8", "", 2)
    named = choice.of_nodes("p", Defaults(image="x", flavor="big"), template)
    assert (named.image, named.network, named.flavor_id) == ("x", "", "big")
    free = choice.of_nodes("p", Defaults(flavor="vcpus=4,ram=1024"), template)
    assert (free.image, free.flavor_id, free.flavor.cpu, free.flavor.memory_mib) == ("", "", 4, 1024)


def test_the_vm_template_says_what_was_chosen() -> None:
    lines = "[iaas]\nOPENNEBULA_IMAGE_ID = 7\nOPENNEBULA_NETWORK_ID = 8\n[onevm_agent_template]\nDISK_SIZE = 4096\n"
    template = settings.parse_manager(lines).template
    assert choice.words(choice.of_nodes("default", Defaults(image="x"), template))["IMAGE_ID"] == "7"
    abroad = choice.of_nodes("p", Defaults(image="Debian 12", flavor="vcpus=1.5,ram=1024"), template)
    assert choice.words(abroad) == {
        "IMAGE_ID": "Debian 12",
        "NETWORK_ID": "",
        "CPU": "1.5",
        "MEM_SIZE": "1024",
        "DISK_SIZE": "4096",
    }
    hostile = choice.of_nodes("p", Defaults(image='x", PERSISTENT = "YES'), template)
    assert (hostile.image, choice.words(hostile)["IMAGE_ID"]) == ('x", PERSISTENT = "YES', "")
