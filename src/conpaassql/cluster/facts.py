"""One look at a cluster, frozen, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from conpaassql import gtid
from conpaassql.model import Cluster, Durability, Goal, Job, JobKind, Node, Vm
from conpaassql.protocol import AgentFacts, Data, ServerFacts, TaskState

SILENT_CLOUD = "cloud-silent"  # what users find besides the diagnosis while ``Facts.silence`` says something
CAUGHT_UP_S = 1.0  # a replica this close to its source may be handed a role


class Seen(StrEnum):
    """How a node appears from outside."""

    BLIND = "blind"  # the cloud does not answer, nor does the agent: nothing is known
    UNSEEN = "unseen"  # the cloud has no VM for it, and it never joined
    GONE = "gone"  # the cloud has no VM for it, and it had joined
    BOOTING = "booting"  # there is a VM, and its agent never joined
    SILENT = "silent"  # there is a VM, its agent joined once and does not answer now
    ALIVE = "alive"  # the agent answers
    OFF = "off"  # the VM is powered off
    FAILED = "failed"  # the cloud gave up on the VM
    DELETING = "deleting"
    TAKEN = "taken"  # the cloud has a VM of this name that is not ours: never touched


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the cloud said instead of doing what it was asked for; ``final``: asking again will not help."""

    code: str
    says: str
    final: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look showed of one node.  ``agent`` is None when it did not answer.

    ``keeps_disk``: the node's data lie on a disk that outlives its VM.
    """

    node: Node
    joined: bool
    seen: Seen
    vm: Vm | None = None
    agent: AgentFacts | None = None
    refusal: Refusal | None = None
    keeps_disk: bool = False

    @property
    def id(self) -> int:
        """The node's number."""
        return self.node.id

    @property
    def wanted(self) -> bool:
        """Whether the user wants the node to be there."""
        return self.node.goal is Goal.PRESENT

    @property
    def address(self) -> str | None:
        """Where the VM is, once the cloud has said so."""
        return self.vm.address if self.vm else None

    @property
    def server(self) -> ServerFacts | None:
        """What mysqld says, when it answers."""
        return self.agent.mysqld if self.agent else None

    @property
    def data(self) -> Data | None:
        """What the data directory holds, when the agent answers."""
        return self.agent.data if self.agent else None

    @property
    def open(self) -> bool:
        """Whether the server takes writes."""
        return self.server is not None and not self.server.read_only

    @property
    def working(self) -> str:
        """The kind of long work that runs in the agent; empty without."""
        task = self.agent.task if self.agent else None
        return task.kind if task and task.state is TaskState.RUNNING else ""

    @property
    def failed_at(self) -> str:
        """The kind of long work that failed last; empty without."""
        task = self.agent.task if self.agent else None
        return task.kind if task and task.state is TaskState.FAILED else ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One look at one cluster: its wish, its nodes, its running jobs, the time of looking.

    ``strays`` are VMs of nodes that were removed: made by a call whose answer nobody waited for.
    ``silence`` says why the cloud does not list its VMs; empty: it does.
    ``initialised``: the first database was made once; from then on an empty primary is a loss
    and never a beginning.
    """

    cluster: Cluster
    initialised: bool
    nodes: tuple[Sight, ...]
    jobs: tuple[Job, ...]
    at: datetime
    strays: tuple[Vm, ...] = ()
    silence: str = ""

    @cached_property
    def by_id(self) -> Mapping[int, Sight]:
        """The nodes by number."""
        return {sight.id: sight for sight in self.nodes}

    @property
    def primary(self) -> Sight | None:
        """The node that the record calls primary."""
        return self.by_id.get(self.cluster.primary) if self.cluster.primary is not None else None

    @cached_property
    def others(self) -> tuple[Sight, ...]:
        """All nodes but the primary."""
        return tuple(sight for sight in self.nodes if sight.id != self.cluster.primary)

    @cached_property
    def wanted(self) -> tuple[Sight, ...]:
        """The nodes that the user wants."""
        return tuple(sight for sight in self.nodes if sight.wanted)

    @property
    def lossless(self) -> bool:
        """Whether a commit has to be on two copies."""
        return self.cluster.durability is Durability.LOSSLESS

    def follows(self, sight: Sight) -> bool:
        """Whether the node replicates from the primary, with both halves at work.

        A comparison holds the applier for a moment and lets it go by itself: that is still following.
        """
        replica = sight.server.replica if sight.server else None
        primary = self.primary
        return bool(
            replica
            and primary
            and replica.source.host == primary.address
            and replica.receiving
            and (replica.applying or sight.working == "verify")
        )

    def confirms(self, sight: Sight) -> bool:
        """Whether the node may confirm the primary's commits: it is told to, and the primary is its source."""
        server, primary = sight.server, self.primary
        return bool(
            server
            and primary
            and server.acknowledging
            and server.replica
            and server.replica.source.host == primary.address
        )

    def caught_up(self, sight: Sight) -> bool:
        """Whether the node follows the primary closely enough to count as a copy."""
        replica = sight.server.replica if sight.server else None
        return bool(replica and self.follows(sight) and replica.lag_s is not None and replica.lag_s <= CAUGHT_UP_S)

    def ready(self, sight: Sight) -> bool:
        """Whether the node serves: the primary takes writes; a replica follows it closely and, where
        commits wait for replicas, confirms what it receives.
        """
        if sight.id == self.cluster.primary:
            return sight.open
        confirms = sight.server is not None and sight.server.acknowledging
        return self.caught_up(sight) and (confirms or not self.lossless)

    def errant(self, sight: Sight) -> bool:
        """Whether a node that does not follow holds transactions that the primary lacks."""
        primary = self.primary
        if primary is None or primary.server is None or sight.server is None:
            return False
        theirs, own = primary.server.executed, sight.server.executed
        return not gtid.contains(theirs, own) or gtid.forked(gtid.parse(theirs), gtid.parse(own))

    def job(self, kind: JobKind) -> Job | None:
        """The oldest running job of a kind."""
        return next((job for job in self.jobs if job.kind is kind), None)

    @property
    def heir(self) -> Sight | None:
        """The replica to hand the primary's role to when nobody has named one."""
        candidates = [sight for sight in self.others if sight.wanted and self.caught_up(sight)]
        return min(candidates, key=lambda sight: sight.id, default=None)

    @property
    def donor(self) -> Sight | None:
        """Whom to copy from: a replica that follows and is idle, else the primary.

        While commits wait for nobody the newcomer's account is made on the primary alone, and a replica
        would not let it in.
        """
        server = self.primary.server if self.primary else None
        if server and server.waiting and not server.acknowledgers:
            return self.primary
        replicas = [s for s in self.others if s.wanted and self.caught_up(s) and not s.working]
        return min(replicas, key=lambda sight: sight.id, default=self.primary)
