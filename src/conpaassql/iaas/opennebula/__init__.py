"""OpenNebula 5.12 to 7, by XML-RPC.

A VM of ours is known by its attribute CONPAASSQL_MANAGER, the owner's name; nothing else is ever
touched.  One short call lists all.  What OpenNebula refuses for the moment, such as terminating a VM that
boots, is IaasBusy: the manager's loop asks again.
"""

from collections.abc import Iterator, Mapping, Sequence

from conpaassql.iaas.opennebula import (
    catalog,
    checks,
    config,
    create,
    disks,
    groups,
    lives,
    look,
    snapshots,
    states_of_disk,
)
from conpaassql.iaas.opennebula.cloud import Cloud
from conpaassql.model import Flavor, Vm, VmSpec
from conpaassql.offers import Finding, Image, Network, OfferedFlavor, Snapshot

NAMES = ("OPENNEBULA_XMLRPC", "OPENNEBULA")
OPTIONS: Mapping[str, str] = config.OPTIONS


class Driver:
    """OPENNEBULA_XMLRPC, for one owner.  Implements every ability of ``iaas``.

    It has more methods than a class should: each ability is one word of the manager's, and its
    work is in a module of its own.
    """

    def __init__(self, options: Mapping[str, str], owner: str) -> None:
        """Call nothing yet.

        Raises:
            ConfigError: an option is missing or wrong.
        """
        self._cloud = Cloud(config.read(options), owner)

    def create(self, spec: VmSpec) -> str:
        """Allocate a VM, or instantiate the template of OPENNEBULA_TEMPLATE_ID; ``spec.template`` is not used then."""
        return create.create(self._cloud, spec)

    def list(self) -> Sequence[Vm]:
        """List the owner's VMs; labels that somebody else has changed are seen within a minute."""
        found = look.vms(self._cloud)
        groups.tidy(self._cloud, {vm.id for vm in found})
        return found

    def delete(self, vm_id: str) -> None:
        """Terminate a VM at once; while it boots OpenNebula refuses that, which is IaasBusy."""
        lives.delete(self._cloud, vm_id)

    def power_off(self, vm_id: str) -> None:
        """Ask for the VM's power to be cut; it is STOPPED when that has happened."""
        lives.power_off(self._cloud, vm_id)

    def power_on(self, vm_id: str) -> None:
        """Boot the VM from its disks, where it was or elsewhere."""
        lives.power_on(self._cloud, vm_id)

    def images(self) -> Sequence[Image]:
        """Return the system images that are ready and not persistent."""
        return catalog.images(self._cloud)

    def flavors(self) -> Sequence[OfferedFlavor]:
        """Return none: in OpenNebula everybody chooses processors, memory and disk by number."""
        return []

    def networks(self) -> Sequence[Network]:
        """Return the virtual networks with their free addresses."""
        return catalog.networks(self._cloud)

    def snapshot(self, vm_id: str, name: str) -> str:
        """Save the VM's first disk as an image."""
        return snapshots.make(self._cloud, vm_id, name)

    def snapshots(self) -> Sequence[Snapshot]:
        """List the owner's snapshots, by one call."""
        return snapshots.each(self._cloud)

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete a snapshot's image."""
        snapshots.delete(self._cloud, snapshot_id)

    def disk_snapshots(self, vm_id: str) -> Sequence[str]:
        """Return the names of the states of the VM's first disk."""
        return [*states_of_disk.kept(self._cloud, vm_id)]

    def keep_disk(self, vm_id: str, name: str) -> None:
        """Keep the state of the VM's first disk, while it runs or is off."""
        states_of_disk.keep(self._cloud, vm_id, name)

    def revert_disk(self, vm_id: str, name: str) -> None:
        """Put the first disk of a VM that is off back to a state."""
        states_of_disk.revert(self._cloud, vm_id, name)

    def drop_disk(self, vm_id: str, name: str) -> None:
        """Forget a state of the VM's first disk."""
        states_of_disk.drop(self._cloud, vm_id, name)

    def resize(self, vm_id: str, flavor: Flavor) -> None:
        """Resize the VM while it runs where that is possible, else by switching it off and on."""
        lives.resize(self._cloud, vm_id, flavor)

    def delete_data_disk(self, vm_name: str) -> None:
        """Delete the image that was the VM's data disk."""
        disks.delete(self._cloud, vm_name)

    def assign(self, vm_id: str, pool: str) -> str:
        """Attach a card on the network called ``pool``."""
        return lives.assign(self._cloud, vm_id, pool)

    def release(self, vm_id: str) -> None:
        """Detach that card."""
        lives.release(self._cloud, vm_id)

    def label(self, vm_id: str, labels: Mapping[str, str]) -> None:
        """Show labels as attributes ``CONPAASSQL_<KEY>`` of the VM."""
        lives.label(self._cloud, vm_id, labels)

    def check(self, spec: VmSpec) -> Iterator[Finding]:
        """Try the cloud out."""
        return checks.check(self._cloud, spec)
