"""Real nodes for tests: a directory, certificates, an option file and mariadbd on an address of its own."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import MySQLdb
import MySQLdb.connections

from conpaassql import pki, render
from conpaassql.agent import data
from conpaassql.agent.layout import Layout
from conpaassql.agent.mysqld import Mysqld
from conpaassql.agent.node import Node
from conpaassql.agent.state import StateFile
from conpaassql.agent.tasks import Tasks
from conpaassql.pki import Authority, Identity
from conpaassql.protocol import Peer, Setup

CLUSTER = "test"


def wait_for(holds: Callable[[], object], within_s: float = 10.0) -> None:
    """Return as soon as ``holds()`` is true; fail when it is not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.005)


def equip(layout: Layout, authority: Authority, identity: Identity) -> None:
    """Give a node what enrolment gives it."""
    layout.tls.mkdir(mode=0o700)
    key = pki.new_key()
    certificate = authority.sign(pki.signing_request(key, identity), identity, (layout.address,))
    files = {
        "node.key": key,
        "node.pem": certificate,
        "ca.pem": authority.certificate_pem,
        "subject": identity.subject.encode(),
    }
    for name, content in files.items():
        pki.write_private(layout.tls / name, content)


def my_cnf(number: int, memory_mib: int = 256, options: Mapping[str, str] | None = None) -> str:
    """Return the option file of server id ``number``."""
    return render.my_cnf(memory_mib, number, 0, options or {})


@dataclass
class Servers:
    """Makes nodes below one directory; ``close`` ends every mysqld and task that they started.

    ``prefix`` is the first three numbers of the addresses: node n gets ``<prefix>.<n>``.
    """

    root: Path
    prefix: str
    template: Path
    authority: Authority = field(default_factory=lambda: pki.new_authority("test"))
    nodes: list[Node] = field(default_factory=list)

    def make(self, number: int) -> Node:
        """Return a new node with an empty disk and certificates; no server runs."""
        layout = Layout(root=self.root / f"n{number}", address=f"{self.prefix}.{number}", template=self.template)
        layout.root.mkdir(mode=0o700)
        equip(layout, self.authority, Identity(cluster=CLUSTER, node=number))
        return self.reborn(layout, number)

    def reborn(self, layout: Layout, number: int) -> Node:
        """Return the node as an agent sees it that has just started on an existing disk."""
        node = Node(
            id=number,
            layout=layout,
            mysqld=Mysqld(layout),
            state=StateFile(layout.state_file, number),
            tasks=Tasks(),
        )
        self.nodes.append(node)
        return node

    def ready(self, number: int, memory_mib: int = 256, options: Mapping[str, str] | None = None) -> Node:
        """Return a node with an empty, running, read-only server."""
        node = self.make(number)
        data.initialise(node, Setup(term=0, my_cnf=my_cnf(number, memory_mib, options)))
        return node

    def close(self) -> None:
        """End everything."""
        for node in self.nodes:
            node.tasks.stop(10.0)
        for node in self.nodes:
            node.mysqld.stop(5.0)


def peer(node: Node) -> Peer:
    """Return how other nodes reach ``node``."""
    return Peer(node=node.id, host=node.layout.address)


@contextmanager
def tenant(
    node: Node, username: str, password: str, database: str = "", timeout_s: int = 10, tls: str = "REQUIRED"
) -> Iterator[MySQLdb.connections.Connection]:
    """Connect as a tenant does: over TCP, with TLS."""
    connection = MySQLdb.connect(
        host=node.layout.address,
        port=3306,
        user=username,
        password=password,
        database=database,
        connect_timeout=2,
        read_timeout=timeout_s,
        charset="utf8mb4",
        ssl_mode=tls,
    )
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def servers(prefix: str, template: Path | None = None) -> Iterator[Servers]:
    """Make nodes in a short temporary directory (socket paths are bounded) and end them afterwards.

    ``template`` is shared by the tests of one run when given.
    """
    with tempfile.TemporaryDirectory(prefix="cps") as folder:
        made = Servers(root=Path(folder), prefix=prefix, template=template or Path(folder) / "template")
        try:
            yield made
        finally:
            made.close()
