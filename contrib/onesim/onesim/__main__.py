"""A simulated OpenNebula as a process: ``python -m onesim --root DIR``.

It prints one line of JSON when it answers, serves until SIGTERM or SIGINT, and then destroys its guests.
"""

import argparse
import fcntl
import ipaddress
import json
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from onesim import allocate, server
from onesim.config import Config, HostConfig, ImageConfig, NetworkConfig
from onesim.core import Core
from onesim.errors import OneError
from onesim.faults import Faults
from onesim.hypervisor import Hypervisor, Local, Nothing
from onesim.states import UP

ADDRESS = "127.0.0.1"
ADMIN = "oneadmin"
USER = "conpaas"
NETWORK = "private"
IMAGE = "conpaassql"
LOCK = ".onesim.lock"
FILL_TIMEOUT_S = 60.0
FILL_S = 0.1  # for each VM
TEMPLATE = 'CPU = 0.1\nMEMORY = 64\nDISK = [ IMAGE_ID = 0 ]\nNIC = [ NETWORK_ID = 0 ]\nCONTEXT = [ NETWORK = "YES" ]\n'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a simulator until it is told to end; return an exit status."""
    given = _parser().parse_args(arguments)
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    passwords = {ADMIN: secrets.token_urlsafe(18), USER: secrets.token_urlsafe(18)}
    config = _config(given, passwords)
    with _hypervisor(given.hypervisor, given.root, given.init) as guests:
        core = Core(config, guests, Faults())
        with server.serve(core, ADDRESS, given.port) as url:
            _fill(core, given.vms, given.vm_template)
            sys.stdout.write(json.dumps(_described(core, url, passwords)) + "\n")
            sys.stdout.flush()
            ending.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onesim", description="Serve OpenNebula's XML-RPC on this machine, with processes in the place of VMs."
    )
    parser.add_argument("--root", type=Path, required=True, help="directory for the guests; a short path")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: any that is free (0)")
    parser.add_argument("--network", type=_loopback, default="127.60.0.0/16", help="addresses (127.60.0.0/16)")
    parser.add_argument("--hypervisor", choices=("local", "none"), default="local", help="who runs the guests (local)")
    parser.add_argument("--init", type=Path, help="script that boots guests which are nodes (conpaassql's init.sh)")
    parser.add_argument("--scale", type=float, default=0.02, help="1: as slow as a real core; 0: at once (0.02)")
    parser.add_argument("--vms", type=int, default=0, help="so many VMs are there from the start (0)")
    parser.add_argument("--vm-template", default="", help="more of their template; what it says wins")
    return parser


def _loopback(text: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    if not network.is_loopback or network.num_addresses < 4:
        raise argparse.ArgumentTypeError("use a part of 127.0.0.0/8 with some addresses")
    return network


def _config(given: argparse.Namespace, passwords: dict[str, str]) -> Config:
    return Config(
        oneadmin_password=passwords[ADMIN],
        users=((USER, passwords[USER]),),
        hosts=tuple(HostConfig(name=f"host{number}", cpu=4096, memory_mib=1 << 22) for number in (1, 2)),
        networks=(NetworkConfig(_network(given.network)),),
        images=(ImageConfig(f'NAME = "{IMAGE}"\nPATH = "/var/tmp/{IMAGE}.qcow2"\nTYPE = "OS"\n'),),
        scale=given.scale,
    )


def _network(network: ipaddress.IPv4Network) -> str:
    """Return the template of a network whose router, if it had one, would have the first address."""
    router = network[1]
    return (
        f'NAME = "{NETWORK}"\nVN_MAD = "dummy"\nBRIDGE = "br0"\nGATEWAY = "{router}"\nDNS = "{router}"\n'
        f'NETWORK_ADDRESS = "{network.network_address}"\nNETWORK_MASK = "{network.netmask}"\n'
        f'AR = [ TYPE = "IP4", IP = "{network[2]}", SIZE = "{network.num_addresses - 3}" ]\n'
    )


def _fill(core: Core, count: int, more: str) -> None:
    """Make VMs, and return when they run.

    Raises:
        SystemExit: they do not in time, or OpenNebula refuses the template.
    """
    deadline = time.monotonic() + FILL_TIMEOUT_S + count * FILL_S
    try:
        with core.lock:
            user = next(user for user in core.pools.users.values() if user.name == USER)
            for number in range(count):
                # Of two vectors CONTEXT the first counts.
                allocate.allocate(core, user, f'NAME = "vm-{number}"\n{more}\n{TEMPLATE}')
    except OneError as exc:
        raise SystemExit(f"onesim: {exc.text}") from exc
    while not all(vm.at == UP for vm in core.live_vms()):
        if time.monotonic() > deadline:
            raise SystemExit("onesim: the VMs that are to be there from the start do not run.")
        time.sleep(0.05)  # the core's own thread moves them along


def _described(core: Core, url: str, passwords: dict[str, str]) -> dict[str, str]:
    return {
        "url": url,
        "user": USER,
        "password": passwords[USER],
        "admin": ADMIN,
        "admin_password": passwords[ADMIN],
        "image": str(min(core.pools.images)),
        "network": str(min(core.pools.networks)),
    }


@contextmanager
def _hypervisor(kind: str, root: Path, init: Path | None) -> Iterator[Hypervisor]:
    if kind == "none":
        yield Nothing()
        return
    with _taken(root):
        guests = Local(root, init)
        try:
            yield guests
        finally:
            guests.close()


@contextmanager
def _taken(root: Path) -> Iterator[None]:
    """Hold ``root``: two simulators would remove each other's guests.

    Raises:
        SystemExit: another one runs there.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root / LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise SystemExit(f"onesim: another simulator runs in {root}.") from exc
        yield


if __name__ == "__main__":
    sys.exit(main())
