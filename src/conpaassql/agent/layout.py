"""Where everything of a node lies on its disk."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Paths below one root that belongs to the agent's user alone.

    ``address`` is the node's own: mysqld and the agent listen there and nowhere else.
    ``template`` is a prepared empty data directory that the first start copies; it may be
    shared by all nodes of a machine or lie in the VM's image, and is made where it is absent.
    """

    root: Path
    address: str
    template: Path

    @property
    def data(self) -> Path:
        """The data directory; it exists only when it is whole."""
        return self.root / "data"

    @property
    def incoming(self) -> Path:
        """A data directory in the making; renamed to ``data`` when it is whole."""
        return self.root / "data.incoming"

    @property
    def run(self) -> Path:
        """Socket and pid file."""
        return self.root / "run"

    @property
    def socket(self) -> Path:
        """mysqld's socket (the path must stay below 108 bytes)."""
        return self.run / "mysqld.sock"

    @property
    def pid_file(self) -> Path:
        """Where the agent notes the pid and start time of its mysqld."""
        return self.run / "mysqld.json"

    @property
    def my_cnf(self) -> Path:
        """The server's option file; mysqld reads no other."""
        return self.root / "my.cnf"

    @property
    def tls(self) -> Path:
        """``ca.pem``, ``node.pem`` and ``node.key``."""
        return self.root / "tls"

    @property
    def state_file(self) -> Path:
        """What the agent itself must remember."""
        return self.root / "agent.json"

    @property
    def logs(self) -> Path:
        """``mysqld.log`` and ``agent.log``."""
        return self.root / "log"
