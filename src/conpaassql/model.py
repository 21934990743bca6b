"""Frozen values of the product: what a person wished for, as it stands in the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from conpaassql.offers import Extras


class Kind(StrEnum):
    """What lives in a node's VM."""

    DATABASE = "database"


class Goal(StrEnum):
    """What the user wants of a node."""

    PRESENT = "present"
    ABSENT = "absent"


class ClusterGoal(StrEnum):
    """What the user wants of a cluster."""

    RUNNING = "running"
    STOPPED = "stopped"  # servers down, machines and data kept
    ABSENT = "absent"


class Durability(StrEnum):
    """When a commit is acknowledged."""

    LOSSLESS = "lossless"  # after a second copy has it (as soon as there are two)
    ASYNC = "async"  # at once


class Topology(StrEnum):
    """How the copies of a cluster relate."""

    PRIMARY_REPLICA = "primary-replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A replicated database.

    ``term`` rises by one with each change of the primary and fences late orders.
    ``acknowledgers`` are the nodes whose receipt may count as a commit; the record is
    written before it takes effect, so it is never smaller than the truth.
    """

    id: int
    name: str
    goal: ClusterGoal = ClusterGoal.RUNNING
    topology: Topology = Topology.PRIMARY_REPLICA
    durability: Durability = Durability.LOSSLESS
    primary: int | None = None
    term: int = 0
    acknowledgers: frozenset[int] = frozenset()
    provider: str = "default"  # where its nodes' VMs come from


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One VM of a cluster with its agent.  ``server_id`` is unique in the manager and never reused."""

    id: int
    cluster_id: int
    name: str
    server_id: int
    group: str
    kind: Kind = Kind.DATABASE
    goal: Goal = Goal.PRESENT
    created_at: datetime


class JobKind(StrEnum):
    """What a user can ask for that takes longer than one answer."""

    ADD_NODES = "add_nodes"
    REMOVE_NODES = "remove_nodes"
    SWITCHOVER = "switchover"
    FOLLOW = "follow"
    SHUTDOWN = "shutdown"
    STARTUP = "startup"
    DELETE_CLUSTER = "delete_cluster"


class JobState(StrEnum):
    """Where a job is; the last two are final."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a user asked for, its progress and end.  ``nodes`` are the nodes it is about."""

    id: int
    cluster_id: int
    kind: JobKind
    nodes: tuple[int, ...] = ()
    group: str = ""
    state: JobState = JobState.RUNNING
    code: str = ""  # error code of a failed job
    says: str = ""  # its sentence
    created_at: datetime
    deadline_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened, when, by whom; never changed.  It is about a cluster or a provider; the other is empty."""

    id: int
    at: datetime
    cluster: str
    node: int | None
    code: str
    says: str
    actor: str = "manager"
    provider: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """The size of a node's VM."""

    cpu: float = 0.2
    memory_mib: int = 256
    disk_mib: int = 10240


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where something listens."""

    host: str
    port: int


class VmState(StrEnum):
    """A cloud's view of a VM.  A VM that is gone is not listed at all."""

    PENDING = "pending"  # asked for, not yet placed
    BOOTING = "booting"
    RUNNING = "running"
    STOPPED = "stopped"  # powered off; can be started again
    DELETING = "deleting"
    FAILED = "failed"  # will not come up by itself; ``message`` says why
    UNKNOWN = "unknown"  # the cloud does not know at the moment


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSpec:
    """What to create.

    ``name`` is unique per manager and makes ``create`` idempotent.  ``tags`` are kept with the
    VM and come back from ``list`` unchanged.  ``context`` is handed to the VM and readable inside
    it; its only secret is the one-time join token.  ``template`` is the rendered VM template in
    the cloud's own language; empty: the driver makes one.  ``image`` and ``network`` are ids or
    names.  ``flavor_id`` is a flavor of the cloud; it wins over the sizes in ``flavor``.
    """

    name: str
    flavor: Flavor
    tags: Mapping[str, str]
    context: Mapping[str, str] = field(repr=False)
    template: str = field(repr=False)
    image: str = ""
    network: str = ""
    flavor_id: str = ""
    extras: Extras = field(default_factory=Extras)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm:
    """One VM as the cloud lists it.

    ``address`` is None until the cloud has given one.  ``labels`` are what the cloud shows people
    about it (see ``iaas.Labels``); None where it shows nothing.  ``zone`` is where it runs, as
    ``zone:host``, empty until it is placed or where the cloud does not tell.
    """

    id: str
    name: str
    state: VmState
    address: str | None
    tags: Mapping[str, str]
    message: str = ""
    labels: Mapping[str, str] | None = None
    public_address: str | None = None
    zone: str = ""
