"""Where one owner's VMs, snapshots and data disks are on this machine."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from conpaassql.errors import ConfigError, IaasRefused
from conpaassql.iaas.local.folders import SAFE

_SOCKET_MAX = 107  # bytes of a socket's path; see unix(7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the options say.  ``script`` boots the VMs of nodes, ``plain_script`` all others.

    Names in ``root`` that begin with a point are no owners.
    """

    root: Path
    owner: str
    network: ipaddress.IPv4Network
    script: Path
    plain_script: Path

    @property
    def vms(self) -> Path:
        """The directory of the VMs."""
        return self.root / self.owner

    @property
    def snapshots(self) -> Path:
        """The directory of the snapshots; absent until there is one."""
        return self.root / ".snapshots" / self.owner

    @property
    def data(self) -> Path:
        """The directory of the data disks; absent until there is one."""
        return self.root / ".data" / self.owner

    def vm(self, name: str) -> Path:
        """Return the directory of a VM.

        Raises:
            IaasRefused: there cannot be one of that name.
        """
        vm = self.vms / name
        if not SAFE.fullmatch(name):
            raise IaasRefused(f"{name!r} cannot be a VM's name; use letters, digits, points and dashes.")
        if len(os.fsencode(vm / "disk" / "run" / "mysqld.sock")) > _SOCKET_MAX:
            raise IaasRefused(f"{vm}: the path is too long for a socket in it; choose a shorter LOCAL_ROOT.")
        return vm

    def shelf(self, snapshot: str) -> Path:
        """Return the directory of a snapshot.

        Raises:
            IaasRefused: there cannot be one of that name.
        """
        if not SAFE.fullmatch(snapshot):
            raise IaasRefused(f"{snapshot!r} cannot be a snapshot's name; use letters, digits, points and dashes.")
        return self.snapshots / snapshot


def place(options: Mapping[str, str], owner: str) -> Place:
    """Return the place that complete options name, and make its directory.

    Raises:
        ConfigError: an option or the owner's name is wrong.
    """
    if not options["LOCAL_ROOT"]:
        raise ConfigError("[iaas] LOCAL_ROOT is missing; name a directory.", section="iaas", key="LOCAL_ROOT")
    if not SAFE.fullmatch(owner):
        says = f"[manager] name = {owner}: use letters, digits, points and dashes."
        raise ConfigError(says, section="manager", key="name")
    scripts = files("conpaassql.templates") / "vm"
    found = Place(
        root=Path(options["LOCAL_ROOT"]).absolute(),
        owner=owner,
        network=_network(options["LOCAL_NETWORK"]),
        script=Path(options["LOCAL_INIT"] or str(scripts / "init.sh")).absolute(),
        plain_script=Path(str(scripts / "plain.sh")).absolute(),
    )
    try:
        found.vms.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        says = f"[iaas] LOCAL_ROOT = {found.root}: {exc.filename}: {exc.strerror}; choose another directory."
        raise ConfigError(says, section="iaas", key="LOCAL_ROOT") from exc
    return found


def _network(text: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError as exc:
        raise _bad_network(text) from exc
    if not network.subnet_of(ipaddress.IPv4Network("127.0.0.0/8")):
        raise _bad_network(text)
    return network


def _bad_network(text: str) -> ConfigError:
    says = f"[iaas] LOCAL_NETWORK = {text}: use a part of 127.0.0.0/8, such as 127.20.0.0/16."
    return ConfigError(says, section="iaas", key="LOCAL_NETWORK")
