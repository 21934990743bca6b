"""The life of one VM: every (goal, seen), and when a leaving node is let go."""

from itertools import product

import pytest

from builders import facts, following, primary, replica, sight
from conpaassql.cluster import lifecycle, steps
from conpaassql.cluster.facts import Facts, Seen, Sight
from conpaassql.cluster.steps import Step
from conpaassql.model import Goal

NOTHING: tuple[Step, ...] = ()

NEXT: list[tuple[Goal, Seen, tuple[Step, ...]]] = [
    (Goal.PRESENT, Seen.BLIND, NOTHING),
    (Goal.PRESENT, Seen.UNSEEN, (steps.CreateVm(2),)),
    (Goal.PRESENT, Seen.GONE, NOTHING),
    (Goal.PRESENT, Seen.BOOTING, NOTHING),
    (Goal.PRESENT, Seen.SILENT, NOTHING),
    (Goal.PRESENT, Seen.ALIVE, NOTHING),
    (Goal.PRESENT, Seen.OFF, (steps.PowerOnVm(2),)),
    (Goal.PRESENT, Seen.FAILED, NOTHING),
    (Goal.PRESENT, Seen.DELETING, NOTHING),
    (Goal.PRESENT, Seen.TAKEN, NOTHING),
    (Goal.ABSENT, Seen.BLIND, NOTHING),
    (Goal.ABSENT, Seen.UNSEEN, (steps.Forget(2),)),
    (Goal.ABSENT, Seen.GONE, (steps.Forget(2),)),
    (Goal.ABSENT, Seen.BOOTING, (steps.DeleteVm(2),)),
    (Goal.ABSENT, Seen.SILENT, (steps.DeleteVm(2),)),
    (Goal.ABSENT, Seen.ALIVE, (steps.DeleteVm(2),)),
    (Goal.ABSENT, Seen.OFF, (steps.DeleteVm(2),)),
    (Goal.ABSENT, Seen.FAILED, (steps.DeleteVm(2),)),
    (Goal.ABSENT, Seen.DELETING, NOTHING),
    (Goal.ABSENT, Seen.TAKEN, (steps.Forget(2),)),
]


def test_the_table_is_total() -> None:
    assert set(lifecycle.NEXT) == set(product(Goal, Seen))
    assert {(goal, seen) for goal, seen, _ in NEXT} == set(lifecycle.NEXT)


@pytest.mark.parametrize(("goal", "seen", "expected"), NEXT)
def test_next_step_of_a_node_without_a_role(goal: Goal, seen: Seen, expected: tuple[Step, ...]) -> None:
    assert lifecycle.next_steps(facts(primary(), sight(2, seen, goal))) == expected


LEAVING: list[tuple[str, Facts, tuple[Step, ...]]] = [
    ("the primary never leaves by itself", facts(primary(goal=Goal.ABSENT), replica(2)), NOTHING),
    ("a silent primary neither", facts(sight(1, Seen.SILENT, Goal.ABSENT), replica(2)), NOTHING),
    ("one that confirms stays", facts(primary(), replica(2, goal=Goal.ABSENT)), NOTHING),
    (
        "one that confirms stays also while its source does not answer",
        facts(primary(), replica(2, goal=Goal.ABSENT, replica=following(1, receiving=False, lag_s=None))),
        NOTHING,
    ),
    (
        "one that confirms no longer goes",
        facts(primary(), replica(2, goal=Goal.ABSENT, acknowledging=False)),
        (steps.DeleteVm(2),),
    ),
    (
        "one that would confirm to somebody else goes",
        facts(primary(), replica(2, source=3, goal=Goal.ABSENT), replica(3)),
        (steps.DeleteVm(2),),
    ),
    (
        "all go when there is no primary any more",
        facts(primary(goal=Goal.ABSENT), replica(2, goal=Goal.ABSENT), primary=None),
        (steps.DeleteVm(1), steps.DeleteVm(2)),
    ),
]


@pytest.mark.parametrize(("name", "look", "expected"), LEAVING, ids=[row[0] for row in LEAVING])
def test_leaving(name: str, look: Facts, expected: tuple[Step, ...]) -> None:
    assert lifecycle.next_steps(look) == expected


def test_a_sight_without_an_agent_has_nothing_to_say() -> None:
    unseen: Sight = sight(1, Seen.UNSEEN)
    assert (unseen.address, unseen.server, unseen.data, unseen.open, unseen.working) == (None, None, None, False, "")
