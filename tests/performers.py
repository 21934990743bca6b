"""The steps in the pretend cluster: what ``manager.act`` and the agents' verbs mean by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from conpaassql.cluster import steps
from conpaassql.cluster.facts import Facts
from conpaassql.cluster.steps import Step
from conpaassql.model import VmState
from machines import Machine, ManagerDied, Refused, Violation

if TYPE_CHECKING:
    from world import World


def _create_vm(world: World, facts: Facts, step: steps.CreateVm) -> None:
    if step.node in world.machines:  # a name that is taken returns that VM
        return
    world.machines[step.node] = Machine(step.node, fails=world.doomed)
    world.doomed = False
    if world.rng.random() < 0.1:
        raise Refused("the cloud's answer was lost")


def _power_on(world: World, facts: Facts, step: steps.PowerOnVm) -> None:
    if machine := world.machines.get(step.node):
        machine.power_on()


def _delete_vm(world: World, facts: Facts, step: steps.DeleteVm) -> None:
    machine, sight = world.machines.get(step.node), facts.by_id[step.node]
    primary = world.machines.get(world.store.cluster.primary or 0)
    if machine is None:
        return
    if primary and sight.server and primary.confirmers(world.machines) == {step.node}:
        raise Violation(f"node {step.node} is destroyed while commits wait for it alone")
    machine.state = VmState.DELETING


def _recreate_vm(world: World, facts: Facts, step: steps.RecreateVm) -> None:
    raise Violation(f"no VM here has a disk that outlives it, and that of node {step.node} is made anew")


def _delete_stray(world: World, facts: Facts, step: steps.DeleteStray) -> None:
    raise Violation(f"{step.vm} is no stray: every VM here is somebody's")


def _label_vm(world: World, facts: Facts, step: steps.LabelVm) -> None:
    if world.rng.random() < 0.1:
        raise Refused("the VM is locked")
    if machine := world.machines.get(step.node):
        machine.role = step.role


def _forget(world: World, facts: Facts, step: steps.Forget) -> None:
    primary = facts.primary
    if primary and primary.open:
        world.order(facts, primary.id, Machine.expect_open)
    world.store.change(acknowledgers=world.store.cluster.acknowledgers - {step.node})
    del world.store.nodes[step.node]
    world.store.joined.discard(step.node)


def _initialise(world: World, facts: Facts, step: steps.Initialise) -> None:
    world.order(facts, step.node, Machine.initialise)
    if world.rng.random() < 0.1:
        raise ManagerDied
    world.store.initialised = True


def _clone(world: World, facts: Facts, step: steps.Clone) -> None:
    world.order(facts, step.node, lambda machine: machine.clone(step.donor))


def _follow(world: World, facts: Facts, step: steps.Follow) -> None:
    primary = facts.primary
    if primary is None or facts.by_id[step.node].agent is None or primary.address is None:
        raise Refused("no account or no address yet")
    if primary.server:
        world.order(facts, primary.id, Machine.expect_open)
    if world.rng.random() < 0.05:
        raise ManagerDied
    confirms = step.node in facts.cluster.acknowledgers
    world.order(facts, step.node, lambda machine: machine.follow(primary.id, confirms, world.rng))


def _open_writes(world: World, facts: Facts, step: steps.OpenWrites) -> None:
    wait = facts.lossless and bool(facts.cluster.acknowledgers & {sight.id for sight in facts.wanted})
    world.order(facts, step.node, lambda machine: machine.open_writes(wait, world.rng))


def _name_primary(world: World, facts: Facts, step: steps.NamePrimary) -> None:
    term = max(facts.cluster.term, *(s.agent.term for s in facts.nodes if s.agent), 0) + 1
    world.store.change(primary=step.node, term=term, acknowledgers=step.acknowledgers)


def _forget_primary(world: World, facts: Facts, step: steps.ForgetPrimary) -> None:
    """The last copy leaves by the user's wish, and with it every write."""
    world.store.change(primary=None, acknowledgers=frozenset())
    world.store.initialised = False
    world.acked.clear()
    for machine in world.machines.values():
        machine.pending.clear()
        machine.abandoned = True


def _name_acknowledgers(world: World, facts: Facts, step: steps.NameAcknowledgers) -> None:
    world.store.change(acknowledgers=step.nodes)


def _set_semi_sync(world: World, facts: Facts, step: steps.SetSemiSync) -> None:
    world.order(facts, step.node, lambda machine: machine.semi_sync(step.wait, step.acknowledge, world.acked))


def _verify(world: World, facts: Facts, step: steps.Verify) -> None:
    source = world.machines.get(step.source)
    world.order(facts, step.node, lambda machine: machine.verify(source))


PERFORMERS: Mapping[type[Step], Callable[..., None]] = {
    steps.CreateVm: _create_vm,
    steps.PowerOnVm: _power_on,
    steps.DeleteVm: _delete_vm,
    steps.RecreateVm: _recreate_vm,
    steps.DeleteStray: _delete_stray,
    steps.LabelVm: _label_vm,
    steps.Forget: _forget,
    steps.Initialise: _initialise,
    steps.Clone: _clone,
    steps.Follow: _follow,
    steps.StartServer: lambda world, facts, step: world.order(facts, step.node, Machine.start),
    steps.StopServer: lambda world, facts, step: world.order(facts, step.node, Machine.stop),
    steps.OpenWrites: _open_writes,
    steps.CloseWrites: lambda world, facts, step: world.order(facts, step.node, Machine.close_writes),
    steps.NamePrimary: _name_primary,
    steps.RaiseTerm: lambda world, _facts, step: world.store.change(term=step.term),
    steps.ForgetPrimary: _forget_primary,
    steps.NameAcknowledgers: _name_acknowledgers,
    steps.SetSemiSync: _set_semi_sync,
    steps.Verify: _verify,
    steps.LookAgain: lambda _world, _facts, _step: None,
}
