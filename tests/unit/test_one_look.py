"""A look: which calls it makes, and what it may take from memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from conpaassql.errors import IaasError
from conpaassql.iaas import Vm, VmSpec, VmState
from conpaassql.iaas.opennebula import Driver, marks, memory
from conpaassql.iaas.opennebula.memory import Memory
from conpaassql.iaas.opennebula.pool import Kept
from conpaassql.model import Flavor
from one_script import Refused, Script, scripted

WHOLE, SHORT, SET = "vmpool.infoextended", "vmpool.info", "vmpool.infoset"


@dataclass(frozen=True, kw_only=True)
class One:
    """A VM of the pretended cloud, in both forms."""

    id: int
    owner: str = "m"
    role: str = "primary"
    state: int = 3
    cards: tuple[str, ...] = ("10.0.0.1",)
    alias: str = ""
    born: int = 100

    def card(self, tag: str, number: int) -> str:
        address = [*self.cards, self.alias][number]
        inner = f"<IP>{address}</IP><MAC>m{address}</MAC><NETWORK_ID>0</NETWORK_ID><NIC_ID>{number}</NIC_ID>"
        return f"<{tag}>{inner}</{tag}>"

    def xml(self, whole: bool) -> str:
        shown = [self.card("NIC", number) for number in range(len(self.cards))]
        if self.alias:  # the short form shows it among the cards, even as the first of them
            shown = [self.card("NIC_ALIAS" if whole else "NIC", len(self.cards)), *shown]
        tags = marks.packed({"node": str(self.id)})
        user = {marks.OWNER: self.owner, marks.TAGS: tags, marks.LABELS: "role", "CONPAASSQL_ROLE": self.role}
        own = "".join(f"<{key}>{value}</{key}>" for key, value in user.items()) if whole else ""
        return (
            f"<VM><ID>{self.id}</ID><NAME>a-{self.id}</NAME><STATE>{self.state}</STATE><LCM_STATE>3</LCM_STATE>"
            f"<STIME>{self.born}</STIME><TEMPLATE>{''.join(shown)}</TEMPLATE>"
            f"<USER_TEMPLATE><SCHED_MESSAGE>no room</SCHED_MESSAGE>{own}</USER_TEMPLATE>"
            "<HISTORY_RECORDS><HISTORY><HOSTNAME>h</HOSTNAME><CID>0</CID></HISTORY></HISTORY_RECORDS></VM>"
        )


class Pretended:
    """A cloud of ``One``; what is in ``hidden`` infoset does not tell."""

    def __init__(self, *vms: One) -> None:
        self.vms = {vm.id: vm for vm in vms}
        self.hidden: set[int] = set()
        self.now_s = 1000.0
        self.script = Script()

    def put(self, *vms: One) -> None:
        self.vms |= {vm.id: vm for vm in vms}

    def whole(self, *_: object) -> str:
        return _pool(vm.xml(True) for vm in self.vms.values() if vm.state != 6)

    def short(self, *_: object) -> str:
        return _pool(vm.xml(False) for vm in self.vms.values() if vm.state != 6)

    def set(self, numbers: str, whole: bool) -> str:
        wanted = {int(number) for number in numbers.split(",")} - self.hidden
        return _pool(vm.xml(whole) for vm in self.vms.values() if vm.id in wanted)

    def called(self) -> list[str]:
        """Return the calls since the last time."""
        found = [name for name, _ in self.script.calls]
        self.script.calls.clear()
        return [name for name in found if name != "system.version"]


def _pool(vms: Iterator[str]) -> str:
    return f"<VM_POOL>{''.join(vms)}</VM_POOL>"


@pytest.fixture
def cloud(request: pytest.FixtureRequest) -> Iterator[Pretended]:
    made = Pretended(*(One(id=number, cards=(f"10.0.0.{number}",)) for number in range(1, 5)), One(id=5, owner="x"))
    answers: dict[str, Any] = {
        "system_version": getattr(request, "param", "7.4.0"),
        "vmpool_infoextended": made.whole,
        "vmpool_info": made.short,
        "vmpool_infoset": made.set,
        "vm_info": lambda number: made.vms[number].xml(True),
        "vm_update": 1,
    }
    with scripted(**answers) as script:
        made.script = script
        yield made


@pytest.fixture
def driver(cloud: Pretended) -> Driver:
    """One that has looked once."""
    made = fresh(cloud)
    made._cloud.memory = Memory(lambda: cloud.now_s)
    made.list()
    assert cloud.called() == [WHOLE]
    return made


def fresh(cloud: Pretended) -> Driver:
    login = {"OPENNEBULA_URL": cloud.script.url, "OPENNEBULA_USER": "conpaas", "OPENNEBULA_PASSWORD": "p"}
    return Driver({**login, "OPENNEBULA_IMAGE_ID": "0", "OPENNEBULA_NETWORK_ID": "0"}, "m")


def looked(driver: Driver, cloud: Pretended, *calls: str) -> list[Vm]:
    """Look; the calls are as told, and what is seen is what somebody sees who knows nothing."""
    seen = list(driver.list())
    assert cloud.called() == [*calls]
    assert seen == fresh(cloud).list()
    cloud.called()
    return seen


def test_all_that_is_known_is_one_short_call(driver: Driver, cloud: Pretended) -> None:
    seen = looked(driver, cloud, SHORT)
    assert [(vm.id, vm.address, vm.tags) for vm in seen][:2] == [
        ("1", "10.0.0.1", {"node": "1"}),
        ("2", "10.0.0.2", {"node": "2"}),
    ]
    cloud.put(One(id=2, state=8, cards=("10.0.0.2",)), One(id=3, state=1, cards=("10.0.0.3",)))
    seen = looked(driver, cloud, SHORT)
    assert [(vm.state, vm.message) for vm in seen][1:3] == [(VmState.STOPPED, ""), (VmState.PENDING, "no room.")]


def test_only_what_is_new_is_asked_for_and_in_the_same_look(driver: Driver, cloud: Pretended) -> None:
    cloud.put(One(id=6), One(id=7, owner="x"), One(id=8))
    seen = driver.list()
    assert [vm.id for vm in seen] == ["1", "2", "3", "4", "6", "8"]
    assert cloud.script.called(SET) == [("6,7,8", True)]
    cloud.called()
    assert looked(driver, cloud, SHORT) == seen


@pytest.mark.parametrize(
    "changed",
    [
        One(id=1, cards=("10.0.0.9",)),
        One(id=1, cards=()),
        One(id=1, cards=("",)),
        One(id=1, cards=("10.0.0.1", "10.0.0.9")),
        One(id=1, cards=("10.0.0.1",), alias="10.0.0.9"),
        One(id=1, born=200, role="replica"),
    ],
    ids=["address", "no card", "no address", "a second card", "an alias", "a core set up anew"],
)
def test_other_cards_are_asked_for_once(driver: Driver, cloud: Pretended, changed: One) -> None:
    cloud.put(changed)
    looked(driver, cloud, SHORT, SET)
    looked(driver, cloud, SHORT)


def test_an_alias_is_never_the_vms_address(driver: Driver, cloud: Pretended) -> None:
    cloud.put(One(id=1, cards=("10.0.0.1",), alias="10.0.0.9"))
    for calls in ((SHORT, SET), (SHORT,)):
        assert looked(driver, cloud, *calls)[0].address == "10.0.0.1"


def test_what_infoset_hides_is_not_missed(driver: Driver, cloud: Pretended) -> None:
    """Who may not USE a VM of his own still has it in his pool."""
    cloud.put(One(id=6))
    cloud.hidden.add(6)
    assert "6" in {vm.id for vm in looked(driver, cloud, SHORT, SET, WHOLE)}


def test_one_that_ends_between_the_calls_is_gone(driver: Driver, cloud: Pretended) -> None:
    cloud.put(One(id=6))

    def ending(numbers: str, whole: bool) -> str:
        cloud.put(One(id=6, state=6))
        return cloud.set(numbers, whole)

    cloud.script.replies[SET] = ending
    assert "6" not in {vm.id for vm in driver.list()}
    assert cloud.called() == [SHORT, SET]
    looked(driver, cloud, SHORT)


@pytest.mark.parametrize("cloud", ["5.12.0"], indirect=True)
def test_an_older_core_is_asked_for_all(driver: Driver, cloud: Pretended) -> None:
    cloud.put(One(id=6))
    looked(driver, cloud, WHOLE)


def test_the_whole_is_seen_again_after_a_while(driver: Driver, cloud: Pretended) -> None:
    """People change labels and marks; nothing in the short form shows it."""
    cloud.put(One(id=1, role="people's"), One(id=2, cards=("10.0.0.2",), owner="x"), One(id=5, owner="m"))
    cloud.now_s += memory.WHOLE_EVERY_S - 0.1
    assert driver.list()[0].labels == {"role": "primary"}
    assert cloud.called() == [SHORT]
    cloud.now_s += 0.1
    seen = looked(driver, cloud, WHOLE)
    assert [vm.id for vm in seen] == ["1", "3", "4", "5"]
    assert seen[0].labels == {"role": "people's"}
    looked(driver, cloud, SHORT)


@pytest.mark.parametrize("lost", [False, True])
def test_labels_of_ours_are_seen_at_once(driver: Driver, cloud: Pretended, lost: bool) -> None:
    def updated(*_: object) -> int | Refused:
        cloud.put(One(id=1, role="replica"))
        return Refused(code=8192, text="it has happened all the same") if lost else 1

    cloud.script.replies["vm.update"] = updated
    if lost:
        with pytest.raises(IaasError):
            driver.label("1", {"role": "replica"})
    else:
        driver.label("1", {"role": "replica"})
    cloud.called()
    assert looked(driver, cloud, SHORT, SET)[0].labels == {"role": "replica"}


def test_a_vm_whose_creation_got_lost_is_found_by_its_name(driver: Driver, cloud: Pretended) -> None:
    cloud.put(One(id=6))
    spec = VmSpec(name="a-6", flavor=Flavor(), tags={}, context={}, template="")
    assert driver.create(spec) == "6"
    assert cloud.called() == [SHORT, SET]


def test_memory_holds_no_more_than_is_listed(driver: Driver, cloud: Pretended) -> None:
    for number in range(10, 200, 2):
        cloud.put(One(id=number), One(id=number + 1, owner="x"))
        driver.list()
        driver.label(str(number), {"role": "x"})
        for gone in (number, number + 1):
            del cloud.vms[gone]
    driver.list()
    known = driver._cloud.memory
    assert known._kept.keys() == {1, 2, 3, 4, 5}
    assert not known._forgotten


class TestMemory:
    KEPT = Kept(stamp="s", ours=True)

    def test_what_was_forgotten_during_a_look_is_not_learned_from_it(self) -> None:
        made = Memory()
        before = made.turn()
        made.forget(1)
        made.learn(before, {1: self.KEPT, 2: self.KEPT}, [1, 2])
        assert made.known().keys() == {2}
        made.renew(before, {1: self.KEPT, 2: self.KEPT})
        assert made.known().keys() == {2}
        made.learn(made.turn(), {1: self.KEPT}, [1, 2])
        assert made.known().keys() == {1, 2}

    def test_a_list_from_before_a_vm_lets_nothing_old_in(self) -> None:
        """The look ``old`` began before VM 1 was made, ``late`` before it was labelled."""
        made = Memory()
        old, late = made.turn(), made.turn()
        made.forget(1)
        made.learn(old, {}, [])
        made.learn(late, {1: self.KEPT}, [1])
        assert not made.known()

    def test_the_whole_replaces_all(self) -> None:
        made = Memory(lambda: 5.0)
        assert made.is_due()
        made.learn(made.turn(), {1: self.KEPT}, [1])
        assert made.is_due()
        made.renew(made.turn(), {2: self.KEPT})
        assert made.known().keys() == {2}
        assert not made.is_due()
