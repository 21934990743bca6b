"""Directories that several processes work on: locked, written whole or not at all, removed at once."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conpaassql import locking
from conpaassql.errors import IaasBusy, IaasError

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")  # what can name a directory of a VM, an owner or a snapshot

_LOCK_TIMEOUT_S = 30.0


def inside(home: Path) -> list[Path]:
    """Return the directories in ``home`` by name, without graves; none where there is no ``home``."""
    try:
        with os.scandir(home) as entries:
            return [home / name for name in sorted(entry.name for entry in entries if not entry.name.startswith("."))]
    except FileNotFoundError:
        return []


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file of our own, whole or not at all."""
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def entomb(folder: Path) -> Path:
    """Take a directory away at once, so that nobody ever finds half of it; return its grave."""
    grave = folder.with_name(f".{folder.name}.{time.time_ns()}")
    folder.rename(grave)
    return grave


def bury(grave: Path) -> None:
    """Remove what is in a grave; another driver may be at the same one."""

    def unless_gone(_function: object, _path: str, error: tuple[type, BaseException, object]) -> None:
        if not isinstance(error[1], FileNotFoundError):
            raise error[1]

    shutil.rmtree(grave, onerror=unless_gone)


def bury_all(home: Path) -> None:
    """Remove the graves in ``home`` that removals which were cut short have left."""
    for grave in home.glob(".*"):
        bury(grave)


@contextmanager
def made(folder: Path) -> Iterator[int]:
    """Yield a directory, locked, as a descriptor; it is made where it is absent."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with locked(folder) as lock:
            if lock is not None:
                yield lock
                return


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[int | None]:
    """Yield a directory, locked, as a descriptor; None: there is no such directory.

    The lock is never given up but by closing, so that a process which has the descriptor keeps it.

    Raises:
        IaasBusy: somebody else has kept it locked for too long.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield None
        return
    try:
        if not locking.await_lock(descriptor, _LOCK_TIMEOUT_S, shared=shared):
            raise IaasBusy(f"{folder}: somebody else has been at work on this for {_LOCK_TIMEOUT_S:g} s.")
        yield descriptor if _is_still(folder, descriptor) else None
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether somebody is at work on a directory; not so if there is none."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        return not locking.try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


@contextmanager
def translated() -> Iterator[None]:
    """Raise IaasError for what the file system refuses."""
    try:
        yield
    except OSError as exc:
        raise IaasError(f"{exc.filename or 'this machine'}: {exc.strerror}.") from exc


def _is_still(folder: Path, descriptor: int) -> bool:
    """Whether the path still leads to the directory that is open, not to another of the same name."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
