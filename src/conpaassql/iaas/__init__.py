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
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

from conpaassql.errors import ConfigError
from conpaassql.model import Flavor


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
    the cloud's own language.
    """

    name: str
    flavor: Flavor
    tags: Mapping[str, str]
    context: Mapping[str, str] = field(repr=False)
    template: str = field(repr=False)
    image: str = ""
    network: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm:
    """One VM as the cloud lists it.  ``address`` is None until the cloud has given one."""

    id: str
    name: str
    state: VmState
    address: str | None
    tags: Mapping[str, str]
    message: str = ""


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
            return module.Driver(options, owner)
    raise ConfigError(
        f"[iaas] DRIVER = {name}: there is no such driver; use one of {', '.join(names())}.",
        section="iaas",
        key="DRIVER",
    )
