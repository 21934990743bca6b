"""What users ask: answered from the record and the last look, never by waiting for an agent."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from conpaassql.cluster import diagnose, jobs
from conpaassql.cluster.facts import SILENT_CLOUD, Facts, Seen, Sight
from conpaassql.errors import NotFound
from conpaassql.manager import machine_queries
from conpaassql.manager.context import Manager
from conpaassql.manager.looks import Rates
from conpaassql.manager.store import Snapshot
from conpaassql.model import ClusterGoal, Event, Job, JobKind, Node
from conpaassql.protocol import Server

ADAPTING = (JobKind.ADD_NODES, JobKind.REMOVE_NODES, JobKind.SWITCHOVER, JobKind.FOLLOW, JobKind.DELETE_CLUSTER)
UNITS = {
    "request_rate": "statements/s",
    "error_rate": "statements/s",
    "throughput": "bytes/s",
    "response_time": "s",
}


def record(manager: Manager, cluster: str) -> Snapshot:
    """Return what is on record of a cluster.

    Raises:
        NotFound: there is no such cluster.
    """
    found = manager.store.records().get(cluster)
    if found is None:
        raise NotFound(f"There is no cluster called {cluster!r}; list_clusters shows those that are.", cluster=cluster)
    return found


def find(snapshot: Snapshot, node: int) -> Node:
    """Return a node of a cluster.

    Raises:
        NotFound: the cluster has no such node.
    """
    for known in snapshot.nodes:
        if known.id == node:
            return known
    raise NotFound(
        f"There is no node {node} in cluster {snapshot.cluster.name}; list_nodes shows those that are.", node=node
    )


def list_nodes(manager: Manager, *, cluster: str) -> dict[str, Any]:
    """Return the ids of a cluster's nodes."""
    return {"serviceNode": [node.id for node in record(manager, cluster).nodes]}


def list_clusters(manager: Manager) -> dict[str, Any]:
    """Return every cluster in short."""
    return {"clusters": [_cluster(manager, snapshot) for snapshot in manager.store.records().values()]}


def get_node_info(manager: Manager, *, cluster: str, node: int) -> dict[str, Any]:
    """Return what the last look showed of a node, with the keys of 2012 and ours."""
    snapshot = record(manager, cluster)
    return {"serviceNode": node_info(manager, snapshot, find(snapshot, node))}


def node_info(manager: Manager, snapshot: Snapshot, node: Node) -> dict[str, Any]:
    """Return one node as users see it; what is not known (yet) is null."""
    facts = manager.looks.get(snapshot.cluster.id)
    sight = facts.by_id.get(node.id) if facts else None
    server = sight.server if sight else None
    replica = server.replica if server else None
    agent = sight.agent if sight else None
    task = agent.task if agent else None
    return {
        "id": node.id,
        "ip": sight.address if sight else None,
        "isRunningMySQL": server is not None,
        "name": node.name,
        "cluster": snapshot.cluster.name,
        "kind": node.kind,
        "state": node_state(facts, sight),
        "role": role(snapshot, facts, sight),
        "isMaster": role(snapshot, facts, sight) == "primary",
        "isSlave": role(snapshot, facts, sight) == "replica",
        "progress": jobs.node_progress(facts, sight) if facts and sight else 0.0,
        "stage": jobs.describe(facts, sight) if facts and sight else "waiting for the first look",
        "lag_s": replica.lag_s if replica else None,
        "gtid": server.executed if server else None,
        "read_only": server.read_only if server else None,
        "confirms_commits": server.acknowledging if server else None,
        "connections": server.connections if server else None,
        "server_id": node.server_id,
        "server_version": server.version if server else None,
        "agent_version": agent.version if agent else None,
        "task": asdict(task) if task else None,
        "compared": agent.verified if agent else "",
        "disk_total_bytes": agent.disk_total_bytes if agent else None,
        "disk_free_bytes": agent.disk_free_bytes if agent else None,
        "server_restarts": agent.restarts if agent else None,
        "says": (agent.says if agent else "") or (jobs.cloud_says(facts, sight) if facts and sight else ""),
        "created_at": node.created_at.isoformat(),
    }


_STATES: Mapping[Seen, str] = {
    Seen.BLIND: "UNKNOWN",
    Seen.UNSEEN: "PENDING",
    Seen.GONE: "LOST",
    Seen.BOOTING: "PENDING",
    Seen.SILENT: "SILENT",
    Seen.OFF: "STOPPED",
    Seen.FAILED: "FAILED",
    Seen.DELETING: "REMOVING",
    Seen.TAKEN: "FAILED",
}


def node_state(facts: Facts | None, sight: Sight | None) -> str:
    """Return one word for where a node stands."""
    if facts is None or sight is None:
        return "PENDING"
    if not sight.wanted:
        return "REMOVING"
    if sight.seen is not Seen.ALIVE:
        return _STATES[sight.seen]
    if facts.ready(sight):
        return "RUNNING"
    stopped = sight.agent is not None and sight.agent.server is Server.STOPPED
    return "STOPPED" if stopped and facts.cluster.goal is ClusterGoal.STOPPED else "BUILDING"


def role(snapshot: Snapshot, facts: Facts | None, sight: Sight | None) -> str | None:
    """Return ``primary``, ``replica``, or null for a node that is neither yet."""
    if sight and snapshot.cluster.primary == sight.id:
        return "primary"
    return "replica" if facts and sight and facts.follows(sight) else None


def get_service_info(manager: Manager, *, cluster: str) -> dict[str, Any]:
    """Return the state of a cluster, in the words of 2012, and what the diagnosis says."""
    info = _cluster(manager, record(manager, cluster))
    return {"service": {"state": info["state"]}, "state": info["state"], "type": "mysql", "cluster": info}


def cluster_state(snapshot: Snapshot, facts: Facts | None) -> str:
    """Return INIT, PROLOGUE, RUNNING, ADAPTING, EPILOGUE, STOPPED or ERROR."""
    if not snapshot.nodes:
        return "INIT"
    if snapshot.cluster.goal is ClusterGoal.STOPPED:
        running = facts is None or any(s.agent and s.agent.server is not Server.STOPPED for s in facts.nodes)
        return "EPILOGUE" if running else "STOPPED"
    if not snapshot.initialised or facts is None:
        return "PROLOGUE"
    if any(job.kind in ADAPTING for job in snapshot.jobs):
        return "ADAPTING"
    if any(job.kind is JobKind.STARTUP for job in snapshot.jobs):
        return "PROLOGUE"
    return "RUNNING" if facts.primary and facts.primary.open else "ERROR"


def _cluster(manager: Manager, snapshot: Snapshot) -> dict[str, Any]:
    facts = manager.looks.get(snapshot.cluster.id)
    found = diagnose.shown(facts) if facts else ()
    silence = [{"code": SILENT_CLOUD, "says": facts.silence}] if facts and facts.silence else []
    primary = facts.primary if facts else None
    return {
        "name": snapshot.cluster.name,
        "state": cluster_state(snapshot, facts),
        "topology": snapshot.cluster.topology,
        "durability": snapshot.cluster.durability,
        "provider": snapshot.cluster.provider,
        "primary": snapshot.cluster.primary,
        "primary_ip": primary.address if primary else None,
        "term": snapshot.cluster.term,
        "nodes": [node.id for node in snapshot.nodes],
        "diagnosis": [*({"code": problem.code, "says": problem.says} for problem in found), *silence],
        "jobs": [job.id for job in snapshot.jobs],
    }


def get_service_performance(manager: Manager, *, cluster: str) -> dict[str, Any]:
    """Return rates over the last seconds, from the servers' own counters: the cluster's, and each node's."""
    snapshot = record(manager, cluster)
    by_node = {node.id: manager.looks.rates(node.id) for node in snapshot.nodes}
    total = _sum(tuple(by_node.values()))
    return {
        **_performance(total),
        "units": UNITS,
        "nodes": {str(node): _performance(rates) for node, rates in by_node.items()},
    }


def _sum(all_rates: tuple[Rates, ...]) -> Rates:
    requests = sum(rates.request_rate for rates in all_rates)
    busy = sum(rates.response_time_s * rates.request_rate for rates in all_rates)
    return Rates(
        request_rate=requests,
        error_rate=sum(rates.error_rate for rates in all_rates),
        throughput_bytes=sum(rates.throughput_bytes for rates in all_rates),
        response_time_s=busy / requests if requests else 0.0,
    )


def _performance(rates: Rates) -> dict[str, float]:
    return {
        "request_rate": round(rates.request_rate, 3),
        "error_rate": round(rates.error_rate, 3),
        "throughput": round(rates.throughput_bytes, 1),
        "response_time": round(rates.response_time_s, 6),
    }


def list_jobs(manager: Manager, *, cluster: str, provider_id: str | None) -> dict[str, Any]:
    """Return the newest thousand jobs of a cluster, or of a provider when one is named, oldest first."""
    if provider_id is not None:
        return machine_queries.jobs(manager, provider_id)
    snapshot = record(manager, cluster)
    facts = manager.looks.get(snapshot.cluster.id)
    return {"jobs": [job_info(job, facts) for job in manager.store.jobs.list(snapshot.cluster.id)]}


def get_job(manager: Manager, *, job: int) -> dict[str, Any]:
    """Return one job."""
    if of_machines := manager.store.machine_jobs.find(job):
        return {"job": machine_queries.job_info(manager, of_machines)}
    found = manager.store.jobs.get(job)
    return {"job": job_info(found, manager.looks.get(found.cluster_id))}


def job_info(job: Job, facts: Facts | None) -> dict[str, Any]:
    """Return a job as users see it; ``progress`` runs from 0 to 1, and a running job ``says`` what it waits for."""
    running = job.ended_at is None
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "nodes": list(job.nodes),
        "progress": (jobs.progress(job, facts) if facts else 0.0) if running else 1.0,
        "code": job.code,
        "says": jobs.waits_for(job, facts) if running and facts else job.says,
        "created_at": job.created_at.isoformat(),
        "deadline_at": job.deadline_at.isoformat(),
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
    }


def get_log(manager: Manager, *, cluster: str, provider_id: str | None, lines: int) -> dict[str, Any]:
    """Return the newest events of a cluster, or of a provider when one is named, as text, a line each.

    Of one that was removed, what is left of them.
    """
    found = manager.store.events.list("" if provider_id else cluster, lines, provider_id or "")
    if not found and provider_id:
        manager.providers.get(provider_id)
    elif not found:
        record(manager, cluster)
    return {"log": "".join(f"{_line(event)}\n" for event in found)}


def _line(event: Event) -> str:
    node = f" node {event.node}" if event.node is not None else ""
    at = event.at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    about = event.cluster or f"provider {event.provider}"
    return f"{at}Z {about}{node} {event.code}: {event.says}"
