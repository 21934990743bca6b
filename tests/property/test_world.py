"""No order of wishes and faults loses an acknowledged write, and somebody serves whenever somebody could.

The last test plants mistakes: a property is finished when it has failed on purpose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conpaassql.cluster import cures, steps
from conpaassql.cluster.diagnose import PROBLEMS, decide
from conpaassql.cluster.facts import Facts, Seen
from conpaassql.cluster.steps import Step
from conpaassql.model import ClusterGoal, Durability
from conpaassql.protocol import Data
from machines import Machine, Violation
from world import Decide, World

PATIENCE = 150  # looks, of which a job's deadline takes 40

WISHES = ("add one", "add two", "remove", "remove by force", "switchover", "shutdown", "startup")
TROUBLES = ("manager dies", "look misses", "cloud is silent", "vm fails")
MACHINE_FAULTS = {
    "server dies": Machine.kill_server,
    "agent dies": Machine.kill_agent,
    "power fails": Machine.power_off,
    "opened by hand": Machine.open_by_hand,
    "disk is lost": Machine.wipe,
}
FAULTS = (*TROUBLES, "server dies", "agent dies", "power fails", "opened by hand")
# What makes the manager decide most comes more often.
LIFE: tuple[str, ...] = (
    *WISHES,
    *FAULTS,
    *("switchover",) * 4,
    "remove",
    "remove by force",
    "server dies",
    "look misses",
)
LATE = ("order is late", "order is late", "switchover", "switchover")


@dataclass(frozen=True)
class Event:
    """What happens, to whom (a number that chooses among the nodes), and how many rounds later comes the next."""

    what: str
    who: int
    rounds: int


@dataclass(frozen=True)
class Schedule:
    """A whole story; ``seed`` is the luck in it, ``numbered`` whether agents refuse orders older than the last."""

    events: Sequence[Event]
    seed: int
    durability: Durability = Durability.LOSSLESS
    numbered: bool = False


def schedules(*kinds: str, numbered: bool = False) -> st.SearchStrategy[Schedule]:
    event = st.builds(Event, st.sampled_from(kinds), st.integers(0, 9), st.integers(1, 5))
    durability = st.sampled_from([Durability.LOSSLESS, Durability.LOSSLESS, Durability.ASYNC])
    return st.builds(
        Schedule, st.lists(event, min_size=5, max_size=30), st.integers(0, 2**32), durability, st.just(numbered)
    )


def happen(world: World, event: Event) -> None:
    """Let one event come true, where it can."""
    nodes = sorted(world.store.nodes) or [0]
    node = nodes[event.who % len(nodes)]
    if event.what in WISHES:
        _wish(world, event, node, len(nodes))
    elif event.what in MACHINE_FAULTS:
        if node in world.machines and (event.what != "opened by hand" or node != world.store.cluster.primary):
            MACHINE_FAULTS[event.what](world.machines[node])
    else:
        _trouble(world, event, node)


def _wish(world: World, event: Event, node: int, nodes: int) -> None:
    match event.what:
        case "add one":
            world.add(1)
        case "add two":
            world.add(2)
        case "remove" | "remove by force" if nodes > 1 or event.who == 0:  # an empty cluster teaches little
            world.remove(node, force=event.what == "remove by force")
        case "switchover":
            world.switch_over(node)
        case "shutdown":
            world.shut_down()
        case "startup":
            world.start_up()


def _trouble(world: World, event: Event, node: int) -> None:
    match event.what:
        case "manager dies":
            world.trouble.dies_at = event.who
        case "look misses":
            world.trouble.missed.add(node)
        case "cloud is silent":
            world.trouble.cloud_silent = True
        case "order is late":
            world.trouble.late = node
        case "vm fails":
            world.doomed = True


def run(decide: Decide, schedule: Schedule) -> World:
    """Play a story: three nodes first, then the events."""
    world = World(decide, schedule.seed, schedule.durability, schedule.numbered)
    world.add(3)
    for _ in range(12):
        world.round()
    for event in schedule.events:
        happen(world, event)
        for _ in range(event.rounds):
            world.round()
    return world


def settle(world: World) -> list[str]:
    """Let calm return; the complaints that are left in the end."""
    world.calm()
    complaints = _wait(world) if world.store.cluster.goal is ClusterGoal.STOPPED else []
    world.start_up()
    return complaints or _wait(world)


def _wait(world: World) -> list[str]:
    for _ in range(PATIENCE):
        world.round()
        if not world.complaints():
            return []
    return world.complaints()


def check(decide: Decide, schedule: Schedule) -> None:
    """Raise unless the story is safe throughout and ends well."""
    world = run(decide, schedule)
    if complaints := settle(world):
        raise Violation("; ".join(complaints))


common = settings(
    deadline=None, database=None, print_blob=False, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@settings(common, max_examples=300)
@given(schedules(*LIFE))
def test_safe_and_alive(schedule: Schedule) -> None:
    check(decide, schedule)


@settings(common, max_examples=150)
@given(schedules(*LIFE, *LATE, numbered=True))
def test_late_orders_do_no_harm_when_orders_are_numbered(schedule: Schedule) -> None:
    """An order may reach the agent long after the manager gave up on it, within the same term."""
    check(decide, schedule)


@settings(common, max_examples=50)
@given(schedules(*LIFE, "disk is lost"))
def test_an_empty_disk_is_never_taken_for_a_beginning(schedule: Schedule) -> None:
    run(decide, schedule)


# --- planted mistakes


def altered(code: str, **changes: Any) -> Decide:
    """The decisions with one row of the table changed."""
    table = [replace(problem, **changes) if problem.code == code else problem for problem in PROBLEMS]
    assert table != list(PROBLEMS)
    return lambda facts: decide(facts, table)


def without(code: str) -> Decide:
    return lambda facts: decide(facts, [problem for problem in PROBLEMS if problem.code != code])


def _open_before_equality(facts: Facts) -> tuple[Step, ...]:
    found = cures.hand_over(facts)
    target = cures.target_of(facts)
    if found == (steps.LookAgain(),) and target:
        return (steps.NamePrimary(target.id, facts.cluster.acknowledgers - {target.id}),)
    return found


def _hand_over_open(facts: Facts) -> tuple[Step, ...]:
    primary, target = facts.primary, cures.target_of(facts)
    assert primary and target
    if primary.open:
        return (steps.NamePrimary(target.id, facts.cluster.acknowledgers - {target.id} | {primary.id}),)
    return cures.hand_over(facts)


def _confirm_before_the_record(facts: Facts) -> tuple[Step, ...]:
    unknown = [s for s in facts.others if s.wanted and facts.caught_up(s) and not facts.confirms(s)]
    if unknown and facts.lossless:
        return tuple(steps.SetSemiSync(s.id, wait=False, acknowledge=True) for s in unknown)
    return cures.semi_sync(facts)


def _delete_at_once(facts: Facts) -> tuple[Step, ...]:
    leaving = [s.id for s in facts.others if not s.wanted and s.seen is Seen.ALIVE]
    return tuple(dict.fromkeys((*decide(facts), *(steps.DeleteVm(i) for i in leaving))))


def _initialise_what_is_empty(facts: Facts) -> bool:
    return facts.primary is not None and facts.primary.data is Data.EMPTY


def _initialise_primary(facts: Facts) -> tuple[Step, ...]:
    assert facts.primary
    return (steps.Initialise(facts.primary.id),)


def _never_reopen(facts: Facts) -> bool:
    """Opens a primary only when it is new."""
    primary = facts.primary
    return bool(primary and not primary.open and not any(facts.follows(s) for s in facts.others))


@dataclass(frozen=True)
class Mistake:
    """Wrong decisions, the property that catches them, and what has to happen for it."""

    wrong: Decide
    caught_as: str
    kinds: tuple[str, ...] = LIFE


MISTAKES: Mapping[str, Mistake] = {
    "names the target before it is equal": Mistake(
        altered("switchover", cure=_open_before_equality), "primary on record", (*LIFE, *("switchover",) * 10)
    ),
    "does not close the old primary": Mistake(altered("switchover", cure=_hand_over_open), "primary on record|is open"),
    "records who confirms afterwards": Mistake(
        altered("acknowledgers", holds=lambda f: bool(_confirm_before_the_record(f)), cure=_confirm_before_the_record),
        "can confirm and are not on record",
    ),
    "deletes the only node that confirms": Mistake(_delete_at_once, "commits wait for it alone"),
    "makes a new database of an empty disk": Mistake(
        altered("first-database", holds=_initialise_what_is_empty, cure=_initialise_primary),
        "is open without",
        (*LIFE, *("disk is lost",) * 4),
    ),
    "lets stray writers be": Mistake(without("two-writers"), "was not closed"),
    "takes late orders by their term alone": Mistake(
        decide,
        "acknowledged|not on record|is not ready",
        ("order is late", "order is late", "switchover", "server dies"),
    ),
    "does not reopen after a failed switchover": Mistake(
        altered("primary-closed", holds=_never_reopen), "is not ready"
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_caught(name: str) -> None:
    mistake = MISTAKES[name]

    @settings(common, max_examples=1000, phases=[Phase.generate], report_multiple_bugs=False)
    @given(schedules(*mistake.kinds))
    def story(schedule: Schedule) -> None:
        (run if "disk is lost" in mistake.kinds else check)(mistake.wrong, schedule)

    with pytest.raises(Violation, match=mistake.caught_as):
        story()
