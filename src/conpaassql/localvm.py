"""The processes of a VM that is a directory on this machine.

They form one session, whose leader notes itself in ``session`` before it does anything else, and
they carry the directory in their environment, so that one which left the session is found too.
"""

import functools
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from conpaassql.errors import IaasError

_MARK = "CONPAASSQL_VM"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# The leader notes its number, start time and the machine's boot, lets go of the directory's lock
# (its standard input) and becomes the script.  A status other than 0 means that the script gave up.
_LEADER = f"""
read -r stat </proc/$$/stat
read -r boot <{_BOOT_ID}
set -- $stat
printf '%s\\n' "$$ ${{22}} $boot" >>"${_MARK}/session"
exec </dev/null
trap 'status=$?; [ "$status" -eq 0 ] || printf "%s\\n" "$status" >"${_MARK}/failed"' EXIT
set --
. "$0"
"""


class Life(StrEnum):
    """Where a VM's first process is in its life."""

    UNBORN = "unborn"  # none has ever noted itself
    ALIVE = "alive"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One line of /proc: ``started`` is in ticks since the boot and tells two users of a number apart."""

    pid: int
    session: int
    started: int


def boot(vm: Path, script: Path, lock: int) -> None:
    """Start ``script`` as a session of its own, whose end nobody waits for.

    ``lock`` is an open file with an flock: it stays locked until the leader has noted itself,
    also when this process ends before.

    Raises:
        IaasError: the programs to start it are not there.
    """
    (vm / "failed").unlink(missing_ok=True)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(vm),
        "LC_ALL": "C.UTF-8",
        _MARK: str(vm),
        "CONPAASSQL_CONTEXT": str(vm / "context.sh"),
    }
    with (vm / "log" / "console.log").open("ab") as console:
        done = subprocess.run(
            ["setsid", "--fork", "sh", "-c", _LEADER, str(script)],
            stdin=lock,
            stdout=console,
            stderr=console,
            cwd=vm,
            env=environment,
            check=False,
        )
    if done.returncode:
        raise IaasError(f"setsid could not start {script}; {vm}/log/console.log may say why.")


def life(vm: Path) -> Life:
    """Say where the VM's first process is in its life."""
    noted = _noted(vm)
    if noted is None:
        return Life.UNBORN
    return Life.ALIVE if _process(noted.pid) == noted else Life.DEAD


def last_words(vm: Path) -> str | None:
    """Return the last line of a script that gave up; None: it did not."""
    if not (vm / "failed").exists():
        return None
    with (vm / "log" / "console.log").open("rb") as console:
        console.seek(max(0, console.seek(0, os.SEEK_END) - 4096))
        lines = console.read().decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "no last words")


def kill(vm: Path, timeout_s: float) -> None:
    """Kill every process of the VM, as a cut of the power would, and return when none is left.

    Raises:
        IaasError: some still live after ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    leader = _leader(vm)
    sessions = {leader.pid} if leader else set()
    while victims := _members(vm, sessions):
        _signal(victims, signal.SIGKILL)
        if time.monotonic() > deadline:
            left = ", ".join(str(process.pid) for process in victims)
            raise IaasError(f"processes of {vm.name} do not die: {left}.", vm=vm.name)
        time.sleep(0.002)  # a kill is not waited for by strangers; their number is what can be looked at


def freeze(vm: Path, timeout_s: float) -> None:
    """Make every process of the VM stand still, and return when none moves.

    Raises:
        IaasError: some still move after ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    leader = _leader(vm)
    sessions = {leader.pid} if leader else set()
    while moving := [process for process in _members(vm, sessions) if _moves(process.pid)]:
        _signal(moving, signal.SIGSTOP)
        if time.monotonic() > deadline:
            left = ", ".join(str(process.pid) for process in moving)
            raise IaasError(f"processes of {vm.name} do not stand still: {left}.", vm=vm.name)
        time.sleep(0.002)  # as in ``kill``


def thaw(vm: Path) -> None:
    """Let every process of the VM go on."""
    leader = _leader(vm)
    _signal(_members(vm, {leader.pid} if leader else set()), signal.SIGCONT)


def _signal(processes: Sequence[Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _moves(pid: int) -> bool:
    """Whether a thread of the process is not (yet) stopped; see proc_pid_stat(5)."""
    try:
        stats = [task.read_bytes() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return True  # threads come and go: it moves
    return any(stat.rpartition(b")")[2].split()[0] not in (b"T", b"t", b"Z", b"X") for stat in stats)


def _members(vm: Path, sessions: set[int]) -> Sequence[Process]:
    """Return the living processes of the VM, and note their sessions in ``sessions``.

    A session is the VM's if one process in it carries the mark.  The number in ``session`` is no
    proof once that leader is dead: it may have become another's.
    """
    mark = f"{_MARK}={vm}\0".encode()
    with os.scandir("/proc") as entries:
        numbers = [int(entry.name) for entry in entries if entry.name.isdigit()]
    living = [process for process in map(_process, numbers) if process]
    sessions.update(process.session for process in living if _carries(process.pid, mark))
    return [process for process in living if process.session in sessions]


def _leader(vm: Path) -> Process | None:
    noted = _noted(vm)
    return noted if noted and _process(noted.pid) == noted else None


def _noted(vm: Path) -> Process | None:
    """Return the latest leader as it noted itself; -1 as its start is before the machine's boot."""
    try:
        pid, started, boot_id = (vm / "session").read_text().split()[-3:]
    except (FileNotFoundError, ValueError):
        return None
    return Process(pid=int(pid), session=int(pid), started=int(started) if boot_id == _boot_id() else -1)


@functools.cache
def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def _process(pid: int) -> Process | None:
    """Return a living process; None: there is none, or it is dead and only not yet buried."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may hold anything, brackets and spaces too; see proc_pid_stat(5).
    fields = stat.rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return Process(pid=pid, session=int(fields[3]), started=int(fields[19]))


def _carries(pid: int, mark: bytes) -> bool:
    """Whether the process was started with ``mark`` in its environment; another user's was not."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return environment.startswith(mark) or b"\0" + mark in environment
