"""The end of the logs, for people."""

import os
from pathlib import Path

from conpaassql.agent.node import Node
from conpaassql.protocol import Lines, Text

MAX_LINES = 10_000
_MAX_BYTES = 1 << 20  # per file
_BLOCK_BYTES = 1 << 16
_NAMES = ("mysqld.log", "agent.log")


def log(node: Node, request: Lines) -> Text:
    """Return the last lines of mysqld's and of the agent's log, at most 1 MiB of each."""
    wanted = max(0, min(request.lines, MAX_LINES))
    parts = []
    for name in _NAMES:
        lines = tail(node.layout.logs / name, wanted)
        parts.append(f"==> {name} <==\n" + "".join(f"{line}\n" for line in lines))
    return Text(text="\n".join(parts))


def tail(path: Path, lines: int) -> list[str]:
    """Return the last ``lines`` lines of a file, read from its end; none for an absent file."""
    if lines <= 0:
        return []
    try:
        with path.open("rb") as file:
            end = _end_of(file.fileno(), lines)
    except OSError as exc:
        return [] if isinstance(exc, FileNotFoundError) else [f"({exc.strerror})"]
    return end.decode(errors="replace").splitlines()[-lines:]


def _end_of(handle: int, lines: int) -> bytes:
    """Read blocks backwards until there are enough lines, or ``_MAX_BYTES``."""
    start = os.fstat(handle).st_size
    floor = max(0, start - _MAX_BYTES)
    end = b""
    while start > floor and end.count(b"\n") <= lines:
        size = min(_BLOCK_BYTES, start - floor)
        start -= size
        end = os.pread(handle, size, start) + end
    return end
