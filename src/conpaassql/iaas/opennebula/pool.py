"""A pool of VMs, or one VM, as OpenNebula describes it, to VMs of ours."""

from collections.abc import Iterator, Mapping, Sequence

from conpaassql.iaas.opennebula import elements, faults, marks, states
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.model import Vm, VmState

_ADDRESSES = ("IP", "IP6_GLOBAL", "IP6", "IP6_ULA")


def vms(xml: str, owner: str) -> Iterator[Vm]:
    """Yield the owner's VMs of a pool.  Those that are DONE keep old addresses and are nobody's."""
    for element in elements.each(xml, "VM"):
        if is_ours(element, owner) and elements.number(element, "STATE") != states.DONE:
            yield vm(element)


def is_ours(element: Element, owner: str) -> bool:
    """Whether a VM carries the owner's mark."""
    return marks.is_of(elements.attributes(element.find("USER_TEMPLATE")), owner)


def vm(element: Element) -> Vm:
    """Return a VM of ours."""
    # All at once: to look for each by its path takes longer, and there may be thousands.
    plain = elements.attributes(element)
    user = elements.attributes(element.find("USER_TEMPLATE"))
    number = _number(plain, "STATE")
    meant = states.state(number, _number(plain, "LCM_STATE"))
    says = states.message(number, meant, user.get("SCHED_MESSAGE", ""), user.get("ERROR", ""))
    cards = [elements.attributes(card) for card in element.iterfind("TEMPLATE/NIC")]
    public = _public(cards, user)
    own = [card for card in cards if card is not public]
    return Vm(
        id=plain.get("ID", ""),
        name=plain.get("NAME", ""),
        state=meant,
        address=address(own[0]) if own else None,
        tags=marks.unpacked(user.get(marks.TAGS, "")),
        message=faults.clean(says) if says else "",
        labels=marks.labels_of(user),
        public_address=address(public) if public else None,
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
