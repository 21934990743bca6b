"""What users see of machines and of the jobs at providers."""

from collections.abc import Mapping
from typing import Any

from conpaassql.errors import IaasError
from conpaassql.manager import turns
from conpaassql.manager.context import Manager
from conpaassql.model import JobState, Vm
from conpaassql.model_cloud import Filters, Machine, MachineGoal, MachineJob, Phase, vm_name
from conpaassql.params_cloud import Properties

MEMORY_S = 2.0  # how old the cloud's list may be

_OF_GOAL: Mapping[MachineGoal, str] = {
    MachineGoal.CREATING: "CREATING",
    MachineGoal.DESTROYING: "REMOVING",
    MachineGoal.LEFT: "LEFTOVER",
}


def machines(
    manager: Manager, *, provider_id: str, skip_store: bool, generic_filters: Filters, meta_filters: dict[str, str]
) -> dict[str, Any]:
    """Return a provider's machines: those on record, or with ``skip_store`` those that the cloud has.

    Raises:
        UnknownProvider: there is no such provider.
        IaasError: ``skip_store``, and the cloud does not answer.
    """
    provider = manager.providers.get(provider_id)
    vms = provider.view(0.0 if skip_store else MEMORY_S)
    if skip_store:
        if vms is None:
            raise IaasError(f"Provider {provider_id} does not list its machines; try again.", provider=provider_id)
        shown = [_of_cloud(provider_id, vm) for vm in vms.values() if "machine" in vm.tags]
    else:
        recorded = [machine for machine in manager.store.machines.list(provider_id) if machine.stored]
        shown = [_of_record(machine, vms) for machine in recorded]
    return {"machines": [one for one in shown if _fits(one, generic_filters, meta_filters)]}


def _of_cloud(provider: str, vm: Vm) -> dict[str, Any]:
    return {
        "uuid": vm.tags["machine"],
        "provider_id": provider,
        "name": vm.name,
        "vm_id": vm.id,
        "state": vm.state.upper(),
        "av_zone": vm.zone,
        "addresses": [vm.address] if vm.address else [],
        "public_address": vm.public_address,
        "meta": dict(turns.meta_of(vm)),
        "says": vm.message,
        "created_at": None,
    }


def _of_record(machine: Machine, vms: Mapping[str, Vm] | None) -> dict[str, Any]:
    """Return what the record and the cloud say together; while the cloud is silent, what it said last."""
    vm = vms.get(machine.name) if vms is not None else None
    if vm is not None and vm.tags.get("machine") == machine.uuid:
        shown = _of_cloud(machine.provider, vm)
    else:
        shown = {
            "uuid": machine.uuid,
            "provider_id": machine.provider,
            "name": machine.name,
            "vm_id": None,
            "state": "UNKNOWN" if vms is None else "LOST",
            "av_zone": machine.zone,
            "addresses": list(machine.addresses),
            "public_address": machine.public_address or None,
            "meta": {},
            "says": "" if vms is None else "The cloud has no such VM.",
        }
    state = _OF_GOAL.get(machine.goal, shown["state"])
    return {**shown, "state": state, "created_at": machine.created_at.isoformat()}


def _fits(shown: Mapping[str, Any], generic: Filters, meta: Mapping[str, str]) -> bool:
    return all(_has(shown, key, str(value)) for key, value in generic) and meta.items() <= shown["meta"].items()


def _has(shown: Mapping[str, Any], key: str, value: Properties) -> bool:
    match key:
        case "address":
            return value in (*shown["addresses"], shown["public_address"])
        case "zone":
            return value in (shown["av_zone"], shown["av_zone"].partition(":")[0])
        case "id":
            return bool(value == shown["vm_id"])
        case "state":
            return bool(str(value).upper() == shown["state"])
    return bool(value == shown[key])


def jobs(manager: Manager, provider: str) -> dict[str, Any]:
    """Return the newest thousand jobs at a provider, oldest first.

    Raises:
        UnknownProvider: there is no such provider.
    """
    manager.providers.get(provider)
    return {"jobs": [job_info(manager, job) for job in manager.store.machine_jobs.list(provider)]}


def job_info(manager: Manager, job: MachineJob) -> dict[str, Any]:
    """Return a job as users see it, with the keys that the jobs of clusters have and more."""
    running = job.state is JobState.RUNNING
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "nodes": [],
        "provider_id": job.provider,
        "machines": list(job.result) or [_wished(uuid) for uuid in job.machines],
        "leftovers": list(job.leftovers),
        "undoing": running and job.phase is Phase.UNDOING,
        "progress": manager.provision.progress(job.id) if running else 1.0,
        "code": job.code,
        "says": job.says or manager.provision.trouble(job.id),
        "created_at": job.created_at.isoformat(),
        "deadline_at": job.deadline_at.isoformat(),
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
    }


def _wished(uuid: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": vm_name(uuid),
        "vm_id": None,
        "state": "PENDING",
        "av_zone": "",
        "addresses": [],
        "public_address": None,
    }
