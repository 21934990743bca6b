"""How jobs at providers end: what is said, what may be left, and what becomes of the machines' records."""

from collections.abc import Mapping

from conpaassql.errors import Error, MachineError
from conpaassql.manager.context import Manager
from conpaassql.manager.turns import End, Vms, names
from conpaassql.model import JobState, VmState
from conpaassql.model_cloud import MachineGoal, MachineJob, MachineJobKind, Order, Phase, vm_name

_LATE: Mapping[MachineJobKind, tuple[str, str]] = {  # what was not done, and the option of [manager] for it
    MachineJobKind.CREATE: ("The machines did not all run", "add_nodes_deadline_s"),
    MachineJobKind.DESTROY: ("The machine was not gone", "remove_nodes_deadline_s"),
    MachineJobKind.SNAPSHOT: ("The snapshot was not ready", "add_nodes_deadline_s"),
    MachineJobKind.UNSNAPSHOT: ("The snapshots were not gone", "remove_nodes_deadline_s"),
}


def late(job: MachineJob, vms: Vms) -> MachineError:
    """Return what to say of a job that is not done by its deadline: how the cloud shows its machines."""
    what, option = _LATE[job.kind]
    shown = [vms[vm_name(uuid)] for uuid in job.machines if vm_name(uuid) in vms]
    waiting = [vm for vm in shown if vm.state is not VmState.RUNNING]
    seen = "; ".join(f"{vm.name} is {vm.state}" + (f" ({vm.message})" if vm.message else "") for vm in waiting)
    says = f"{what} in time{f': {seen}' if seen else ''}.  See to it in the cloud, or raise [manager] {option}."
    return MachineError(says, job=job.id)


def given_up(job: MachineJob, order: Order, why: Error, vms: Vms | None) -> End:
    """Return how a job ends that cannot go on."""
    left = _leftovers(job, order, vms)
    if job.kind is MachineJobKind.DESTROY and order.force:
        says = f"The record was removed, but the provider did not do all of its part: {why.says}"
        more = f" {', '.join(left)} may still run there." if left else ""
        return End(code=why.code, says=says + more, result=({"uuid": job.machines[0]},), leftovers=left)
    if job.phase is not Phase.UNDOING:
        return End(state=JobState.FAILED, code=why.code, says=why.says)
    says = f"{job.says.rstrip('.')}.  Not all of it could be undone: {why.says}"
    says += f"  May still be there: {', '.join(left)}; remove them by the cloud's own tools." if left else ""
    return End(state=JobState.FAILED, code=job.code, says=says, leftovers=left)


def _leftovers(job: MachineJob, order: Order, vms: Vms | None) -> tuple[str, ...]:
    """Return the names of what may still be in the cloud; everything, when the cloud does not list it."""
    if job.kind is MachineJobKind.SNAPSHOT:
        return tuple(names(job))
    return tuple(name for name in names(job) if vms is None or name in vms)


def settle(manager: Manager, job: MachineJob) -> None:
    """Change the records of the machines as the job's end says (inside its transaction)."""
    facts: Mapping[object, Mapping[str, object]] = {found["uuid"]: found for found in job.result}
    for uuid in job.machines:
        machine = manager.store.machines.find(uuid)
        if machine is None:
            continue
        if job.kind is MachineJobKind.CREATE:
            _settle_created(manager, job, machine.stored, uuid, facts.get(uuid))
        elif job.kind is MachineJobKind.DESTROY and job.state is JobState.DONE:
            manager.store.machines.remove(uuid)
        elif job.kind is MachineJobKind.DESTROY and machine.goal is MachineGoal.DESTROYING:
            manager.store.machines.change(uuid, goal=MachineGoal.PRESENT)


def _settle_created(
    manager: Manager, job: MachineJob, stored: bool, uuid: str, facts: Mapping[str, object] | None
) -> None:
    if not stored or (job.state is JobState.FAILED and vm_name(uuid) not in job.leftovers):
        manager.store.machines.remove(uuid)
    elif facts is None:
        manager.store.machines.change(uuid, goal=MachineGoal.LEFT)
    else:
        manager.store.machines.change(
            uuid,
            goal=MachineGoal.PRESENT,
            zone=facts["av_zone"],
            addresses=facts["addresses"],
            public_address=facts["public_address"] or "",
        )
