"""VMs that are sessions of processes on this machine, each with a directory and an address of its own.

``<LOCAL_ROOT>/<owner>/<name>/`` holds ``vm.json`` (what it is), ``context.sh`` (what it was told),
``disk/`` (the VM's own), ``log/console.log`` (what it said) and ``session`` (its first process).
A VM counts from the moment when its first process has noted itself: one whose creation was cut
short is not listed, is completed by the next ``create``, and removed when a driver is made.
A disk with something on it is only ever removed by ``delete``.

The directory's own lock orders create, delete and power; it ends with the process that holds it.
"""

import fcntl
import ipaddress
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from conpaassql import localvm, loopback
from conpaassql.errors import ConfigError, IaasError
from conpaassql.iaas import Vm, VmSpec, VmState
from conpaassql.localvm import Life
from conpaassql.protocol import AGENT_PORT, MYSQL_PORT

NAMES = ("LOCAL",)
OPTIONS: Mapping[str, str] = {"LOCAL_ROOT": "", "LOCAL_NETWORK": "127.0.0.0/8", "LOCAL_INIT": ""}

_LOCK_TIMEOUT_S = 30.0
_KILL_TIMEOUT_S = 10.0
_SOCKET_MAX = 107  # bytes of a socket's path; see unix(7)
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _What:
    """What ``vm.json`` holds."""

    address: str
    tags: Mapping[str, str]
    flavor: Mapping[str, float]


class Driver:
    """LOCAL, for one owner.  Implements ``iaas.Driver`` and ``iaas.Power``."""

    def __init__(self, options: Mapping[str, str], owner: str) -> None:
        """Remove what an earlier driver of this owner left half made.

        Raises:
            ConfigError: an option or the owner's name is wrong.
        """
        chosen = {key: options.get(key) or default for key, default in OPTIONS.items()}
        if not chosen["LOCAL_ROOT"]:
            raise ConfigError("[iaas] LOCAL_ROOT is missing; name a directory.", section="iaas", key="LOCAL_ROOT")
        if not _SAFE.fullmatch(owner):
            says = f"[manager] name = {owner}: use letters, digits, points and dashes."
            raise ConfigError(says, section="manager", key="name")
        self._network = _network(chosen["LOCAL_NETWORK"])
        self._root = Path(chosen["LOCAL_ROOT"]).absolute()
        self._home = self._root / owner
        self._script = Path(chosen["LOCAL_INIT"] or str(files("conpaassql.templates") / "vm" / "init.sh")).absolute()
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            says = f"[iaas] LOCAL_ROOT = {self._root}: {exc.filename}: {exc.strerror}; choose another directory."
            raise ConfigError(says, section="iaas", key="LOCAL_ROOT") from exc
        with _translated():
            self._sweep()

    def create(self, spec: VmSpec) -> str:
        """Make and boot a VM; its id is its name."""
        vm = self._directory(spec.name)
        with _translated():
            if not _is_whole(vm):
                with _made(vm) as lock:
                    self._complete(vm, spec, lock)
        return spec.name

    def list(self) -> Sequence[Vm]:
        """List the owner's VMs; half-made ones are nobody's."""
        with _translated():
            seen = (_seen(vm) for vm in self._directories())
            return [vm for vm in seen if vm]

    def delete(self, vm_id: str) -> None:
        """Kill the VM's processes and remove its directory."""
        if not _SAFE.fullmatch(vm_id):
            return
        vm = self._directory(vm_id)
        with _translated(), _locked(vm) as lock:
            if lock is not None:
                self._remove(vm)

    def power_off(self, vm_id: str) -> None:
        """Kill the VM's processes; its disk stays."""
        vm = self._directory(vm_id)
        with _translated(), _locked(vm) as lock:
            if lock is None:
                raise _no_such(vm_id)
            localvm.kill(vm, _KILL_TIMEOUT_S)

    def power_on(self, vm_id: str) -> None:
        """Boot the VM again, with the context and the address that it had."""
        vm = self._directory(vm_id)
        with _translated(), _locked(vm) as lock:
            what = _what(vm)
            if lock is None or not what:
                raise _no_such(vm_id)
            if localvm.life(vm) is not Life.ALIVE:
                localvm.kill(vm, _KILL_TIMEOUT_S)  # a part of it may have outlived its first process
                loopback.hold(what.address, vm)
                localvm.boot(vm, self._script, lock)

    def _directory(self, name: str) -> Path:
        vm = self._home / name
        if not _SAFE.fullmatch(name):
            raise IaasError(f"{name!r} cannot be a VM's name; use letters, digits, points and dashes.")
        if len(os.fsencode(vm / "disk" / "run" / "mysqld.sock")) > _SOCKET_MAX:
            raise IaasError(f"{vm}: the path is too long for a socket in it; choose a shorter LOCAL_ROOT.")
        return vm

    def _directories(self) -> Iterator[Path]:
        with os.scandir(self._home) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        return (self._home / name for name in names)

    def _complete(self, vm: Path, spec: VmSpec, lock: int) -> None:
        """Do what is still to do of a creation; undo it if that fails."""
        if _is_whole(vm):
            return
        try:
            self._furnish(vm, spec)
            localvm.boot(vm, self._script, lock)
        except (OSError, IaasError):
            if _is_half_made(vm):
                self._remove(vm)
            raise

    def _furnish(self, vm: Path, spec: VmSpec) -> None:
        """Lay out everything that the VM finds when it boots."""
        for name in ("log", "disk"):
            (vm / name).mkdir(exist_ok=True, mode=0o700)
        address = loopback.reserve(self._network, vm, (AGENT_PORT, MYSQL_PORT))
        context = {
            **spec.context,
            "CONPAASSQL_ADDRESS": address,
            "CONPAASSQL_ROOT": str(vm / "disk"),
            "CONPAASSQL_PYTHON": sys.executable,
            "CONPAASSQL_TEMPLATE": str(self._root / "template"),
            "CONPAASSQL_MEMORY_MIB": str(spec.flavor.memory_mib),
            "CONPAASSQL_DISK_MIB": str(spec.flavor.disk_mib),
        }
        _write(vm / "context.sh", shell(context))
        what = _What(address=address, tags=dict(spec.tags), flavor=asdict(spec.flavor))
        _write(vm / "vm.json", json.dumps(asdict(what)))

    def _remove(self, vm: Path) -> None:
        localvm.kill(vm, _KILL_TIMEOUT_S)
        what = _what(vm)
        # Away at once: a new VM of this name must never find half of the old one's disk.
        grave = self._home / f".{vm.name}.{time.time_ns()}"
        vm.rename(grave)
        if what:
            loopback.release(what.address, vm)
        _bury(grave)

    def _sweep(self) -> None:
        """Remove what creations and deletions that were cut short have left."""
        for grave in self._home.glob(".*"):
            _bury(grave)
        for vm in self._directories():
            if not _is_half_made(vm) or _is_locked(vm):
                continue
            with _locked(vm) as lock:
                if lock is not None and _is_half_made(vm):
                    self._remove(vm)


def shell(values: Mapping[str, str]) -> str:
    """Return lines ``KEY='value'`` that a shell reads back as they were.

    Raises:
        IaasError: a key is no shell variable's name, or a value holds a NUL.
    """
    lines = []
    for key, value in values.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) or "\0" in value:
            raise IaasError(f"the context's {key!r} cannot be handed to a shell.")
        quoted = value.replace("'", r"'\''")
        lines.append(f"{key}='{quoted}'\n")
    return "".join(lines)


def _network(text: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError as exc:
        raise _bad_network(text) from exc
    if not network.subnet_of(ipaddress.IPv4Network("127.0.0.0/8")):
        raise _bad_network(text)
    return network


def _bad_network(text: str) -> ConfigError:
    says = f"[iaas] LOCAL_NETWORK = {text}: use a part of 127.0.0.0/8, such as 127.20.0.0/16."
    return ConfigError(says, section="iaas", key="LOCAL_NETWORK")


def _seen(vm: Path) -> Vm | None:
    what = _what(vm)
    if not what:
        return None
    life = localvm.life(vm)
    if life is Life.UNBORN and _is_half_made(vm) and not _is_locked(vm):
        return None
    state, message = _state(vm, life)
    return Vm(id=vm.name, name=vm.name, state=state, address=what.address, tags=what.tags, message=message)


def _state(vm: Path, life: Life) -> tuple[VmState, str]:
    if life is Life.UNBORN:
        if _is_locked(vm):
            return VmState.BOOTING, ""
        life = localvm.life(vm)  # it may have noted itself, and let go of the lock, since it was looked at
    if life is Life.ALIVE:
        return VmState.RUNNING, ""
    if life is Life.UNBORN:
        return VmState.STOPPED, ""
    says = localvm.last_words(vm)
    return (VmState.STOPPED, "") if says is None else (VmState.FAILED, says)


def _what(vm: Path) -> _What | None:
    """Return the VM's description; None: it has none yet."""
    try:
        return _What(**json.loads((vm / "vm.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _is_whole(vm: Path) -> bool:
    return localvm.life(vm) is not Life.UNBORN and _what(vm) is not None


def _is_half_made(vm: Path) -> bool:
    """Whether the VM never ran, by its first process and by its disk."""
    if localvm.life(vm) is not Life.UNBORN:
        return False
    try:
        return next((vm / "disk").iterdir(), None) is None
    except FileNotFoundError:
        return True


def _write(path: Path, text: str) -> None:
    """Write a file of our own, whole or not at all."""
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _bury(grave: Path) -> None:
    def unless_gone(_function: object, _path: str, error: tuple[type, BaseException, object]) -> None:
        # Another driver may be at the same grave.
        if not isinstance(error[1], FileNotFoundError):
            raise error[1]

    shutil.rmtree(grave, onerror=unless_gone)


@contextmanager
def _made(vm: Path) -> Iterator[int]:
    """Yield the locked directory of a VM, made where it is absent."""
    while True:
        vm.mkdir(mode=0o700, exist_ok=True)
        with _locked(vm) as lock:
            if lock is not None:
                yield lock
                return


@contextmanager
def _locked(vm: Path) -> Iterator[int | None]:
    """Yield the locked directory of a VM as a descriptor; None: there is no such directory.

    The lock is never given up but by closing, so that a first process which has the descriptor keeps it.
    """
    try:
        descriptor = os.open(vm, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield None
        return
    try:
        _await_lock(vm, descriptor)
        yield descriptor if _is_still(vm, descriptor) else None
    finally:
        os.close(descriptor)


def _await_lock(vm: Path, descriptor: int) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while not _try_lock(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            raise IaasError(f"{vm}: somebody else has been at work on this VM for {_LOCK_TIMEOUT_S:g} s.")
        time.sleep(0.002)  # flock itself can wait, but not with a deadline


def _is_locked(vm: Path) -> bool:
    try:
        descriptor = os.open(vm, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(vm: Path, descriptor: int) -> bool:
    """Whether the path still leads to the directory that is open, not to another of the same name."""
    try:
        return os.path.samestat(vm.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _no_such(vm_id: str) -> IaasError:
    return IaasError(f"there is no VM {vm_id}.", vm=vm_id)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise IaasError(f"{exc.filename or 'this machine'}: {exc.strerror}.") from exc
