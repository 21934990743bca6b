"""One OpenNebula as one owner sees it: what every part of the driver shares."""

import logging
import threading
from collections.abc import Iterable

from conpaassql.errors import IaasDenied, IaasMissing, Unsupported
from conpaassql.iaas.opennebula import elements, pool
from conpaassql.iaas.opennebula.config import Config
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.iaas.opennebula.memory import Memory
from conpaassql.iaas.opennebula.rpc import Rpc

log = logging.getLogger(__name__)

MINE, VISIBLE = -3, -2
NOT_DONE = -1
OLDEST = (5, 12)
Version = tuple[int, ...]


class Cloud:
    """A login at an OpenNebula, and a memory of what it was asked."""

    def __init__(self, config: Config, owner: str) -> None:
        """Call nothing yet."""
        self.config = config
        self.owner = owner
        self.rpc = Rpc(config)
        self.memory = Memory()
        self._version: Version = ()
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def version(self) -> Version:
        """Return the core's version, as (6, 10, 0); it is asked for once.

        Raises:
            Unsupported: it is older than the oldest that this driver knows.
        """
        if not self._version:
            text = self.rpc.read("system.version")
            found = tuple(int(part) for part in text.split(".") if part.isdigit())
            if found < OLDEST:
                raise Unsupported(f"This is OpenNebula {text}; use 5.12 or later.")
            self._version = found
        return self._version

    def say_once(self, notes: Iterable[str]) -> None:
        """Write to the log what has not been written yet."""
        for note in notes:
            with self._lock:
                new = note not in self._said
                self._said.add(note)
            if new:
                log.warning("OpenNebula: %s", note)

    def vm(self, vm_id: str) -> Element | None:
        """Return a VM of this owner; None: there is none of that id, not any more, or it is another's.

        Raises:
            IaasDenied: the VM is this user's, who has taken the rights to it from himself.
        """
        if not vm_id.isascii() or not vm_id.isdigit() or len(vm_id) > 9:
            return None
        try:
            found = elements.parse(self.rpc.read("vm.info", int(vm_id)))
        except (IaasMissing, IaasDenied) as exc:
            if exc.details.get("code") not in (512, 1024) or self._is_mine(vm_id):
                raise
            return None
        if pool.is_done(found) or not pool.is_ours(found, self.owner):
            return None
        return found

    def _is_mine(self, vm_id: str) -> bool:
        """Whether a VM belongs to this user, whatever he may do with it."""
        found = self.rpc.read("vmpool.info", MINE, int(vm_id), int(vm_id), NOT_DONE)
        return any(elements.number(one, "ID", -1) == int(vm_id) for one in elements.each(found, "VM"))

    def present(self, vm_id: str) -> Element:
        """As ``vm``.

        Raises:
            IaasMissing: there is none.
        """
        found = self.vm(vm_id)
        if found is None:
            raise IaasMissing(f"there is no VM {vm_id} of this manager.", vm=vm_id)
        return found
