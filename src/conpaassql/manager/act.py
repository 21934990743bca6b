"""Performs steps: one short function each, safe to repeat."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from conpaassql import protocol, render
from conpaassql.cluster import steps
from conpaassql.cluster.facts import Facts, Sight
from conpaassql.cluster.steps import Step
from conpaassql.errors import AgentError, Error
from conpaassql.manager import choice, vms
from conpaassql.manager.context import Manager
from conpaassql.pki import Identity
from conpaassql.protocol import Order

CLOSE_TIMEOUT_S = 3.0
ROLE_VERBS = frozenset({"initialise", "start", "stop", "follow", "open", "close", "semi_sync"})


def perform(manager: Manager, facts: Facts, step: Step) -> None:
    """Do one step on the strength of ``facts``.

    Raises:
        Error: it could not be done now; the next look decides anew.
    """
    PERFORMERS[type(step)](manager, facts, step)


def _forget(manager: Manager, facts: Facts, step: steps.Forget) -> None:
    """Withdraw the replica account where a primary can be told, then remove the node's disk, then the record."""
    primary = facts.primary
    if primary and primary.open:
        _order(manager, primary, "revoke", protocol.Revoke(term=facts.cluster.term, name=account_name(step.node)))
    sight = facts.by_id[step.node]
    if sight.keeps_disk:
        manager.providers.of(facts.cluster).delete_data_disk(sight.node.name)
    with manager.store.transaction():
        record = manager.store.snapshot(facts.cluster.id).cluster.acknowledgers
        manager.store.clusters.change(facts.cluster.id, acknowledgers=record - {step.node})
        manager.store.nodes.remove(step.node)
        manager.store.buried.add(sight.node.name, sight.node.group, manager.now())
    manager.looks.refuse(step.node, None)


def account_name(node: int) -> str:
    """Return the name of a node's replica account."""
    return f"{protocol.REPLICA_ACCOUNT_PREFIX}{node}"


def my_cnf(manager: Manager, facts: Facts, sight: Sight) -> str:
    """Return the option file of a node's server."""
    provider = manager.providers.of(facts.cluster)
    offered = choice.of_nodes(provider.name, provider.defaults, manager.settings.template)
    memory_mib = provider.memory_mib(offered.flavor_id or provider.defaults.flavor) or offered.flavor.memory_mib
    return render.my_cnf(memory_mib, sight.node.server_id, facts.cluster.id, {})


def _initialise(manager: Manager, facts: Facts, step: steps.Initialise) -> None:
    sight = facts.by_id[step.node]
    _order(manager, sight, "initialise", _setup(manager, facts, sight))
    manager.store.clusters.change(facts.cluster.id, initialised=True)


def _clone(manager: Manager, facts: Facts, step: steps.Clone) -> None:
    sight, donor = facts.by_id[step.node], facts.by_id[step.donor]
    _grant(manager, facts, sight)  # the donor lets only those copy that may replicate
    order = protocol.Clone(term=facts.cluster.term, my_cnf=my_cnf(manager, facts, sight), source=_peer(donor))
    _order(manager, sight, "clone", order)


def _follow(manager: Manager, facts: Facts, step: steps.Follow) -> None:
    """Let the primary know the replica's account first, then attach the replica."""
    sight, primary = facts.by_id[step.node], facts.primary
    if primary is None:
        raise AgentError("There is no primary to follow; it is looked at again.", node=step.node)
    _grant(manager, facts, sight)
    term = facts.cluster.term
    confirms = sight.id in facts.cluster.acknowledgers
    _order(manager, sight, "follow", protocol.Follow(term=term, source=_peer(primary), acknowledge=confirms))


def _grant(manager: Manager, facts: Facts, sight: Sight) -> None:
    """Let the primary know a node's replica account: name and subject as the record has them, not as the node says."""
    primary, account = facts.primary, sight.agent.account if sight.agent else None
    if account is None:
        raise AgentError(f"Node {sight.id} has no replica account yet; it is looked at again.", node=sight.id)
    if primary is None or not primary.open:
        return
    subject = Identity(cluster=facts.cluster.name, node=sight.id).subject
    checked = replace(account, name=account_name(sight.id), subject=subject)
    _order(manager, primary, "grant", protocol.Grant(term=facts.cluster.term, account=checked))


def _start_server(manager: Manager, facts: Facts, step: steps.StartServer) -> None:
    sight = facts.by_id[step.node]
    _order(manager, sight, "start", _setup(manager, facts, sight))


def _stop_server(manager: Manager, facts: Facts, step: steps.StopServer) -> None:
    _order(manager, facts.by_id[step.node], "stop", protocol.Order(term=facts.cluster.term))


def _open_writes(manager: Manager, facts: Facts, step: steps.OpenWrites) -> None:
    staying = {sight.id for sight in facts.wanted}
    wait = facts.lossless and bool(facts.cluster.acknowledgers & staying)
    _order(manager, facts.by_id[step.node], "open", protocol.Open(term=facts.cluster.term, wait=wait))


def _close_writes(manager: Manager, facts: Facts, step: steps.CloseWrites) -> None:
    """Close a node; a primary makes its own replica account while it can, by which it will follow its successor.

    Without it the successor turns it away, and the next try is a second later.
    """
    if step.node == facts.cluster.primary:
        _grant(manager, facts, facts.by_id[step.node])
    order = protocol.Close(term=facts.cluster.term, timeout_s=CLOSE_TIMEOUT_S)
    _order(manager, facts.by_id[step.node], "close", order)


def _name_primary(manager: Manager, facts: Facts, step: steps.NamePrimary) -> None:
    manager.store.clusters.change(
        facts.cluster.id,
        primary_node=step.node,
        term=max(facts.cluster.term, *(s.agent.term for s in facts.nodes if s.agent), 0) + 1,
        acknowledgers=step.acknowledgers,
    )


def _raise_term(manager: Manager, facts: Facts, step: steps.RaiseTerm) -> None:
    manager.store.clusters.change(facts.cluster.id, term=step.term)


def _forget_primary(manager: Manager, facts: Facts, _step: steps.ForgetPrimary) -> None:
    manager.store.clusters.change(facts.cluster.id, primary_node=None, initialised=False, acknowledgers=frozenset())


def _name_acknowledgers(manager: Manager, facts: Facts, step: steps.NameAcknowledgers) -> None:
    manager.store.clusters.change(facts.cluster.id, acknowledgers=step.nodes)


def _set_semi_sync(manager: Manager, facts: Facts, step: steps.SetSemiSync) -> None:
    order = protocol.SemiSync(term=facts.cluster.term, wait=step.wait, acknowledge=step.acknowledge)
    _order(manager, facts.by_id[step.node], "semi_sync", order)


def _verify(manager: Manager, facts: Facts, step: steps.Verify) -> None:
    order = protocol.Verify(term=facts.cluster.term, source=_peer(facts.by_id[step.source]))
    _order(manager, facts.by_id[step.node], "verify", order)


def _look_again(_manager: Manager, _facts: Facts, _step: steps.LookAgain) -> None:
    """The next look is the act."""


PERFORMERS: Mapping[type[Step], Callable[[Manager, Facts, Any], None]] = {
    **vms.PERFORMERS,
    steps.Forget: _forget,
    steps.Initialise: _initialise,
    steps.Clone: _clone,
    steps.Follow: _follow,
    steps.StartServer: _start_server,
    steps.StopServer: _stop_server,
    steps.OpenWrites: _open_writes,
    steps.CloseWrites: _close_writes,
    steps.NamePrimary: _name_primary,
    steps.RaiseTerm: _raise_term,
    steps.ForgetPrimary: _forget_primary,
    steps.NameAcknowledgers: _name_acknowledgers,
    steps.SetSemiSync: _set_semi_sync,
    steps.Verify: _verify,
    steps.LookAgain: _look_again,
}


def _setup(manager: Manager, facts: Facts, sight: Sight) -> protocol.Setup:
    return protocol.Setup(term=facts.cluster.term, my_cnf=my_cnf(manager, facts, sight))


def _peer(sight: Sight) -> protocol.Peer:
    return protocol.Peer(node=sight.id, host=_host(sight))


def _host(sight: Sight) -> str:
    if sight.address is None:
        raise AgentError(f"Node {sight.id} has no address yet; it is looked at again.", node=sight.id)
    return sight.address


def _order(manager: Manager, sight: Sight, verb: str, request: Order) -> object:
    """Give an order; one about roles gets the next number, so that it cannot take effect late."""
    if verb in ROLE_VERBS:
        request = replace(request, number=next(manager.numbers))
    try:
        return manager.agents.call(_host(sight), verb, request)
    except Error as exc:
        exc.details.setdefault("node", sight.id)
        raise
