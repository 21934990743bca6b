"""The database's own programs as children of the agent: their streams, deadlines and ends.

Every child lives inside a ``with`` block, and whatever ends the block ends the child.
"""

import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path
from typing import IO

from conpaassql.errors import MysqlError, Unsupported

CHUNK_BYTES = 1 << 20  # also the largest pipe that Linux gives to an ordinary user
_KILL_GRACE_S = 10.0
_TAIL_BYTES = 2000
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


@dataclass(frozen=True, slots=True)
class Program:
    """One running program; ``started`` makes and ends it."""

    name: str
    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def read(self, idle_s: float) -> bytes:
        """Return the next piece of its output, at most ``CHUNK_BYTES``; empty at its end.

        Raises:
            MysqlError: it wrote nothing for ``idle_s``.
        """
        pipe = _present(self.process.stdout)
        self._wait(pipe, select.POLLIN, idle_s)
        return os.read(pipe.fileno(), CHUNK_BYTES)

    def write(self, piece: bytes | memoryview, idle_s: float) -> None:
        """Give it all of ``piece`` to read.

        Raises:
            MysqlError: it ended before, or took nothing for ``idle_s``.
        """
        pipe = _present(self.process.stdin)
        rest = memoryview(piece)
        while rest:
            self._wait(pipe, select.POLLOUT, idle_s)
            try:
                rest = rest[os.write(pipe.fileno(), rest) :]
            except BlockingIOError:
                continue  # the kernel wanted more room than the poll promised
            except BrokenPipeError as exc:
                self.finish(_KILL_GRACE_S)
                raise MysqlError(f"{self.name} stopped reading. {self.tail()}") from exc

    def finish(self, timeout_s: float) -> None:
        """Close its input, wait for its end and check its exit code.

        Raises:
            MysqlError: it failed, or did not end in time.
        """
        if self.process.stdin:
            self.process.stdin.close()
        if not _ended(self.process, timeout_s):
            raise MysqlError(f"{self.name} did not end within {timeout_s:g} s.")
        if self.process.returncode:
            raise MysqlError(f"{self.name} failed: {self.tail()}", exit_code=self.process.returncode)

    def tail(self) -> str:
        """Return the end of what it wrote to its standard error."""
        size = os.fstat(self.errors.fileno()).st_size
        return os.pread(self.errors.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace").strip()

    def kill(self) -> None:
        """End it at once; ended already is fine."""
        self.process.kill()

    def _wait(self, pipe: IO[bytes], event: int, idle_s: float) -> None:
        poll = select.poll()
        poll.register(pipe.fileno(), event)
        if not poll.poll(idle_s * 1000):
            raise MysqlError(f"{self.name} did nothing for {idle_s:g} s. {self.tail()}")


@contextmanager
def started(arguments: Sequence[str], folder: Path, *, reads: bool = False, writes: bool = False) -> Iterator[Program]:
    """Run a program until the block ends.

    Args:
        arguments: the program's name and arguments; they are visible to everybody on the machine.
        folder: a private one, for temporary files and as its working directory.
        reads: ``Program.write`` feeds it.
        writes: ``Program.read`` takes its output; else it is dropped.

    Raises:
        Unsupported: there is no such program.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as errors:
        process = subprocess.Popen(
            [_find(arguments[0]), *arguments[1:]],
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE if writes else subprocess.DEVNULL,
            stderr=errors,
            bufsize=0,
            cwd=folder,
            env=dict(os.environ) | {"LC_ALL": "C.UTF-8"},
        )
        try:
            _widen(process)
            yield Program(arguments[0], process, errors)
        finally:
            _end(process)


def output(arguments: Sequence[str], folder: Path, idle_s: float) -> Iterator[bytes]:
    """Yield a program's output as it comes; closing the iterator ends the program.

    Raises:
        MysqlError: it failed (after its last piece), or wrote nothing for ``idle_s``.
    """
    with started(arguments, folder, writes=True) as program:
        while piece := program.read(idle_s):
            yield piece
        program.finish(idle_s)


def _find(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")
    if path is None:
        raise Unsupported(f"There is no program {name} on this node. Install MariaDB's server, client and backup.")
    return path


def _widen(process: subprocess.Popen[bytes]) -> None:
    """Give the pipes room, and never block in one of them."""
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(PermissionError):  # the user's sum of pipe memory is used up; a small pipe works as well
                fcntl(pipe.fileno(), F_SETPIPE_SZ, CHUNK_BYTES)
    if process.stdin:
        os.set_blocking(process.stdin.fileno(), False)


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    process.kill()
    if not _ended(process, _KILL_GRACE_S):
        raise MysqlError("A killed program does not end. Look at the disk and the kernel's log.", pid=process.pid)


def _ended(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for the end and reap it.  ``Popen.wait`` with a timeout polls with growing pauses; this does not."""
    if process.poll() is not None:
        return True
    handle = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll(timeout_s * 1000)
    finally:
        os.close(handle)
    return process.poll() is not None


def _present(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the program was started without this pipe")
    return pipe
