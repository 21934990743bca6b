"""Copies of a local VM's disk, made while the VM stands still.

``python -m conpaassql.localdisk VM TARGET`` makes ``TARGET/disk`` or says in ``TARGET/failed`` why
not.  It is a process of its own so that the VM goes on also when the one that asked is killed
meanwhile.  It inherits the target's lock, which shows that it is at work.

A disk's directory is locked while it is copied; nothing may boot from it then.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conpaassql import localvm, locking
from conpaassql.errors import IaasBusy, IaasError, IaasFull

_COPY_TIMEOUT_S = 3600.0
_FREEZE_TIMEOUT_S = 10.0
_TURN_TIMEOUT_S = 600.0  # for another copy of the same disk


def begin(vm: Path, target: Path, lock: int) -> None:
    """Start to copy a VM's disk to ``target``, and return at once.

    ``lock`` is ``target``, open and locked; it stays locked until the copy has been made or failed.

    Raises:
        IaasError: the program to start it is not there.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    with (target / "log").open("ab") as log:
        done = subprocess.run(
            ["setsid", "--fork", sys.executable, "-m", __name__, str(vm), str(target)],
            stdin=subprocess.DEVNULL,
            pass_fds=(lock,),
            stdout=log,
            stderr=log,
            cwd=target,
            env=environment,
            check=False,
        )
    if done.returncode:
        raise IaasError(f"setsid could not start {sys.executable}; {target}/log may say why.")


def copy(source: Path, target: Path) -> None:
    """Copy a directory and all that is in it to ``target``, which appears at the end or not at all.

    Raises:
        IaasFull: there is no space for it.
        IaasError: it could not be copied.
    """
    new = target.with_name(f"{target.name}.new")
    if new.exists():
        subprocess.run(["rm", "-rf", "--", str(new)], check=False)
    new.mkdir(mode=0o700)
    command = ["cp", "-a", "--reflink=auto", "--sparse=always", ".", str(new)]
    # By its working directory cp sticks to this very disk, also when the VM is deleted and made again meanwhile.
    done = subprocess.run(
        command, cwd=source, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COPY_TIMEOUT_S, check=False
    )
    if done.returncode:
        says = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        kind = IaasFull if "No space left" in says else IaasError
        raise kind(f"the disk could not be copied: {says}.")
    new.rename(target)


@contextmanager
def held(vm: Path, timeout_s: float) -> Iterator[int]:
    """Hold a VM's disk: nobody else copies it or boots from it; yield its directory as a descriptor.

    Raises:
        IaasBusy: it is being copied for longer than ``timeout_s``.
    """
    descriptor = os.open(vm / "disk", os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not locking.await_lock(descriptor, timeout_s):
            raise IaasBusy(f"the disk of {vm.name} is being copied; it has taken {timeout_s:g} s already.", vm=vm.name)
        yield descriptor
    finally:
        os.close(descriptor)


def _copy_still(vm: Path, target: Path) -> None:
    """Copy a VM's disk at one moment of its life, as a cut of the power would leave it."""
    with held(vm, _TURN_TIMEOUT_S) as disk:
        try:
            localvm.freeze(vm, _FREEZE_TIMEOUT_S)
            copy(Path(f"/proc/{os.getpid()}/fd/{disk}"), target / "disk")
        finally:
            localvm.thaw(vm)


def main(vm: Path, target: Path) -> int:
    """Make the copy; return the status to exit with."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the VM goes on
    try:
        _copy_still(vm, target)
    except (OSError, IaasError, subprocess.SubprocessError) as exc:
        new = target / "failed.new"
        new.write_text(f"{exc}\n", encoding="utf-8")
        new.rename(target / "failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
