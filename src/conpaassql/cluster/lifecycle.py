"""The life of one VM: a total table from (goal, what is seen) to the next step; and what the cloud shows of it."""

from collections.abc import Callable, Mapping

from conpaassql.cluster import steps
from conpaassql.cluster.facts import Facts, Seen, Sight
from conpaassql.cluster.steps import Step
from conpaassql.model import Goal

_Next = Callable[[int], Step] | None

NEXT: Mapping[tuple[Goal, Seen], _Next] = {
    (Goal.PRESENT, Seen.BLIND): None,
    (Goal.PRESENT, Seen.UNSEEN): steps.CreateVm,
    (Goal.PRESENT, Seen.GONE): None,  # but see ``_lost``
    (Goal.PRESENT, Seen.BOOTING): None,
    (Goal.PRESENT, Seen.SILENT): None,
    (Goal.PRESENT, Seen.ALIVE): None,
    (Goal.PRESENT, Seen.OFF): steps.PowerOnVm,
    (Goal.PRESENT, Seen.FAILED): None,  # the job that wanted it fails and undoes its group
    (Goal.PRESENT, Seen.DELETING): None,
    (Goal.PRESENT, Seen.TAKEN): None,  # as FAILED
    (Goal.ABSENT, Seen.BLIND): None,
    (Goal.ABSENT, Seen.UNSEEN): steps.Forget,
    (Goal.ABSENT, Seen.GONE): steps.Forget,
    (Goal.ABSENT, Seen.BOOTING): steps.DeleteVm,
    (Goal.ABSENT, Seen.SILENT): steps.DeleteVm,
    (Goal.ABSENT, Seen.ALIVE): steps.DeleteVm,
    (Goal.ABSENT, Seen.OFF): steps.DeleteVm,
    (Goal.ABSENT, Seen.FAILED): steps.DeleteVm,
    (Goal.ABSENT, Seen.DELETING): None,
    (Goal.ABSENT, Seen.TAKEN): steps.Forget,
}


def next_steps(facts: Facts) -> tuple[Step, ...]:
    """Return what the VMs of a cluster need now."""
    found = [(sight, _lost(sight) or NEXT[sight.node.goal, sight.seen]) for sight in facts.nodes]
    life = (make(sight.id) for sight, make in found if make and (sight.wanted or _released(facts, sight)))
    return (*life, *(steps.DeleteStray(vm.id) for vm in facts.strays), *_labels(facts))


def role(facts: Facts, sight: Sight) -> str:
    """Return what the cloud shall say that a node is."""
    return "primary" if sight.id == facts.cluster.primary else "replica"


def _lost(sight: Sight) -> _Next:
    """A VM that is gone comes back where its disk is still there; else its data are lost.

    Then a person removes the node and adds another.
    """
    return steps.RecreateVm if sight.wanted and sight.seen is Seen.GONE and sight.keeps_disk else None


def _labels(facts: Facts) -> tuple[Step, ...]:
    """Where the cloud shows words with a VM, they are kept true."""
    shown = [s for s in facts.wanted if s.vm and s.vm.labels is not None and s.seen in (Seen.ALIVE, Seen.BOOTING)]
    wrong = [s for s in shown if s.vm and s.vm.labels is not None and s.vm.labels.get("role") != role(facts, s)]
    return tuple(steps.LabelVm(s.id, role(facts, s)) for s in wrong)


def _released(facts: Facts, sight: Sight) -> bool:
    """Whether a leaving node has handed over its roles.

    The primary never leaves by itself.  A node that confirms commits first stops doing so; one
    that cannot be told is destroyed, and confirms nothing afterwards.
    """
    if sight.id == facts.cluster.primary:
        return False
    if facts.cluster.primary is None or sight.seen in (Seen.UNSEEN, Seen.GONE, Seen.TAKEN):
        return True
    return not facts.confirms(sight)
