"""What a cloud offers and keeps beside VMs: images, flavors, networks, snapshots; what a check of it finds.

Sizes are 0 where the cloud does not say or does not ask.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Something that VMs can be made from; a snapshot is one, too.  The minima are what its VMs need at least."""

    id: str
    name: str
    min_disk_gib: int = 0
    min_ram_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedFlavor:
    """A size of VMs that has a name in the cloud."""

    id: str
    name: str
    vcpus: float = 0
    ram_mib: int = 0
    disk_gib: int = 0
    swap_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that VMs can be on.  ``free`` counts addresses that can still be given; None: nobody knows."""

    id: str
    name: str
    free: int | None = None


class SnapshotState(StrEnum):
    """Where a snapshot is in its life."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An image that was made of a VM.  ``vm`` is the VM's name, also when the VM is gone."""

    id: str
    name: str
    vm: str
    state: SnapshotState
    created_at: datetime | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A network card: on a network, or on a port that was made before; one of the two."""

    network: str = ""
    port: str = ""
    address: str = ""  # fixed; empty: the cloud chooses


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDevice:
    """A further disk of a VM: from an image, a volume or a snapshot of one, or blank."""

    device: str  # as the guest sees it, such as vdb
    source: str = "blank"  # blank, image, volume, snapshot
    id: str = ""  # of the source
    size_gib: int = 0
    keep: bool = False  # when the VM goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What a VM may have beyond the plain: a driver refuses, as Unsupported and by name, what its cloud lacks.

    ``security_groups`` are names or ids.  ``nics`` take the place of ``VmSpec.network``,
    ``public_nics`` that of ``public_network``.  ``hints`` go to the cloud's scheduler as they are.
    ``meta`` is kept with the VM, beside its tags.  ``files`` are contents by path in the guest.
    VMs with the same ``apart`` stand on different hosts, where the cloud can do that.
    ``data_disk_mib`` is the size of a disk that outlives the VM and comes back to the next VM of
    the same name.
    """

    availability_zone: str = ""
    key_name: str = ""
    security_groups: tuple[str, ...] = ()
    nics: tuple[Nic, ...] = ()
    public_network: str = ""
    public_nics: tuple[Nic, ...] = ()
    userdata: str = field(default="", repr=False)
    swap_mib: int = 0
    block_devices: tuple[BlockDevice, ...] = ()
    hints: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    apart: str = ""
    data_disk_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check of a provider looked at.  ``cure`` is what to do when it is not ``ok``.

    ``fatal``: nothing after it could be looked at.
    """

    code: str
    ok: bool
    says: str
    cure: str = ""
    fatal: bool = False
