"""The objects of the core: users, hosts, networks, images, templates, virtual machines."""

from __future__ import annotations

from dataclasses import dataclass, field

from onesim import states
from onesim.attrs import Attrs, Vector


@dataclass
class Lock:
    level: int  # 1 use, 2 manage, 3 admin, 4 all
    owner: int
    at: int
    request: int = -1


@dataclass
class Thing:
    """What all objects of the pools have.

    Attributes:
        permissions: use, manage, admin of the owner, the group and the others.
    """

    id: int
    name: str
    uid: int = 0
    gid: int = 0
    uname: str = "oneadmin"
    gname: str = "oneadmin"
    permissions: list[int] = field(default_factory=lambda: [1, 1, 0, 0, 0, 0, 0, 0, 0])
    attrs: Attrs = field(default_factory=Attrs)
    lock: Lock | None = None


@dataclass
class Token:
    text: str
    expires: int  # unix seconds; -1: never
    egid: int  # -1: all groups


@dataclass
class User(Thing):
    password: str = ""
    driver: str = "core"
    enabled: bool = True
    groups: list[int] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    quota: Attrs = field(default_factory=Attrs)  # VM, NETWORK, IMAGE, DATASTORE vectors with limits

    @property
    def admin(self) -> bool:
        """Members of the group oneadmin may do everything."""
        return self.gid == 0 or 0 in self.groups


@dataclass
class Host(Thing):
    im_mad: str = "dummy"
    vm_mad: str = "dummy"
    cluster: int = 0
    cpu: int = 800  # hundredths of a core
    memory_kib: int = 16777216
    status: int = 0  # 0 enabled, 1 disabled, 2 offline


@dataclass
class Datastore(Thing):
    kind: int = 0  # 0 image, 1 system, 2 file
    ds_mad: str = "dummy"
    tm_mad: str = "dummy"
    enabled: bool = True
    total_mb: int = 20480


@dataclass
class Image(Thing):
    kind: int = 0  # 0 OS, 1 CDROM, 2 DATABLOCK, 3 KERNEL, 4 RAMDISK, 5 CONTEXT
    datastore: int = 1
    persistent: bool = False
    path: str = ""
    source: str = "dummy_path"
    format: str = "dummy_format"
    size_mb: int = 1024
    state: int = 1
    regtime: int = 0
    ready_at: float = 0.0  # a LOCKED image becomes READY then
    failing: str = ""  # why it will end in ERROR instead
    returned: bool = False  # persistent, and given back by a VM: its list of snapshots is then empty


LOCKED, READY, USED, DISABLED, ERROR, USED_PERSISTENT = 4, 1, 2, 3, 5, 8
IMAGE_STATES = {0: "INIT", 1: "READY", 2: "USED", 3: "DISABLED", 4: "LOCKED", 5: "ERROR", 8: "USED_PERS"}


@dataclass
class Lease:
    """An address in use: by a VM, or held by an administrator (vm -1)."""

    vm: int
    mac: str


@dataclass
class Range:
    """An address range of a network; addresses are counted from ``first``."""

    id: int
    attrs: Vector
    first: int
    size: int
    next_index: int = 0
    leases: dict[int, Lease] = field(default_factory=dict)


@dataclass
class Network(Thing):
    ranges: list[Range] = field(default_factory=list)


@dataclass
class VmTemplate(Thing):
    regtime: int = 0


@dataclass
class SecurityGroup(Thing):
    pass


@dataclass
class VmGroup(Thing):
    roles: list[Vector] = field(default_factory=list)


@dataclass
class Record:
    """A stretch of a VM's life on one host."""

    host: int
    hostname: str
    datastore: int
    since: int
    until: int = 0
    prolog: tuple[int, int] = (0, 0)
    running: tuple[int, int] = (0, 0)
    epilog: tuple[int, int] = (0, 0)
    action: int = 0
    uid: int = -1
    gid: int = -1
    request: int = -1


@dataclass
class Snapshot:
    id: int
    name: str
    parent: int
    at: int
    size_mb: int


@dataclass
class Vm(Thing):
    """A virtual machine: ``attrs`` is TEMPLATE, ``user`` is USER_TEMPLATE.

    Attributes:
        way: the legs that are still before it.
        due: when the next leg is entered, on the core's clock.
        try_at: PENDING: when the scheduler looks at it next; None: it has not been noticed yet.
        deploy_id: what the hypervisor calls it.
    """

    at: states.At = states.AWAITING
    user: Attrs = field(default_factory=Attrs)
    way: tuple[states.Leg, ...] = ()
    way_name: str = ""
    due: float = 0.0
    pending_way: str = "deploy"
    try_at: float | None = None
    stime: int = 0
    etime: int = 0
    resched: bool = False
    deploy_id: str = ""
    polled: int = 0
    history: list[Record] = field(default_factory=list)
    snapshots: dict[int, list[Snapshot]] = field(default_factory=dict)
    next_snapshot: dict[int, int] = field(default_factory=dict)
    active_snapshot: dict[int, int] = field(default_factory=dict)
    schedule: list[Vector] = field(default_factory=list)
    saving: list[int] = field(default_factory=list)  # images that a save-as makes
    context_password: str = ""
    last_nic: int = -1  # NIC numbers are not used again
    monitoring: Vector = field(default_factory=dict)

    @property
    def live(self) -> bool:
        return self.at.state != states.DONE
