"""Frozen values about clouds: registered providers, single machines, and the jobs that make and remove them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from conpaassql.model import Flavor, JobState
from conpaassql.offers import Extras

DEFAULT_PROVIDER = "default"  # the section [iaas]

Filters = tuple[tuple[str, str | float], ...]  # property and value, all of which have to hold


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRecord:
    """A cloud and the login to it, as somebody registered it.  ``sealed`` holds password and ``extra``."""

    name: str
    type: str  # a word of ``iaas.names()``
    username: str
    url: str
    tenant: str = ""
    default_image: str = ""
    default_flavor: str = ""
    sealed: bytes = field(repr=False)
    created_at: datetime


class MachineGoal(StrEnum):
    """What is wished of a machine."""

    CREATING = "creating"  # part of a group that is not whole yet
    PRESENT = "present"
    DESTROYING = "destroying"
    LEFT = "left"  # of a group that was undone, but the cloud did not remove it


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A single VM on record.  ``stored``: also when its job has ended.  Zone and addresses as the cloud said last."""

    uuid: str
    provider: str
    group: str
    goal: MachineGoal
    stored: bool
    zone: str = ""
    addresses: tuple[str, ...] = ()
    public_address: str = ""
    created_at: datetime

    @property
    def name(self) -> str:
        """The VM's name."""
        return vm_name(self.uuid)


def vm_name(uuid: str) -> str:
    """Return the name of a machine's VM."""
    return f"machine-{uuid}"


class MachineJobKind(StrEnum):
    """What can be asked for of machines."""

    CREATE = "machine_create"
    DESTROY = "machine_destroy"
    SNAPSHOT = "snapshot_create"
    UNSNAPSHOT = "snapshot_destroy"


class Phase(StrEnum):
    """How far a job has gone; written down before what it speaks of is begun."""

    CHOOSING = "choosing"  # the cloud has only been looked at
    DOING = "doing"
    UNDOING = "undoing"  # it has failed, and what it made is being removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a job is to do: the wish as it came, and (from DOING on) what was chosen for it in the cloud.

    ``wait``: until the cloud says it is ready.
    """

    image: Filters = ()
    flavor: Filters = ()
    image_id: str = ""
    flavor_id: str = ""
    size: Flavor = field(default_factory=Flavor)
    network: str = ""
    extras: Extras = field(default_factory=Extras)
    wait: bool = True
    skip_store: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineJob:
    """A job at a provider.  ``result`` is what its end says of its machines; ``leftovers`` may still be there."""

    id: int
    provider: str
    kind: MachineJobKind
    group: str
    machines: tuple[str, ...]
    phase: Phase = Phase.CHOOSING
    sealed: bytes = field(repr=False)  # the order
    state: JobState = JobState.RUNNING
    code: str = ""
    says: str = ""
    created_at: datetime
    deadline_at: datetime
    ended_at: datetime | None = None
    result: tuple[Mapping[str, object], ...] = ()
    leftovers: tuple[str, ...] = ()
