"""What OpenNebula says of VMs, and what they are to us."""

from xml.sax.saxutils import escape

import pytest

from conpaassql.iaas.opennebula import elements, marks, pool, states
from conpaassql.model import Vm, VmState

CARD = "<NIC><IP><![CDATA[10.30.1.20]]></IP><NETWORK_ID><![CDATA[0]]></NETWORK_ID><NIC_ID>0</NIC_ID></NIC>"
PUBLIC_CARD = "<NIC><IP><![CDATA[192.0.2.7]]></IP><NETWORK_ID><![CDATA[5]]></NETWORK_ID><NIC_ID>1</NIC_ID></NIC>"
HISTORY = (
    "<HISTORY><SEQ>0</SEQ><HOSTNAME><![CDATA[old]]></HOSTNAME><CID>7</CID></HISTORY>"
    "<HISTORY><SEQ>1</SEQ><HOSTNAME><![CDATA[dummy1]]></HOSTNAME><CID>0</CID></HISTORY>"
)


def user(owner: str = "m", **more: str) -> str:
    """A USER_TEMPLATE; ``more`` are further attributes."""
    values = {marks.OWNER: owner, marks.TAGS: marks.packed({"node": "1"}), **more}
    inner = "".join(f"<{key}><![CDATA[{value}]]></{key}>" for key, value in values.items())
    return f"<USER_TEMPLATE>{inner}</USER_TEMPLATE>"


def xml(
    number: int = 3, life: int = 3, *, vm_id: int = 8, attributes: str = "", cards: str = CARD, history: str = HISTORY
) -> str:
    return (
        f"<VM><ID>{vm_id}</ID><UID>2</UID><NAME>{escape('a-1')}</NAME><LAST_POLL>0</LAST_POLL>"
        f"<STATE>{number}</STATE><LCM_STATE>{life}</LCM_STATE><DEPLOY_ID></DEPLOY_ID>"
        f"<TEMPLATE><CPU>0.2</CPU><VCPU></VCPU>{cards}</TEMPLATE><MONITORING/>{attributes or user()}"
        f"<HISTORY_RECORDS>{history}</HISTORY_RECORDS></VM>"
    )


def only(text: str, owner: str = "m") -> Vm:
    element = elements.parse(text)
    known = pool.kept(element, owner)
    assert known.ours
    return pool.vm(element, known)


@pytest.mark.parametrize(
    ("number", "life", "state"),
    [
        (1, 0, VmState.PENDING),
        (2, 0, VmState.PENDING),
        (3, 0, VmState.BOOTING),
        (3, 1, VmState.BOOTING),
        (3, 2, VmState.BOOTING),
        (3, 3, VmState.RUNNING),
        (3, 11, VmState.DELETING),
        (3, 12, VmState.DELETING),
        (3, 16, VmState.UNKNOWN),
        (3, 18, VmState.RUNNING),  # not off yet: a fence has to wait
        (3, 20, VmState.BOOTING),
        (3, 36, VmState.FAILED),
        (3, 39, VmState.FAILED),
        (3, 66, VmState.RUNNING),
        (3, 70, VmState.STOPPED),
        (4, 0, VmState.STOPPED),
        (8, 0, VmState.STOPPED),
        (10, 0, VmState.PENDING),
        (11, 0, VmState.FAILED),
        (3, 99, VmState.UNKNOWN),
        (3, -1, VmState.UNKNOWN),
        (12, 0, VmState.UNKNOWN),
        (-1, 0, VmState.UNKNOWN),
    ],
)
def test_states(number: int, life: int, state: VmState) -> None:
    assert only(xml(number, life)).state is state


def test_the_tables_are_whole() -> None:
    assert (len(states.STATES), len(states.LIVES)) == (12, 72)
    # Every failure by its name in OpenNebula, and only those.
    failures = {14, *range(36, 43), 44, *range(46, 51), 61}
    assert {life for life, state in enumerate(states.LIVES) if state is VmState.FAILED} == failures


def test_a_vm() -> None:
    labels = {marks.LABELS: "role cluster", "CONPAASSQL_ROLE": "primary", "CONPAASSQL_CLUSTER": "c"}
    attributes = user(PAAS="x", **{marks.PUBLIC: "5"}, **labels)
    assert only(xml(attributes=attributes, cards=CARD + PUBLIC_CARD)) == Vm(
        id="8",
        name="a-1",
        state=VmState.RUNNING,
        address="10.30.1.20",
        tags={"node": "1"},
        labels={"role": "primary", "cluster": "c"},
        public_address="192.0.2.7",
        zone="0:dummy1",
    )


def test_an_own_card_on_the_public_network_is_not_the_public_one() -> None:
    vm = only(xml(attributes=user(**{marks.PUBLIC: "0"})))
    assert (vm.address, vm.public_address) == ("10.30.1.20", None)


@pytest.mark.parametrize("attributes", [user("other"), "<USER_TEMPLATE/>"])
def test_of_what_is_not_ours_nothing_is_kept(attributes: str) -> None:
    element = elements.parse(xml(attributes=attributes))
    assert pool.kept(element, "m") == pool.Kept(stamp=pool.stamp(element), ours=False)


def test_the_stamp_is_of_all_cards_in_whatever_order() -> None:
    alias = PUBLIC_CARD.replace("NIC>", "NIC_ALIAS>")
    device = PUBLIC_CARD.replace("<NIC>", "<PCI><TYPE>NIC</TYPE>").replace("</NIC>", "</PCI>")
    stamps = {
        pool.stamp(elements.parse(xml(cards=cards)))
        for cards in (CARD + PUBLIC_CARD, PUBLIC_CARD + CARD, alias + CARD, CARD + device)
    }
    assert len(stamps) == 1
    other = "<PCI><TYPE>GPU</TYPE><VENDOR>10de</VENDOR></PCI>"
    assert pool.stamp(elements.parse(xml(cards=CARD + other))) == pool.stamp(elements.parse(xml()))


@pytest.mark.parametrize(
    ("number", "life", "says"),
    [(1, 0, "[HOST] Not enough CPU on hosts: 0,1."), (3, 36, "no such disk."), (3, 3, ""), (8, 0, "")],
)
def test_messages_are_of_the_present(number: int, life: int, says: str) -> None:
    """ERROR and SCHED_MESSAGE stay with a VM when they are long over."""
    attributes = user(SCHED_MESSAGE="[HOST] Not enough CPU on hosts: 0,1", ERROR="no such disk")
    assert only(xml(number, life, attributes=attributes)).message == says


def test_a_vm_on_hold_says_so() -> None:
    assert "onevm release" in only(xml(2, 0)).message


def test_a_vm_without_address_place_or_readable_marks() -> None:
    attributes = user(**{marks.TAGS: "%%%"})
    vm = only(xml(1, 0, attributes=attributes, cards="<NIC><NETWORK_MODE>auto</NETWORK_MODE></NIC>", history=""))
    assert (vm.address, vm.zone, vm.tags, vm.labels) == (None, "", {}, {})


def test_an_address_of_the_sixth_version() -> None:
    vm = only(xml(cards="<NIC><IP6_GLOBAL>2001:db8::1</IP6_GLOBAL><IP6_LINK>fe80::1</IP6_LINK></NIC>"))
    assert vm.address == "2001:db8::1"


@pytest.mark.parametrize("key", ["role", "manager", "tags", "labels", "label_manager", "public_network", "a_1"])
@pytest.mark.parametrize("value", ["x", "", 'a"b\\', "]]>\n$X é", "base64:x"])
def test_labels_come_back_and_never_become_marks(key: str, value: str) -> None:
    shown = dict(marks.labels({key: value}, {}))
    assert not set(shown) & {marks.OWNER, marks.TAGS, marks.PUBLIC}
    assert marks.labels_of(shown) == {key: value}


def test_a_label_that_is_taken_away_leaves_nothing_to_see() -> None:
    shown = dict(marks.labels({"role": "replica"}, {"role": "primary", "cluster": "c"}))
    assert shown == {marks.LABELS: "role", "CONPAASSQL_ROLE": "replica", "CONPAASSQL_CLUSTER": ""}


def test_a_large_pool_is_read_one_by_one() -> None:
    found = elements.each(f"<VM_POOL>{''.join(xml(vm_id=number) for number in range(50))}</VM_POOL>", "VM")
    first = next(found)
    assert elements.text(first, "NAME") == "a-1"
    next(found)
    assert len(first) == 0 or len(list(first.iter())) > 1  # it may be emptied, but nothing breaks
    assert sum(1 for _ in found) == 48
