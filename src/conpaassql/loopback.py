"""Addresses of this machine for VMs that are processes: each is given once, whoever asks.

The book is a directory that all users share.  A file in it, named by an address, holds the path
of the directory that has the address.  A note whose holder is gone may be taken over.  A note
that cannot be read belongs to somebody else.
"""

import fcntl
import ipaddress
import os
import socket
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conpaassql.errors import IaasError

# Not /tmp: the notes of VMs that are switched off should live through a reboot.
BOOK = Path("/var/tmp/conpaassql-addresses")  # noqa: S108  every note is made exclusively and checked for its owner
_SPARED = ipaddress.IPv4Network("127.0.0.0/16")  # where everybody's own services are
_TRIES = 10_000
_BUSY_TRIES = 100


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
    with _locked(note) as text:
        if text == str(holder):
            note.unlink()


def _open(book: Path) -> None:
    try:
        book.mkdir()
        book.chmod(0o1777)  # everybody may write, nobody may touch another's note
    except FileExistsError:
        return


def _candidates(network: ipaddress.IPv4Network, holder: Path) -> Iterator[str]:
    start = zlib.crc32(str(holder).encode())
    for step in range(min(network.num_addresses, _TRIES)):
        address = network[(start + step) % network.num_addresses]
        if address not in _SPARED and address.packed[3] not in (0, 255):
            yield str(address)


def _take(note: Path, holder: Path) -> bool:
    """Write ``holder`` into ``note`` unless a living holder stands there; say whether it worked."""
    if _written(note, str(holder)):
        return True
    with _locked(note) as text:
        if text is None or text == str(holder):
            return text is not None
        if Path(text).exists():
            return False
        # Taken over in place: between a removal and a new note somebody else could come.
        note.write_text(str(holder))
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
def _locked(note: Path) -> Iterator[str | None]:
    """Yield the note's text, locked; None: it is gone, or not ours to read."""
    try:
        file = note.open("r+")
    except (FileNotFoundError, PermissionError):
        yield None
        return
    with file:
        # Nobody waits while holding this lock, so it is never held for long.
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.read() if _same(note, file.fileno()) else None


def _same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
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
