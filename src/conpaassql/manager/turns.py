"""What one turn of a job at a provider does: look, do what is missing, say when it has ended.

Every turn starts from what the cloud lists, so that a job that was cut off anywhere is simply gone
on with.  Before anything is asked of the cloud the store says so (``Phase``); VMs and snapshots
have their names before they exist, and drivers make none twice.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from conpaassql.errors import Error, IaasRefused, MachineError, UnknownMachine, Unsupported
from conpaassql.iaas import Catalog, Driver, PublicAddresses, Snapshots
from conpaassql.manager import choice
from conpaassql.manager.provider import Provider
from conpaassql.model import Flavor, JobState, Vm, VmSpec, VmState
from conpaassql.model_cloud import (
    DEFAULT_PROVIDER,
    MachineJob,
    MachineJobKind,
    Order,
    Phase,
    vm_name,
)
from conpaassql.offers import Snapshot, SnapshotState

MOST_PER_TURN = 8  # creations, so that other jobs at the provider get their turns
BROKEN = (VmState.FAILED, VmState.STOPPED, VmState.DELETING)
Vms = Mapping[str, Vm]  # by name


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a job ended.  ``result`` are facts about its machines, ``leftovers`` what may still be in the cloud."""

    state: JobState = JobState.DONE
    code: str = ""
    says: str = ""
    result: tuple[Mapping[str, object], ...] = ()
    leftovers: tuple[str, ...] = ()


class Work(Protocol):
    """What a turn may use."""

    @property
    def provider(self) -> Provider:
        """The provider."""

    @property
    def owner(self) -> str:
        """This manager's name."""

    @property
    def base(self) -> Flavor:
        """What a size is where nobody says more."""

    def act(self, code: str, says: str, change: Callable[[], object]) -> None:
        """Change something in the cloud, and write an event when it is done."""

    def ask(self, name: str, code: str, says: str, change: Callable[[], object]) -> None:
        """As ``act``, for what makes something of that name; not again while it may only be listed late."""

    def begin(self, job: MachineJob, order: Order) -> None:
        """Write down that the job goes on to DOING, with what was chosen."""

    def settled(self) -> bool:
        """Whether nothing can appear any more of what the cloud was asked for and has not listed yet."""

    def recorded(self, uuid: str) -> bool:
        """Whether there is a record of a machine."""


def create(work: Work, job: MachineJob, order: Order, vms: Vms) -> End | None:
    """Make the machines that are missing, one after the other; then wait until they run, if that is wished."""
    if job.phase is Phase.CHOOSING:
        work.begin(job, _chosen(work.provider, order, work.base))
        return None
    missing = [uuid for uuid in job.machines if vm_name(uuid) not in vms]
    for uuid in missing[:MOST_PER_TURN]:
        spec = _spec(work, job, order, uuid)
        says = f"VM {spec.name} was asked for."
        work.ask(spec.name, "machine-create", says, partial(work.provider.driver.create, spec))
    if missing:
        return None
    found = [vms[vm_name(uuid)] for uuid in job.machines]
    _check_up(found)
    # A public address goes to a VM that has booted, whether or not the user waits for that.
    if (order.wait or order.extras.public_network) and any(vm.state is not VmState.RUNNING for vm in found):
        return None
    if _assign(work, order, found):
        return None
    return End(result=tuple(_facts(uuid, vm) for uuid, vm in zip(job.machines, found, strict=True)))


def _chosen(provider: Provider, order: Order, base: Flavor) -> Order:
    """Return the order with image and size chosen, once for all machines and for all later turns."""
    driver, defaults, ours = provider.driver, provider.defaults, provider.name == DEFAULT_PROVIDER
    if not isinstance(driver, Catalog):
        size = choice.unseen(order.flavor, defaults.flavor, base)
        return replace(
            order, image_id=choice.named(order.image, defaults.image), flavor_id=size.flavor_id, size=size.free
        )
    image = choice.image(driver.images(), order.image, defaults.image)
    offered = driver.flavors()
    if ours and not offered and not order.flavor:
        return replace(order, image_id=image, size=base)
    size = choice.flavor(offered, order.flavor, defaults.flavor, base)
    return replace(order, image_id=image, flavor_id=size.flavor_id, size=size.free)


def _spec(work: Work, job: MachineJob, order: Order, uuid: str) -> VmSpec:
    meta = order.extras.meta
    return VmSpec(
        name=vm_name(uuid),
        flavor=order.size,
        tags={
            "manager": work.owner,
            "provider": job.provider,
            "machine": uuid,
            "group": job.group,
            **({"meta": json.dumps(dict(meta), sort_keys=True)} if meta else {}),
        },
        context={},
        template="",
        image=order.image_id,
        network=order.network,
        flavor_id=order.flavor_id,
        extras=order.extras,
    )


def meta_of(vm: Vm) -> Mapping[str, str]:
    """Return what the user gave to keep with a machine."""
    try:
        found = json.loads(vm.tags.get("meta", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _check_up(found: Iterable[Vm]) -> None:
    for vm in found:
        if vm.state in BROKEN:
            why = f": {vm.message.rstrip('.')}" if vm.message else ""
            raise MachineError(f"The VM {vm.name} did not come up, it is {vm.state}{why}.", vm=vm.id)


def _assign(work: Work, order: Order, found: Iterable[Vm]) -> bool:
    """Give public addresses to those that have none; whether there was anything to do."""
    pool, driver = order.extras.public_network, work.provider.driver
    if not pool or not isinstance(driver, PublicAddresses):
        return False
    without = [vm for vm in found if not vm.public_address]
    for vm in without:
        says = f"VM {vm.name} was given a public address of {pool}."
        work.act("address-assign", says, partial(driver.assign, vm.id, pool))
    return bool(without)


def _facts(uuid: str, vm: Vm) -> dict[str, object]:
    return {
        "uuid": uuid,
        "name": vm.name,
        "vm_id": vm.id,
        "state": vm.state.upper(),
        "av_zone": vm.zone,
        "addresses": [vm.address] if vm.address else [],
        "public_address": vm.public_address,
    }


def undo_create(work: Work, job: MachineJob, _order: Order, vms: Vms) -> End | None:
    """Remove every VM of the group; one that cannot be removed does not keep the others."""
    group = of_group(job, vms)
    if not group:
        return End(state=JobState.FAILED, code=job.code, says=job.says) if work.settled() else None
    _each(partial(_remove, work, vm) for vm in group if vm.state is not VmState.DELETING)
    return None


def of_group(job: MachineJob, vms: Vms) -> list[Vm]:
    """Return the VMs that a job has made."""
    return [vm for vm in vms.values() if vm.tags.get("group") == job.group]


def _remove(work: Work, vm: Vm) -> None:
    """Give the public address back, then remove the VM; also when the address cannot be given back."""
    _each((partial(_release, work, vm), partial(_delete, work, vm)))


def _release(work: Work, vm: Vm) -> None:
    """Give the public address back; also one that the cloud does not show with the VM yet."""
    driver = work.provider.driver
    if not isinstance(driver, PublicAddresses):
        return
    if vm.public_address:
        says = f"The public address {vm.public_address} of VM {vm.name} was given back."
        work.act("address-release", says, partial(driver.release, vm.id))
    else:
        with suppress(IaasRefused):  # who may not even look has taken none
            driver.release(vm.id)


def _delete(work: Work, vm: Vm) -> None:
    says = f"The end of VM {vm.name} (id {vm.id}) was asked for."
    work.act("machine-delete", says, partial(work.provider.driver.delete, vm.id))


def _each(steps: Iterable[Callable[[], None]]) -> None:
    """Do all steps, also after one has failed.

    Raises:
        Error: one failed; of several the first that may pass, so that they are tried again.
    """
    failed: list[Error] = []
    for step in steps:
        try:
            step()
        except Error as exc:
            failed.append(exc)
    if failed:
        raise next((exc for exc in failed if exc.retry), failed[0])


def destroy(work: Work, job: MachineJob, order: Order, vms: Vms) -> End | None:
    """Remove the machine's snapshots, give its public address back, remove the machine, see it gone."""
    uuid, vm = job.machines[0], _vm(job, vms)
    if job.phase is Phase.CHOOSING:
        if vm is None and not (order.force and work.recorded(uuid)):
            more = "; force=true removes the record" if work.recorded(uuid) else ""
            raise UnknownMachine(f"Provider {job.provider} has no VM of machine {uuid}{more}.", machine=uuid)
        work.begin(job, order)
        return None
    if order.force:
        return _destroy_by_force(work, job, vm)
    if snapshots := _snapshots(work, uuid):
        _delete_snapshots(work, snapshots)
    elif vm is not None and vm.state is not VmState.DELETING:
        _release(work, vm)  # the VM stays while its address cannot be given back
        _delete(work, vm)
    elif vm is None:
        return End(result=({"uuid": uuid, "name": vm_name(uuid)},))
    return None


def _destroy_by_force(work: Work, job: MachineJob, vm: Vm | None) -> End | None:
    """Try everything; wait for the VM's end while that is under way, then tell what failed."""
    uuid = job.machines[0]
    failed: list[Error] = []
    try:
        if snapshots := _snapshots(work, uuid):
            _delete_snapshots(work, snapshots)
    except Error as exc:
        snapshots = []
        failed.append(exc)
    if vm is not None:
        if vm.state is not VmState.DELETING:
            _remove(work, vm)
        return None
    if failed:
        raise failed[0]
    return None if snapshots else End(result=({"uuid": uuid, "name": vm_name(uuid)},))


def _vm(job: MachineJob, vms: Vms) -> Vm | None:
    """The VM of the job's machine; a name alone is not enough, as anybody may name a VM so."""
    vm = vms.get(vm_name(job.machines[0]))
    return vm if vm is not None and vm.tags.get("machine") == job.machines[0] else None


def _snapshots(work: Work, uuid: str) -> list[Snapshot]:
    driver = work.provider.driver
    found = driver.snapshots() if isinstance(driver, Snapshots) else ()
    return [snapshot for snapshot in found if snapshot.vm == vm_name(uuid)]


def _delete_snapshots(work: Work, snapshots: Iterable[Snapshot]) -> None:
    driver = able_to_snapshot(work.provider)
    for_each = (
        partial(
            work.act,
            "snapshot-delete",
            f"The end of snapshot {one.name} (id {one.id}) was asked for.",
            partial(driver.delete_snapshot, one.id),
        )
        for one in snapshots
    )
    _each(for_each)


def able_to_snapshot(provider: Provider) -> Snapshots:
    """Return the driver as one that makes snapshots.

    Raises:
        Unsupported: it does not.
    """
    driver: Driver = provider.driver
    if not isinstance(driver, Snapshots):
        raise Unsupported(f"Provider {provider.name} cannot make snapshots.", provider=provider.name)
    return driver


def snapshot(work: Work, job: MachineJob, order: Order, vms: Vms) -> End | None:
    """Make the snapshot, and wait until it can be used, if that is wished."""
    uuid, vm, driver = job.machines[0], _vm(job, vms), able_to_snapshot(work.provider)
    if job.phase is Phase.CHOOSING:
        if vm is None:
            raise UnknownMachine(f"Provider {job.provider} has no VM of machine {uuid}.", machine=uuid)
        work.begin(job, order)
        return None
    made = _made(work, job)
    if made is None:
        if vm is None:
            raise MachineError(f"The VM of machine {uuid} is gone; no snapshot was made.", machine=uuid)
        name = snapshot_name(job)
        says = f"Snapshot {name} was asked for."
        work.ask(name, "snapshot-create", says, lambda: driver.snapshot(vm.id, name))
        return None
    if made.state is SnapshotState.FAILED:
        raise MachineError(f"The snapshot {made.name} failed: {made.message.rstrip('.')}.", snapshot=made.id)
    if order.wait and made.state is not SnapshotState.READY:
        return None
    facts = {"uuid": uuid, "snapshot": made.name, "snapshot_id": made.id, "state": made.state.upper()}
    return End(result=(facts,))


def names(job: MachineJob) -> Sequence[str]:
    """Return the names of all that a job makes."""
    return [snapshot_name(job)] if job.kind is MachineJobKind.SNAPSHOT else [vm_name(uuid) for uuid in job.machines]


def snapshot_name(job: MachineJob) -> str:
    """Return the name of the snapshot that a job makes: microseconds, so that two of a machine never have one name."""
    return f"snapshot-{job.machines[0]}-{int(job.created_at.timestamp() * 1_000_000)}"


def _made(work: Work, job: MachineJob) -> Snapshot | None:
    found = able_to_snapshot(work.provider).snapshots()
    return next((one for one in found if one.name == snapshot_name(job)), None)


def undo_snapshot(work: Work, job: MachineJob, _order: Order, _vms: Vms) -> End | None:
    """Remove what was made of the snapshot."""
    made = _made(work, job)
    if made is None:
        return End(state=JobState.FAILED, code=job.code, says=job.says) if work.settled() else None
    _delete_snapshots(work, [made])
    return None


def unsnapshot(work: Work, job: MachineJob, order: Order, vms: Vms) -> End | None:
    """Remove all snapshots of the machine, whether or not the machine is still there."""
    uuid = job.machines[0]
    found = _snapshots(work, uuid)
    if job.phase is Phase.CHOOSING:
        if not found and _vm(job, vms) is None and not work.recorded(uuid):
            raise UnknownMachine(f"Provider {job.provider} has no machine {uuid} and no snapshot of it.", machine=uuid)
        work.begin(job, order)
        return None
    if not found:
        return End(result=({"uuid": uuid, "name": vm_name(uuid)},))
    _delete_snapshots(work, found)
    return None


Turn = Callable[[Work, MachineJob, Order, Vms], End | None]
TURNS: Mapping[MachineJobKind, Turn] = {
    MachineJobKind.CREATE: create,
    MachineJobKind.DESTROY: destroy,
    MachineJobKind.SNAPSHOT: snapshot,
    MachineJobKind.UNSNAPSHOT: unsnapshot,
}
UNDOINGS: Mapping[MachineJobKind, Turn] = {
    MachineJobKind.CREATE: undo_create,
    MachineJobKind.SNAPSHOT: undo_snapshot,
}
