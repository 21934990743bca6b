"""One look at a thousand VMs of OpenNebula: the driver's list, beside pyone's plain way to the same facts.

Both ask the same simulator in the same run, in processes of their own, in turns; a run is many looks.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.report import Figure, at_least, below, say
from cloud_sim import Simulated, simulated

NETWORK = "127.79.0.0/16"
MARKS = 'CONPAASSQL_MANAGER = "conpaassql"\nCONPAASSQL_CLUSTER = "default"\nCONPAASSQL_NODE = "1"\n'
LOOKER = Path(__file__).with_name("looker.py")


def run(*, quick: bool) -> list[Figure]:
    """Look in turns: driver, pyone, driver ..."""
    vms, looks, turns = (200, 5, 2) if quick else (1000, 20, 3)
    with tempfile.TemporaryDirectory(prefix="cpb-") as folder:
        say(f"a simulated OpenNebula with {vms} VMs")
        more = ("--vm-template", MARKS)
        with simulated(Path(folder), network=NETWORK, hypervisor="none", vms=vms, more=more) as sim:
            ours = [_look(sim, "driver", looks, vms) for _ in range(turns)]
            plain = [_look(sim, "pyone", looks, vms) for _ in range(turns)]
            floor = _look(sim, "fetch", looks, vms)
    seconds = statistics.median(found["seconds"] for found in ours)
    plainly = statistics.median(found["seconds"] for found in plain)
    growth = max(found["growth_mib"] for found in ours)
    return [
        at_least("looks per second, beside pyone", 1 / seconds, "1/s", 2, 1 / plainly),
        below("memory that looks add after the first", growth, "MiB", 8),
        Figure("one look", round(seconds, 4), "s", round(plainly, 4)),
        Figure("of which fetching the answer", round(floor["seconds"], 4), "s"),
        Figure("processor time of a look", _median(ours, "cpu_s"), "s", _median(plain, "cpu_s")),
        Figure("peak memory", _median(ours, "peak_mib"), "MiB", _median(plain, "peak_mib")),
    ]


def _median(found: list[dict[str, float]], name: str) -> float:
    return round(statistics.median(one[name] for one in found), 4)


def _look(sim: Simulated, how: str, looks: int, vms: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, str(LOOKER), how, str(looks)],
        input=json.dumps({**sim.options, "vms": vms}),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=600,
    )
    found: dict[str, float] = json.loads(done.stdout)
    say(f"{how}: {found['seconds']:.3f} s a look, {found['peak_mib']:.0f} MiB at most")
    return found
