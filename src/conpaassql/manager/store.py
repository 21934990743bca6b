"""The store: wishes, decisions, jobs and events, in one database.

A transaction is either whole or absent; a manager killed at any moment finds on its next start
what had been committed.  Times are aware UTC in values and naive UTC in the tables.
"""

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Row, create_engine, delete, event, func, insert, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from conpaassql.errors import Conflict, Error, NotFound, Unavailable
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

log = logging.getLogger(__name__)

DEFAULT_CLUSTER = "default"
MOST_EVENTS = 100_000
MOST_JOBS = 10_000


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything on record about one cluster, read in one transaction.  ``joined``: nodes that enrolled."""

    cluster: Cluster
    initialised: bool
    nodes: tuple[Node, ...]
    joined: frozenset[int]
    jobs: tuple[Job, ...]  # running ones


class Store:
    """One database.  ``generation`` rises with each change that readers may build upon: committed, and on the disk.

    Writers come one after the other, by a lock.  Readers read what was committed last and wait for no
    writer (https://www.sqlite.org/wal.html#concurrency).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._local = threading.local()
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._publishing = threading.Lock()
        self.generation = 0
        self._cached: tuple[int, dict[str, Snapshot]] = (-1, {})
        self.clusters = Clusters(self)
        self.nodes = Nodes(self)
        self.jobs = Jobs(self)
        self.events = Events(self)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction of this thread; an inner one joins the outer.

        What the outermost commits survives a killed process at once.  It survives a power cut at
        once when ``changed`` was called in it; mere events and leases do so a little later.

        Raises:
            Unavailable: the database is locked for too long, or its disk fails.
            Error: the database is not what it should be; the log tells more.
        """
        if self._joined is not None:
            yield self._joined
            return
        with _translated():
            with self._writing, self._engine.begin() as connection:
                self._local.changed = False
                with self._lent(connection):
                    yield connection
            if self._local.changed:
                self._publish()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One state of the database to read from, as the last commit left it; inside a transaction, as that sees it.

        Raises:
            Unavailable: the database is locked for too long, or its disk fails.
            Error: the database is not what it should be; the log tells more.
        """
        if self._joined is not None:
            yield self._joined
            return
        with _translated(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")  # sqlite3 begins by itself only before a change
            with self._lent(connection):
                yield connection

    @property
    def _joined(self) -> Connection | None:
        """The connection of this thread's transaction."""
        found: Connection | None = getattr(self._local, "connection", None)
        return found

    @contextmanager
    def _lent(self, connection: Connection) -> Iterator[None]:
        self._local.connection = connection
        try:
            yield
        finally:
            self._local.connection = None

    def changed(self) -> None:
        """Note that a wish or a decision was written (called inside the transaction)."""
        self._local.changed = True

    def _publish(self) -> None:
        """Let readers see a commit when it is on the disk; nobody waits for the disk but who wrote."""
        try:
            self._flush()
        except OSError as exc:  # it is committed all the same: the user must not hear that it failed
            log.error("the store could not be synced; a power cut may lose the last changes", exc_info=exc)
        with self._publishing:
            self.generation += 1

    def _flush(self) -> None:
        """Wait until the write-ahead log is on the disk.

        With ``synchronous=NORMAL`` SQLite does not sync it at each commit, which would make every event
        cost a disk's latency (https://www.sqlite.org/pragma.html#pragma_synchronous).
        """
        try:
            descriptor = os.open(f"{self._engine.url.database}-wal", os.O_RDONLY)
        except FileNotFoundError:  # the last checkpoint took it away, and synced what it held
            return
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def snapshot(self, cluster_id: int) -> Snapshot:
        """Return the record of one cluster.

        Raises:
            NotFound: there is no such cluster.
        """
        with self.reading() as connection:
            row = connection.execute(select(schema.clusters).where(schema.clusters.c.id == cluster_id)).one_or_none()
            if row is None:
                raise NotFound(f"There is no cluster with id {cluster_id}.", cluster_id=cluster_id)
            nodes = connection.execute(
                select(schema.nodes).where(schema.nodes.c.cluster_id == cluster_id).order_by(schema.nodes.c.id)
            ).all()
            return Snapshot(
                cluster=_cluster(row),
                initialised=row.initialised,
                nodes=tuple(_node(node) for node in nodes),
                joined=frozenset(node.id for node in nodes if node.key_fingerprint),
                jobs=tuple(self.jobs.list(cluster_id, running=True)),
            )

    def records(self) -> Mapping[str, Snapshot]:
        """Return the record of every cluster by name, read anew only when something was written.

        Never waits for a transaction of another thread.  Inside a transaction, what that sees.
        """
        if self._joined is not None:
            return self._read_records()
        if self._cached[0] == self.generation:
            return self._cached[1]
        with self._reading:  # of many who find it old only one reads
            generation, found = self._cached
            if generation != self.generation:
                generation = self.generation  # before reading: what is committed meanwhile is read once more
                found = self._read_records()
                self._cached = (generation, found)
            return found

    def _read_records(self) -> dict[str, Snapshot]:
        with self.reading():
            return {cluster.name: self.snapshot(cluster.id) for cluster in self.clusters.list()}

    def record(self, cluster_id: int) -> Snapshot:
        """Return the record of one cluster, as ``records`` does.

        Raises:
            NotFound: there is no such cluster.
        """
        for found in self.records().values():
            if found.cluster.id == cluster_id:
                return found
        raise NotFound(f"There is no cluster with id {cluster_id}.", cluster_id=cluster_id)

    def lease(self, cluster_id: int, holder: str, now: datetime, ttl: timedelta) -> bool:
        """Take or renew the right to act on a cluster; False while another holder's lease runs."""
        with self.transaction() as connection:
            table = schema.leases
            row = connection.execute(select(table).where(table.c.cluster_id == cluster_id)).one_or_none()
            if row is None:
                values = {"cluster_id": cluster_id, "holder": holder, "epoch": 1, "until": _naive(now + ttl)}
                connection.execute(insert(table).values(values))
                return True
            if row.holder != holder and _aware(row.until) > now:
                return False
            epoch = row.epoch if row.holder == holder else row.epoch + 1
            connection.execute(
                update(table)
                .where(table.c.cluster_id == cluster_id)
                .values(holder=holder, epoch=epoch, until=_naive(now + ttl))
            )
            return True

    def start(self, now: datetime) -> int:
        """Record that a manager begins to work on this store, and return which start it is, from 1.

        Of what only grows the oldest is removed: ``MOST_EVENTS`` and ``MOST_JOBS`` that have ended remain.
        """
        with self.transaction() as connection:
            self.changed()
            self.events.prune(MOST_EVENTS)
            self.jobs.prune(MOST_JOBS)
            return _new_id(connection.execute(insert(schema.starts).values(at=_naive(now))).inserted_primary_key)

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()


def open_store(file: Path) -> Store:
    """Open the SQLite store in ``file``, made and brought to the present schema as needed.

    Raises:
        Unavailable: the file cannot be opened or is not a store.
    """
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 10, "check_same_thread": False}, pool_size=0)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    config = Config()
    config.set_main_option("script_location", "conpaassql.manager:migrations")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as exc:
        raise Unavailable(f"The store {file} cannot be opened: {exc.args[0] if exc.args else exc}.") from exc
    file.chmod(0o600)
    store = Store(engine)
    if not store.clusters.list():
        store.clusters.add(DEFAULT_CLUSTER, Durability.LOSSLESS)
    return store


class Clusters:
    """The clusters on record."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self) -> list[Cluster]:
        """Return every cluster, oldest first."""
        with self._store.reading() as connection:
            return [_cluster(row) for row in connection.execute(select(schema.clusters).order_by(schema.clusters.c.id))]

    def add(self, name: str, durability: Durability, cluster_id: int | None = None) -> int:
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
            }
            return _new_id(connection.execute(insert(table).values(values)).inserted_primary_key)

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

    def __init__(self, store: Store) -> None:
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
                "created_at": _naive(now),
            }
            node_id = _new_id(connection.execute(insert(schema.nodes).values(values)).inserted_primary_key)
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
                "created_at": _naive(now),
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

    def __init__(self, store: Store) -> None:
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
                "created_at": _naive(job.created_at),
                "deadline_at": _naive(job.deadline_at),
            }
            job_id = _new_id(connection.execute(insert(schema.jobs).values(values)).inserted_primary_key)
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
            values = {"state": state, "code": code, "says": says, "ended_at": _naive(now)}
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

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, new: Event) -> None:
        """Record an event (its id is ignored)."""
        with self._store.transaction() as connection:
            values = {
                "at": _naive(new.at),
                "cluster": new.cluster,
                "node": new.node,
                "code": new.code,
                "says": new.says,
                "actor": new.actor,
            }
            connection.execute(insert(schema.events).values(values))

    def list(self, cluster: str, most: int) -> list[Event]:
        """Return the newest ``most`` events of a cluster, oldest first."""
        with self._store.reading() as connection:
            table = schema.events
            query = select(table).where(table.c.cluster == cluster).order_by(table.c.id.desc()).limit(most)
            return [_event(row) for row in reversed(connection.execute(query).all())]

    def prune(self, most: int) -> None:
        """Remove all but the newest ``most`` events, of all clusters together."""
        with self._store.transaction() as connection:
            newest = select(schema.events.c.id).order_by(schema.events.c.id.desc()).offset(most).limit(1)
            connection.execute(delete(schema.events).where(schema.events.c.id <= newest.scalar_subquery()))


@contextmanager
def _translated() -> Iterator[None]:
    """Tell what may pass from what is a fault, of the program or of the file."""
    try:
        yield
    except SQLAlchemyError as exc:
        says = exc.args[0] if exc.args else exc
        if isinstance(exc, OperationalError) and _may_pass(exc.orig):
            raise Unavailable(f"The manager's store does not answer: {says}.") from exc
        log.error("a fault in the store", exc_info=exc)
        raise Error("Something is wrong with the manager's store; the manager's log has the details.") from exc


def _may_pass(cause: BaseException | None) -> bool:
    """Whether SQLite's trouble is a lock or the disk, and not a statement that this schema does not understand."""
    return getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF != sqlite3.SQLITE_ERROR


def _new_id(key: Row[Any] | None) -> int:
    assert key is not None
    return int(key[0])


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


def _aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)


def _join(ids: tuple[int, ...] | frozenset[int]) -> str:
    return ",".join(str(i) for i in (sorted(ids) if isinstance(ids, frozenset) else ids))


def _split(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _cluster(row: Row[Any]) -> Cluster:
    return Cluster(
        id=row.id,
        name=row.name,
        goal=ClusterGoal(row.goal),
        topology=Topology(row.topology),
        durability=Durability(row.durability),
        primary=row.primary_node,
        term=row.term,
        acknowledgers=frozenset(_split(row.acknowledgers)),
    )


def _node(row: Row[Any]) -> Node:
    return Node(
        id=row.id,
        cluster_id=row.cluster_id,
        name=row.name,
        server_id=row.server_id,
        group=row.group_id,
        kind=Kind(row.kind),
        goal=Goal(row.goal),
        created_at=_aware(row.created_at),
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
        created_at=_aware(row.created_at),
        deadline_at=_aware(row.deadline_at),
        ended_at=_aware(row.ended_at) if row.ended_at else None,
    )


def _event(row: Row[Any]) -> Event:
    return Event(
        id=row.id,
        at=_aware(row.at),
        cluster=row.cluster,
        node=row.node,
        code=row.code,
        says=row.says,
        actor=row.actor,
    )
