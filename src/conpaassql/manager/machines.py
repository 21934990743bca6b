"""What administrators ask about machines and their snapshots: checked, written as a job, answered.

The answer comes at once, with the job's number.  A call that is ``synchronous`` then waits for the
job, in its own thread and for 30 seconds at most; if the job still runs then, or very many calls
wait already, the answer says so (its state is "running"), and get_job tells how it goes on.
"""

import secrets
import uuid as uuids
from dataclasses import dataclass, field
from datetime import timedelta

from conpaassql.errors import Detail, Error, IaasError, Invalid, MachineError, UnknownMachine, Unsupported, tree
from conpaassql.manager import machine_queries, turns
from conpaassql.manager.context import Manager
from conpaassql.manager.provision import seal_order
from conpaassql.manager.wishes import Accepted
from conpaassql.model import JobState
from conpaassql.model_cloud import (
    DEFAULT_PROVIDER,
    Filters,
    Machine,
    MachineGoal,
    MachineJob,
    MachineJobKind,
    Order,
)
from conpaassql.offers import BlockDevice, Extras, Nic


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """What ``machine_create`` takes; see the catalog."""

    provider_id: str
    image: Filters
    flavor: Filters
    number_machines: int
    availability_zone: str
    key_name: str
    security_groups: tuple[str, ...]
    private_network: str
    public_network: str
    userdata: str = field(repr=False)
    swap: int
    block_device: tuple[BlockDevice, ...]
    scheduler_hints: dict[str, str]
    private_nics: tuple[Nic, ...]
    public_nics: tuple[Nic, ...]
    meta: dict[str, str]
    files: dict[str, str] = field(repr=False)
    skip_store: bool
    wait_spawning: bool
    synchronous: bool


def create(manager: Manager, asked: Create) -> Accepted:
    """Wish for machines, all or none; the answer names them.

    Raises:
        UnknownProvider: there is no such provider.
        Invalid: options exclude each other, or too many machines.
        MachineError: (``synchronous``) they could not be made; none is left.
    """
    _check(manager, asked)
    provider = manager.providers.get(asked.provider_id)
    order = Order(
        image=asked.image,
        flavor=asked.flavor,
        network=asked.private_network or _network(manager, asked),
        extras=_extras(asked),
        wait=asked.wait_spawning,
        skip_store=asked.skip_store,
    )
    names = tuple(str(uuids.uuid4()) for _ in range(asked.number_machines))
    within_s = manager.settings.manager.add_nodes_deadline_s
    with manager.store.transaction():
        _known(manager, provider.name)
        job = _job(manager, provider.name, MachineJobKind.CREATE, names, order, within_s)
        for name in names:
            manager.store.machines.add(
                Machine(
                    uuid=name,
                    provider=provider.name,
                    group=job.group,
                    goal=MachineGoal.CREATING,
                    stored=not asked.skip_store,
                    created_at=job.created_at,
                )
            )
    return _answer(manager, job, synchronous=asked.synchronous)


def _check(manager: Manager, asked: Create) -> None:
    for one, other in (("private_network", "private_nics"), ("public_network", "public_nics")):
        if getattr(asked, one) and getattr(asked, other):
            raise Invalid(f"{one} and {other} exclude each other; give one of them.", arguments=[one, other])
    most = manager.settings.manager.max_nodes_per_call
    if asked.number_machines > most:
        raise Invalid(
            f"At most {most} machines can be made by one call; ask for fewer.", number_machines=asked.number_machines
        )


def _network(manager: Manager, asked: Create) -> str:
    ours = asked.provider_id == DEFAULT_PROVIDER and not asked.private_nics
    return manager.settings.template.network_id if ours else ""


def _extras(asked: Create) -> Extras:
    return Extras(
        availability_zone=asked.availability_zone,
        key_name=asked.key_name,
        security_groups=asked.security_groups,
        nics=asked.private_nics,
        public_network=asked.public_network,
        public_nics=asked.public_nics,
        userdata=asked.userdata,
        swap_mib=asked.swap,
        block_devices=asked.block_device,
        hints=asked.scheduler_hints,
        meta=asked.meta,
        files=asked.files,
    )


def destroy(
    manager: Manager, *, provider_id: str, machine_uuid: str, skip_store: bool, force: bool, synchronous: bool
) -> Accepted:
    """Wish a machine away, with its snapshots and its public address.

    With ``force`` its record is removed although the cloud refuses; the job's ``leftovers`` name the
    VM that may still run.

    Raises:
        UnknownMachine: it is not on record (and ``skip_store`` is not said), or not in the cloud.
        MachineError: it belongs to another provider, or a job is busy with it.
    """
    order = Order(force=force, skip_store=skip_store)
    within_s = manager.settings.manager.remove_nodes_deadline_s
    with manager.store.transaction():
        machine = _checked(manager, provider_id, machine_uuid, skip_store=skip_store)
        job = _job(manager, provider_id, MachineJobKind.DESTROY, (machine_uuid,), order, within_s)
        if machine is not None and machine.goal is MachineGoal.PRESENT:
            manager.store.machines.change(machine_uuid, goal=MachineGoal.DESTROYING)
    return _answer(manager, job, synchronous=synchronous)


def snapshot(
    manager: Manager,
    *,
    provider_id: str,
    machine_uuid: str,
    skip_store: bool,
    wait_spawning: bool,
    synchronous: bool,
) -> Accepted:
    """Wish for an image of a machine; errors as ``destroy``, and Unsupported where the cloud makes none."""
    turns.able_to_snapshot(manager.providers.get(provider_id))
    order = Order(wait=wait_spawning, skip_store=skip_store)
    within_s = manager.settings.manager.add_nodes_deadline_s
    with manager.store.transaction():
        _checked(manager, provider_id, machine_uuid, skip_store=skip_store)
        job = _job(manager, provider_id, MachineJobKind.SNAPSHOT, (machine_uuid,), order, within_s)
    return _answer(manager, job, synchronous=synchronous)


def unsnapshot(
    manager: Manager, *, provider_id: str, machine_uuid: str, skip_store: bool, synchronous: bool
) -> Accepted:
    """Wish all snapshots of a machine away; errors as ``snapshot``."""
    turns.able_to_snapshot(manager.providers.get(provider_id))
    within_s = manager.settings.manager.remove_nodes_deadline_s
    with manager.store.transaction():
        _checked(manager, provider_id, machine_uuid, skip_store=skip_store)
        order = Order(skip_store=skip_store)
        job = _job(manager, provider_id, MachineJobKind.UNSNAPSHOT, (machine_uuid,), order, within_s)
    return _answer(manager, job, synchronous=synchronous)


def _checked(manager: Manager, provider: str, uuid: str, *, skip_store: bool) -> Machine | None:
    """Return the record of a machine that a job may be begun for; None: there is none, and none is needed."""
    _known(manager, provider)
    machine = manager.store.machines.find(uuid)
    if machine is not None and machine.provider != provider:
        raise MachineError(f"Machine {uuid} belongs to provider {machine.provider}, not {provider}.", machine=uuid)
    for job in manager.store.machine_jobs.list(provider, running=True):
        if uuid in job.machines:
            raise MachineError(f"Job {job.id} ({job.kind}) is busy with machine {uuid}; wait for its end.", job=job.id)
    if machine is None and not skip_store:
        raise UnknownMachine(
            f"There is no machine {uuid} on record; machine_list shows those that are, "
            "skip_store=true does without a record.",
            machine=uuid,
        )
    return machine


def _known(manager: Manager, provider: str) -> None:
    """Refuse a provider that was unregistered meanwhile (inside the transaction)."""
    if provider != DEFAULT_PROVIDER:
        manager.store.providers.get(provider)


def _job(
    manager: Manager, provider: str, kind: MachineJobKind, machines: tuple[str, ...], order: Order, within_s: float
) -> MachineJob:
    group, now = secrets.token_hex(16), manager.now()
    job = manager.store.machine_jobs.add(
        MachineJob(
            id=0,
            provider=provider,
            kind=kind,
            group=group,
            machines=machines,
            sealed=seal_order(manager, group, order),
            created_at=now,
            deadline_at=now + timedelta(seconds=within_s),
        )
    )
    shown = machines[0] if len(machines) == 1 else f"{len(machines)} machines"
    manager.provider_event(provider, f"job-{kind}", f"Job {job.id} was asked for: {shown}.")
    return job


def _answer(manager: Manager, job: MachineJob, *, synchronous: bool) -> Accepted:
    """Wake the worker, and answer; after the job's end when that comes in time and is waited for."""
    manager.provision.wake(job.provider)
    if synchronous:
        manager.provision.wait(job.id)
        job = manager.store.machine_jobs.find(job.id) or job
    if job.state is JobState.FAILED:
        raise _error(job)
    shown = machine_queries.job_info(manager, job)
    return Accepted({"job": shown, "machines": shown["machines"]}, job.id)


def _error(job: MachineJob) -> Error:
    """Return a failed job as an error: what concerns the machine as it is, the rest as a MachineError."""
    kind = tree().get(job.code, MachineError)
    facts: dict[str, Detail] = {"job": job.id, "cause": job.code, "leftovers": list(job.leftovers)}
    if issubclass(kind, MachineError | Unsupported):
        return kind(job.says, **facts)
    says = f"The provider failed: {job.says}" if issubclass(kind, IaasError) else job.says
    return MachineError(says, **facts)
