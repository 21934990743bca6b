"""The life of one VM: every (goal, seen), and when a leaving node is let go."""

from dataclasses import replace
from itertools import product

import pytest

from builders import facts, following, primary, replica, sight, vm
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


def test_a_lost_vm_comes_back_to_the_disk_that_outlived_it() -> None:
    kept = sight(2, Seen.GONE, keeps_disk=True)
    assert lifecycle.next_steps(facts(primary(), kept)) == (steps.RecreateVm(2),)
    assert lifecycle.next_steps(facts(primary(), replace(kept, seen=Seen.BLIND))) == NOTHING
    leaving = sight(2, Seen.GONE, Goal.ABSENT, keeps_disk=True)
    assert lifecycle.next_steps(facts(primary(), leaving)) == (steps.Forget(2),)


def test_a_vm_whose_node_was_removed_is_no_orphan() -> None:
    look = replace(facts(primary()), strays=(vm(7),))
    assert lifecycle.next_steps(look) == (steps.DeleteStray("vm-7"),)


def shown(of: Sight, **labels: str) -> Sight:
    assert of.vm
    return replace(of, vm=replace(of.vm, labels=labels))


def test_the_cloud_s_words_are_kept_true() -> None:
    assert lifecycle.next_steps(facts(shown(primary(), role="primary"), shown(replica(2), role="replica"))) == NOTHING
    moved = facts(shown(primary(), role="replica"), shown(replica(2), role="primary"))
    assert lifecycle.next_steps(moved) == (steps.LabelVm(1, "primary"), steps.LabelVm(2, "replica"))
    assert lifecycle.next_steps(facts(shown(primary()))) == (steps.LabelVm(1, "primary"),)


def test_where_the_cloud_shows_nothing_nothing_is_said() -> None:
    assert lifecycle.next_steps(facts(primary(), replica(2))) == NOTHING
    off = sight(2, Seen.OFF)
    assert steps.LabelVm(2, "replica") not in lifecycle.next_steps(facts(primary(), shown(off)))


def test_a_sight_without_an_agent_has_nothing_to_say() -> None:
    unseen: Sight = sight(1, Seen.UNSEEN)
    assert (unseen.address, unseen.server, unseen.data, unseen.open, unseen.working) == (None, None, None, False, "")
