"""Looks at a cluster: the record, the cloud, and every agent at once, with one deadline."""

from collections.abc import Mapping
from dataclasses import dataclass

from conpaassql.cluster.facts import Facts, Seen, Sight
from conpaassql.errors import ProviderError
from conpaassql.manager.context import Manager
from conpaassql.manager.store import Snapshot
from conpaassql.model import Goal, Node, Vm, VmState
from conpaassql.protocol import AgentFacts

CLOUD_MEMORY_S = 2.0  # how old the cloud's list may be while nothing is being made or removed
CHANGE_MEMORY_S = 0.5  # and while something is

_BY_STATE: Mapping[VmState, Seen] = {
    VmState.FAILED: Seen.FAILED,
    VmState.STOPPED: Seen.OFF,
    VmState.DELETING: Seen.DELETING,
}


def look(manager: Manager, cluster_id: int) -> Facts:
    """Return what is to be seen of a cluster now, and remember it as the last look.

    Raises:
        NotFound: there is no such cluster.
        Unavailable: the store does not answer.
    """
    record = manager.store.record(cluster_id)
    cloud = _cloud(manager, record)
    vms = cloud.vms
    known = _vms(manager, record, vms)
    taken = {node.id for node in record.nodes if vms and node.name in vms and node.id not in known}
    addresses = {i: vm.address for i, vm in known.items() if vm.address and i in record.joined}
    answers = {i: facts for i, facts in manager.agents.facts(addresses).items() if facts.node == i}
    sights = tuple(
        Sight(
            node=node,
            joined=node.id in record.joined,
            seen=Seen.TAKEN
            if node.id in taken
            else _seen(known.get(node.id), answers.get(node.id), node.id in record.joined, vms is not None),
            vm=known.get(node.id),
            agent=answers.get(node.id),
            refusal=manager.looks.refusal(node.id),
            keeps_disk=cloud.keeps_disks,
        )
        for node in record.nodes
    )
    facts = Facts(
        cluster=record.cluster,
        initialised=record.initialised,
        nodes=sights,
        jobs=record.jobs,
        at=manager.now(),
        strays=_strays(manager, vms),
        silence=cloud.silence,
    )
    manager.looks.put(facts)
    return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cloud:
    """What a cluster's cloud showed; ``vms`` is None when it did not answer, and ``silence`` says why."""

    vms: Mapping[str, Vm] | None = None
    silence: str = ""
    keeps_disks: bool = False


def _cloud(manager: Manager, record: Snapshot) -> _Cloud:
    """Look at the cluster's cloud; one whose login cannot be read is as silent as one that does not answer."""
    try:
        provider = manager.providers.of(record.cluster)
    except ProviderError as exc:
        return _Cloud(silence=exc.says)
    vms = provider.view(_memory_s(record))
    return _Cloud(
        vms=vms,
        silence=provider.silence if vms is None else "",
        keeps_disks=provider.keeps_disks and manager.settings.template.data_disk_size > 0,
    )


def _memory_s(record: Snapshot) -> float:
    """How old the cloud's list may be for a look at this cluster."""
    changing = any(node.goal is Goal.ABSENT or node.id not in record.joined for node in record.nodes)
    return CHANGE_MEMORY_S if changing else CLOUD_MEMORY_S


def _strays(manager: Manager, vms: Mapping[str, Vm] | None) -> tuple[Vm, ...]:
    """VMs of removed nodes: a creation whose answer was lost may have come about after all.

    Only those that are on record as removed: what nobody knows of may be adopted (see ``adopt``).
    """
    on_record = {node.name for found in manager.store.records().values() for node in found.nodes}
    unknown = {name: vm for name, vm in (vms or {}).items() if "node" in vm.tags and name not in on_record}
    if not unknown:
        return ()
    gone = manager.store.buried.among(unknown)
    found = (vm for name, vm in unknown.items() if (name, vm.tags.get("group", "")) in gone)
    return tuple(vm for vm in found if vm.state is not VmState.DELETING)


def _vms(manager: Manager, record: Snapshot, vms: Mapping[str, Vm] | None) -> Mapping[int, Vm]:
    """The VMs by node; while the cloud is silent, those of the last look.

    A name is not enough: after a lost store, or beside a manager of the same name, a VM of the name
    may be another's.  The group is drawn at random for each call that adds nodes.
    """
    if vms is not None:
        return {node.id: vms[node.name] for node in record.nodes if node.name in vms and _is_of(vms[node.name], node)}
    last = manager.looks.get(record.cluster.id)
    return {sight.id: sight.vm for sight in last.nodes if sight.vm} if last else {}


def _is_of(vm: Vm, node: Node) -> bool:
    return (vm.tags.get("node"), vm.tags.get("group")) == (str(node.id), node.group)


def _seen(vm: Vm | None, agent: AgentFacts | None, joined: bool, cloud_answers: bool) -> Seen:
    """Where a node stands, by the cloud's word and its agent's."""
    if agent is not None:
        return Seen.ALIVE
    if vm is None:
        return (Seen.GONE if joined else Seen.UNSEEN) if cloud_answers else Seen.BLIND
    if vm.state in _BY_STATE:
        return _BY_STATE[vm.state]
    return Seen.SILENT if joined else Seen.BOOTING
