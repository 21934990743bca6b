"""The manager's view of the cloud: one list of all VMs, shared by all clusters, and no older than needed."""

import logging
import threading
from collections.abc import Callable, Mapping

from conpaassql.errors import IaasError, Unsupported
from conpaassql.iaas import Driver, Power
from conpaassql.model import Vm, VmSpec

log = logging.getLogger(__name__)


class Provider:
    """A driver with a short memory.  ``clock`` counts seconds and never goes back."""

    def __init__(self, driver: Driver, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: Mapping[str, Vm] | None = None
        self._seen_at = float("-inf")

    def view(self, max_age_s: float) -> Mapping[str, Vm] | None:
        """Return every VM of this manager by name; None when the cloud does not answer."""
        with self._lock:
            if self._clock() - self._seen_at > max_age_s:
                try:
                    self._seen = {vm.name: vm for vm in self._driver.list()}
                except IaasError as exc:
                    log.warning("the cloud does not list its VMs: %s", exc.says)
                    self._seen = None
                self._seen_at = self._clock()
            return self._seen

    def create(self, spec: VmSpec) -> str:
        """Ask for a VM; see ``Driver.create``."""
        try:
            return self._driver.create(spec)
        finally:
            self._forget()

    def delete(self, vm_id: str) -> None:
        """Ask for a VM's end; see ``Driver.delete``."""
        try:
            self._driver.delete(vm_id)
        finally:
            self._forget()

    def power_on(self, vm_id: str) -> None:
        """Boot a VM that is off.

        Raises:
            Unsupported: this cloud cannot.
        """
        if not isinstance(self._driver, Power):
            raise Unsupported("This provider cannot power a VM on; start it by the cloud's own tools.")
        try:
            self._driver.power_on(vm_id)
        finally:
            self._forget()

    def _forget(self) -> None:
        with self._lock:
            self._seen_at = float("-inf")
