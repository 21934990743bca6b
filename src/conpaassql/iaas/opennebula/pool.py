"""A pool of VMs, or one VM, as OpenNebula describes it, to VMs of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from conpaassql.iaas.opennebula import elements, faults, marks, states
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.model import Vm, VmState

_STAMPED = ("NIC_ID", "NETWORK_ID", "MAC", "IP")
_ADDRESSES = ("IP", "IP6_GLOBAL", "IP6", "IP6_ULA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the extended form alone tells of a VM; it holds for as long as the VM has the same ``stamp``.

    ``ours`` says whether the VM carries the owner's mark; of others nothing is kept.  ``grouped``: it is
    in a VM group, whosever that is.
    """

    stamp: str
    ours: bool
    address: str | None = None
    public_address: str | None = None
    grouped: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def is_ours(element: Element, owner: str) -> bool:
    """Whether a VM carries the owner's mark."""
    return marks.is_of(elements.attributes(element.find("USER_TEMPLATE")), owner)


def is_done(element: Element) -> bool:
    """Whether a VM is over; such a one keeps its old addresses, and is nobody's."""
    return elements.number(element, "STATE") == states.DONE


def stamp(element: Element) -> str:
    """Return what tells, in both forms alike, a VM from another one of its id, and its cards from others.

    The short form shows cards, their aliases and those that are PCI devices all as NIC; so addresses
    are never taken from it.  A core that is set up anew gives ids a second time, but not birthdays.
    """
    inside = element.find("TEMPLATE")
    cards = [] if inside is None else sorted(_card(child) for child in inside if _is_card(child))
    return ";".join((elements.text(element, "STIME"), *cards))


def _is_card(child: Element) -> bool:
    return child.tag in ("NIC", "NIC_ALIAS") or (child.tag == "PCI" and elements.text(child, "TYPE") == "NIC")


def _card(child: Element) -> str:
    return ",".join(elements.text(child, name) for name in _STAMPED)


def kept(element: Element, owner: str) -> Kept:
    """Return what is to be remembered of a VM in the extended form."""
    user = elements.attributes(element.find("USER_TEMPLATE"))
    if not marks.is_of(user, owner):
        return Kept(stamp=stamp(element), ours=False)
    cards = [elements.attributes(card) for card in element.iterfind("TEMPLATE/NIC")]
    public = _public(cards, user)
    own = [card for card in cards if card is not public]
    return Kept(
        stamp=stamp(element),
        ours=True,
        address=address(own[0]) if own else None,
        public_address=address(public) if public else None,
        grouped=element.find("TEMPLATE/VMGROUP") is not None,
        tags=marks.unpacked(user.get(marks.TAGS, "")),
        labels=marks.labels_of(user),
    )


def vm(element: Element, known: Kept) -> Vm:
    """Return a VM of ours in either form."""
    # All at once: to look for each by its path takes longer, and there may be thousands.
    plain = elements.attributes(element)
    user = elements.attributes(element.find("USER_TEMPLATE"))
    number = _number(plain, "STATE")
    meant = states.state(number, _number(plain, "LCM_STATE"))
    says = states.message(number, meant, user.get("SCHED_MESSAGE", ""), user.get("ERROR", ""))
    return Vm(
        id=plain.get("ID", ""),
        name=plain.get("NAME", ""),
        state=meant,
        address=known.address,
        tags=known.tags,
        message=faults.clean(says) if says else "",
        labels=known.labels,
        public_address=known.public_address,
        zone=_zone(element),
    )


def _number(values: Mapping[str, str], name: str) -> int:
    try:
        return int(values.get(name, ""))
    except ValueError:
        return -1


def state(element: Element) -> VmState:
    """Return the state of a VM."""
    return states.state(elements.number(element, "STATE", -1), elements.number(element, "LCM_STATE", -1))


def address(card: Mapping[str, str]) -> str | None:
    """Return a card's address; None: it has none yet, as one whose network the scheduler chooses."""
    return next((found for name in _ADDRESSES if (found := card.get(name))), None)


def public_card(element: Element) -> Mapping[str, str] | None:
    """Return the card that was given to the VM for a public address."""
    cards = [elements.attributes(card) for card in element.iterfind("TEMPLATE/NIC")]
    return _public(cards, elements.attributes(element.find("USER_TEMPLATE")))


def _public(cards: Sequence[Mapping[str, str]], user: Mapping[str, str]) -> Mapping[str, str] | None:
    network = user.get(marks.PUBLIC)
    # The VM's own card may be on the same network, and comes first.
    found = (card for card in reversed(cards[1:]) if card.get("NETWORK_ID") == network)
    return next(found, None) if network else None


def _zone(element: Element) -> str:
    """Return cluster and host of where the VM is, or was last; its history begins when it is placed."""
    history = element.findall("HISTORY_RECORDS/HISTORY")
    if not history:
        return ""
    last = elements.attributes(history[-1])
    cluster = last.get("CID", "")
    return f"{'' if cluster == '-1' else cluster}:{last.get('HOSTNAME', '')}"
