"""One VM of the pretend cluster: its boot, its agent, and a server with ordered transactions.

Replication is MariaDB's as measured: what a replica received and did not apply vanishes when its
receiver is started anew or the server restarts; a server starts closed, unattached, and neither
waits nor confirms; a commit that waits is on disk already; one that a replica received before it
was told to confirm waits until a later one is confirmed.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import builders
from conpaassql.model import Vm, VmState
from conpaassql.protocol import AgentFacts, Data, ReplicaFacts, Task, TaskState

BEHIND = 3  # so many transactions not yet applied are more than a second


class Refused(Exception):
    """The cloud or the agent did not do it."""


class Violation(AssertionError):
    """A safety property does not hold."""


class ManagerDied(Exception):
    """The manager's process ended here."""


@dataclass
class Machine:
    """``log`` is what the server executed, in order; ``relay`` what it received and did not apply yet."""

    id: int
    fails: bool = False
    state: VmState = VmState.BOOTING
    agent_up: bool = False
    wants_to_join: bool = False
    vanished: bool = False
    term: int = 0
    last_order: int = 0
    data: Data = Data.EMPTY
    donor: int | None = None
    task: Task | None = None
    verified: str = ""
    running: bool = False
    wished: bool = False  # whether the agent starts mysqld again when it dies
    wiped: bool = False
    log: list[int] = field(default_factory=list)
    relay: list[int] = field(default_factory=list)
    pending: set[int] = field(default_factory=set)  # written, and waiting for a confirmation
    source: int | None = None
    receiver: bool = False
    applier: bool = False
    error: str = ""
    open: bool = False
    by_hand: bool = False
    abandoned: bool = False  # its cluster was removed by the user's wish
    opened_in: int | None = None
    waiting: bool = False
    acknowledging: bool = False
    role: str = ""  # as the cloud shows it

    # --- what it is

    @property
    def up(self) -> bool:
        """Whether programs run in it."""
        return self.state in (VmState.RUNNING, VmState.DELETING)

    @property
    def trusted(self) -> bool:
        """Whether clients write here: it is open, and by the manager's order."""
        return self.open and not self.by_hand and not self.abandoned

    @property
    def answers(self) -> bool:
        """Whether the agent can be called."""
        return self.up and self.agent_up and self.wants_to_join

    def vm(self) -> Vm:
        """Return the cloud's view."""
        found = builders.vm(self.id, self.state, "no luck" if self.state is VmState.FAILED else "")
        return replace(found, labels={"role": self.role})

    def facts(self, machines: Mapping[int, "Machine"]) -> AgentFacts:
        """Return the agent's view."""
        server = None
        if self.running:
            server = builders.mysqld(
                self.id,
                read_only=not self.open,
                executed=_position(self.log),
                replica=self._replica(machines),
                acknowledging=self.acknowledging and self.receiver,
                waiting=self.waiting,
                acknowledgers=len(self._connected(machines)),
            )
        return builders.agent(self.id, server, term=self.term, data=self.data, task=self.task, verified=self.verified)

    def _replica(self, machines: Mapping[int, "Machine"]) -> ReplicaFacts | None:
        if self.source is None:
            return None
        connected = self.receiver and _serves(machines.get(self.source))
        return builders.following(
            self.source,
            receiving=connected,
            applying=self.applier,
            received=_position(self.log + self.relay),
            lag_s=(5.0 if len(self.relay) > BEHIND else 0.0) if connected else None,
            error=self.error,
        )

    def _connected(self, machines: Mapping[int, "Machine"]) -> set[int]:
        found = (m for m in machines.values() if m.running and m.up and m.source == self.id)
        return {m.id for m in found if m.receiver and m.acknowledging}

    def confirmers(self, machines: Mapping[int, "Machine"]) -> set[int]:
        """Return who can confirm commits here now; nobody when they do not wait."""
        return self._connected(machines) if self.open and self.waiting else set()

    # --- what it does by itself

    def live(self, rng: random.Random, machines: Mapping[int, "Machine"]) -> None:
        """Boot, vanish, come back, copy, apply: each with some luck."""
        if rng.random() < 0.5:
            self._advance_vm()
        if not self.up:
            return
        self.agent_up = self.agent_up or rng.random() < 0.2
        if self.agent_up and self.wished and not self.running and rng.random() < 0.5:
            self._run()
        if self.agent_up and self.donor is not None and rng.random() < 0.3:
            self._finish_clone(machines)
        if self.running and self.applier:
            self._apply(rng.randint(0, 4))

    def _advance_vm(self) -> None:
        if self.state is VmState.BOOTING:
            self.state = VmState.FAILED if self.fails else VmState.RUNNING
            self.agent_up = self.wants_to_join = not self.fails
        elif self.state is VmState.DELETING:
            self.vanished = True

    def write(self, number: int, acked: set[int]) -> None:
        """A client commits."""
        self.log.append(number)
        (self.pending if self.waiting else acked).add(number)

    def receive(self, rng: random.Random, machines: Mapping[int, "Machine"], acked: set[int]) -> None:
        """Fetch something from the source; confirm it if told so."""
        source = machines.get(self.source or 0)
        if source is None or not (self.up and self.running and self.receiver and _serves(source)):
            return
        mine = self.log + self.relay
        if source.log[: len(mine)] != mine:
            self.receiver, self.error = False, "1236: the source does not have what this server has"
            return
        fetched = source.log[len(mine) : len(mine) + rng.randint(0, 4)]
        self.relay += fetched
        if self.acknowledging and fetched:
            confirmed = source.pending & {*mine, *fetched}
            source.pending -= confirmed
            acked |= confirmed

    def nudge(self, number: int, machines: Mapping[int, "Machine"]) -> None:
        """The agent commits something empty when commits hang although somebody could confirm them."""
        if self.pending and self.confirmers(machines):
            self.log.append(number)

    def _apply(self, most: int) -> None:
        self.log += self.relay[:most]
        del self.relay[:most]

    def _finish_clone(self, machines: Mapping[int, "Machine"]) -> None:
        donor = machines.get(self.donor or 0)
        self.donor = None
        if donor is None or not _serves(donor):
            self.data, self.task = Data.EMPTY, Task(kind="clone", state=TaskState.FAILED)
            return
        self.log, self.data, self.task = list(donor.log), Data.READY, Task(kind="clone", state=TaskState.DONE)
        self._run()

    # --- faults

    def kill_server(self) -> None:
        """mysqld dies.  Commits that waited stay on disk; their clients heard nothing."""
        self.running = self.open = self.waiting = self.acknowledging = self.receiver = self.applier = False
        self.by_hand = False
        self.opened_in = None
        self.pending.clear()
        self.relay.clear()

    def kill_agent(self) -> None:
        """The agent dies; mysqld goes on."""
        self.agent_up = False
        if self.donor is not None:
            self.donor, self.task, self.data = None, None, Data.EMPTY

    def power_off(self) -> None:
        """Somebody pulls the plug."""
        if self.state is VmState.RUNNING:
            self.kill_server()
            self.kill_agent()
            self.state = VmState.STOPPED

    def power_on(self) -> None:
        """The VM boots from its disks."""
        if self.state is VmState.STOPPED:
            self.state = VmState.RUNNING

    def wipe(self) -> None:
        """The disk is lost."""
        self.kill_server()
        self.data, self.log, self.wiped, self.wished = Data.EMPTY, [], True, False

    def open_by_hand(self) -> None:
        """Somebody opens it, against all advice; no client of ours writes there."""
        if self.running and not self.open:
            self.open = self.by_hand = True

    def heal(self) -> None:
        """Make what is broken work again."""
        self.fails = False
        self.agent_up = self.agent_up or self.up

    # --- the agent's verbs

    def expect_open(self) -> None:
        """Refuse what only a primary may do."""
        if not self.running or not self.open:
            raise Refused("not the primary")

    def _run(self) -> None:
        self.running = self.wished = True

    def initialise(self) -> None:
        """See ``agent.data.initialise``."""
        self.data = Data.READY
        self._run()

    def start(self) -> None:
        """See ``agent.data.start``."""
        if self.data is not Data.READY:
            raise Refused("no database")
        self._run()

    def stop(self) -> None:
        """See ``agent.data.stop``."""
        self.wished = False
        self.kill_server()

    def clone(self, donor: int) -> None:
        """See ``agent.copy.clone``."""
        if self.data is Data.EMPTY:
            self.data, self.donor = Data.COPYING, donor
            self.task = Task(kind="clone", state=TaskState.RUNNING)

    def follow(self, source: int, acknowledge: bool, rng: random.Random) -> None:
        """See ``agent.replication.follow``."""
        self._expect_running()
        self.open = self.waiting = self.by_hand = False
        self.pending.clear()
        if not (self.source == source and self.receiver and self.applier):
            self._stop_receiving(rng)
            self.relay.clear()
            self.source, self.error = source, ""
        elif self.acknowledging != acknowledge:
            self._apply(len(self.relay))
        self.acknowledging = acknowledge
        self.receiver = self.applier = True

    def open_writes(self, wait: bool, rng: random.Random) -> None:
        """See ``agent.replication.open_writes``."""
        self._expect_running()
        if self.source is not None:
            self._stop_receiving(rng)
        self.source, self.error, self.receiver, self.applier = None, "", False, False
        self.acknowledging, self.waiting, self.open, self.by_hand = False, wait, True, False
        self.opened_in = self.term

    def close_writes(self) -> None:
        """See ``agent.replication.close_writes``."""
        self._expect_running()
        if self.pending:
            raise Refused("a write has not ended")
        self.open = self.by_hand = False

    def semi_sync(self, wait: bool, acknowledge: bool, acked: set[int]) -> None:
        """See ``agent.replication.semi_sync``; who waited is told that all is well."""
        self._expect_running()
        if self.waiting and not wait:
            acked |= self.pending
            self.pending.clear()
        self.waiting = wait
        if self.acknowledging != acknowledge and self.receiver and self.applier:
            self._apply(len(self.relay))
        self.acknowledging = acknowledge

    def verify(self, source: "Machine | None") -> None:
        """See ``agent.digest.verify``."""
        self._expect_running()
        self.verified = "equal" if source and source.log[: len(self.log)] == self.log else "different"

    def _expect_running(self) -> None:
        if not self.running:
            raise Refused("no server")

    def _stop_receiving(self, rng: random.Random) -> None:
        """Apply what was received; sometimes that takes longer than the order's patience."""
        if self.receiver:
            self.receiver = False
            self.applier = True
        if self.applier and self.relay and rng.random() < 0.3:
            raise Refused("still applying")
        if self.applier:
            self._apply(len(self.relay))


def _serves(machine: Machine | None) -> bool:
    return machine is not None and machine.up and machine.running


def _position(log: list[int]) -> str:
    """Return the log's end as a server writes it; the server number is not looked at."""
    return f"0-1-{len(log)}" if log else ""
