"""VMs that are only remembered, with delays and failures on demand: for tests and dry runs.

With DUMMY_STATE the memory is a file, so that the pretended cloud survives the process, and several
processes share it.  Images, flavors and networks that are asked for need not be in its catalog: a
dry run may name those of a real cloud.
"""

import ipaddress
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from conpaassql.errors import ConfigError, IaasBusy, IaasFull, IaasMissing
from conpaassql.iaas import Flavor, Vm, VmSpec, VmState
from conpaassql.iaas.dummy import orders
from conpaassql.iaas.dummy.cloud import Cloud as Cloud
from conpaassql.iaas.dummy.cloud import Copy, Machine, State
from conpaassql.offers import Finding, Image, Network, OfferedFlavor, Snapshot, SnapshotState

NAMES = ("DUMMY", "NULLPROVIDER", "OPENNEBULA_DUMMY")
OPTIONS: Mapping[str, str] = orders.OPTIONS

IMAGES = (
    Image(id="1", name="debian-12", min_disk_gib=2, min_ram_mib=256),
    Image(id="2", name="ubuntu-24.04", min_disk_gib=4, min_ram_mib=512),
    Image(id="3", name="ubuntu-22.04", min_disk_gib=4, min_ram_mib=512),
)
FLAVORS = (
    OfferedFlavor(id="1", name="small", vcpus=1, ram_mib=512, disk_gib=10),
    OfferedFlavor(id="2", name="medium", vcpus=2, ram_mib=2048, disk_gib=20, swap_mib=512),
    OfferedFlavor(id="3", name="medium-fast", vcpus=2, ram_mib=2048, disk_gib=20, swap_mib=512),
    OfferedFlavor(id="4", name="large", vcpus=4, ram_mib=8192, disk_gib=40),
)
NETWORKS = (
    Network(id="1", name="private", free=60_000),
    Network(id="2", name="private-2", free=60_000),
    Network(id="3", name="public", free=254),
)

_FIRST = ipaddress.IPv4Address("10.1.0.20")
_PUBLIC = [str(address) for address in ipaddress.IPv4Network("192.0.2.0/24").hosts()]  # for documents; RFC 5737


class Driver:
    """DUMMY, for one owner.  Has every ability of ``iaas``, and takes all extras."""

    def __init__(self, options: Mapping[str, str], owner: str, cloud: Cloud | None = None) -> None:
        """Begin with a cloud of its own, or that of DUMMY_STATE, unless one is given.

        Raises:
            ConfigError: an option is wrong.
        """
        chosen = {key: options.get(key) or default for key, default in OPTIONS.items()}
        self._told = orders.orders(chosen)
        self._owner = owner
        self._cloud = cloud or _cloud(chosen["DUMMY_STATE"])

    def create(self, spec: VmSpec) -> str:
        """Remember a VM, unless this creation is to fail; its id is its number."""
        self._take_time()
        call = self._told.create.begin(spec.name)
        with self._cloud.opened() as state:
            vm_id = self._named(state, spec.name) or self._add(state, spec)
        self._told.create.end(spec.name, call)
        return vm_id

    def list(self) -> Sequence[Vm]:
        """List the owner's VMs as they are by now."""
        self._take_time()
        with self._cloud.opened() as state:
            return [self._now(machine) for machine in state.machines.values() if machine.owner == self._owner]

    def delete(self, vm_id: str) -> None:
        """Forget a VM, at once or after DUMMY_DELETE_DELAY_S; its public address is free again."""
        self._take_time()
        with self._cloud.opened() as state:
            machine = self._mine(state, vm_id)
        if not machine or machine.gone_at_s is not None:
            return
        name = machine.spec.name
        call = self._told.delete.begin(name)
        with self._cloud.opened() as state:
            if machine := self._mine(state, vm_id):
                gone_at_s = self._cloud.clock() + self._told.delete_delay_s
                state.machines[vm_id] = replace(machine, gone_at_s=gone_at_s, public_address=None)
        self._told.delete.end(name, call)

    def power_off(self, vm_id: str) -> None:
        """Pretend to cut the power."""
        self._switch(vm_id, on=False)

    def power_on(self, vm_id: str) -> None:
        """Pretend to boot; it takes the same time as the first boot."""
        self._switch(vm_id, on=True)

    def images(self) -> Sequence[Image]:
        """Return a few images, and the snapshots that are ready."""
        ready = (found for found in self.snapshots() if found.state is SnapshotState.READY)
        return [*IMAGES, *(Image(id=snapshot.id, name=snapshot.name) for snapshot in ready)]

    def flavors(self) -> Sequence[OfferedFlavor]:
        """Return a few flavors, of which two differ in nothing but the name."""
        self._take_time()
        return FLAVORS

    def networks(self) -> Sequence[Network]:
        """Return two private networks and a public one."""
        self._take_time()
        return NETWORKS

    def snapshot(self, vm_id: str, name: str) -> str:
        """Remember a snapshot, which is ready after DUMMY_SNAPSHOT_DELAY_S."""
        self._take_time()
        call = self._told.snapshot.begin(name)
        with self._cloud.opened() as state:
            mine = (copy.id for copy in state.copies.values() if (copy.owner, copy.name) == (self._owner, name))
            copy_id = next(mine, None) or self._add_copy(state, self._known(state, vm_id), name)
        self._told.snapshot.end(name, call)
        return copy_id

    def snapshots(self) -> Sequence[Snapshot]:
        """List the owner's snapshots as they are by now."""
        self._take_time()
        with self._cloud.opened() as state:
            return [self._shown(copy) for copy in state.copies.values() if copy.owner == self._owner]

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Forget a snapshot; it can fail as the deletion of a VM can."""
        self._take_time()
        with self._cloud.opened() as state:
            copy = state.copies.get(snapshot_id)
        if not copy or copy.owner != self._owner:
            return
        call = self._told.delete.begin(copy.name)
        with self._cloud.opened() as state:
            state.copies.pop(snapshot_id, None)
        self._told.delete.end(copy.name, call)

    def resize(self, vm_id: str, flavor: Flavor) -> None:
        """Remember another size; the VM does not restart, and its disk is never made smaller."""
        self._take_time()
        with self._cloud.opened() as state:
            machine = self._known(state, vm_id)
            size = replace(flavor, disk_mib=max(flavor.disk_mib, machine.spec.flavor.disk_mib))
            state.machines[vm_id] = replace(machine, spec=replace(machine.spec, flavor=size))

    def delete_data_disk(self, vm_name: str) -> None:
        """Forget the data disk."""
        self._take_time()
        with self._cloud.opened() as state:
            if self._named(state, vm_name):
                raise IaasBusy(f"{vm_name} still has its data disk; delete the VM first.", vm=vm_name)
            state.disks.discard((self._owner, vm_name))

    def assign(self, vm_id: str, pool: str) -> str:
        """Return one of a few addresses that lead nowhere.

        Raises:
            IaasMissing: there is no such VM, or the pool is not the network ``public``.
            IaasFull: all are taken.
        """
        self._take_time()
        with self._cloud.opened() as state:
            machine = self._known(state, vm_id)
            if machine.public_address:
                return machine.public_address
            if pool not in ("public", NETWORKS[-1].id):
                raise IaasMissing(f"there is no pool {pool} of public addresses; use public.")
            taken = {other.public_address for other in state.machines.values()}
            address = next((address for address in _PUBLIC if address not in taken), None)
            if not address:
                raise IaasFull(f"the pool {pool} has no address left.")
            state.machines[vm_id] = replace(machine, public_address=address)
            return address

    def release(self, vm_id: str) -> None:
        """Forget the public address."""
        self._take_time()
        with self._cloud.opened() as state:
            if machine := self._mine(state, vm_id):
                state.machines[vm_id] = replace(machine, public_address=None)

    def label(self, vm_id: str, labels: Mapping[str, str]) -> None:
        """Remember the words."""
        self._take_time()
        with self._cloud.opened() as state:
            state.machines[vm_id] = replace(self._known(state, vm_id), labels=dict(labels))

    def check(self, spec: VmSpec) -> Iterator[Finding]:
        """Say that all is well, as it always is where nothing is real."""
        self._take_time()
        yield Finding(code="credentials", ok=True, says="The pretended cloud lets everybody in.")
        image = spec.image or IMAGES[0].name
        yield Finding(code="image", ok=True, says=f"VMs are pretended to be made from {image}.")
        with self._cloud.opened() as state:
            says = f"{len(state.machines)} VMs are remembered; there is room for more."
        yield Finding(code="space", ok=True, says=says)

    def _take_time(self) -> None:
        if self._told.call_s:
            time.sleep(self._told.call_s)  # the slowness itself is what was asked for

    def _switch(self, vm_id: str, *, on: bool) -> None:
        self._take_time()
        with self._cloud.opened() as state:
            machine = self._known(state, vm_id)
            if machine.on != on:
                runs_at_s = self._cloud.clock() + self._told.delay_s
                state.machines[vm_id] = replace(machine, on=on, runs_at_s=runs_at_s)

    def _named(self, state: State, name: str) -> str | None:
        mine = (machine for machine in state.machines.values() if machine.owner == self._owner)
        return next((machine.id for machine in mine if machine.spec.name == name), None)

    def _mine(self, state: State, vm_id: str) -> Machine | None:
        machine = state.machines.get(vm_id)
        return machine if machine and machine.owner == self._owner else None

    def _known(self, state: State, vm_id: str) -> Machine:
        machine = self._mine(state, vm_id)
        if not machine:
            raise IaasMissing(f"there is no VM {vm_id}.", vm=vm_id)
        return machine

    def _add(self, state: State, spec: VmSpec) -> str:
        number = state.made
        state.made += 1
        machine = Machine(
            id=str(number),
            owner=self._owner,
            spec=replace(spec, context={}, template="", tags=dict(spec.tags)),
            address=str(_FIRST + number),
            runs_at_s=self._cloud.clock() + self._told.delay_s,
        )
        state.machines[machine.id] = machine
        if spec.extras.data_disk_mib:
            state.disks.add((self._owner, spec.name))
        return machine.id

    def _add_copy(self, state: State, machine: Machine, name: str) -> str:
        state.made += 1
        copy = Copy(
            id=f"snapshot-{state.made}",
            owner=self._owner,
            name=name,
            vm=machine.spec.name,
            created_at=datetime.now(UTC),
            ready_at_s=self._cloud.clock() + self._told.snapshot_delay_s,
        )
        state.copies[copy.id] = copy
        return copy.id

    def _now(self, machine: Machine) -> Vm:
        zone = machine.spec.extras.availability_zone or "dummy"
        state = self._state(machine)
        return Vm(
            id=machine.id,
            name=machine.spec.name,
            state=state,
            address=machine.address,
            tags=machine.spec.tags,
            labels=machine.labels,
            public_address=machine.public_address,
            zone="" if state is VmState.BOOTING else f"{zone}:host-{machine.id}",
        )

    def _state(self, machine: Machine) -> VmState:
        if machine.gone_at_s is not None:
            return VmState.DELETING
        if not machine.on:
            return VmState.STOPPED
        return VmState.RUNNING if self._cloud.clock() >= machine.runs_at_s else VmState.BOOTING

    def _shown(self, copy: Copy) -> Snapshot:
        is_ready = self._cloud.clock() >= copy.ready_at_s
        state = SnapshotState.READY if is_ready else SnapshotState.PENDING
        return Snapshot(id=copy.id, name=copy.name, vm=copy.vm, state=state, created_at=copy.created_at)


def _cloud(file: str) -> Cloud:
    """Return the cloud that DUMMY_STATE names; empty: a new one that ends with the process."""
    if not file:
        return Cloud()
    path = Path(file).expanduser().absolute()
    if not path.parent.is_dir():
        says = f"[iaas] DUMMY_STATE = {file}: {path.parent} is no directory; make it, or name another file."
        raise ConfigError(says, section="iaas", key="DUMMY_STATE")
    return Cloud(clock=time.time, file=path)  # all processes have the same time of day
