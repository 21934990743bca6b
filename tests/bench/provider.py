"""One look at a thousand VMs of OpenNebula: the driver's list, beside pyone's plain way to the same facts.

The plain way is the extended form of the pool, as the short one does not tell whose a VM is; how long pyone takes
for the short one is a figure of its own.  All ask the same simulator in the same run, in processes of their own, in
turns; a run is many looks.  The VMs have the context of nodes, of which the start script is the most.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.looker import OWNER
from bench.report import Figure, at_least, below, say
from cloud_sim import Simulated, simulated
from conpaassql.iaas.opennebula import config, guest, marks
from conpaassql.iaas.opennebula.cloud import MINE, NOT_DONE
from conpaassql.iaas.opennebula.guest import Told
from conpaassql.iaas.opennebula.rpc import Rpc
from conpaassql.iaas.opennebula.template import Template
from conpaassql.manager import bootstrap

WAYS = ("driver", "pyone", "pyone-short", "fetch")
NETWORK = "127.79.0.0/16"
SCRIPT = Path(__file__).parents[2] / "templates" / "vm" / "conpaassql-install.sh"
CONTEXT_BYTES = 8000  # of each VM, at least
A_MINUTE = 30  # looks, as a manager looks every 2 s
MIB = 1 << 20
LOOKER = Path(__file__).with_name("looker.py")


def run(*, quick: bool) -> list[Figure]:
    """Look in turns: driver, pyone, driver ..."""
    vms, looks, turns = (200, 5, 2) if quick else (1000, 20, 3)
    with tempfile.TemporaryDirectory(prefix="cpb-") as folder:
        say(f"a simulated OpenNebula with {vms} VMs")
        more = ("--vm-template", _node().text())
        with simulated(Path(folder), network=NETWORK, hypervisor="none", vms=vms, more=more) as sim:
            found = [[_look(sim, how, looks, vms) for how in WAYS] for _ in range(turns)]
            # Last: a process is born with the peak of its parent.
            sizes = [_size(sim, how) for how in ("vmpool.info", "vmpool.infoextended")]
            assert sizes[1] > vms * CONTEXT_BYTES, "the VMs lack their context"
    ours, plain, short, floor = ([one[number] for one in found] for number in range(len(WAYS)))
    seconds, plainly = _median(ours, "seconds"), _median(plain, "seconds")
    first = _median(ours, "first_s")
    mean = (first + (A_MINUTE - 1) * seconds) / A_MINUTE
    growth = max(one["growth_mib"] for one in ours)
    return [
        at_least("looks per second, of a minute with one at the whole", 1 / mean, "1/s", 2, 1 / plainly),
        below("memory that looks add after the second", growth, "MiB", 8),
        Figure("one look", seconds, "s", plainly),
        Figure("one look, beside pyone's short form, which lacks marks", seconds, "s", _median(short, "seconds")),
        Figure("the first look, and one each minute, at the whole", first, "s", plainly),
        Figure("of which fetching the short answer", _median(floor, "seconds"), "s"),
        Figure("the short answer", round(sizes[0] / MIB, 2), "MiB", round(sizes[1] / MIB, 2)),
        Figure("processor time of a look", _median(ours, "cpu_s"), "s", _median(plain, "cpu_s")),
        Figure("peak memory", _median(ours, "peak_mib"), "MiB", _median(plain, "peak_mib")),
    ]


def _size(sim: Simulated, method: str) -> int:
    """Return how many bytes an answer has."""
    rpc = Rpc(config.read(sim.options))
    return len(rpc.read(method, MINE, -1, -1, NOT_DONE))


def _node() -> Template:
    """Return what a manager puts into the template of a node's VM."""
    offer = bootstrap.Offer(
        package_url="https://127.0.0.1:9999/package/conpaassql-1.0-py3-none-any.whl",
        package_sha256="0" * 64,
        install_script=SCRIPT.read_bytes(),
    )
    invitation = bootstrap.Invitation(
        node=1,
        cluster="default",
        manager_url="https://127.0.0.1:9999",
        join_token="t" * 43,
        authority_pem=b"p" * 700,
    )
    told = Told(keys=bootstrap.context(invitation, offer, "agent"))
    tags = {"cluster": "default", "node": "1", "role": "replica"}
    return Template((("CONTEXT", guest.context((), told)), *marks.of_vm(OWNER, tags, {})))


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
