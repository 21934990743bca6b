"""Which image, flavor or network of a cloud is meant: pure choices over what it offers."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from conpaassql.errors import IaasMissing, IaasRefused
from conpaassql.model import Flavor
from conpaassql.offers import OfferedFlavor


class Offer(Protocol):
    """Something with an id and a name."""

    @property
    def id(self) -> str:
        """What the cloud calls it; unique."""

    @property
    def name(self) -> str:
        """What people call it."""


Offered = TypeVar("Offered", bound=Offer)


def named(kind: str, offers: Iterable[Offered], wanted: str) -> Offered:
    """Return the one offer with this id, else the only one with this name.

    Raises:
        IaasMissing: there is none.
        IaasRefused: several have this name; the sentence lists them.
    """
    offers = list(offers)
    found = [offer for offer in offers if offer.id == wanted] or [offer for offer in offers if offer.name == wanted]
    if not found:
        raise IaasMissing(f"the cloud offers no {kind} {wanted} to this user; name another, or ask for access to it.")
    if len(found) > 1:
        several = ", ".join(sorted(offer.id for offer in found))
        raise IaasRefused(f"several {kind}s are called {wanted}: {several}; use an id.")
    return found[0]


def fitting(flavors: Sequence[OfferedFlavor], size: Flavor) -> OfferedFlavor:
    """Return the smallest flavor that is not smaller than ``size`` (in memory first, as memory costs most).

    A share of a processor needs a whole one.  A flavor that gives no size of its disk takes the image's.

    Raises:
        IaasMissing: every flavor is smaller.
    """
    enough = [
        flavor
        for flavor in flavors
        if flavor.ram_mib >= size.memory_mib
        and flavor.vcpus >= size.cpu
        and (not flavor.disk_gib or flavor.disk_gib * 1024 >= size.disk_mib)
    ]
    if not enough:
        says = f"no flavor has {size.cpu:g} processors, {size.memory_mib} MiB of memory and {size.disk_mib} MiB of disk"
        raise IaasMissing(f"{says}; ask for less, or name a flavor.")
    return min(enough, key=lambda flavor: (flavor.ram_mib, flavor.vcpus, flavor.disk_gib, flavor.name, flavor.id))
