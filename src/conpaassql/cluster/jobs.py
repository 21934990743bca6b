"""When a job has ended: what it asked for holds, cannot hold, or its time is over."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from conpaassql.cluster.facts import Facts, Refusal, Seen, Sight
from conpaassql.model import Job, JobKind, JobState
from conpaassql.protocol import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a job ended; ``code`` and ``says`` are empty when it went well."""

    state: JobState
    code: str = ""
    says: str = ""


DONE = Verdict(state=JobState.DONE)


def judge(job: Job, facts: Facts) -> Verdict | None:
    """Return the job's end, or None while it goes on."""
    if HOLDS[job.kind](job, facts):
        return DONE
    if refusal := _hopeless(job, facts):
        return Verdict(state=JobState.FAILED, code=refusal.code, says=refusal.says)
    if facts.at >= job.deadline_at:
        return Verdict(state=JobState.FAILED, code="unavailable", says=_overdue(job, facts))
    return None


def progress(job: Job, facts: Facts) -> float:
    """Return how far a running job is, 0 to 1; by nodes, each node by its stage."""
    if job.kind is not JobKind.ADD_NODES or not job.nodes:
        return 0.0
    return sum(node_progress(facts, facts.by_id[i]) for i in job.nodes if i in facts.by_id) / len(job.nodes)


def node_progress(facts: Facts, sight: Sight) -> float:
    """Return how far a node is on its way to service: 0.1 VM asked for, 0.3 agent there, 0.3-0.9 copying, 1 ready."""
    if facts.ready(sight):
        return 1.0
    if sight.agent is None:
        return 0.1 if sight.vm else 0.0
    task = sight.agent.task
    if sight.working == "clone" and task and task.total_bytes:
        return 0.3 + 0.6 * min(1.0, task.done_bytes / task.total_bytes)
    return 0.9 if sight.server else 0.3


def _of(job: Job, facts: Facts) -> list[Sight]:
    return [facts.by_id[i] for i in job.nodes if i in facts.by_id]


def _all_ready(job: Job, facts: Facts) -> bool:
    """All nodes that the user has not removed meanwhile are ready, and there is one."""
    sights = [sight for sight in _of(job, facts) if sight.wanted]
    return bool(sights) and all(facts.ready(sight) for sight in sights)


def _moved(job: Job, facts: Facts) -> bool:
    """The target is primary and open, and every reachable replica follows it."""
    target = facts.primary
    return bool(
        target
        and target.id == job.nodes[0]
        and target.open
        and all(facts.follows(s) for s in facts.others if s.wanted and s.server)
    )


def _stopped(_job: Job, facts: Facts) -> bool:
    """Every server is known to be down; one that cannot be seen may still run."""
    unknown = (Seen.SILENT, Seen.BLIND)
    return all(s.agent.server is Server.STOPPED if s.agent else s.seen not in unknown for s in facts.nodes)


def _started(_job: Job, facts: Facts) -> bool:
    return bool(facts.wanted) and all(facts.ready(s) for s in facts.wanted if s.seen is not Seen.GONE)


HOLDS: Mapping[JobKind, Callable[[Job, Facts], bool]] = {
    JobKind.ADD_NODES: _all_ready,
    JobKind.REMOVE_NODES: lambda job, facts: not _of(job, facts),
    JobKind.SWITCHOVER: _moved,
    JobKind.FOLLOW: lambda job, facts: all(facts.caught_up(s) for s in _of(job, facts)),
    JobKind.SHUTDOWN: _stopped,
    JobKind.STARTUP: _started,
    JobKind.DELETE_CLUSTER: lambda _job, facts: not facts.nodes,
}


def _hopeless(job: Job, facts: Facts) -> Refusal | None:
    if job.kind is JobKind.SWITCHOVER and not any(sight.wanted for sight in _of(job, facts)):
        return Refusal(code="conflict", says="The node that was to become primary was removed.")
    if job.kind is not JobKind.ADD_NODES:
        return None
    if not any(sight.wanted for sight in _of(job, facts)):
        return Refusal(code="conflict", says="All its nodes were removed while they were being added.")
    return next((found for sight in _of(job, facts) if (found := _refused(sight))), None)


def _refused(sight: Sight) -> Refusal | None:
    """Why the cloud will never bring up a node's VM; None: it may."""
    if sight.seen is Seen.TAKEN:
        says = f"The cloud has another VM called {sight.node.name}; choose another [manager] name, or remove that VM."
        return Refusal(code="iaas", says=says)
    if sight.seen is Seen.FAILED:
        reason = sight.vm.message.rstrip(".") if sight.vm and sight.vm.message else "it gave no reason"
        return Refusal(code="iaas", says=f"The cloud could not bring up the VM of node {sight.id}: {reason}.")
    return sight.refusal if sight.seen is Seen.UNSEEN and sight.refusal and sight.refusal.final else None


def _overdue(job: Job, facts: Facts) -> str:
    return f"It was not finished by its deadline: {waits_for(job, facts) or 'nothing more is known'}."


def waits_for(job: Job, facts: Facts) -> str:
    """Say where the nodes stand that a running job waits for; empty: nothing is known of any."""
    found = _of(job, facts) if job.nodes else _concerned(job, facts)
    waiting = [sight for sight in found if not facts.ready(sight)] or found
    return "; ".join(f"node {sight.id} is {_standing(facts, sight)}" for sight in waiting)


def _concerned(job: Job, facts: Facts) -> list[Sight]:
    """Return the nodes that a job is about which names none: those that are left, or that are to serve."""
    if job.kind is JobKind.DELETE_CLUSTER:
        return list(facts.nodes)
    return list(facts.wanted) if job.kind is JobKind.STARTUP else []


def _standing(facts: Facts, sight: Sight) -> str:
    """Say where a node stands, and what the cloud said when it was asked to change that."""
    stands = describe(facts, sight)
    said = sight.refusal.says.rstrip(".") if sight.refusal else ""
    return stands if said in stands else f"{stands} ({said})"


def cloud_says(facts: Facts, sight: Sight) -> str:
    """Return what the cloud has to say of a node's VM, or why it says nothing; empty: all is well."""
    if facts.silence:
        return facts.silence
    return (sight.vm.message if sight.vm else "") or (sight.refusal.says if sight.refusal else "")


def describe(facts: Facts, sight: Sight) -> str:
    """Say in a few words where a node stands."""
    if facts.ready(sight):
        return "ready"
    agent = sight.agent
    if agent is None:
        reason = cloud_says(facts, sight)
        return f"{sight.seen.value} ({reason.rstrip('.')})" if reason else sight.seen.value
    if sight.working:
        return f"busy ({sight.working})"
    trouble = (agent.task.says if sight.failed_at and agent.task else "") or agent.says
    replica = sight.server.replica if sight.server else None
    if replica and replica.error:
        trouble = replica.error
    stage = f"data {agent.data}, server {agent.server}"
    return f"{stage} ({trouble})" if trouble else stage
