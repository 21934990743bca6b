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
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from conpaassql.errors import Error, NotFound, Unavailable
from conpaassql.manager import rows, rows_cloud, schema
from conpaassql.model import (
    Cluster,
    Durability,
    Job,
    Node,
)

log = logging.getLogger(__name__)

DEFAULT_CLUSTER = "default"
MOST_EVENTS = 100_000
MOST_JOBS = 10_000
MOST_BURIED = 10_000


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
        self.clusters = rows.Clusters(self)
        self.nodes = rows.Nodes(self)
        self.jobs = rows.Jobs(self)
        self.events = rows.Events(self)
        self.providers = rows_cloud.Providers(self)
        self.machines = rows_cloud.Machines(self)
        self.machine_jobs = rows_cloud.MachineJobs(self)
        self.buried = rows_cloud.Buried(self)

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
                cluster=rows.cluster_of(row),
                initialised=row.initialised,
                nodes=tuple(rows.node_of(node) for node in nodes),
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
                values = {"cluster_id": cluster_id, "holder": holder, "epoch": 1, "until": rows.naive(now + ttl)}
                connection.execute(insert(table).values(values))
                return True
            if row.holder != holder and rows.aware(row.until) > now:
                return False
            epoch = row.epoch if row.holder == holder else row.epoch + 1
            connection.execute(
                update(table)
                .where(table.c.cluster_id == cluster_id)
                .values(holder=holder, epoch=epoch, until=rows.naive(now + ttl))
            )
            return True

    def start(self, now: datetime) -> int:
        """Record that a manager begins to work on this store, and return which start it is, from 1.

        Of what only grows the oldest is removed: ``MOST_EVENTS``, ``MOST_JOBS`` that have ended
        and ``MOST_BURIED`` nodes remain.
        """
        with self.transaction() as connection:
            self.changed()
            self.events.prune(MOST_EVENTS)
            self.jobs.prune(MOST_JOBS)
            self.machine_jobs.prune()
            self.buried.prune(MOST_BURIED)
            return rows.new_id(
                connection.execute(insert(schema.starts).values(at=rows.naive(now))).inserted_primary_key
            )

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
