"""The manager's view of one cloud: one list of all VMs, shared by all clusters, and no older than needed."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from conpaassql import httpd
from conpaassql.errors import Error, IaasBusy, Unsupported
from conpaassql.iaas import Catalog, DataDisks, Driver, Labels, Power
from conpaassql.model import Vm, VmSpec
from conpaassql.model_cloud import DEFAULT_PROVIDER

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What keeps a cloud that hangs from taking the threads of all.

    A cloud that takes longer than ``list_within_s`` to list its VMs counts as silent; ``at_once``
    bounds the calls to it, and a further one waits for ``place_within_s``.
    """

    list_within_s: float = 10.0
    at_once: int = 8
    place_within_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What VMs of a provider get when nobody chooses: an image by name or id, a flavor also as ``key=value, ...``."""

    image: str = ""
    flavor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the cloud listed; None when it did not answer."""

    vms: Mapping[str, Vm] | None = None
    began_at: float = field(default=float("-inf"))


class Provider:
    """A driver with a short memory.  ``clock`` counts seconds and never goes back."""

    def __init__(
        self,
        driver: Driver,
        clock: Callable[[], float],
        name: str = DEFAULT_PROVIDER,
        defaults: Defaults | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.name = name
        self.driver = driver
        self.defaults = defaults or Defaults()
        self._limits = limits or Limits()
        self._clock = clock
        self._condition = threading.Condition()
        self._seen = _Seen()
        self._silence = ""
        self._memories: dict[str, int] = {}  # MiB, by flavor
        self._listing_since: float | None = None
        self._changed_at = float("-inf")
        self._closed = False
        self._lister = ThreadPoolExecutor(1, thread_name_prefix=f"list-{name}")
        self._places = threading.BoundedSemaphore(self._limits.at_once)

    @property
    def silence(self) -> str:
        """Why the cloud does not list its VMs, for people; empty: it did when it was asked last."""
        return self._silence

    def view(self, max_age_s: float) -> Mapping[str, Vm] | None:
        """Return every VM of this manager by name; None when the cloud does not answer in time, or was let go.

        A list that is older than ``max_age_s``, or began before our own last change, is asked for anew.
        """
        with self._condition:
            oldest_s = max(self._clock() - max_age_s, self._changed_at)
            while self._seen.began_at < oldest_s:
                if self._closed:
                    return None
                if self._listing_since is None:
                    self._listing_since = self._clock()
                    self._lister.submit(self._list, self._listing_since)
                left_s = self._listing_since + self._limits.list_within_s - self._clock()
                if left_s <= 0 or not self._condition.wait(left_s):
                    self._note(f"no answer within {self._limits.list_within_s:g} s.")
                    return None
            return self._seen.vms

    def _list(self, began_at: float) -> None:
        found = httpd.attempt(lambda: {vm.name: vm for vm in self.driver.list()})
        with self._condition:
            self._note(found.says if isinstance(found, Error) else "")
            self._seen = _Seen(vms=None if isinstance(found, Error) else found, began_at=began_at)
            self._listing_since = None
            self._condition.notify_all()

    def _note(self, why: str) -> None:
        """Remember why the cloud is silent; the log gets what has changed."""
        says = f"Provider {self.name} does not list its VMs: {why}" if why else ""
        if says != self._silence:
            log.warning("%s", says or f"Provider {self.name} lists its VMs again.")
        self._silence = says

    @contextmanager
    def use(self) -> Iterator[Driver]:
        """Lend the driver for a call.

        Raises:
            IaasBusy: too many calls to this cloud are under way.
        """
        if not self._places.acquire(timeout=self._limits.place_within_s):
            raise IaasBusy(
                f"{self._limits.at_once} calls to provider {self.name} are under way already; try again in a moment."
            )
        try:
            yield self.driver
        finally:
            self._places.release()

    def create(self, spec: VmSpec) -> str:
        """Ask for a VM; see ``Driver.create``."""
        with self._changing() as driver:
            return driver.create(spec)

    def delete(self, vm_id: str) -> None:
        """Ask for a VM's end; see ``Driver.delete``."""
        with self._changing() as driver:
            driver.delete(vm_id)

    def power_on(self, vm_id: str) -> None:
        """Boot a VM that is off.

        Raises:
            Unsupported: this cloud cannot.
        """
        if not isinstance(self.driver, Power):
            raise Unsupported("This provider cannot power a VM on; start it by the cloud's own tools.")
        with self._changing():
            self.driver.power_on(vm_id)

    def label(self, vm_id: str, labels: Mapping[str, str]) -> None:
        """Let the cloud show words with a VM, where it can."""
        if isinstance(self.driver, Labels):
            with self._changing():
                self.driver.label(vm_id, labels)

    @property
    def keeps_disks(self) -> bool:
        """Whether VMs can have disks that outlive them."""
        return isinstance(self.driver, DataDisks)

    def delete_data_disk(self, vm_name: str) -> None:
        """Remove the disk that outlived a VM; none is fine."""
        if isinstance(self.driver, DataDisks):
            with self._changing():
                self.driver.delete_data_disk(vm_name)

    def memory_mib(self, flavor: str) -> int | None:
        """Return the memory of VMs of a named flavor; None: the cloud has none of the name, or does not answer.

        What the cloud has said once is not asked for again.
        """
        if flavor and flavor not in self._memories and isinstance(self.driver, Catalog):
            try:
                with self.use():
                    offered = self.driver.flavors()
            except Error as exc:
                log.warning("provider %s does not say how large flavor %s is: %s", self.name, flavor, exc.says)
                return None
            found = [one for one in offered if one.id == flavor] or [one for one in offered if one.name == flavor]
            self._memories.update({flavor: found[0].ram_mib} if found and found[0].ram_mib else {})
        return self._memories.get(flavor)

    @contextmanager
    def _changing(self) -> Iterator[Driver]:
        try:
            with self.use() as driver:
                yield driver
        finally:
            self.forget()

    def forget(self) -> None:
        """Take what the cloud listed before now for out of date."""
        with self._condition:
            self._changed_at = self._clock()

    def close(self) -> None:
        """Ask for no list any more; one that is under way is not waited for.  Whoever holds this may end his call."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._lister.shutdown(wait=False, cancel_futures=True)
