"""Processes of an installation's nodes, found by their own files, never by name alone."""

import os
import re
from pathlib import Path

from installation import Installation


def mysqld_pid(home: Installation, node: int) -> int:
    """Return the pid of a node's mysqld."""
    return _pid(home, node, "mariadbd")


def agent_pid(home: Installation, node: int) -> int:
    """Return the pid of a node's agent."""
    return _pid(home, node, "conpaassql.agent_cli")


def _pid(home: Installation, node: int, word: str) -> int:
    folder = str(home.place(node) / "disk")
    for process in os.listdir("/proc"):
        if process.isdigit():
            try:
                with open(f"/proc/{process}/cmdline", "rb") as file:
                    line = file.read().decode(errors="replace")
            except OSError:
                continue
            if word in line and f"{folder}/" in line:
                return int(process)
    raise AssertionError(f"no {word} of node {node}")


def resident_mib(pid: int) -> float:
    """Return a process's resident memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found.group(1)) / 1024
