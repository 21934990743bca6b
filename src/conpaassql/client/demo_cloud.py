"""The cloud that a demo runs on: this machine itself, or a simulated OpenNebula beside the manager."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from conpaassql.client.demo_place import Place
from conpaassql.errors import ConfigError, Unavailable

LOCAL = "local"
SIMULATED = "opennebula-sim"
PROVIDERS = (LOCAL, SIMULATED)
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


@contextmanager
def cloud(provider: str, place: Place, network: str, simulator: Path) -> Iterator[Mapping[str, str]]:
    """Yield what ``[iaas]`` says of the cloud, which is there until the end.

    ``simulator`` is the directory of the simulator's package.

    Raises:
        ConfigError: the simulator is not there.
        Unavailable: it did not begin.
    """
    if provider == LOCAL:
        yield {"DRIVER": "LOCAL", "LOCAL_ROOT": str(place.vms), "LOCAL_NETWORK": network}
        return
    if not (simulator / "onesim").is_dir():
        raise ConfigError(f"{simulator} holds no simulator; run the demo from a whole checkout.")
    process = _started(place, network, simulator)
    try:
        yield _options(_said(process, place))
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process that we started."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _started(place: Place, network: str, simulator: Path) -> "subprocess.Popen[bytes]":
    """Start the simulator, out of reach of the terminal's Ctrl-C and with an end when we end."""
    words = ["-m", "onesim", "--root", str(place.vms), "--network", network]
    with (place.root / "onesim.log").open("wb") as log:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(simulator)},
            start_new_session=True,
        )


def _said(process: "subprocess.Popen[bytes]", place: Place) -> Mapping[str, str]:
    """Return what the simulator says in its one line when it is ready."""
    assert process.stdout is not None
    deadline = time.monotonic() + START_TIMEOUT_S
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(process.stdout.fileno(), 65536) if readable else b""
        if not part:
            says = (place.root / "onesim.log").read_text(encoding="utf-8", errors="replace").strip()
            raise Unavailable(f"The simulated OpenNebula did not begin; it says: {says[-300:] or 'nothing'}")
        line += part
    said: Mapping[str, str] = json.loads(line)
    return said


def _options(said: Mapping[str, str]) -> Mapping[str, str]:
    return {
        "DRIVER": "OPENNEBULA_XMLRPC",
        "OPENNEBULA_URL": said["url"],
        "OPENNEBULA_USER": said["user"],
        "OPENNEBULA_PASSWORD": said["password"],
        "OPENNEBULA_IMAGE_ID": said["image"],
        "OPENNEBULA_NETWORK_ID": said["network"],
    }
