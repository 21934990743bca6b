"""Chooses image and size for a machine: from filters, from the provider's defaults, never by luck.  Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from conpaassql.errors import MachineError
from conpaassql.manager.provider import Defaults
from conpaassql.model import Flavor
from conpaassql.model_cloud import DEFAULT_PROVIDER, Filters
from conpaassql.offers import Image, OfferedFlavor
from conpaassql.params_cloud import FLAVOR_FILTERS, Properties
from conpaassql.settings import Template

MOST_LISTED = 20
Offered = TypeVar("Offered", Image, OfferedFlavor)

IMAGE_KEYS: Mapping[str, Callable[[Image], Properties]] = {
    "name": lambda image: image.name,
    "id": lambda image: image.id,
    "mindisk": lambda image: image.min_disk_gib,
    "minram": lambda image: image.min_ram_mib,
}
FLAVOR_KEYS: Mapping[str, Callable[[OfferedFlavor], Properties]] = {
    "name": lambda flavor: flavor.name,
    "id": lambda flavor: flavor.id,
    "vcpus": lambda flavor: flavor.vcpus,
    "ram": lambda flavor: flavor.ram_mib,
    "disk": lambda flavor: flavor.disk_gib,
    "swap": lambda flavor: flavor.swap_mib,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a machine's size is: a flavor of the cloud, or one of its own where ``flavor_id`` is empty."""

    flavor_id: str = ""
    free: Flavor


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOffer:
    """What a node's VM is made of at a provider."""

    image: str
    network: str
    flavor_id: str
    flavor: Flavor


def of_nodes(provider: str, defaults: Defaults, template: Template) -> NodeOffer:
    """Return what nodes get: of the section [iaas] the template's words, elsewhere the provider's defaults.

    Ids mean something else in another cloud; so image and network of the section are never used there,
    and what is empty is the driver's to choose, by its own options.
    """
    ours = provider == DEFAULT_PROVIDER
    free = default_filters(defaults.flavor)
    return NodeOffer(
        image=template.image_id if ours else defaults.image,
        network=template.network_id if ours else "",
        flavor_id="" if ours or free else defaults.flavor,
        flavor=free_size(free, template.flavor) if free and not ours else template.flavor,
    )


def words(offer: NodeOffer) -> Mapping[str, str]:
    """Return what a VM template is to be filled with, so that it says the same as the rest of the order.

    A name that could end the text which it is put into is left out: the driver has it besides.
    """
    size = offer.flavor
    return {
        "IMAGE_ID": _plain(offer.image),
        "NETWORK_ID": _plain(offer.network),
        "CPU": f"{size.cpu:g}",
        "MEM_SIZE": str(size.memory_mib),
        "DISK_SIZE": str(size.disk_mib),
    }


def _plain(name: str) -> str:
    return "" if set(name) & set('"\\') or not name.isprintable() else name


def image(offered: Sequence[Image], filters: Filters, default: str) -> str:
    """Return the id of the one image that all filters fit, or else of the default, a name or an id.

    Raises:
        MachineError: none fits, several fit, or there is neither filter nor default.
    """
    if filters:
        return _only(offered, filters, IMAGE_KEYS, "image").id
    if not default:
        raise MachineError("No image is named, and the provider has no default image; image_list shows what there is.")
    return _named(offered, default, "image").id


def flavor(offered: Sequence[OfferedFlavor], filters: Filters, default: str, base: Flavor) -> Size:
    """Return the size that all filters fit, or else the default.

    In a cloud without named flavors (``offered`` empty) vcpus, ram and disk are the size itself, and
    what is not said is as in ``base``.  A default that says ``key=value, ...`` is read as filters.

    Raises:
        MachineError: none fits, several fit, or there is neither filter nor default.
    """
    wanted = filters or default_filters(default)
    if not wanted and not default:
        raise MachineError(
            "No flavor is named, and the provider has no default flavor; name one, or say vcpus, ram and disk."
        )
    if not offered:
        return Size(free=free_size(wanted, base, default))
    if wanted:
        return Size(flavor_id=_only(offered, wanted, FLAVOR_KEYS, "flavor").id, free=base)
    return Size(flavor_id=_named(offered, default, "flavor").id, free=base)


def unseen(filters: Filters, default: str, base: Flavor) -> Size:
    """As ``flavor``, in a cloud that does not say what it offers: names are taken as they are."""
    wanted = filters or default_filters(default)
    if name := named(wanted, "" if wanted else default):
        return Size(flavor_id=name, free=base)
    return Size(free=free_size(wanted, base) if wanted else base)


def named(filters: Filters, default: str) -> str:
    """Return the id or name that filters ask for, or else the default."""
    given = dict(filters)
    return str(given.get("id") or given.get("name") or default)


def default_filters(default: str) -> Filters:
    """Return what a default flavor says when it is no name but ``key=value, ...``; else nothing.

    Raises:
        Invalid: a key or number of it is wrong (which nobody can register).
    """
    if "=" not in default:
        return ()
    found: Filters = FLAVOR_FILTERS("default_flavor", [part.strip() for part in default.split(",")])
    return found


def free_size(wanted: Filters, base: Flavor, default: str = "") -> Flavor:
    """Return a size of one's own.

    Raises:
        MachineError: a name or id is given, of which this cloud has none, or nothing of something.
    """
    given = dict(wanted)
    if not given or set(given) & {"name", "id"}:
        name = given.get("name", given.get("id", default))
        raise MachineError(f"This cloud has no named flavors, so none is called {name!r}; say vcpus, ram and disk.")
    if zero := [key for key in ("vcpus", "ram", "disk") if key in given and not float(given[key])]:
        raise MachineError(f"A machine needs more than 0 of {', '.join(zero)}; leave out what shall be as usual.")
    size = base
    if "vcpus" in given:
        size = replace(size, cpu=float(given["vcpus"]))
    if "ram" in given:
        size = replace(size, memory_mib=math.ceil(float(given["ram"])))
    if "disk" in given:
        size = replace(size, disk_mib=math.ceil(float(given["disk"]) * 1024))
    return size


def _only(
    offered: Sequence[Offered], filters: Filters, keys: Mapping[str, Callable[[Offered], Properties]], what: str
) -> Offered:
    found = [thing for thing in offered if all(keys[key](thing) == value for key, value in filters)]
    return _one(found, ", ".join(f"{key}={_shown(value)}" for key, value in filters), what)


def _named(offered: Sequence[Offered], default: str, what: str) -> Offered:
    found = [thing for thing in offered if thing.id == default] or [t for t in offered if t.name == default]
    return _one(found, f"name={default} (the default)", what)


def _one(found: Sequence[Offered], wanted: str, what: str) -> Offered:
    if not found:
        raise MachineError(f"No {what} matches {wanted}; {what}_list shows what there is.")
    if len(found) > 1:
        listed = [f"{thing.name} (id {thing.id})" for thing in found]
        more = f" and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
        raise MachineError(
            f"{len(found)} {what}s match {wanted}: {', '.join(listed[:MOST_LISTED])}{more}; "
            f"say more, for example {what} id={found[0].id}.",
            candidates=[thing.id for thing in found[:MOST_LISTED]],
        )
    return found[0]


def _shown(value: Properties) -> str:
    return f"{value:g}" if isinstance(value, int | float) else value
