"""What is wrong with a cluster, and what to do: one ordered table, most dangerous first.

``decide`` takes the first row that is to be cured alone; where none holds, the cures of all
other rows that hold go together, since each is about other nodes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conpaassql.cluster import cures, lifecycle
from conpaassql.cluster.facts import Facts
from conpaassql.cluster.steps import Step
from conpaassql.model import ClusterGoal


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A situation with a stable code, a sentence for people, and a cure (empty: only a person can help)."""

    code: str
    says: str
    holds: Callable[[Facts], bool]
    cure: Callable[[Facts], tuple[Step, ...]]
    alone: bool = True


PROBLEMS: tuple[Problem, ...] = (
    Problem(
        code="two-writers",
        says="A node other than the primary accepts writes; it is being closed.",
        holds=lambda f: bool(cures.stray_writers(f)),
        cure=cures.close_stray_writers,
    ),
    Problem(
        code="leaving",
        says="The last copy is being removed.",
        holds=cures.leaving_alone,
        cure=cures.let_go,
    ),
    Problem(
        code="stopped",
        says="The cluster is stopped by the user's wish.",
        holds=lambda f: f.cluster.goal is ClusterGoal.STOPPED,
        cure=cures.stop,
    ),
    Problem(
        code="deleting",
        says="The cluster is being deleted by the user's wish.",
        holds=lambda f: f.cluster.goal is ClusterGoal.ABSENT,
        cure=cures.nothing,
        alone=False,
    ),
    Problem(
        code="store-behind",
        says="The agents know a newer term than the store, which must be an old copy.  Nothing is done by itself.  "
        "Start the manager with an empty store and find_existing_agents = true.",
        holds=cures.store_behind,
        cure=cures.nothing,
    ),
    Problem(
        code="primary-unknown",
        says="The nodes were taken over, and their primary is being looked for; all of them have to answer.  "
        "If it is not found, choose with set_up_replica_master a node that holds all that the others hold.",
        holds=cures.primary_unknown,
        cure=cures.find_primary,
    ),
    Problem(
        code="servers-down",
        says="A database server is down and is being started.",
        holds=lambda f: bool(cures.down(f)),
        cure=cures.start_servers,
        alone=False,
    ),
    Problem(
        code="no-database",
        says="There is no database yet; the first node makes one.",
        holds=cures.nothing_yet,
        cure=cures.name_first,
    ),
    Problem(
        code="first-database",
        says="The first database is being made.",
        holds=lambda f: not f.initialised and f.cluster.primary is not None,
        cure=cures.initialise,
    ),
    Problem(
        code="primary-empty",
        says="The primary's data are gone or foreign.  Restore them, or remove the cluster; nothing is done by itself.",
        holds=cures.primary_empty,
        cure=cures.nothing,
    ),
    Problem(
        code="primary-lost",
        says="The primary does not answer.  Writes wait until it returns.",
        holds=cures.primary_lost,
        cure=cures.nothing,
    ),
    Problem(
        code="switchover",
        says="The primary's role is being moved to another node.",
        holds=cures.handing_over,
        cure=cures.hand_over,
    ),
    Problem(
        code="primary-closed",
        says="The primary refuses writes and is being opened.",
        holds=lambda f: f.primary is not None and not f.primary.open,
        cure=cures.open_primary,
    ),
    Problem(
        code="writes-stalled",
        says="Commits wait, since no replica is connected that could confirm them.  They go on when one returns; "
        "a replica that will not return has to be removed.",
        holds=cures.stalled,
        cure=cures.nothing,
        alone=False,
    ),
    Problem(
        code="acknowledgers",
        says="The record of who confirms commits is being brought up to date.",
        holds=lambda f: bool(cures.semi_sync(f)),
        cure=cures.semi_sync,
        alone=False,
    ),
    Problem(
        code="replica-empty",
        says="A replica is being built.",
        holds=lambda f: bool(cures.empty(f)),
        cure=cures.copy,
        alone=False,
    ),
    Problem(
        code="replica-detached",
        says="A replica does not follow the primary and is being attached.",
        holds=lambda f: bool(cures.detached(f)),
        cure=cures.attach,
        alone=False,
    ),
    Problem(
        code="replica-errant",
        says="A replica holds transactions that the primary lacks.  Remove it and add another.",
        holds=cures.errant,
        cure=cures.nothing,
        alone=False,
    ),
    Problem(
        code="replica-broken",
        says="A replica stopped on an error; get_node_info shows it.  Remove it and add another.",
        holds=cures.broken,
        cure=cures.nothing,
        alone=False,
    ),
    Problem(
        code="replica-different",
        says="A replica's tables differ from the primary's.  Remove it and add another.",
        holds=cures.different,
        cure=cures.nothing,
        alone=False,
    ),
    Problem(
        code="replica-silent",
        says="A replica cannot be reached; get_node_info tells how its VM stands.",
        holds=cures.silent,
        cure=cures.nothing,
        alone=False,
    ),
    Problem(
        code="vm-gone",
        says="The cloud has lost a node's VM.  Remove the node and add another.",
        holds=cures.gone,
        cure=cures.nothing,
        alone=False,
    ),
    Problem(
        code="unverified",
        says="A new replica is being compared with the primary.",
        holds=lambda f: bool(cures.unverified(f)),
        cure=cures.verify,
        alone=False,
    ),
    Problem(
        code="healthy",
        says="All is well.",
        holds=lambda _f: True,
        cure=cures.nothing,
        alone=False,
    ),
)


def decide(facts: Facts, problems: Sequence[Problem] = PROBLEMS) -> tuple[Step, ...]:
    """Return the steps that the facts call for; none means that there is nothing to do but to look again."""
    together: list[Step] = list(lifecycle.next_steps(facts))
    for problem in diagnose(facts, problems):
        if problem.alone:
            return (*together, *problem.cure(facts))
        together.extend(problem.cure(facts))
    return tuple(together)


def diagnose(facts: Facts, problems: Sequence[Problem] = PROBLEMS) -> tuple[Problem, ...]:
    """Return every problem that holds, most dangerous first; the last row always holds."""
    return tuple(problem for problem in problems if problem.holds(facts))


def shown(facts: Facts) -> tuple[Problem, ...]:
    """Return what users are told: the problems down to the first that is treated alone, without "healthy".

    What stands below that one in the table often holds only because of it.
    """
    found: list[Problem] = []
    for problem in diagnose(facts):
        found.append(problem)
        if problem.alone:
            break
    return tuple(problem for problem in found if problem is not PROBLEMS[-1])


_INTRODUCTION = """\
# Diagnoses

This page is written from the table of problems. `get_service_info` shows those that hold, down to the first that has
to be dealt with before all others; the event log has each change of the first. They stand in the order of danger.
Where the manager does something, it does so by itself; where the sentence tells you to do something, it waits for you.
Besides all of them stands `cloud-silent`, while the cloud does not list its VMs: its sentence is the cloud's own, with
what to do.

| code | what it means |
|---|---|
"""


def reference() -> str:
    """Return the page on diagnoses, in Markdown."""
    return _INTRODUCTION + "".join(f"| `{problem.code}` | {problem.says} |\n" for problem in PROBLEMS)
