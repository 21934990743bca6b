"""Addresses of this machine for VMs that are processes: each is given once, whoever asks.

The book is a directory that all users share, with the sticky bit, as /tmp is.  A file in it, named
by an address, holds the path of the directory that has the address.  A note whose holder is gone
may be taken over by who owns the note, and by root.  A note that cannot be read, is no regular file
or has a second name belongs to somebody else: whoever made it may mean us to write over his target.
"""

import fcntl
import ipaddress
import os
import socket
import stat
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from conpaassql.errors import IaasError

# Not /tmp: the notes of VMs that are switched off should live through a reboot.
BOOK = Path("/var/tmp/conpaassql-addresses")  # noqa: S108  see _open and _locked for whom they trust
_SPARED = ipaddress.IPv4Network("127.0.0.0/16")  # where everybody's own services are
_TRIES = 10_000
_BUSY_TRIES = 100
_LOCK_TIMEOUT_S = 2.0


def reserve(network: ipaddress.IPv4Network, holder: Path, ports: Sequence[int], book: Path = BOOK) -> str:
    """Return an address of ``network`` that is now ``holder``'s, with ``ports`` free on it.

    The search begins at a place that depends on ``holder``, so that a search that was cut short
    finds the same address again.

    Raises:
        IaasError: no address is free.
    """
    _open(book)
    busy = 0
    for address in _candidates(network, holder):
        if not _take(book / address, holder):
            continue
        if _free(address, ports):
            return address
        release(address, holder, book)
        busy += 1
        if busy == _BUSY_TRIES:
            wanted = " or ".join(map(str, ports))
            raise IaasError(f"{busy} addresses of {network} are in use; does a program listen on 0.0.0.0:{wanted}?")
    raise IaasError(f"no address of {network} is free; delete VMs or widen LOCAL_NETWORK.")


def hold(address: str, holder: Path, book: Path = BOOK) -> None:
    """Make sure that ``address`` is (still) ``holder``'s.

    Raises:
        IaasError: somebody else has it by now.
    """
    _open(book)
    if not _take(book / address, holder):
        raise IaasError(f"{address} was given to somebody else while its VM was off.", address=address)


def release(address: str, holder: Path, book: Path = BOOK) -> None:
    """Give ``address`` back; if it is not ``holder``'s, nothing happens."""
    note = book / address
    with _locked(note) as file:
        if file and file.read() == str(holder):
            note.unlink()


def count_free(network: ipaddress.IPv4Network, book: Path = BOOK) -> int:
    """Return how many addresses of ``network`` nobody has a note of."""
    if network.prefixlen > 24:
        usable = sum(map(_is_usable, network))
    else:
        blocks = network.num_addresses // 256
        usable = (blocks - (min(blocks, 256) if network.overlaps(_SPARED) else 0)) * 254
    return max(0, usable - sum(1 for _ in _given(network, book)))


def _given(network: ipaddress.IPv4Network, book: Path) -> Iterator[str]:
    """Yield the addresses of ``network`` that somebody has who lives, or of whom we may not know."""
    for note in book.glob("127.*"):
        try:
            if ipaddress.IPv4Address(note.name) in network and _stands(Path(note.read_text(encoding="utf-8"))):
                yield note.name
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            yield note.name


def _open(book: Path) -> None:
    """Make the book, or check that it is one: its owner can exchange every note, so it is root or ourselves.

    Raises:
        IaasError: it is somebody else's, or no directory.
    """
    try:
        book.mkdir()
        book.chmod(0o1777)  # everybody may write, nobody but root and us may touch another's note
    except FileExistsError:
        found = book.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise IaasError(f"{book} is no directory; remove it.") from None
        if found.st_uid not in (0, os.geteuid()):
            raise IaasError(
                f"{book} belongs to user {found.st_uid}, who could give addresses away twice; have root own it."
            ) from None


def _candidates(network: ipaddress.IPv4Network, holder: Path) -> Iterator[str]:
    start = zlib.crc32(str(holder).encode())
    for step in range(min(network.num_addresses, _TRIES)):
        address = network[(start + step) % network.num_addresses]
        if _is_usable(address):
            yield str(address)


def _is_usable(address: ipaddress.IPv4Address) -> bool:
    return address not in _SPARED and address.packed[3] not in (0, 255)


def _take(note: Path, holder: Path) -> bool:
    """Write ``holder`` into ``note`` unless a living holder stands there; say whether it worked."""
    if _written(note, str(holder)):
        return True
    with _locked(note) as file:
        if file is None:
            return False
        text = file.read()
        if text == str(holder):
            return True
        if _stands(Path(text)):
            return False
        # Taken over in place: between a removal and a new note somebody else could come.
        file.seek(0)
        file.truncate()
        file.write(str(holder))
        return True


def _stands(holder: Path) -> bool:
    """Whether a holder lives; one that we may not look at does."""
    try:
        return holder.exists()
    except (PermissionError, ValueError):
        return True


def _written(note: Path, text: str) -> bool:
    """Make ``note`` at once with its text, so that nobody ever reads half of it; False: it exists."""
    with tempfile.NamedTemporaryFile("w", dir=note.parent, prefix=".") as new:
        new.write(text)
        new.flush()
        try:
            note.hardlink_to(new.name)
        except FileExistsError:
            return False
        return True


@contextmanager
def _locked(note: Path) -> Iterator[TextIO | None]:
    """Yield the note, open and locked; None: it is gone, or not ours to read.

    Opened by its own name only: neither a symbolic link nor a hard link leads us to another file,
    and a pipe does not make us wait.
    """
    try:
        descriptor = os.open(note, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        if not _is_note(os.fstat(descriptor)) or not _try_lock(descriptor) or not _same(note, descriptor):
            yield None
            return
        with os.fdopen(descriptor, "r+", encoding="utf-8", errors="surrogateescape", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def _is_note(found: os.stat_result) -> bool:
    """Whether it is a file that may be written over: our own, or anybody's if we are root."""
    return stat.S_ISREG(found.st_mode) and os.geteuid() in (0, found.st_uid)


def _try_lock(descriptor: int) -> bool:
    """Lock a note; False: its owner keeps it locked, which nobody of us does for long."""
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.002)  # flock itself can wait, but not with a deadline
        else:
            return True
    return False


def _same(path: Path, descriptor: int) -> bool:
    try:
        found = path.lstat()
        # One name: another's file that was linked here must not be written. (Our own draft has two for a moment.)
        return found.st_nlink == 1 and os.path.samestat(found, os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _free(address: str, ports: Sequence[int]) -> bool:
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
