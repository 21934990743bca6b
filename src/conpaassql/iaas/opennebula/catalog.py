"""What the cloud offers: images, networks, groups and templates, and how names become ids.

OpenNebula finds by name only what belongs to the caller; so names are looked up here, among all that
the caller may see, and only ids are sent.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from conpaassql.errors import IaasMissing, IaasRefused
from conpaassql.iaas.opennebula import elements
from conpaassql.iaas.opennebula.cloud import VISIBLE, Cloud
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.offers import Image, Network

OS_IMAGE, DATABLOCK, CONTEXT_FILE = 0, 2, 5
READY, USED, LOCKED, ERROR, DELETE = 1, 2, 4, 5, 7
IMAGE_USABLE = (READY, USED)
_MIB_PER_GIB = 1024


@dataclass(frozen=True, slots=True)
class _Kind:
    """A pool that things are found in by name."""

    word: str
    method: str
    tag: str


IMAGE = _Kind("image", "imagepool.info", "IMAGE")
NETWORK = _Kind("network", "vnpool.info", "VNET")
SECURITY_GROUP = _Kind("security group", "secgrouppool.info", "SECURITY_GROUP")
TEMPLATE = _Kind("VM template", "templatepool.info", "VMTEMPLATE")
DATASTORE = _Kind("datastore", "datastorepool.info", "DATASTORE")


def images(cloud: Cloud) -> Sequence[Image]:
    """Return the system images; a persistent one is the disk of one VM, and so none to make VMs from."""
    return [
        Image(
            id=elements.text(found, "ID"),
            name=elements.text(found, "NAME"),
            min_disk_gib=math.ceil(elements.number(found, "SIZE") / _MIB_PER_GIB),
        )
        for found in each(cloud, IMAGE)
        if elements.number(found, "TYPE") == OS_IMAGE
        and elements.number(found, "STATE") in IMAGE_USABLE
        and not elements.number(found, "PERSISTENT")
    ]


def networks(cloud: Cloud) -> Sequence[Network]:
    """Return the networks; an address that is held counts as used."""
    return [
        Network(id=elements.text(found, "ID"), name=elements.text(found, "NAME"), free=free(found))
        for found in each(cloud, NETWORK)
    ]


def free(network: Element) -> int:
    """Return how many addresses a network can still give."""
    sizes = sum(elements.number(found, "SIZE") for found in network.iterfind("AR_POOL/AR"))
    return max(0, sizes - elements.number(network, "USED_LEASES"))


def each(cloud: Cloud, kind: _Kind) -> Iterator[Element]:
    """Yield what the user may see of a kind."""
    # The pool of datastores takes no filter: it has always shown what one may see.
    params = () if kind is DATASTORE else (VISIBLE, -1, -1)
    return elements.each(cloud.rpc.read(kind.method, *params), kind.tag)


def id_of(cloud: Cloud, kind: _Kind, name: str) -> int:
    """Return the id of what has an id or a name; of several of one name the caller's own.

    Raises:
        IaasMissing: there is none.
        IaasRefused: there are several, and not one of them is the caller's own.
    """
    if name.isascii() and name.isdigit():
        return int(name)
    named = [_Named.of(found) for found in each(cloud, kind) if elements.text(found, "NAME") == name]
    mine = [found for found in named if found.owner == cloud.config.user]
    match mine or named:
        case [only]:
            return only.id
        case []:
            raise IaasMissing(
                f"OpenNebula has no {kind.word} called {name!r} that user {cloud.config.user} may use; "
                f"look at its name, or have the right given.",
                name=name,
            )
        case several:
            ids = ", ".join(f"{found.id} of {found.owner}" for found in several)
            raise IaasRefused(f"there are several {kind.word}s called {name!r} ({ids}); use an id.", name=name)


def file_images(cloud: Cloud) -> tuple[int, ...]:
    """Return the ids of the images of OPENNEBULA_FILES_DS, each of which is there and holds a file.

    OpenNebula's own refusal repeats the whole CONTEXT, so that it cannot be shown.

    Raises:
        IaasMissing, IaasDenied: there is no such image, or this user may not use it.
        IaasRefused: it is of another type.
    """
    return tuple(dict.fromkeys(_file_image(cloud, name) for name in cloud.config.files))


def _file_image(cloud: Cloud, name: str) -> int:
    try:
        number = id_of(cloud, IMAGE, name)
        found = elements.parse(cloud.rpc.read("image.info", number))
    except IaasRefused as exc:
        raise type(exc)(f"OPENNEBULA_FILES_DS names {name}: {exc.says}", **exc.details) from exc
    if elements.number(found, "TYPE") != CONTEXT_FILE:
        raise IaasRefused(
            f"OPENNEBULA_FILES_DS names {name}, which is no image of TYPE CONTEXT; make one in a files datastore.",
            name=name,
        )
    return number


@dataclass(frozen=True, slots=True)
class _Named:
    id: int
    owner: str

    @classmethod
    def of(cls, element: Element) -> "_Named":
        return cls(elements.number(element, "ID"), elements.text(element, "UNAME"))


def ids_of(cloud: Cloud, kind: _Kind, names: Sequence[str]) -> Mapping[str, int]:
    """Return ids by name, as ``id_of``."""
    return {name: id_of(cloud, kind, name) for name in dict.fromkeys(names)}
