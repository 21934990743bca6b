"""The directory that a demo lives in: taken, cleared of what an earlier demo left, and removed."""

import fcntl
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from conpaassql.client import state
from conpaassql.errors import ConfigError, Conflict, IaasError
from conpaassql.iaas import local

OWNER = "demo"
STEM = "node"
CLEAR_TIMEOUT_S = 30.0
_SIMULATOR_OWNER = "one"  # as contrib/onesim calls its VMs, and its lock
_SIMULATOR_LOCK = ".onesim.lock"
_MARK = ".conpaassql-demo"
_TMP = Path("/tmp")  # noqa: S108  not TMPDIR, which may be long; what is found there is checked for its owner
# A socket's path has 107 bytes at most (unix(7)); the longest below a place is that of a node's mysqld.
_LONGEST = 107 - len(f"/vm/{OWNER}/{STEM}-9999/disk/run/mysqld.sock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Paths below ``root``, which belongs to one demo."""

    root: Path

    @property
    def state(self) -> Path:
        """The manager's state directory."""
        return self.root / "state"

    @property
    def token(self) -> Path:
        """The file with the admin token."""
        return self.state / "admin.token"

    @property
    def vms(self) -> Path:
        """Where the VMs are."""
        return self.root / "vm"

    @property
    def config(self) -> Path:
        """The manager's INI file."""
        return self.root / "manager.ini"

    @property
    def log(self) -> Path:
        """What the manager says."""
        return self.root / "manager.log"

    @property
    def login(self) -> Path:
        """Option file of the database's client, with the password."""
        return self.root / "demo.cnf"


@contextmanager
def taken(wanted: Path) -> Iterator[Place]:
    """Hold a directory for a demo.  What is in it is removed when it is taken and when it is given back.

    A path too long for a socket, or one that we may not write, gives way to ``fallback``.

    Raises:
        Conflict: another demo runs there.
        ConfigError: files are there that no demo made, or the directory cannot be made or is not ours.
        IaasError: something in it does not end.
    """
    root = _made(wanted)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise Conflict(f"A demo already runs in {root}; end it, or choose another place with --dir.") from exc
        if any(root.iterdir()) and not (root / _MARK).exists():
            raise ConfigError(f"{root} holds files that no demo made; choose another place with --dir.")
        place = Place(root=root)
        (root / _MARK).touch()
        clear(place)
        yield place
    finally:
        os.close(descriptor)


def fallback(wanted: Path) -> Path:
    """Return the place in /tmp instead of ``wanted``: always the same, so that a later demo finds what one left."""
    name = hashlib.sha256(os.fsencode(wanted.absolute())).hexdigest()[:12]
    return _TMP / f"conpaassql-demo-{os.geteuid()}-{name}"


def clear(place: Place) -> None:
    """End every process of the place and remove its files; the empty place itself stays.

    Raises:
        IaasError: something does not end in time, or does not let itself be removed.
    """
    deadline = time.monotonic() + CLEAR_TIMEOUT_S
    _await_end(place.state / "lock", f"A manager still runs on {place.state}; stop it.", deadline)
    _await_end(place.vms / _SIMULATOR_LOCK, f"A simulator still runs in {place.vms}; stop it.", deadline)
    for owner in (OWNER, _SIMULATOR_OWNER):
        _clear_vms(place, owner, deadline)
    _forget(place)
    for found in place.root.iterdir():
        if found.name == _MARK:
            continue
        try:
            shutil.rmtree(found) if found.is_dir() else found.unlink()
        except OSError as exc:
            raise IaasError(f"{found} cannot be removed: {exc}.") from exc


def remove(place: Place) -> None:
    """Clear the place and remove it.

    Raises:
        IaasError: as ``clear``.
    """
    clear(place)
    (place.root / _MARK).unlink(missing_ok=True)
    with suppress(OSError):  # the directory may be somebody's own and stay
        place.root.rmdir()


def _made(wanted: Path) -> Path:
    root = wanted.absolute()
    try:
        if len(os.fsencode(root)) <= _LONGEST:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(root, os.W_OK | os.X_OK):
                return root
    except (PermissionError, FileExistsError):
        pass
    except OSError as exc:
        raise ConfigError(f"{root} cannot be made: {exc}.") from exc
    return _private(fallback(root))


def _private(root: Path) -> Path:
    """Make a directory that nobody else may enter, or take it if it is one of ours: all users write in /tmp."""
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        found = root.lstat()
    except OSError as exc:
        raise ConfigError(f"{root} cannot be made: {exc}; choose a place with --dir.") from exc
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"{root} is a link, or others may write there; remove it, or choose a place with --dir.")
    return root


def _await_end(path: Path, says: str, deadline: float) -> None:
    """Wait until nobody holds the lock at ``path`` any more: what belongs to a killed demo ends by itself."""
    with suppress(FileNotFoundError), path.open("rb") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                if time.monotonic() > deadline:
                    raise IaasError(says) from exc
                time.sleep(0.05)
            else:
                return


def _clear_vms(place: Place, owner: str, deadline: float) -> None:
    while (place.vms / owner).exists():
        # A driver begins by removing half-made VMs; one whose boot was cut short takes a moment to end.
        driver = local.Driver({"LOCAL_ROOT": str(place.vms)}, owner)
        for vm in driver.list():
            driver.delete(vm.id)
        if not any((place.vms / owner).iterdir()):
            break
        if time.monotonic() > deadline:
            raise IaasError(f"VMs are left in {place.vms}; the next demo in this place removes them.")
        time.sleep(0.05)


def _forget(place: Place) -> None:
    """Remove the link that a manager leaves for clients, if it was killed and could not."""
    with suppress(FileNotFoundError):
        for link in state.announced().iterdir():
            if link.is_symlink() and link.readlink() == place.state:
                link.unlink()
