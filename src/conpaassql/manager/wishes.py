"""What users order: checked here, written as a wish and a job in one transaction, answered at once."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from conpaassql.cluster.facts import Facts
from conpaassql.errors import Conflict, Invalid, Unsafe, Unsupported
from conpaassql.manager import queries
from conpaassql.manager.context import Manager
from conpaassql.manager.rows import NewNode
from conpaassql.manager.store import DEFAULT_CLUSTER, Snapshot
from conpaassql.model import ClusterGoal, Durability, Goal, Job, JobKind
from conpaassql.model_cloud import DEFAULT_PROVIDER

FUNCTIONS = ("agent", "database")
LATER_FUNCTIONS = ("manager", "router", "cluster")
NEEDS_SERVERS = (JobKind.ADD_NODES, JobKind.REMOVE_NODES, JobKind.SWITCHOVER)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a wish, and the job that fulfils it (None: it holds already)."""

    result: dict[str, Any]
    job: int | None


@contextmanager
def _record(manager: Manager, cluster: str) -> Iterator[Snapshot]:
    """Yield what is on record in a transaction, so that no other wish comes between a check and its writing.

    The loop is woken when it is committed.

    Raises:
        NotFound: there is no such cluster.
    """
    cluster_id = queries.record(manager, cluster).cluster.id
    with manager.store.transaction():
        yield manager.store.snapshot(cluster_id)
    manager.wake(cluster_id)


def create_cluster(manager: Manager, *, name: str, durability: str, provider: str) -> Accepted:
    """Record a new cluster without nodes, whose VMs will come from ``provider``.

    Raises:
        UnknownProvider: there is no such provider.
        Conflict: the name is taken.
    """
    manager.providers.get(provider)
    with manager.store.transaction():
        if provider != DEFAULT_PROVIDER:
            manager.store.providers.get(provider)  # it may have been unregistered meanwhile
        cluster_id = manager.store.clusters.add(name, Durability(durability), provider=provider)
        manager.event(name, "create-cluster", f"Cluster {name} was created.", actor="admin")
    manager.wake(cluster_id)
    return Accepted({"cluster": {"name": name, "durability": durability, "provider": provider}}, None)


def delete_cluster(manager: Manager, *, cluster: str, force: bool) -> Accepted:
    """Remove a cluster; with nodes left, and so with data, only by force."""
    within_s = manager.settings.manager.remove_nodes_deadline_s
    with _record(manager, cluster) as snapshot:
        if cluster == DEFAULT_CLUSTER:
            raise Conflict("The default cluster always exists; remove its nodes with remove_nodes instead.")
        if snapshot.nodes and not force:
            raise Unsafe(
                f"Cluster {cluster} still has nodes and their data; say force=true to destroy them.", cluster=cluster
            )
        manager.store.clusters.change(snapshot.cluster.id, goal=ClusterGoal.ABSENT)
        manager.store.nodes.set_goal(tuple(node.id for node in snapshot.nodes), Goal.ABSENT)
        job = _job(manager, snapshot, JobKind.DELETE_CLUSTER, (), within_s)
    return Accepted({"result": "OK"}, job.id)


def add_nodes(manager: Manager, *, cluster: str, function: str, count: int) -> Accepted:
    """Wish for ``count`` more nodes, all or nothing, and name them at once."""
    _check_function(function)
    if count > manager.settings.manager.max_nodes_per_call:
        most = manager.settings.manager.max_nodes_per_call
        raise Invalid(f"At most {most} nodes can be added by one call; ask for fewer.", count=count)
    with _record(manager, cluster) as snapshot:
        _check_running(snapshot)
        return _add(manager, snapshot, count)


def create_replica(manager: Manager, *, cluster: str, master: int | None) -> Accepted:
    """Wish for one more node; a new node follows the primary, whoever is named as ``master``."""
    with _record(manager, cluster) as snapshot:
        if master is not None:
            queries.find(snapshot, master)
        _check_running(snapshot)
        return _add(manager, snapshot, 1)


def register_node(_manager: Manager) -> Accepted:
    """Refuse what let anybody join in 2012."""
    raise Unsupported(
        "Nodes are not registered: an agent joins by itself, with the one-time token of its VM; use add_nodes."
    )


def _add(manager: Manager, snapshot: Snapshot, count: int) -> Accepted:
    group = secrets.token_hex(8)
    new = NewNode(name_stem=manager.settings.template.name, group=group)
    nodes = [manager.store.nodes.add(snapshot.cluster.id, new, manager.now()) for _ in range(count)]
    ids = tuple(node.id for node in nodes)
    job = _job(manager, snapshot, JobKind.ADD_NODES, ids, manager.settings.manager.add_nodes_deadline_s, group)
    answers = [{"ip": None, "state": "PENDING", "id": node.id, "name": node.name} for node in nodes]
    result: dict[str, Any] = {"serviceNode": answers[0]}
    if count > 1:
        result["serviceNodes"] = answers
    return Accepted(result, job.id)


def remove_nodes(manager: Manager, *, cluster: str, node: int | None, count: int | None, force: bool) -> Accepted:
    """Wish a node away, or the ``count`` newest replicas."""
    within_s = manager.settings.manager.remove_nodes_deadline_s
    with _record(manager, cluster) as snapshot:
        if (node is None) == (count is None):
            raise Invalid("Missing argument: serviceNodeId or count; give one of them.")
        going = (queries.find(snapshot, node).id,) if node is not None else _newest_replicas(snapshot, count or 0)
        _check_removal(snapshot, going, force=force)
        manager.store.nodes.set_goal(going, Goal.ABSENT)
        job = _job(manager, snapshot, JobKind.REMOVE_NODES, going, within_s)
    return Accepted({"result": "OK"}, job.id)


def _newest_replicas(snapshot: Snapshot, count: int) -> tuple[int, ...]:
    replicas = [n.id for n in snapshot.nodes if n.id != snapshot.cluster.primary and n.goal is Goal.PRESENT]
    if count > len(replicas):
        raise Conflict(f"Cannot remove so many nodes: there are {len(replicas)} replicas.", replicas=len(replicas))
    return tuple(sorted(replicas)[len(replicas) - count :])


def _check_removal(snapshot: Snapshot, going: tuple[int, ...], *, force: bool) -> None:
    """Refuse what would risk data without ``force``: the primary, the last copy, and what nobody knows the role of."""
    if force or not (snapshot.initialised or snapshot.joined):
        return
    primary = snapshot.cluster.primary
    if not any(n.goal is Goal.PRESENT and n.id not in going for n in snapshot.nodes):
        raise Unsafe("This is the last copy of the data; say force=true to destroy it.", nodes=list(going))
    if primary is None:
        raise Unsafe(
            "No primary is on record, so any node may hold the only data.  Wait until get_service_info names one, "
            "or say force.",
            nodes=list(going),
        )
    if primary in going:
        raise Unsafe(
            f"Node {primary} is the primary.  Move its role first with set_up_replica_master, "
            "or say force=true to have that done.",
            nodes=list(going),
        )


def switch_over(manager: Manager, *, cluster: str, node: int) -> Accepted:
    """Wish for another primary; no acknowledged write is lost on the way."""
    with _record(manager, cluster) as snapshot:
        _check_running(snapshot)
        target = queries.find(snapshot, node)
        answer = {"serviceNode": queries.node_info(manager, snapshot, target)}
        # First: the present primary may be about to hand its role over.
        if running := next((job for job in snapshot.jobs if job.kind is JobKind.SWITCHOVER), None):
            raise Conflict(f"Job {running.id} is moving the primary's role already; wait for its end.", job=running.id)
        if snapshot.cluster.primary == node:
            return Accepted(answer, None)
        # In a cluster that was taken over a person may choose the primary; the loop checks that nothing is lost.
        if snapshot.cluster.primary is not None or not snapshot.initialised:
            _check_target(manager.looks.get(snapshot.cluster.id), node)
        job = _job(manager, snapshot, JobKind.SWITCHOVER, (node,), manager.settings.manager.switchover_deadline_s)
    return Accepted(answer, job.id)


def _check_target(facts: Facts | None, node: int) -> None:
    sight = facts.by_id.get(node) if facts else None
    if facts is None or sight is None or not sight.wanted or not facts.follows(sight):
        raise Conflict(
            f"Node {node} is not a replica that follows the primary; get_node_info tells where it stands.", node=node
        )


def follow(manager: Manager, *, cluster: str, node: int, master_host: str | None) -> Accepted:
    """Wish that a node follows the present primary, by GTID; coordinates of 2012 are not needed."""
    with _record(manager, cluster) as snapshot:
        _check_running(snapshot)
        found = queries.find(snapshot, node)
        _check_follower(snapshot, manager.looks.get(snapshot.cluster.id), node, master_host)
        answer = {"serviceNode": queries.node_info(manager, snapshot, found)}
        job = _job(manager, snapshot, JobKind.FOLLOW, (node,), manager.settings.manager.remove_nodes_deadline_s)
    return Accepted(answer, job.id)


def _check_follower(snapshot: Snapshot, facts: Facts | None, node: int, master_host: str | None) -> None:
    name = snapshot.cluster.name
    primary = facts.primary if facts else None
    if primary is None or snapshot.cluster.primary is None:
        raise Conflict(f"Cluster {name} has no primary yet; wait until its first node runs.", cluster=name)
    if snapshot.cluster.primary == node:
        raise Conflict(
            f"Node {node} is the primary.  Give its role to another with set_up_replica_master; it then follows that.",
            node=node,
        )
    if master_host is not None and master_host != primary.address:
        raise Invalid(
            f"A node follows the primary of its cluster, which is {primary.address}; leave master_host out.",
            master_host=master_host,
        )


def shut_down(manager: Manager, *, cluster: str) -> Accepted:
    """Stop the servers; machines and data stay."""
    with _record(manager, cluster) as snapshot:
        if snapshot.cluster.goal is not ClusterGoal.RUNNING or not snapshot.nodes:
            raise _wrong_state(manager, snapshot, "only a running one can be stopped")
        if busy := next((job for job in snapshot.jobs if job.kind in NEEDS_SERVERS), None):
            raise Conflict(f"Job {busy.id} ({busy.kind}) needs the servers; wait for its end.", job=busy.id)
        manager.store.clusters.change(snapshot.cluster.id, goal=ClusterGoal.STOPPED)
        job = _job(manager, snapshot, JobKind.SHUTDOWN, (), manager.settings.manager.remove_nodes_deadline_s)
    return Accepted({"state": "EPILOGUE"}, job.id)


def start_up(manager: Manager, *, cluster: str) -> Accepted:
    """Bring a stopped cluster back; one without nodes gets its first."""
    result = {"state": "PROLOGUE"}
    with _record(manager, cluster) as snapshot:
        goal = snapshot.cluster.goal
        if goal is ClusterGoal.ABSENT or (snapshot.nodes and goal is not ClusterGoal.STOPPED):
            raise _wrong_state(manager, snapshot, "only a stopped one can be started")
        manager.store.clusters.change(snapshot.cluster.id, goal=ClusterGoal.RUNNING)
        if not snapshot.nodes:
            return Accepted(result, _add(manager, snapshot, 1).job)
        job = _job(manager, snapshot, JobKind.STARTUP, (), manager.settings.manager.remove_nodes_deadline_s)
    return Accepted(result, job.id)


def _wrong_state(manager: Manager, snapshot: Snapshot, says: str) -> Conflict:
    if snapshot.cluster.goal is ClusterGoal.ABSENT:
        return Conflict(f"Service in wrong state: cluster {snapshot.cluster.name} is being deleted.", state="ABSENT")
    state = queries.cluster_state(snapshot, manager.looks.get(snapshot.cluster.id))
    return Conflict(f"Service in wrong state: it is {state}, and {says}.", state=state)


def _check_function(function: str) -> None:
    if function in FUNCTIONS:
        return
    if function in LATER_FUNCTIONS:
        raise Invalid(f"This version cannot make nodes of function {function!r}; ask for 'agent'.", function=function)
    raise Invalid(f"There is no function {function[:64]!r}; the one there is is 'agent'.", function=function[:64])


def _check_running(snapshot: Snapshot) -> None:
    goal, name = snapshot.cluster.goal, snapshot.cluster.name
    if goal is ClusterGoal.ABSENT:
        raise Conflict(f"Service in wrong state: cluster {name} is being deleted.", state=goal)
    if goal is not ClusterGoal.RUNNING:
        raise Conflict(f"Service in wrong state: cluster {name} is {goal}; call startup first.", state=goal)


def _job(
    manager: Manager, snapshot: Snapshot, kind: JobKind, nodes: tuple[int, ...], within_s: float, group: str = ""
) -> Job:
    now = manager.now()
    job = Job(
        id=0,
        cluster_id=snapshot.cluster.id,
        kind=kind,
        nodes=nodes,
        group=group,
        created_at=now,
        deadline_at=now + timedelta(seconds=within_s),
    )
    added = manager.store.jobs.add(job)
    about = f" nodes {', '.join(map(str, nodes))}" if nodes else ""
    manager.event(snapshot.cluster.name, f"job-{kind}", f"Job {added.id} was asked for:{about or ' the cluster'}.")
    return added
