"""What follows when a job has ended: undoing a group, giving a role back, removing a cluster's record."""

from conpaassql import protocol
from conpaassql.cluster.facts import Facts, Sight
from conpaassql.cluster.jobs import Verdict
from conpaassql.errors import Error
from conpaassql.manager.act import CLOSE_TIMEOUT_S
from conpaassql.manager.context import Manager
from conpaassql.model import Goal, Job, JobKind, JobState


def settle(manager: Manager, facts: Facts, job: Job, verdict: Verdict) -> None:
    """Record how a job ended and what it leaves behind, in one transaction.

    Raises:
        Unavailable: the store does not answer; the next look tries again.
    """
    kept = _kept(manager, facts, job) if verdict.state is JobState.FAILED else frozenset()
    with manager.store.transaction():
        manager.store.jobs.end(job.id, verdict.state, verdict.code, verdict.says, manager.now())
        says = verdict.says or f"{job.kind} is done."
        manager.event(facts.cluster.name, f"job-{verdict.state}", f"Job {job.id}: {says}")
        if verdict.state is JobState.FAILED:
            _undo(manager, facts, job, kept)
        elif job.kind is JobKind.DELETE_CLUSTER:
            manager.store.clusters.remove(facts.cluster.id)
    if job.kind is JobKind.DELETE_CLUSTER and verdict.state is JobState.DONE:
        manager.looks.drop(facts.cluster.id)


def _undo(manager: Manager, facts: Facts, job: Job, kept: frozenset[int]) -> None:
    if job.kind is JobKind.ADD_NODES:
        gone = tuple(i for i in job.nodes if i in facts.by_id and i not in kept)
        manager.store.nodes.set_goal(gone, Goal.ABSENT)
        manager.event(facts.cluster.name, "undo", f"Nodes {_names(gone)} of the failed group are being removed.")
        if kept:
            says = f"Node {_names(tuple(kept))} stays: it is the primary and holds databases."
            manager.event(facts.cluster.name, "undo-kept", says)
    elif job.kind is JobKind.REMOVE_NODES and facts.cluster.primary in job.nodes:
        manager.store.nodes.set_goal((facts.cluster.primary,), Goal.PRESENT)
        manager.event(facts.cluster.name, "undo", "The primary stays: its role could not be moved.")


def _kept(manager: Manager, facts: Facts, job: Job) -> frozenset[int]:
    """The primary survives the undoing of its group when a tenant has already used it, or nobody can tell."""
    primary = facts.primary
    if job.kind is not JobKind.ADD_NODES or primary is None or primary.id not in job.nodes or not facts.initialised:
        return frozenset()
    return frozenset({primary.id}) if _used(manager, facts, primary) else frozenset()


def _used(manager: Manager, facts: Facts, primary: Sight) -> bool:
    """Ask the closed primary, so that nobody begins to use it behind the answer; if it stays, the loop opens it."""
    if not primary.address or not primary.server:
        return True
    try:
        order = protocol.Close(term=facts.cluster.term, number=next(manager.numbers), timeout_s=CLOSE_TIMEOUT_S)
        manager.agents.call(primary.address, "close", order)
        found = manager.agents.call(primary.address, "databases", protocol.Empty())
    except Error:
        return True
    return bool(found.databases)


def _names(nodes: tuple[int, ...]) -> str:
    return ", ".join(str(node) for node in nodes) or "none"
