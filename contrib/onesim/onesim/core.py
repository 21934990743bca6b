"""A core as it is after installation, with what the configuration puts into it."""

from __future__ import annotations

import time
from collections.abc import Callable

from onesim import hosts, images, kernel, networks, others, ticker, users
from onesim.config import Config
from onesim.faults import Faults
from onesim.hypervisor import Hypervisor
from onesim.kernel import parsed
from onesim.model import READY, Datastore, Thing

_DEFAULT_PERMISSIONS = (1, 1, 0, 1, 0, 0, 0, 0, 0)
_FILLED = {
    "ALLOW_ORPHANS": "FORMAT",
    "PERSISTENT_SNAPSHOTS": "YES",
    "RESTRICTED_DIRS": "/",
    "SAFE_DIRS": "/var/tmp",  # noqa: S108 - a word in an answer
    "TM_MAD": "local",
}


class Core(kernel.Core):
    """A core with oneadmin, serveradmin, the default objects and those of the configuration."""

    def __init__(
        self, config: Config, hypervisor: Hypervisor, faults: Faults, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(config, hypervisor, faults, clock)
        _install(self)
        _configure(self)

    def tick(self) -> None:
        """Do everything whose time has come; see ``ticker``."""
        ticker.tick(self)


def _install(core: kernel.Core) -> None:
    """Make what is there before anybody has made anything."""
    for number, name in ((0, "oneadmin"), (1, "users")):
        core.pools.groups[number] = Thing(number, name)
    core.pools.groups[1].attrs = others.sunstone()
    core.pools.secgroups[0] = others.default_secgroup()
    users.new_user(core, "oneadmin", core.config.oneadmin_password, gid=0)
    users.new_user(core, "serveradmin", "", gid=0).driver = "server_cipher"
    for number, (name, kind) in enumerate((("system", 1), ("default", 0), ("files", 2))):
        core.pools.datastores[number] = _datastore(number, name, kind, core.config.datastore_mb)
    core.counts.update(group=100, datastore=100)


def _configure(core: kernel.Core) -> None:
    config, root = core.config, core.pools.users[0]
    for host in config.hosts:
        made = core.pools.hosts[hosts.allocate(core, root, host.name, "dummy", "dummy")]
        made.cpu, made.memory_kib = round(host.cpu * 100), host.memory_mib * 1024
    for network in config.networks:
        _share(config, networks.new(core, root, parsed(network.template)))
    for image in config.images:
        new = core.pools.images[images.allocate(core, root, image.template, image.datastore)]
        new.state = READY
        _share(config, new)
    for name, password in config.users:
        users.new_user(core, name, password)


def _datastore(number: int, name: str, kind: int, total_mb: int) -> Datastore:
    store = Datastore(number, name, kind=kind, ds_mad="-" if kind == 1 else "fs", tm_mad="local", total_mb=total_mb)
    store.permissions = list(_DEFAULT_PERMISSIONS)
    for key, value in {**_FILLED, **_OF_KIND[kind]}.items():
        store.attrs.add(key, value)
    return store


_IMAGE_STORE = {"CLONE_TARGET": "SYSTEM", "DS_MAD": "fs", "LN_TARGET": "SYSTEM"}
_MIGRATING = {"DS_LIVE_MIGRATE": "YES", "DS_MIGRATE": "YES", "DS_MIGRATE_SNAP": "YES"}
_OF_KIND = (
    {**_IMAGE_STORE, "DISK_TYPE": "FILE", "TYPE": "IMAGE_DS"},
    {**_MIGRATING, "DISK_TYPE": "FILE", "SHARED": "NO", "TYPE": "SYSTEM_DS"},
    {**_IMAGE_STORE, "TYPE": "FILE_DS"},
)


def _share(config: Config, thing: Thing) -> None:
    if config.shared:
        thing.permissions[6] = 1
