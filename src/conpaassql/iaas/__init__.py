"""Where VMs come from: the contract of a driver, and how one is found.

A driver is one module in this package (or of an entry point of the group ``conpaassql.iaas``)
with ``NAMES``, the words that ``[iaas] DRIVER`` may say for it, ``OPTIONS``, the keys that it
understands, and a class ``Driver``.  Waiting, retrying and polling belong to the manager's
loop; that is what keeps three verbs enough.  What only some clouds can do is a protocol of its
own (``Power``, ``Catalog``, ...); a caller asks with ``isinstance``.  A driver may raise
Unsupported for what its cloud lacks, before anything has been changed.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

from conpaassql.errors import ConfigError
from conpaassql.model import Flavor as Flavor
from conpaassql.model import Vm as Vm
from conpaassql.model import VmSpec as VmSpec
from conpaassql.model import VmState as VmState
from conpaassql.offers import Finding, Image, Network, OfferedFlavor, Snapshot


class Driver(Protocol):
    """All calls may raise IaasError (or Unsupported), and nothing else.  Safe to call from several threads."""

    def create(self, spec: VmSpec) -> str:
        """Ask for a VM and return its id at once.  A name already taken returns that VM's id."""

    def list(self) -> Sequence[Vm]:
        """Return every VM that this owner created and that still exists."""

    def delete(self, vm_id: str) -> None:
        """Ask for the VM's end, disks included.  An id that no longer exists is not an error."""


@runtime_checkable
class Power(Protocol):
    """A cloud that can cut a VM's power at once and give it back."""

    def power_off(self, vm_id: str) -> None:
        """Stop the VM hard, now; its disks stay.  Already off is not an error."""

    def power_on(self, vm_id: str) -> None:
        """Boot the VM from its disks.  Already on is not an error."""


@runtime_checkable
class Catalog(Protocol):
    """A cloud that can say what it offers; only what this user may use."""

    def images(self) -> Sequence[Image]:
        """Return the images that VMs can be made from."""

    def flavors(self) -> Sequence[OfferedFlavor]:
        """Return the flavors that have names; empty where sizes are chosen freely."""

    def networks(self) -> Sequence[Network]:
        """Return the networks that VMs can be on."""


@runtime_checkable
class Snapshots(Protocol):
    """A cloud that can make images of VMs."""

    def snapshot(self, vm_id: str, name: str) -> str:
        """Ask for an image of a VM's first disk and return its id at once.

        A name that this owner has used already returns that snapshot's id.
        """

    def snapshots(self) -> Sequence[Snapshot]:
        """Return every snapshot that this owner made and that still exists."""

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove a snapshot.  An id that no longer exists is not an error; one of another owner is never touched."""


@runtime_checkable
class DiskSnapshots(Protocol):
    """A cloud that can keep states of a VM's first disk with the VM, and put the disk back to one in place."""

    def disk_snapshots(self, vm_id: str) -> Sequence[str]:
        """Return the names of the states that are kept, oldest first."""

    def keep_disk(self, vm_id: str, name: str) -> None:
        """Ask for the present state to be kept; a name that is in use keeps what it has."""

    def revert_disk(self, vm_id: str, name: str) -> None:
        """Ask for the disk to be as it was; IaasBusy while the VM runs, IaasMissing without such a state."""

    def drop_disk(self, vm_id: str, name: str) -> None:
        """Forget a state.  None of that name is not an error; IaasBusy while the cloud still builds upon it."""


@runtime_checkable
class Resizing(Protocol):
    """A cloud that can change a VM's size."""

    def resize(self, vm_id: str, flavor: Flavor) -> None:
        """Ask for processors, memory and (only more) disk of another size; may restart the VM."""


@runtime_checkable
class DataDisks(Protocol):
    """A cloud whose VMs can have a disk that outlives them (``Extras.data_disk_mib``)."""

    def delete_data_disk(self, vm_name: str) -> None:
        """Remove the data disk of the VM of that name, once the VM is gone.  None there is not an error."""


@runtime_checkable
class PublicAddresses(Protocol):
    """A cloud that can give a VM a public address; deleting the VM gives it back."""

    def assign(self, vm_id: str, pool: str) -> str:
        """Return the VM's public address, taken from ``pool`` if it has none yet."""

    def release(self, vm_id: str) -> None:
        """Give the VM's public address back.  None is not an error."""


@runtime_checkable
class Labels(Protocol):
    """A cloud that shows people what a VM is for."""

    def label(self, vm_id: str, labels: Mapping[str, str]) -> None:
        """Show exactly these words with the VM (``Vm.labels``).  Keys are small letters and low lines."""


@runtime_checkable
class Checks(Protocol):
    """A cloud that can be tried out before it is used."""

    def check(self, spec: VmSpec) -> Iterator[Finding]:
        """Yield what is right and wrong with credentials, rights and what a VM of ``spec`` needs; change nothing."""


class DriverModule(Protocol):
    """What a driver's module holds."""

    NAMES: tuple[str, ...]
    OPTIONS: Mapping[str, str]  # key of [iaas] -> default; see settings

    def Driver(self, options: Mapping[str, str], owner: str) -> Driver:  # noqa: N802
        """Build the driver.  ``owner`` is the manager's name, kept apart from other owners.

        Raises:
            ConfigError: an option is missing or wrong.
        """


def modules() -> Sequence[DriverModule]:
    """Return every driver module, built in and installed."""
    built_in = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    installed = [entry.load() for entry in entry_points(group="conpaassql.iaas")]
    return [*built_in, *installed]


def names() -> Sequence[str]:
    """Return the words that ``[iaas] DRIVER`` may say, sorted."""
    return sorted(name for module in modules() for name in module.NAMES)


def load(name: str, options: Mapping[str, str], owner: str) -> Driver:
    """Return the driver called ``name`` (in any case of letters).

    Raises:
        ConfigError: no such driver, or its options are wrong.
    """
    for module in modules():
        if name.upper() in module.NAMES:
            _check(options, module.OPTIONS)
            return module.Driver(options, owner)
    raise ConfigError(
        f"[iaas] DRIVER = {name}: there is no such driver; use one of {', '.join(names())}.",
        section="iaas",
        key="DRIVER",
    )


def _check(options: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Refuse an option that begins as the driver's own do and is none of them; others' options are let pass."""
    prefixes = {key.split("_")[0] for key in known}
    for key in options:
        if key.split("_")[0] in prefixes and key not in known:
            says = f"[iaas] {key}: the driver has no such option; use one of {', '.join(known)}."
            raise ConfigError(says, section="iaas", key=key)
