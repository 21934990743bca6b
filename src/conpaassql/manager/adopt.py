"""Takes over VMs that carry this manager's tag when the store has none: ``find_existing_agents``."""

import logging
from collections.abc import Mapping, Sequence

from conpaassql.errors import Conflict, Unavailable
from conpaassql.manager.context import Manager
from conpaassql.manager.rows import Adopted
from conpaassql.model import Durability, Vm
from conpaassql.protocol import AgentFacts, Data

log = logging.getLogger(__name__)


def adopt(manager: Manager) -> None:
    """Put the VMs on record as their tags say; a store that knows nodes is left alone.

    Only the record is made here.  Who the primary is, the loop finds out when every node has
    been heard (``primary-unknown``); until then nothing is opened, initialised or removed.

    Raises:
        Unavailable: the cloud or the store does not answer.
        Conflict: a VM carries tags that are not ours.
    """
    if any(snapshot.nodes for snapshot in manager.store.records().values()):
        return
    found = _everywhere(manager)
    vms = [vm for of_provider in found.values() for vm in of_provider]
    known = {_node(vm).id: vm for vm in vms}
    answers = manager.agents.facts({node: vm.address for node, vm in known.items() if vm.address})
    for provider, of_provider in found.items():
        for cluster in sorted({vm.tags["cluster"] for vm in of_provider}):
            mine = [vm for vm in of_provider if vm.tags["cluster"] == cluster]
            _adopt_cluster(manager, cluster, provider, mine, answers)


def _everywhere(manager: Manager) -> Mapping[str, Sequence[Vm]]:
    """Return the VMs of nodes by provider; one that two providers list, being the same cloud, is of the first."""
    found: dict[str, Sequence[Vm]] = {}
    seen: set[str] = set()
    for name in manager.providers.names():
        view = manager.providers.get(name).view(0.0)
        if view is None:
            raise Unavailable(
                f"Provider {name} does not list its VMs, and find_existing_agents needs them; start again later."
            )
        found[name] = [vm for vm in view.values() if "node" in vm.tags and vm.name not in seen]
        seen.update(vm.name for vm in found[name])
    return found


def _adopt_cluster(
    manager: Manager, name: str, provider: str, vms: Sequence[Vm], answers: Mapping[int, AgentFacts]
) -> None:
    nodes = [_node(vm) for vm in vms]
    found = [answers[node.id] for node in nodes if node.id in answers]
    nothing_yet = len(found) == len(nodes) and all(facts.data is Data.EMPTY for facts in found)
    with manager.store.transaction():
        cluster_id = _cluster(manager, name, provider, vms[0])
        for node in nodes:
            manager.store.nodes.adopt(cluster_id, node, manager.now())
        # Anybody may have confirmed commits, and a node that is silent may hold data: the record must not say less.
        manager.store.clusters.change(
            cluster_id,
            initialised=not nothing_yet,
            term=max((facts.term for facts in found), default=0) + 1,
            acknowledgers=frozenset() if nothing_yet else frozenset(node.id for node in nodes),
        )
        manager.event(name, "adopted", f"{len(vms)} VMs that carry this manager's tag were taken over.")
    log.info("cluster %s: %d VMs were taken over", name, len(vms))


def _cluster(manager: Manager, name: str, provider: str, vm: Vm) -> int:
    """Return the id of the cluster, made anew with its old id, since servers know it as their GTID domain."""
    known = {cluster.name: cluster.id for cluster in manager.store.clusters.list()}
    cluster_id = known.get(name)
    durability = Durability(vm.tags["durability"])
    if cluster_id is None:
        return manager.store.clusters.add(name, durability, int(vm.tags["cluster_id"]), provider)
    manager.store.clusters.change(cluster_id, durability=durability, provider=provider)
    return cluster_id


def _node(vm: Vm) -> Adopted:
    """Read the tags, all that are needed.

    Raises:
        Conflict: one is missing or is no number.
    """
    try:
        int(vm.tags["cluster_id"])
        Durability(vm.tags["durability"])
        return Adopted(
            id=int(vm.tags["node"]), name=vm.name, server_id=int(vm.tags["server_id"]), group=vm.tags["group"]
        )
    except (KeyError, ValueError) as exc:
        raise Conflict(f"The VM {vm.name} carries tags that are not ours ({exc}); remove the VM or its tags.") from exc
