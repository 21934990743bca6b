"""Where VMs come from: the contract of a driver, and how one is found.

A driver is one module in this package (or of an entry point of the group ``conpaassql.iaas``)
with ``NAMES``, the words that ``[iaas] DRIVER`` may say for it, ``OPTIONS``, the keys that it
understands, and a class ``Driver``.  Waiting, retrying and polling belong to the manager's
loop; that is what keeps three verbs enough.  What only some clouds can do is a protocol of its
own (``Power``); a caller asks with ``isinstance``.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

from conpaassql.errors import ConfigError
from conpaassql.model import Vm as Vm
from conpaassql.model import VmSpec as VmSpec
from conpaassql.model import VmState as VmState


class Driver(Protocol):
    """All calls may raise IaasError, and nothing else.  Safe to call from several threads."""

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
