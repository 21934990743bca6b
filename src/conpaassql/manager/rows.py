"""The rows of the store's tables as values, and what can be done with them.

Every method is one transaction, or joins the one that its thread has begun.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from conpaassql.errors import Conflict, NotFound
from conpaassql.manager import schema
from conpaassql.model import (
    Cluster,
    ClusterGoal,
    Durability,
    Event,
    Goal,
    Job,
    JobKind,
    JobState,
    Kind,
    Node,
    Topology,
)


class Transactions(Protocol):
    """What rows need of the store; see ``store.Store``."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """One transaction of this thread."""

    def reading(self) -> AbstractContextManager[Connection]:
        """One state to read from."""

    def changed(self) -> None:
        """Note that a wish or a decision was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNode:
    """What has to be known of a node before it has an id."""

    name_stem: str
    group: str
    kind: Kind = Kind.DATABASE


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A node that outlived its record: what its VM's tags say of it."""

    id: int
    name: str
    server_id: int
    group: str


class Clusters:
    """The clusters on record."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    def list(self) -> list[Cluster]:
        """Return every cluster, oldest first."""
        with self._store.reading() as connection:
            return [
                cluster_of(row) for row in connection.execute(select(schema.clusters).order_by(schema.clusters.c.id))
            ]

    def add(self, name: str, durability: Durability, cluster_id: int | None = None, provider: str = "default") -> int:
        """Record a new cluster and return its id, a fresh one unless ``cluster_id`` is given.

        Raises:
            Conflict: the name is taken.
        """
        with self._store.transaction() as connection:
            table = schema.clusters
            if connection.execute(select(table.c.id).where(table.c.name == name)).first():
                raise Conflict(f"There is a cluster called {name} already; choose another name.", cluster=name)
            self._store.changed()
            values = {
                **({} if cluster_id is None else {"id": cluster_id}),
                "name": name,
                "goal": ClusterGoal.RUNNING,
                "topology": Topology.PRIMARY_REPLICA,
                "durability": durability,
                "term": 0,
                "acknowledgers": "",
                "initialised": False,
                "provider": provider,
            }
            return new_id(connection.execute(insert(table).values(values)).inserted_primary_key)

    def change(self, cluster_id: int, **fields: Any) -> None:
        """Change fields of the record; ``acknowledgers`` as a set of node ids."""
        if "acknowledgers" in fields:
            fields["acknowledgers"] = _join(fields["acknowledgers"])
        with self._store.transaction() as connection:
            self._store.changed()
            connection.execute(update(schema.clusters).where(schema.clusters.c.id == cluster_id).values(fields))

    def remove(self, cluster_id: int) -> None:
        """Remove the record of a cluster without nodes."""
        with self._store.transaction() as connection:
            self._store.changed()
            connection.execute(delete(schema.leases).where(schema.leases.c.cluster_id == cluster_id))
            connection.execute(delete(schema.clusters).where(schema.clusters.c.id == cluster_id))


class Nodes:
    """The nodes on record."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    def add(self, cluster_id: int, new: NewNode, now: datetime) -> Node:
        """Record a wished node; its name is the stem and its id, its server id the same number."""
        with self._store.transaction() as connection:
            self._store.changed()
            highest = connection.execute(select(func.max(schema.nodes.c.server_id))).scalar() or 0
            values = {
                "cluster_id": cluster_id,
                "name": f"{new.group}-pending",
                "server_id": -1,
                "kind": new.kind,
                "goal": Goal.PRESENT,
                "group_id": new.group,
                "created_at": naive(now),
            }
            node_id = new_id(connection.execute(insert(schema.nodes).values(values)).inserted_primary_key)
            name, server_id = f"{new.name_stem}-{node_id}", max(node_id, highest + 1)
            self._update(connection, node_id, name=name, server_id=server_id)
            return Node(
                id=node_id,
                cluster_id=cluster_id,
                name=name,
                server_id=server_id,
                group=new.group,
                kind=new.kind,
                created_at=now,
            )

    def adopt(self, cluster_id: int, node: Adopted, now: datetime) -> None:
        """Record a node that exists and had joined before its record was lost."""
        with self._store.transaction() as connection:
            self._store.changed()
            values = {
                "id": node.id,
                "cluster_id": cluster_id,
                "name": node.name,
                "server_id": node.server_id,
                "kind": Kind.DATABASE,
                "goal": Goal.PRESENT,
                "group_id": node.group,
                "created_at": naive(now),
                "key_fingerprint": "adopted",
            }
            connection.execute(insert(schema.nodes).values(values))

    def set_goal(self, node_ids: tuple[int, ...], goal: Goal) -> None:
        """Change what is wished of some nodes."""
        with self._store.transaction() as connection:
            self._store.changed()
            connection.execute(update(schema.nodes).where(schema.nodes.c.id.in_(node_ids)).values(goal=goal))

    def key_fingerprint(self, node_id: int) -> str | None:
        """Return the fingerprint of the key that used a node's join token; None when it is unused.

        Raises:
            NotFound: no such node.
        """
        with self._store.reading() as connection:
            table = schema.nodes
            row = connection.execute(select(table.c.key_fingerprint).where(table.c.id == node_id)).one_or_none()
        if row is None:
            raise NotFound(f"There is no node {node_id}.", node=node_id)
        fingerprint: str | None = row.key_fingerprint
        return fingerprint

    def set_joined(self, node_id: int, fingerprint: str) -> None:
        """Record which key used the join token."""
        with self._store.transaction() as connection:
            self._store.changed()
            self._update(connection, node_id, key_fingerprint=fingerprint)

    def remove(self, node_id: int) -> None:
        """Remove the record of a node whose VM is gone."""
        with self._store.transaction() as connection:
            self._store.changed()
            connection.execute(delete(schema.nodes).where(schema.nodes.c.id == node_id))

    @staticmethod
    def _update(connection: Connection, node_id: int, **values: Any) -> None:
        connection.execute(update(schema.nodes).where(schema.nodes.c.id == node_id).values(values))


class Jobs:
    """The jobs on record."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    def add(self, job: Job) -> Job:
        """Record a job (its id is ignored) and return it with its id."""
        with self._store.transaction() as connection:
            self._store.changed()
            values = {
                "cluster_id": job.cluster_id,
                "kind": job.kind,
                "nodes": _join(job.nodes),
                "group_id": job.group,
                "state": job.state,
                "code": job.code,
                "says": job.says,
                "created_at": naive(job.created_at),
                "deadline_at": naive(job.deadline_at),
            }
            job_id = new_id(connection.execute(insert(schema.jobs).values(values)).inserted_primary_key)
            row = connection.execute(select(schema.jobs).where(schema.jobs.c.id == job_id)).one()
            return _job(row)

    def list(self, cluster_id: int, *, running: bool = False, most: int = 1000) -> list[Job]:
        """Return a cluster's jobs, oldest first; with ``running`` only those; at most the newest ``most``."""
        with self._store.reading() as connection:
            table = schema.jobs
            query = select(table).where(table.c.cluster_id == cluster_id).order_by(table.c.id.desc()).limit(most)
            if running:
                query = query.where(table.c.state == JobState.RUNNING)
            return [_job(row) for row in reversed(connection.execute(query).all())]

    def get(self, job_id: int) -> Job:
        """Return one job.

        Raises:
            NotFound: no such job.
        """
        with self._store.reading() as connection:
            row = connection.execute(select(schema.jobs).where(schema.jobs.c.id == job_id)).one_or_none()
        if row is None:
            raise NotFound(f"There is no job {job_id}; list_jobs shows those that are.", job=job_id)
        return _job(row)

    def end(self, job_id: int, state: JobState, code: str, says: str, now: datetime) -> None:
        """Record how a job ended."""
        with self._store.transaction() as connection:
            self._store.changed()
            values = {"state": state, "code": code, "says": says, "ended_at": naive(now)}
            connection.execute(update(schema.jobs).where(schema.jobs.c.id == job_id).values(values))

    def prune(self, most: int) -> None:
        """Remove all but the newest ``most`` jobs that have ended."""
        with self._store.transaction() as connection:
            table = schema.jobs
            ended = table.c.state != JobState.RUNNING
            newest = select(table.c.id).where(ended).order_by(table.c.id.desc()).offset(most).limit(1)
            connection.execute(delete(table).where(ended, table.c.id <= newest.scalar_subquery()))


class Events:
    """The events on record."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    def add(self, new: Event) -> None:
        """Record an event (its id is ignored)."""
        with self._store.transaction() as connection:
            values = {
                "at": naive(new.at),
                "cluster": new.cluster,
                "node": new.node,
                "code": new.code,
                "says": new.says,
                "actor": new.actor,
                "provider": new.provider,
            }
            connection.execute(insert(schema.events).values(values))

    def list(self, cluster: str, most: int, provider: str = "") -> list[Event]:
        """Return the newest ``most`` events of a cluster, or of a provider (``cluster`` empty), oldest first."""
        with self._store.reading() as connection:
            table = schema.events
            about = (table.c.cluster == cluster) & (table.c.provider == provider)
            query = select(table).where(about).order_by(table.c.id.desc()).limit(most)
            return [_event(row) for row in reversed(connection.execute(query).all())]

    def prune(self, most: int) -> None:
        """Remove all but the newest ``most`` events, of all clusters together."""
        with self._store.transaction() as connection:
            newest = select(schema.events.c.id).order_by(schema.events.c.id.desc()).offset(most).limit(1)
            connection.execute(delete(schema.events).where(schema.events.c.id <= newest.scalar_subquery()))


def new_id(key: Row[Any] | None) -> int:
    assert key is not None
    return int(key[0])


def naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


def aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)


def _join(ids: tuple[int, ...] | frozenset[int]) -> str:
    return ",".join(str(i) for i in (sorted(ids) if isinstance(ids, frozenset) else ids))


def _split(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def cluster_of(row: Row[Any]) -> Cluster:
    return Cluster(
        id=row.id,
        name=row.name,
        goal=ClusterGoal(row.goal),
        topology=Topology(row.topology),
        durability=Durability(row.durability),
        primary=row.primary_node,
        term=row.term,
        acknowledgers=frozenset(_split(row.acknowledgers)),
        provider=row.provider,
    )


def node_of(row: Row[Any]) -> Node:
    return Node(
        id=row.id,
        cluster_id=row.cluster_id,
        name=row.name,
        server_id=row.server_id,
        group=row.group_id,
        kind=Kind(row.kind),
        goal=Goal(row.goal),
        created_at=aware(row.created_at),
    )


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        cluster_id=row.cluster_id,
        kind=JobKind(row.kind),
        nodes=_split(row.nodes),
        group=row.group_id,
        state=JobState(row.state),
        code=row.code,
        says=row.says,
        created_at=aware(row.created_at),
        deadline_at=aware(row.deadline_at),
        ended_at=aware(row.ended_at) if row.ended_at else None,
    )


def _event(row: Row[Any]) -> Event:
    return Event(
        id=row.id,
        at=aware(row.at),
        cluster=row.cluster,
        node=row.node,
        code=row.code,
        says=row.says,
        actor=row.actor,
        provider=row.provider,
    )
