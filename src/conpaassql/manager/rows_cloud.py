"""The rows about clouds as values: providers, machines, and the jobs at a provider.

Every method is one transaction, or joins the one that its thread has begun.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, delete, insert, select, update

from conpaassql.errors import ProviderError, UnknownProvider
from conpaassql.manager import schema
from conpaassql.manager.rows import Transactions, aware, naive, new_id
from conpaassql.model import JobState
from conpaassql.model_cloud import Machine, MachineGoal, MachineJob, MachineJobKind, Phase, ProviderRecord

NO_CLUSTER = 0


class Providers:
    """The providers that were registered; the section [iaas] is not among them."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    def list(self) -> list[ProviderRecord]:
        """Return every registered provider, by name."""
        with self._store.reading() as connection:
            query = select(schema.providers).order_by(schema.providers.c.name)
            return [_provider(row) for row in connection.execute(query)]

    def get(self, name: str) -> ProviderRecord:
        """Return one provider.

        Raises:
            UnknownProvider: there is none of the name.
        """
        with self._store.reading() as connection:
            query = select(schema.providers).where(schema.providers.c.name == name)
            row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownProvider(f"There is no provider {name}; provider_list shows those that are.", provider=name)
        return _provider(row)

    def add(self, new: ProviderRecord) -> None:
        """Record a provider.

        Raises:
            ProviderError: the name is taken.
        """
        with self._store.transaction() as connection:
            if any(known.name == new.name for known in self.list()):
                says = f"There is a provider {new.name} already; unregister it first, or choose another name."
                raise ProviderError(says, provider=new.name)
            self._store.changed()
            values = {
                "name": new.name,
                "type": new.type,
                "username": new.username,
                "url": new.url,
                "tenant": new.tenant,
                "default_image": new.default_image,
                "default_flavor": new.default_flavor,
                "sealed": new.sealed,
                "created_at": naive(new.created_at),
            }
            connection.execute(insert(schema.providers).values(values))

    def change(self, name: str, **fields: Any) -> None:
        """Change fields of the record."""
        with self._store.transaction() as connection:
            self._store.changed()
            connection.execute(update(schema.providers).where(schema.providers.c.name == name).values(fields))

    def remove(self, name: str) -> None:
        """Remove the record of a provider that nothing uses."""
        with self._store.transaction() as connection:
            self._store.changed()
            connection.execute(delete(schema.providers).where(schema.providers.c.name == name))


class Machines:
    """The machines on record."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    def add(self, new: Machine) -> None:
        """Record a wished machine."""
        with self._store.transaction() as connection:
            self._store.changed()
            values = {
                "uuid": new.uuid,
                "provider": new.provider,
                "group_id": new.group,
                "goal": new.goal,
                "stored": new.stored,
                "zone": new.zone,
                "addresses": ",".join(new.addresses),
                "public_address": new.public_address,
                "created_at": naive(new.created_at),
            }
            connection.execute(insert(schema.machines).values(values))

    def list(self, provider: str) -> list[Machine]:
        """Return a provider's machines, oldest first, also those that are on record only while their job runs."""
        with self._store.reading() as connection:
            table = schema.machines
            query = select(table).where(table.c.provider == provider).order_by(table.c.created_at, table.c.uuid)
            return [_machine(row) for row in connection.execute(query)]

    def find(self, uuid: str) -> Machine | None:
        """Return one machine, of whatever provider."""
        with self._store.reading() as connection:
            row = connection.execute(select(schema.machines).where(schema.machines.c.uuid == uuid)).one_or_none()
        return _machine(row) if row else None

    def change(self, uuid: str, **fields: Any) -> None:
        """Change fields of the record; ``addresses`` as a tuple."""
        if "addresses" in fields:
            fields["addresses"] = ",".join(fields["addresses"])
        with self._store.transaction() as connection:
            self._store.changed()
            connection.execute(update(schema.machines).where(schema.machines.c.uuid == uuid).values(fields))

    def remove(self, uuid: str) -> None:
        """Remove the record of a machine."""
        with self._store.transaction() as connection:
            self._store.changed()
            connection.execute(delete(schema.machines).where(schema.machines.c.uuid == uuid))


class MachineJobs:
    """The jobs at providers.  Their numbers come from the same table as those of clusters' jobs."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    def add(self, new: MachineJob) -> MachineJob:
        """Record a job (its id is ignored) and return it with its id."""
        with self._store.transaction() as connection:
            self._store.changed()
            values = {
                "cluster_id": NO_CLUSTER,
                "kind": new.kind,
                "nodes": "",
                "group_id": new.group,
                "state": new.state,
                "code": new.code,
                "says": new.says,
                "created_at": naive(new.created_at),
                "deadline_at": naive(new.deadline_at),
            }
            job_id = new_id(connection.execute(insert(schema.jobs).values(values)).inserted_primary_key)
            more = {
                "job_id": job_id,
                "provider": new.provider,
                "machines": ",".join(new.machines),
                "phase": new.phase,
                "sealed": new.sealed,
                "result": "[]",
                "leftovers": "",
            }
            connection.execute(insert(schema.machine_jobs).values(more))
            return self._some(_jobs().where(schema.jobs.c.id == job_id))[0]

    def find(self, job_id: int) -> MachineJob | None:
        """Return one job; None when the number is that of a cluster's job, or of none."""
        found = self._some(_jobs().where(schema.jobs.c.id == job_id))
        return found[0] if found else None

    def list(self, provider: str, *, running: bool = False, most: int = 1000) -> list[MachineJob]:
        """Return a provider's jobs, oldest first; with ``running`` only those; at most the newest ``most``."""
        query = _jobs().where(schema.machine_jobs.c.provider == provider)
        if running:
            query = query.where(schema.jobs.c.state == JobState.RUNNING)
        return list(reversed(self._some(query.order_by(schema.jobs.c.id.desc()).limit(most))))

    def busy(self) -> Sequence[str]:
        """Return the names of the providers with running jobs."""
        with self._store.reading() as connection:
            query = _jobs().where(schema.jobs.c.state == JobState.RUNNING)
            return sorted({row.provider for row in connection.execute(query)})

    def change(self, job_id: int, **fields: Any) -> None:
        """Change the phase, the sealed order, or (entering UNDOING) why it fails and until when it is undone."""
        of_all = {name: fields.pop(name) for name in ("code", "says", "deadline_at") if name in fields}
        if "deadline_at" in of_all:
            of_all["deadline_at"] = naive(of_all["deadline_at"])
        with self._store.transaction() as connection:
            self._store.changed()
            if of_all:
                connection.execute(update(schema.jobs).where(schema.jobs.c.id == job_id).values(of_all))
            if fields:
                table = schema.machine_jobs
                connection.execute(update(table).where(table.c.job_id == job_id).values(fields))

    def end(self, ended: MachineJob) -> None:
        """Record how a job ended; its order is forgotten, as it may hold secrets."""
        with self._store.transaction() as connection:
            self._store.changed()
            assert ended.ended_at is not None
            values = {
                "state": ended.state,
                "code": ended.code,
                "says": ended.says,
                "ended_at": naive(ended.ended_at),
            }
            connection.execute(update(schema.jobs).where(schema.jobs.c.id == ended.id).values(values))
            more = {
                "sealed": b"",
                "result": json.dumps(list(ended.result)),
                "leftovers": ",".join(ended.leftovers),
            }
            table = schema.machine_jobs
            connection.execute(update(table).where(table.c.job_id == ended.id).values(more))

    def prune(self) -> None:
        """Remove what belongs to jobs that are no longer in ``jobs``."""
        with self._store.transaction() as connection:
            table = schema.machine_jobs
            connection.execute(delete(table).where(table.c.job_id.not_in(select(schema.jobs.c.id))))

    def _some(self, query: Select[Any]) -> Sequence[MachineJob]:
        with self._store.reading() as connection:
            return [_job(row) for row in connection.execute(query)]


class Buried:
    """Nodes that were removed, by the name and the group of their VMs."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    def add(self, name: str, group: str, now: datetime) -> None:
        """Remember a node; twice is once."""
        with self._store.transaction() as connection:
            self._store.changed()
            table = schema.buried
            connection.execute(delete(table).where(table.c.name == name, table.c.group_id == group))
            connection.execute(insert(table).values(name=name, group_id=group, at=naive(now)))

    def among(self, names: Collection[str]) -> frozenset[tuple[str, str]]:
        """Return name and group of those that have one of ``names``."""
        with self._store.reading() as connection:
            table = schema.buried
            found = connection.execute(select(table.c.name, table.c.group_id).where(table.c.name.in_(names)))
            return frozenset((row.name, row.group_id) for row in found)

    def prune(self, most: int) -> None:
        """Remove all but the newest ``most``."""
        with self._store.transaction() as connection:
            table = schema.buried
            oldest = select(table.c.at).order_by(table.c.at.desc()).offset(most).limit(1).scalar_subquery()
            connection.execute(delete(table).where(table.c.at <= oldest))


def _jobs() -> Select[Any]:
    more = schema.machine_jobs
    wanted = (schema.jobs, more.c.provider, more.c.machines, more.c.phase, more.c.sealed, more.c.result)
    return select(*wanted, more.c.leftovers).join(more, more.c.job_id == schema.jobs.c.id)


def _provider(row: Row[Any]) -> ProviderRecord:
    return ProviderRecord(
        name=row.name,
        type=row.type,
        username=row.username,
        url=row.url,
        tenant=row.tenant,
        default_image=row.default_image,
        default_flavor=row.default_flavor,
        sealed=row.sealed,
        created_at=aware(row.created_at),
    )


def _machine(row: Row[Any]) -> Machine:
    return Machine(
        uuid=row.uuid,
        provider=row.provider,
        group=row.group_id,
        goal=MachineGoal(row.goal),
        stored=row.stored,
        zone=row.zone,
        addresses=_split(row.addresses),
        public_address=row.public_address,
        created_at=aware(row.created_at),
    )


def _job(row: Row[Any]) -> MachineJob:
    return MachineJob(
        id=row.id,
        provider=row.provider,
        kind=MachineJobKind(row.kind),
        group=row.group_id,
        machines=_split(row.machines),
        phase=Phase(row.phase),
        sealed=row.sealed,
        state=JobState(row.state),
        code=row.code,
        says=row.says,
        created_at=aware(row.created_at),
        deadline_at=aware(row.deadline_at),
        ended_at=aware(row.ended_at) if row.ended_at else None,
        result=tuple(json.loads(row.result)),
        leftovers=_split(row.leftovers),
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)
