"""What tests of drivers use: a cloud as one test sees it, specifications, waiting."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from conpaassql.errors import IaasBusy
from conpaassql.iaas import DataDisks, Driver, Snapshots, Vm, VmSpec
from conpaassql.model import Flavor

LOCAL_NETWORK = "127.42.0.0/16"
SLEEPER = """\
. "$CONPAASSQL_CONTEXT"
exec sleep 600
"""
NODE = {"CONPAASSQL_NODE": "1"}


class Make(Protocol):
    """Makes a driver; all drivers of one test see one cloud."""

    def __call__(self, owner: str = "m", **options: str) -> Driver:
        """Make the driver of ``owner``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """One cloud, as one test uses it.

    ``plain`` is a specification that it can fulfil, and ``patience_s`` how long things may take.
    The others look or reach behind the driver; they are None where that is not possible:
    ``losing`` makes a driver of an owner whose next answer to ``create`` is lost; ``data_disks``
    lists the names of VMs that have a data disk; ``size`` is a VM's by its id.
    ``pool`` is where public addresses come from, and ``given`` counts those that VMs have;
    ``no_pool`` is none, empty where the pretended cloud takes every name.
    """

    make: Make
    plain: VmSpec
    patience_s: float = 5.0
    losing: Callable[[str], Driver] | None = None
    data_disks: Callable[[], Collection[str]] | None = None
    size: Callable[[str], Flavor] | None = None
    pool: str = ""
    given: Callable[[], int] | None = None
    no_pool: str = "no-such-pool"

    def spec(self, name: str = "a-1", **tags: str) -> VmSpec:
        """Return a specification that this cloud can fulfil."""
        return replace(self.plain, name=name, tags=tags)

    def eventually(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        eventually(holds, self.patience_s)

    def end(self, driver: Driver, vm_id: str) -> None:
        """Delete a VM as the manager does: again and again, until it is gone."""

        def is_gone() -> bool:
            with suppress(IaasBusy):
                driver.delete(vm_id)
            return vm_id not in {vm.id for vm in driver.list()}

        self.eventually(is_gone)

    def quiet(self, operation: Callable[[], object]) -> None:
        """Do something as soon as the cloud is not busy with the thing."""

        def is_done() -> bool:
            try:
                operation()
            except IaasBusy:
                return False
            return True

        self.eventually(is_done)


def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.005)


def only(driver: Driver) -> Vm:
    """Return the only VM that there is."""
    (vm,) = driver.list()
    return vm


@contextmanager
def swept(make: Make, patience_s: float) -> Iterator[Make]:
    """Yield ``make``; at the end nothing is left of what its drivers made."""
    made: list[Driver] = []

    def noting(owner: str = "m", **options: str) -> Driver:
        made.append(make(owner, **options))
        return made[-1]

    cloud = Cloud(make=make, plain=plain(), patience_s=patience_s)
    try:
        yield noting
    finally:
        for driver in made:
            for vm in driver.list():
                cloud.end(driver, vm.id)
            if isinstance(driver, DataDisks):
                cloud.quiet(lambda driver=driver: driver.delete_data_disk("a-1"))  # type: ignore[misc]
            if isinstance(driver, Snapshots):
                for snapshot in driver.snapshots():
                    cloud.quiet(lambda driver=driver, id_=snapshot.id: driver.delete_snapshot(id_))  # type: ignore[misc]


def plain(context: Mapping[str, str] | None = None, **others: str) -> VmSpec:
    """Return a specification of a VM that a test names."""
    return VmSpec(name="a-1", flavor=Flavor(), tags={}, context=context or {}, template="", **others)  # type: ignore[arg-type]


def local_options(root: Path, init: Path) -> dict[str, str]:
    """Return the options of a LOCAL in a directory."""
    return {"LOCAL_ROOT": str(root), "LOCAL_NETWORK": LOCAL_NETWORK, "LOCAL_INIT": str(init)}
