"""What a simulator begins with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A virtual network with one address range.

    Attributes:
        template: in OpenNebula's language, with its AR, as for ``one.vn.allocate``.
    """

    template: str


@dataclass(frozen=True, slots=True)
class ImageConfig:
    template: str
    datastore: int = 1


@dataclass(frozen=True, slots=True)
class HostConfig:
    name: str
    cpu: float = 8.0
    memory_mib: int = 16384


@dataclass(frozen=True, slots=True)
class Config:
    """The world at the start.

    Attributes:
        scale: real seconds are multiplied by this; 1.0 is as slow as a real core, 0 is at once.
        window_s: how long the scheduler gathers pending VMs before it places them (real seconds).
        window_vms: it does not wait longer once that many are pending.
        retry_s: a VM that found no host is looked at again after this time (real seconds).
        monitor_s: how often the hypervisor is asked whether its VMs live (real seconds, not scaled).
        users: name and password of ordinary users, in the group ``users``; user 0 is ``oneadmin``.
        shared: networks and images may be used by all, as a public cloud's.
        first_vm_id: where the numbers of VMs begin.
        version: what system.version answers; methods that came later are not defined.
        max_connections: so many are served at a time; an idle one counts for 15 s.
        onegate: the end point written into contexts with TOKEN = YES; empty: TOKEN is an error.
    """

    oneadmin_password: str = "onepass"  # noqa: S105 - a simulator's
    users: tuple[tuple[str, str], ...] = ()
    hosts: tuple[HostConfig, ...] = ()
    networks: tuple[NetworkConfig, ...] = ()
    images: tuple[ImageConfig, ...] = ()
    shared: bool = True
    scale: float = 1.0
    window_s: float = 10.0
    window_vms: int = 7
    retry_s: float = 60.0
    monitor_s: float = 0.5
    first_vm_id: int = 0
    version: str = "7.4.0"
    onegate: str = "http://127.0.0.1:5030"
    max_connections: int = 15
    datastore_mb: int = 1_000_000
