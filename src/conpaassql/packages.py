"""The package that new VMs install: a wheel of this very installation, and the scripts that come with it.

A wheel is a ZIP file whose ``RECORD`` lists every file with its SHA-256 (PyPA: Binary distribution
format).  It is made from the files that this process runs on, so that manager and agents are of one
version also where the manager runs from a checkout.
"""

import base64
import functools
import hashlib
import importlib.metadata
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from conpaassql import VERSION
from conpaassql.errors import ConfigError

NAME = f"conpaassql-{VERSION}-py3-none-any.whl"
URL_PATH = "/install"  # where a manager serves it
INSTALL_SCRIPT = "conpaassql-install.sh"
_INFO = f"conpaassql-{VERSION}.dist-info"
_WHEEL = "Wheel-Version: 1.0\nGenerator: conpaassql\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time that a ZIP file can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A wheel on the disk; ``sha256`` is in hexadecimal digits."""

    path: Path
    sha256: str


@functools.cache
def package(folder: Path) -> Package:
    """Return the wheel of this installation, made in ``folder`` at the first call of a process.

    The same files give the same bytes, so a manager that starts again offers what it offered before.

    Raises:
        ConfigError: ``folder`` cannot be written, or this program was not installed.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / NAME
        _write_whole(path, _contents())
        return Package(path=path, sha256=sha256(path))
    except OSError as exc:
        says = f"{exc.filename or folder}: {exc.strerror}; the package for new VMs cannot be made."
        raise ConfigError(says, file=str(folder)) from exc


def script(name: str) -> bytes:
    """Return a file of ``templates/vm``."""
    return Path(str(files("conpaassql.templates") / "vm" / name)).read_bytes()


def sha256(path: Path) -> str:
    """Return the checksum of a file, read again only when it has changed.

    Raises:
        OSError: it cannot be read.
    """
    seen = path.stat()
    return _sha256(path, seen.st_ino, seen.st_size, seen.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, _inode: int, _size: int, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _contents() -> Mapping[str, bytes]:
    """Return what the wheel holds, by name inside it, in order, without its RECORD."""
    root = Path(str(files("conpaassql")))
    found = {f"conpaassql/{name}": path.read_bytes() for name, path in _sources(root)}
    return {**dict(sorted(found.items())), **_described()}


def _sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file of the package; in a checkout ``templates`` is a link."""
    for parent, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix not in (".pyc", ".pyo"):
                yield path.relative_to(root).as_posix(), path


def _described() -> Mapping[str, bytes]:
    """Return the files that tell an installer what this is."""
    try:
        installed = importlib.metadata.distribution("conpaassql")
    except importlib.metadata.PackageNotFoundError as exc:
        says = "conpaassql runs from files that were not installed; install it (scripts/install), then start again."
        raise ConfigError(says) from exc
    found = {f"{_INFO}/{name}": installed.read_text(name) for name in ("METADATA", "entry_points.txt")}
    return {name: text.encode() for name, text in {**found, f"{_INFO}/WHEEL": _WHEEL}.items() if text}


def _write_whole(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write the wheel so that ``path`` is never half of one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            _write_wheel(file, contents)
        Path(name).replace(path)
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _write_wheel(file: BinaryIO, contents: Mapping[str, bytes]) -> None:
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in contents.items())
    record += f"{_INFO}/RECORD,,\n"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        for name, data in {**contents, f"{_INFO}/RECORD": record.encode()}.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            wheel.writestr(entry, data)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
