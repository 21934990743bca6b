"""The API with 1,000 known nodes: requests per second and latency at 50 connections, and memory."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from installation import Installation, eventually, installation

from bench.report import Figure, below, say

NODES = 1000
CONNECTIONS = 50


def run(*, quick: bool) -> list[Figure]:
    """Measure with wrk where it is installed; it comes with scripts/install bench."""
    seconds = 3 if quick else 15
    folder = Path(tempfile.mkdtemp(prefix="cpb-"))
    try:
        with installation(folder / "a", "127.74.0.0/16", folder / "none") as small:
            (node,) = small.add()
            agent_mib = _agent_memory_mib(small, node)
        (folder / "b").mkdir()
        home = Installation(folder / "b", folder / "none", {"DRIVER": "DUMMY"}, max_nodes_per_call=NODES)
        try:
            home.start()
            home.call("add_nodes", count=NODES)
            eventually(lambda: home.node(NODES)["ip"], says="every node has its VM")
            figures = [
                figure
                for name, query in (
                    ("list_nodes", "method=list_nodes&id=1"),
                    ("get_node_info", "params=%7B%22serviceNodeId%22%3A%22500%22%7D&method=get_node_info&id=1"),
                )
                for figure in _load(home, name, query, seconds)
            ]
            memory = _memory_mib(home.process.pid if home.process else 0)
        finally:
            home.destroy()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [*figures, below("manager memory", memory, "MiB", 150), below("agent memory", agent_mib, "MiB", 60)]


def _load(home: Installation, name: str, query: str, seconds: int) -> list[Figure]:
    """Measure one call beside the cheapest answer that the same server gives (/health)."""
    rate, p99 = _wrk(home, f"/?{query}", seconds)
    bare_rate, bare_p99 = _wrk(home, "/health", seconds)
    say(f"{name}: {rate:.0f} requests/s, p99 {p99:.1f} ms (/health: {bare_rate:.0f}, {bare_p99:.1f} ms)")
    return [
        Figure(f"{name}, rate", rate, "requests/s", bare_rate),
        Figure(f"{name}, p99", p99, "ms", bare_p99, "<= 20 ms", p99 <= 20),
    ]


def _wrk(home: Installation, path: str, seconds: int) -> tuple[float, float]:
    script = home.folder / "login.lua"
    script.touch(mode=0o600)
    script.write_text(f'wrk.headers["Authorization"] = "Bearer {home.token}"\n')
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", "-s", str(script)]
    text = subprocess.run(
        [*command, f"http://127.0.0.1:{home.port}{path}"], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in text:
        raise RuntimeError(text)
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    p99 = re.search(r"99%\s+([0-9.]+)(us|ms|s)", text)
    assert rate and p99, text
    return float(rate.group(1)), float(p99.group(1)) * {"us": 0.001, "ms": 1, "s": 1000}[p99.group(2)]


def _memory_mib(pid: int) -> float:
    """Resident memory of one process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found.group(1)) / 1024


def _agent_memory_mib(home: Installation, node: int) -> float:
    ini = f"{next(home.vms.glob(f'*/*-{node}'))}/disk/agent.ini"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"conpaassql.agent_cli" in line and ini.encode() in line:
            return _memory_mib(int(process.name))
    raise RuntimeError("the agent is not there")
