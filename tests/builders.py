"""Builds named situations: frozen facts with as few words as the situation needs."""

from datetime import UTC, datetime, timedelta
from typing import Any

from conpaassql.cluster.facts import Facts, Seen, Sight
from conpaassql.model import Address, Cluster, Goal, Job, JobKind, Node, Vm, VmState
from conpaassql.protocol import (
    AgentFacts,
    Counters,
    Data,
    ReplicaAccount,
    ReplicaFacts,
    Server,
    ServerFacts,
    Task,
    TaskState,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COUNTERS = Counters(statements=0, errors=0, busy_s=0.0, bytes_in=0, bytes_out=0, uptime_s=1.0)


def address(node: int) -> str:
    return f"127.99.0.{node}"


def record(node: int, goal: Goal = Goal.PRESENT) -> Node:
    return Node(id=node, cluster_id=1, name=f"n{node}", server_id=node, group="g", goal=goal, created_at=NOW)


def vm(node: int, state: VmState = VmState.RUNNING, message: str = "") -> Vm:
    return Vm(id=f"vm-{node}", name=f"n{node}", state=state, address=address(node), tags={}, message=message)


def following(source: int, **changes: Any) -> ReplicaFacts:
    """A replica's half, in good health: ``source`` is a node's id."""
    fields: dict[str, Any] = {"receiving": True, "applying": True, "received": "0-1-10", "lag_s": 0.0}
    return ReplicaFacts(source=Address(host=address(source), port=3306), **{**fields, **changes})


def mysqld(node: int, **changes: Any) -> ServerFacts:
    """A closed server that follows nobody."""
    fields: dict[str, Any] = {
        "version": "10.11",
        "server_id": node,
        "read_only": True,
        "executed": "0-1-10",
        "replica": None,
        "acknowledging": False,
        "waiting": False,
        "acknowledgers": 0,
        "connections": 0,
        "counters": COUNTERS,
    }
    return ServerFacts(**{**fields, **changes})


def agent(node: int, server: ServerFacts | None = None, **changes: Any) -> AgentFacts:
    """An agent with a database; without ``server`` mysqld is stopped."""
    fields: dict[str, Any] = {
        "version": "1",
        "term": 1,
        "data": Data.READY,
        "server": Server.RUNNING if server else Server.STOPPED,
        "task": None,
        "account": ReplicaAccount(name=f"conpaassql_repl_{node}", password_hash="*", subject="/CN=x"),
        "disk_total_bytes": 1,
        "disk_free_bytes": 1,
        "restarts": 0,
        "verified": "equal",
    }
    return AgentFacts(node=node, mysqld=server, **{**fields, **changes})


def sight(node: int, seen: Seen = Seen.ALIVE, goal: Goal = Goal.PRESENT, **changes: Any) -> Sight:
    """A node as seen; with a VM where ``seen`` implies one, and no agent unless given."""
    states = {Seen.OFF: VmState.STOPPED, Seen.FAILED: VmState.FAILED, Seen.DELETING: VmState.DELETING}
    without = (Seen.UNSEEN, Seen.GONE, Seen.BLIND)
    fields: dict[str, Any] = {
        "joined": seen not in (Seen.UNSEEN, Seen.BOOTING),
        "vm": None if seen in without else vm(node, states.get(seen, VmState.RUNNING)),
    }
    return Sight(node=record(node, goal), seen=seen, **{**fields, **changes})


def fresh(node: int, goal: Goal = Goal.PRESENT) -> Sight:
    """Joined, and nothing on its disk."""
    return sight(node, goal=goal, agent=agent(node, data=Data.EMPTY, verified=""))


def stopped(node: int, goal: Goal = Goal.PRESENT) -> Sight:
    """Has data; mysqld is down."""
    return sight(node, goal=goal, agent=agent(node))


def primary(node: int = 1, goal: Goal = Goal.PRESENT, **changes: Any) -> Sight:
    """Open, waiting for one replica that is connected."""
    fields = {"read_only": False, "waiting": True, "acknowledgers": 1, **changes}
    return sight(node, goal=goal, agent=agent(node, mysqld(node, **fields)))


def replica(node: int, source: int = 1, goal: Goal = Goal.PRESENT, **changes: Any) -> Sight:
    """Follows ``source`` and confirms."""
    fields = {"replica": following(source), "acknowledging": True, **changes}
    return sight(node, goal=goal, agent=agent(node, mysqld(node, **fields)))


def working(node: int, kind: str, state: TaskState = TaskState.RUNNING, **changes: Any) -> Sight:
    """Long work in the agent of a node without data."""
    task = Task(kind=kind, state=state, **changes)
    return sight(node, agent=agent(node, data=Data.COPYING, task=task, verified=""))


def job(kind: JobKind, *nodes: int, deadline_s: float = 60.0) -> Job:
    """A running job, ``deadline_s`` before its end."""
    return Job(
        id=1, cluster_id=1, kind=kind, nodes=nodes, created_at=NOW, deadline_at=NOW + timedelta(seconds=deadline_s)
    )


def facts(*nodes: Sight, jobs: tuple[Job, ...] = (), initialised: bool = True, **cluster: Any) -> Facts:
    """One look.  Unless said otherwise node 1 is primary in term 1 and every wanted replica is on the record."""
    fields: dict[str, Any] = {
        "primary": 1,
        "term": 1,
        "acknowledgers": frozenset(s.id for s in nodes if s.wanted and s.id != cluster.get("primary", 1)),
    }
    return Facts(
        cluster=Cluster(id=1, name="c", **{**fields, **cluster}),
        initialised=initialised,
        nodes=nodes,
        jobs=jobs,
        at=NOW,
    )
