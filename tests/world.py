"""A pretend cluster: VMs, agents, servers with ordered transactions, clients that write all the time.

``World.round`` does what ``manager.loop``, ``observe`` and ``undo`` do, ``performers`` what ``act``
and the agents' verbs do; only ``Store`` survives the manager.  VMs and servers are ``machines``.
After every single change the safety properties are checked; ``Violation`` is their failure.

Taken for granted: the cloud gives one VM per name, and an agent commits something empty when
commits hang although somebody could confirm them (``Machine.nudge``).  Left out: the cloud's
losing a VM by itself, a cut between two nodes that both reach the manager, and automatic
failover, which the decisions do not have yet.
"""

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import builders
from conpaassql.cluster import jobs, steps
from conpaassql.cluster.facts import Facts, Seen, Sight
from conpaassql.cluster.lifecycle import role
from conpaassql.cluster.steps import Step
from conpaassql.model import Cluster, ClusterGoal, Durability, Goal, Job, JobKind, JobState, Node, Vm, VmState
from machines import Machine, ManagerDied, Refused, Violation
from performers import PERFORMERS

DEADLINE_S = {JobKind.ADD_NODES: 40, JobKind.SWITCHOVER: 10}
OTHER_DEADLINE_S = 30

CLIENTS = 2

Decide = Callable[[Facts], tuple[Step, ...]]


@dataclass
class Store:
    """All that outlives the manager."""

    cluster: Cluster
    initialised: bool = False
    nodes: dict[int, Node] = field(default_factory=dict)
    joined: set[int] = field(default_factory=set)
    jobs: dict[int, Job] = field(default_factory=dict)
    last_id: int = 0

    def change(self, **fields: object) -> None:
        self.cluster = replace(self.cluster, **fields)  # type: ignore[arg-type]

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id


@dataclass
class Trouble:
    """What goes wrong during the next round only."""

    missed: set[int] = field(default_factory=set)
    cloud_silent: bool = False
    dies_at: int | None = None  # before (even) or after (odd) the step of half this number
    late: int | None = None  # orders to this node are refused now and carried out some time later


class World:
    """One cluster, from its first wish on."""

    def __init__(
        self, decide: Decide, seed: int, durability: Durability = Durability.LOSSLESS, numbered: bool = False
    ) -> None:
        self.decide = decide
        self.rng = random.Random(seed)
        self.store = Store(Cluster(id=1, name="c", durability=durability))
        self.machines: dict[int, Machine] = {}
        self.acked: set[int] = set()
        self.now: datetime = builders.NOW
        self.trouble = Trouble()
        self.remembered: Mapping[int, Vm] = {}  # the manager's memory of the last look
        self.late: list[Callable[[], None]] = []
        self.doomed = False  # whether the next VM fails while booting
        self.writes = 0
        self.orders = 0
        self.numbered = numbered  # whether agents refuse an order that is older than the last

    # --- the manager

    def round(self) -> None:
        """Look, judge, decide, act; then the troubles of this round are over."""
        try:
            facts = self.look()
            if self._judge(facts):
                facts = self.look()
            found = list(self.decide(facts))
            if tuple(found) != self.decide(replace(facts)):
                raise Violation("the same facts led to other steps")
            strays = [s.id for s in facts.others if s.open]
            self.rng.shuffle(found)
            refused = [step for i, step in enumerate(found) if not self._perform(facts, step, i)]
            self._check_strays(strays, refused)
        except ManagerDied:
            self.remembered = {}
        self.trouble = Trouble()
        self.now += timedelta(seconds=1)
        self.tick()

    def look(self) -> Facts:
        """Return what ``observe.look`` would."""
        listed = {m.id: m.vm() for m in self.machines.values() if m.id in self.store.nodes}
        vms = self.remembered if self.trouble.cloud_silent else listed
        sights = tuple(self._sight(node, vms.get(node.id)) for node in self.store.nodes.values())
        self.remembered = vms
        running = tuple(self.store.jobs.values())
        return Facts(
            cluster=self.store.cluster, initialised=self.store.initialised, nodes=sights, jobs=running, at=self.now
        )

    def _sight(self, node: Node, vm: Vm | None) -> Sight:
        joined = node.id in self.store.joined
        machine = self.machines.get(node.id)
        agent = None
        if vm and vm.address and joined and machine and machine.answers and node.id not in self.trouble.missed:
            agent = machine.facts(self.machines)
        return Sight(node=node, joined=joined, seen=_seen(vm, agent is not None, joined, self), vm=vm, agent=agent)

    def _judge(self, facts: Facts) -> bool:
        verdicts = [(job, jobs.judge(job, facts)) for job in facts.jobs]
        for job, verdict in verdicts:
            if verdict:
                del self.store.jobs[job.id]
                if verdict.state is JobState.FAILED:
                    self._undo(facts, job)
        return any(verdict for _, verdict in verdicts)

    def _undo(self, facts: Facts, job: Job) -> None:
        primary = facts.primary
        if job.kind is JobKind.ADD_NODES:
            kept = primary.id if primary and facts.initialised and self._used(primary) else None
            self._set_goal([i for i in job.nodes if i != kept], Goal.ABSENT)
        elif job.kind is JobKind.REMOVE_NODES and primary and primary.id in job.nodes:
            self._set_goal([primary.id], Goal.PRESENT)

    def _used(self, primary: Sight) -> bool:
        return primary.server is None or bool(self.machines[primary.id].log)

    def _set_goal(self, ids: list[int], goal: Goal) -> None:
        for i in ids:
            if i in self.store.nodes:
                self.store.nodes[i] = replace(self.store.nodes[i], goal=goal)

    def _perform(self, facts: Facts, step: Step, number: int) -> bool:
        """Do one step while the world goes on; False when it was refused."""
        if self.trouble.dies_at == 2 * number:
            raise ManagerDied
        self.tick()
        try:
            PERFORMERS[type(step)](self, facts, step)
            done = True
        except Refused:
            done = False
        self.check()
        if self.trouble.dies_at == 2 * number + 1:
            raise ManagerDied
        return done

    def order(self, facts: Facts, node: int, do: Callable[[Machine], None]) -> None:
        """Give an order to an agent, in the term of the look.

        Raises:
            Refused: the agent does not answer, knows a newer term, or does it later.
        """
        term = facts.cluster.term
        self.orders += 1
        number = self.orders if self.numbered else 0

        def carry_out() -> None:
            machine = self.machines.get(node)
            if machine is None or not machine.answers or (term, number) < (machine.term, machine.last_order):
                raise Refused("no answer, or a stale order")
            machine.term, machine.last_order = term, number
            do(machine)

        if self.trouble.late == node:
            self.late.append(carry_out)
            raise Refused("late")
        carry_out()

    # --- the world

    def tick(self) -> None:
        """Let everything that lives by itself do a little."""
        for machine in list(self.machines.values()):
            machine.live(self.rng, self.machines)
            if machine.vanished:
                del self.machines[machine.id]
            elif machine.wants_to_join and self._is_wanted(machine.id):
                self.store.joined.add(machine.id)
        for machine in self.machines.values():
            self._write(machine)
            machine.receive(self.rng, self.machines, self.acked)
        if self.late and self.rng.random() < 0.05:
            late = self.late.pop(self.rng.randrange(len(self.late)))
            with suppress(Refused):
                late()
        self.check()

    def _is_wanted(self, node: int) -> bool:
        return node in self.store.nodes and self.store.nodes[node].goal is Goal.PRESENT

    def _write(self, machine: Machine) -> None:
        """Clients write wherever they are let, a few at a time; they note what they were told."""
        if machine.trusted and len(machine.pending) < CLIENTS and self.rng.random() < 0.7:
            self.writes += 1
            machine.write(self.writes, self.acked)
        elif self.rng.random() < 0.1:
            self.writes += 1
            machine.nudge(self.writes, self.machines)

    # --- what has to hold at any moment

    def check(self) -> None:
        """Check every safety property.

        Raises:
            Violation: one does not hold.
        """
        store, writers = self.store, [m for m in self.machines.values() if m.trusted]
        for machine in writers:
            if missing := self.acked - set(machine.log):
                raise Violation(f"node {machine.id} is open without the acknowledged writes {missing}")
        if len({m.opened_in for m in writers}) < len(writers):
            raise Violation("two nodes were opened in one term")
        if orphans := set(self.machines) - set(store.nodes):
            raise Violation(f"VMs without a record: {orphans}")
        primary = self.machines.get(store.cluster.primary or 0)
        if primary is None:
            return
        if not primary.wiped and (missing := self.acked - {*primary.log, *primary.relay}):
            raise Violation(f"the primary on record, {primary.id}, lacks the acknowledged writes {missing}")
        if extra := primary.confirmers(self.machines) - store.cluster.acknowledgers:
            raise Violation(f"nodes {extra} can confirm and are not on record")

    def _check_strays(self, strays: list[int], refused: list[Step]) -> None:
        for i in strays:
            if i in self.machines and self.machines[i].open and steps.CloseWrites(i) not in refused:
                raise Violation(f"node {i} was seen open, is not the primary, and was not closed")

    # --- what has to come about when nothing goes wrong any more

    def calm(self) -> None:
        """End every fault."""
        self.trouble, self.doomed = Trouble(), False
        self.late.clear()
        for machine in self.machines.values():
            machine.heal()

    def complaints(self) -> list[str]:
        """Say what is not as the users wish it."""
        store, cluster = self.store, self.store.cluster
        wished = {i for i, node in store.nodes.items() if node.goal is Goal.PRESENT}
        found = [f"job {job.kind} goes on" for job in store.jobs.values()]
        if set(store.nodes) != wished:
            found.append(f"nodes {set(store.nodes) - wished} are still there")
        if set(self.machines) != wished:
            found.append(f"VMs are {set(self.machines)}, wished {wished}")
        if cluster.goal is ClusterGoal.STOPPED:
            return found + [f"node {m.id} runs" for m in self.machines.values() if m.running]
        if not wished:
            return found
        facts = self.look()
        found += [f"node {s.id} is not ready: {jobs.describe(facts, s)}" for s in facts.wanted if not facts.ready(s)]
        found += [
            f"node {s.id} is shown as {s.vm.labels}" for s in facts.wanted if s.vm and _shown(s.vm) != role(facts, s)
        ]
        primary = self.machines.get(cluster.primary or 0)
        others = frozenset(wished - {cluster.primary})
        expected = others if cluster.durability is Durability.LOSSLESS else frozenset()
        if cluster.acknowledgers != expected:
            found.append(f"acknowledgers are {set(cluster.acknowledgers)}, expected {set(expected)}")
        if primary is None or primary.waiting != bool(expected):
            found.append("the primary waits and should not, or the other way round")
        return found

    # --- what users do; each returns without effect where the manager would refuse

    def add(self, count: int) -> None:
        """Wish for more nodes."""
        if self.store.cluster.goal is ClusterGoal.RUNNING and len(self.store.nodes) + count <= 5:
            ids = [self.store.next_id() for _ in range(count)]
            self.store.nodes.update({i: builders.record(i) for i in ids})
            self._job(JobKind.ADD_NODES, *ids)

    def remove(self, node: int, *, force: bool) -> None:
        """Wish a node away."""
        store = self.store
        staying = [n for n in store.nodes.values() if n.goal is Goal.PRESENT and n.id != node]
        risky = store.initialised and (not staying or store.cluster.primary == node)
        if node in store.nodes and (force or not risky):
            self._set_goal([node], Goal.ABSENT)
            self._job(JobKind.REMOVE_NODES, node)

    def switch_over(self, node: int) -> None:
        """Wish for another primary."""
        facts = self.look()
        running = any(job.kind is JobKind.SWITCHOVER for job in self.store.jobs.values())
        fit = node in facts.by_id and facts.by_id[node].wanted and facts.follows(facts.by_id[node])
        if self.store.cluster.goal is ClusterGoal.RUNNING and fit and not running and facts.cluster.primary != node:
            self._job(JobKind.SWITCHOVER, node)

    def shut_down(self) -> None:
        """Stop the servers."""
        if self.store.cluster.goal is ClusterGoal.RUNNING and self.store.nodes:
            self.store.change(goal=ClusterGoal.STOPPED)
            self._job(JobKind.SHUTDOWN)

    def start_up(self) -> None:
        """Start them again."""
        if self.store.cluster.goal is ClusterGoal.STOPPED:
            self.store.change(goal=ClusterGoal.RUNNING)
            self._job(JobKind.STARTUP)

    def _job(self, kind: JobKind, *nodes: int) -> None:
        ends = self.now + timedelta(seconds=DEADLINE_S.get(kind, OTHER_DEADLINE_S))
        new = Job(id=self.store.next_id(), cluster_id=1, kind=kind, nodes=nodes, created_at=self.now, deadline_at=ends)
        self.store.jobs[new.id] = new


def _shown(vm: Vm) -> str:
    return (vm.labels or {}).get("role", "")


def _seen(vm: Vm | None, alive: bool, joined: bool, world: World) -> Seen:
    if alive:
        return Seen.ALIVE
    if vm is None:
        if world.trouble.cloud_silent:
            return Seen.BLIND
        return Seen.GONE if joined else Seen.UNSEEN
    known = {VmState.FAILED: Seen.FAILED, VmState.STOPPED: Seen.OFF, VmState.DELETING: Seen.DELETING}
    return known.get(vm.state, Seen.SILENT if joined else Seen.BOOTING)
