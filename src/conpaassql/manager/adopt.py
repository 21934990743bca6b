"""Takes over VMs that carry this manager's tag when the store has none: ``find_existing_agents``."""

import logging
from collections.abc import Mapping, Sequence

from conpaassql.errors import Error
from conpaassql.manager.context import Manager
from conpaassql.manager.store import Adopted
from conpaassql.model import Durability, Vm
from conpaassql.protocol import AgentFacts, Data

log = logging.getLogger(__name__)


def adopt(manager: Manager) -> None:
    """Rebuild the record from the VMs' tags and the agents' facts; a store with nodes is left alone.

    The primary is the one node that takes writes in the highest term; where no node takes writes,
    the one that follows nobody.  Without exactly one candidate nothing is opened by itself: the
    nodes are on record, and a person decides.

    Raises:
        Unavailable: the cloud or the store does not answer.
    """
    if any(snapshot.nodes for snapshot in manager.store.records().values()):
        return
    vms = [vm for vm in (manager.provider.view(0.0) or {}).values() if "node" in vm.tags]
    if not vms:
        return
    answers = manager.agents.facts({int(vm.tags["node"]): vm.address for vm in vms if vm.address})
    for cluster in sorted({vm.tags["cluster"] for vm in vms}):
        _adopt_cluster(manager, cluster, [vm for vm in vms if vm.tags["cluster"] == cluster], answers)


def _adopt_cluster(manager: Manager, name: str, vms: Sequence[Vm], answers: Mapping[int, AgentFacts]) -> None:
    with manager.store.transaction():
        known = {cluster.name: cluster.id for cluster in manager.store.clusters.list()}
        cluster_id = known.get(name) or manager.store.clusters.add(name, Durability.LOSSLESS)
        for vm in vms:
            manager.store.nodes.adopt(cluster_id, _node(vm), manager.now())
        found = {int(vm.tags["node"]): answers[int(vm.tags["node"])] for vm in vms if int(vm.tags["node"]) in answers}
        manager.store.clusters.change(
            cluster_id,
            primary_node=primary_of(found),
            initialised=any(facts.data is Data.READY for facts in found.values()),
            # One more than any agent has heard of: what an earlier manager still has on its way is refused.
            term=max((facts.term for facts in found.values()), default=0) + 1,
            acknowledgers=frozenset(i for i, facts in found.items() if facts.mysqld and facts.mysqld.acknowledging),
        )
        manager.event(name, "adopted", f"{len(vms)} VMs that carry this manager's tag were taken over.")
    log.info("cluster %s: %d VMs were taken over", name, len(vms))


def _node(vm: Vm) -> Adopted:
    try:
        return Adopted(
            id=int(vm.tags["node"]), name=vm.name, server_id=int(vm.tags["server_id"]), group=vm.tags["group"]
        )
    except (KeyError, ValueError) as exc:
        raise Error(f"The VM {vm.name} carries tags that are not ours: {exc}; remove it or its tags.") from exc


def primary_of(found: Mapping[int, AgentFacts]) -> int | None:
    """Return the node that must be the primary, or None when the facts do not name exactly one."""
    writers = [i for i, facts in found.items() if facts.mysqld and not facts.mysqld.read_only]
    if len(writers) == 1:
        return writers[0]
    sources = [i for i, facts in found.items() if facts.mysqld and facts.mysqld.replica is None]
    return sources[0] if not writers and len(sources) == 1 else None
