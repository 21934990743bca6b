"""VMs that are sessions of processes on this machine, each with a directory and an address of its own.

``<LOCAL_ROOT>/<owner>/<name>/`` holds ``vm.json`` (what it is), ``context.sh`` (what it was told),
``disk/`` (the VM's own), ``log/console.log`` (what it said) and ``session`` (its first process).
Snapshots are in ``<LOCAL_ROOT>/.snapshots/<owner>/``, data disks in ``<LOCAL_ROOT>/.data/<owner>/``.
A VM counts from the moment when its first process has noted itself: one whose creation was cut
short is not listed, is completed by the next ``create``, and removed when a driver is made.
A disk with something on it is only ever removed by ``delete``.

The directory's own lock orders create, delete, power and changes of the description; it ends with
the process that holds it.
"""

import ipaddress as ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from conpaassql import localdisk, localvm, loopback
from conpaassql.errors import IaasError
from conpaassql.iaas import Flavor, Vm, VmSpec
from conpaassql.iaas.local import checks, datadisks, folders, furnish, records, snapshots, wanted
from conpaassql.iaas.local.furnish import shell as shell
from conpaassql.iaas.local.place import place
from conpaassql.localvm import Life
from conpaassql.offers import Finding, Image, Network, OfferedFlavor, Snapshot, SnapshotState

NAMES = ("LOCAL",)
OPTIONS: Mapping[str, str] = {"LOCAL_ROOT": "", "LOCAL_NETWORK": "127.0.0.0/8", "LOCAL_INIT": ""}

_KILL_TIMEOUT_S = 10.0
_COPY_PATIENCE_S = 30.0  # for a copy of the disk to end before the VM boots from it


class Driver:
    """LOCAL, for one owner: all abilities of ``iaas`` but ``PublicAddresses``."""

    def __init__(self, options: Mapping[str, str], owner: str) -> None:
        """Remove what an earlier driver of this owner left half made.

        Raises:
            ConfigError: an option or the owner's name is wrong.
        """
        self._place = place({key: options.get(key) or default for key, default in OPTIONS.items()}, owner)
        with folders.translated():
            self._sweep()

    def create(self, spec: VmSpec) -> str:
        """Make and boot a VM; its id is its name.

        Without CONPAASSQL_NODE in its context it is a plain machine, which runs its user data once,
        as a script, and stays up.  CONPAASSQL_ADDRESS in the context is the address that it gets.
        A snapshot as its image is copied before this returns.

        Raises:
            Unsupported: something of the extras is not to be had here; see ``wanted.complaints``.
        """
        vm = self._place.vm(spec.name)
        for error in wanted.complaints(spec, self._place):
            raise error
        with folders.translated():
            if not records.is_whole(vm):
                with folders.made(vm) as lock:
                    self._complete(vm, spec, lock)
        return spec.name

    def list(self) -> Sequence[Vm]:
        """List the owner's VMs; half-made ones are nobody's."""
        with folders.translated():
            seen = (records.seen(vm) for vm in folders.inside(self._place.vms))
            return [vm for vm in seen if vm]

    def delete(self, vm_id: str) -> None:
        """Kill the VM's processes and remove its directory."""
        if not folders.SAFE.fullmatch(vm_id):
            return
        vm = self._place.vm(vm_id)
        with folders.translated(), folders.locked(vm) as lock:
            if lock is not None:
                _remove(vm)

    def power_off(self, vm_id: str) -> None:
        """Kill the VM's processes; its disk stays."""
        vm = self._place.vm(vm_id)
        with folders.translated(), folders.locked(vm) as lock:
            if lock is None:
                raise records.no_such(vm_id)
            localvm.kill(vm, _KILL_TIMEOUT_S)

    def power_on(self, vm_id: str) -> None:
        """Boot the VM again, with the context and the address that it had."""
        vm = self._place.vm(vm_id)
        with folders.translated(), folders.locked(vm) as lock:
            what = records.what(vm)
            if lock is None or not what:
                raise records.no_such(vm_id)
            if localvm.life(vm) is Life.ALIVE:
                snapshots.wake(vm)
                return
            localvm.kill(vm, _KILL_TIMEOUT_S)  # a part of it may have outlived its first process
            loopback.hold(what.address, vm)
            self._boot(vm, lock, plain=what.plain)

    def images(self) -> Sequence[Image]:
        """Return the one image that there is, and the snapshots."""
        ready = (found for found in self.snapshots() if found.state is SnapshotState.READY)
        copies = (Image(id=snapshot.id, name=snapshot.name) for snapshot in ready)
        return [Image(id=wanted.IMAGE, name=wanted.IMAGE), *copies]

    def flavors(self) -> Sequence[OfferedFlavor]:
        """Return none: sizes are free."""
        return []

    def networks(self) -> Sequence[Network]:
        """Return the one network that there is."""
        with folders.translated():
            free = loopback.count_free(self._place.network)
        return [Network(id=str(self._place.network), name=wanted.NETWORK, free=free)]

    def snapshot(self, vm_id: str, name: str) -> str:
        """Begin to copy the VM's disk; the VM stands still until that is done."""
        with folders.translated():
            snapshots.make(self._place, vm_id, name)
        return name

    def snapshots(self) -> Sequence[Snapshot]:
        """List the owner's snapshots; half-made ones that nobody is at work on are nobody's."""
        with folders.translated():
            return snapshots.every(self._place)

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove the copy of a disk."""
        if folders.SAFE.fullmatch(snapshot_id):
            with folders.translated():
                snapshots.remove(self._place, snapshot_id)

    def resize(self, vm_id: str, flavor: Flavor) -> None:
        """Note the new size; the VM learns of it when it boots next."""
        vm = self._place.vm(vm_id)
        with folders.translated(), folders.locked(vm) as lock:
            what = records.what(vm)
            if lock is None or not what:
                raise records.no_such(vm_id)
            furnish.resize(vm, what, flavor)

    def delete_data_disk(self, vm_name: str) -> None:
        """Remove the directory that outlived the VM."""
        if folders.SAFE.fullmatch(vm_name):
            with folders.translated():
                datadisks.remove(self._place, vm_name)

    def label(self, vm_id: str, labels: Mapping[str, str]) -> None:
        """Keep the words in ``vm.json``."""
        vm = self._place.vm(vm_id)
        with folders.translated(), folders.locked(vm) as lock:
            what = records.what(vm)
            if lock is None or not what:
                raise records.no_such(vm_id)
            records.note(vm, replace(what, labels=dict(labels)))

    def check(self, spec: VmSpec) -> Iterator[Finding]:
        """Look at the directory, the programs, the addresses, and at what LOCAL has not."""
        with folders.translated():
            yield from checks.findings(self._place, spec)

    def _complete(self, vm: Path, spec: VmSpec, lock: int) -> None:
        """Do what is still to do of a creation; undo it if that fails."""
        if records.is_whole(vm):
            return
        try:
            with snapshots.disk_of(self._place, spec.image if records.has_empty_disk(vm) else "") as disk:
                furnish.furnish(self._place, vm, spec)
                if disk:
                    localdisk.copy(disk, vm / "disk")
            self._boot(vm, lock, plain=wanted.is_plain(spec))
        except (OSError, IaasError):
            if records.is_half_made(vm):
                _remove(vm)
            raise

    def _boot(self, vm: Path, lock: int, *, plain: bool) -> None:
        with localdisk.held(vm, _COPY_PATIENCE_S):
            localvm.boot(vm, self._place.plain_script if plain else self._place.script, lock)

    def _sweep(self) -> None:
        """Remove what creations, deletions and snapshots that were cut short have left."""
        folders.bury_all(self._place.vms)
        folders.bury_all(self._place.data)
        snapshots.sweep(self._place)
        for vm in folders.inside(self._place.vms):
            if not records.is_half_made(vm) or folders.is_locked(vm):
                continue
            with folders.locked(vm) as lock:
                if lock is not None and records.is_half_made(vm):
                    _remove(vm)


def _remove(vm: Path) -> None:
    localvm.kill(vm, _KILL_TIMEOUT_S)
    what = records.what(vm)
    grave = folders.entomb(vm)
    if what:
        loopback.release(what.address, vm)
    folders.bury(grave)
