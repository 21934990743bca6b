"""A simulated OpenNebula for a test: its own process, its own VMs, gone when the test is over."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests

from conpaassql.iaas import local

PACKAGE = Path(__file__).parents[1] / "contrib" / "onesim"
OWNER = "one"  # whose VMs the simulator's are, with LOCAL as its hypervisor
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What a simulator said when it was ready.  ``image`` and ``network`` are ids that the user may use."""

    url: str
    user: str
    password: str = field(repr=False)
    admin: str
    admin_password: str = field(repr=False)
    image: str
    network: str
    pid: int
    root: Path

    @property
    def options(self) -> dict[str, str]:
        """What [iaas] of a manager has to say to use it."""
        return {
            "OPENNEBULA_URL": self.url,
            "OPENNEBULA_USER": self.user,
            "OPENNEBULA_PASSWORD": self.password,
            "OPENNEBULA_IMAGE_ID": self.image,
            "OPENNEBULA_NETWORK_ID": self.network,
        }

    def control(self, **faults: object) -> dict[str, object]:
        """Change what goes wrong (see ``onesim.faults.Wish``); return all of it."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(self.url.removesuffix("/RPC2") + "/control", json=faults, timeout=10)
        assert answer.ok, answer.text
        shown: dict[str, object] = answer.json()
        return shown


@contextmanager
def simulated(
    folder: Path,
    *,
    network: str = "127.72.0.0/16",
    hypervisor: str = "local",
    scale: float = 0.02,
    vms: int = 0,
    more: tuple[str, ...] = (),
) -> Iterator[Simulated]:
    """Run a simulator below ``folder``, whose path is to be short if guests are to have sockets in it.

    ``more`` are further words for its command line; see ``python -m onesim --help``.
    """
    root = folder / "one"
    command = [sys.executable, "-m", "onesim", "--root", str(root), "--network", network, "--hypervisor", hypervisor]
    command += ["--scale", str(scale), "--vms", str(vms), *more]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    with (folder / "onesim.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment
        )
    try:
        said = json.loads(_first_line(process, folder / "onesim.log"))
        yield Simulated(pid=process.pid, root=root, **said)
    finally:
        _end(process)
        if hypervisor == "local":
            _clear(root)


def _first_line(process: "subprocess.Popen[bytes]", log: Path) -> bytes:
    """Return the line that says that it is ready."""
    assert process.stdout is not None
    deadline = time.monotonic() + START_TIMEOUT_S
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(process.stdout.fileno(), 65536) if readable else b""
        assert part, f"the simulator did not begin: {log.read_text(encoding='utf-8')[-2000:]}"
        line += part
    return line


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.communicate(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


def _clear(root: Path) -> None:
    """Remove guests of a simulator that was killed."""
    driver = local.Driver({"LOCAL_ROOT": str(root)}, OWNER)
    for vm in driver.list():
        driver.delete(vm.id)
