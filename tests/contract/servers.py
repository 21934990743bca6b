"""Real nodes for tests: a directory, certificates, an option file and mariadbd on an address of its own."""

import datetime
import ipaddress
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import MySQLdb
import MySQLdb.connections
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from conpaassql import render
from conpaassql.agent import data
from conpaassql.agent.layout import Layout
from conpaassql.agent.mysqld import Mysqld
from conpaassql.agent.node import Node
from conpaassql.agent.state import StateFile
from conpaassql.agent.tasks import Tasks
from conpaassql.protocol import Peer, Setup

CLUSTER = "test"
Key = ec.EllipticCurvePrivateKey


def wait_for(holds: Callable[[], object], within_s: float = 10.0) -> None:
    """Return as soon as ``holds()`` is true; fail when it is not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.005)


class Authority:
    """A certificate authority that lives as long as a test."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        basic = x509.BasicConstraints(ca=True, path_length=0)
        builder = _builder(self._name, self._name, self._key).add_extension(basic, critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())

    def equip(self, folder: Path, subject: str, address: str) -> None:
        """Write ca.pem, node.pem, node.key and subject; ``subject`` looks like ``/O=a/OU=b/CN=c``."""
        key = ec.generate_private_key(ec.SECP256R1())
        kinds = {"O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME, "CN": NameOID.COMMON_NAME}
        parts = [part.split("=", 1) for part in subject.strip("/").split("/")]
        name = x509.Name([x509.NameAttribute(kinds[kind], value) for kind, value in parts])
        san = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = _builder(name, self._name, key).add_extension(san, critical=False).add_extension(usage, False)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem = serialization.Encoding.PEM
        pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / "ca.pem").write_bytes(self._certificate.public_bytes(pem))
        (folder / "node.pem").write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(pem))
        (folder / "node.key").touch(mode=0o600)
        (folder / "node.key").write_bytes(key.private_bytes(pem, pkcs8, plain))
        (folder / "subject").write_text(f"{subject}\n")


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


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
    authority: Authority = field(default_factory=Authority)
    nodes: list[Node] = field(default_factory=list)

    def make(self, number: int) -> Node:
        """Return a new node with an empty disk and certificates; no server runs."""
        layout = Layout(root=self.root / f"n{number}", address=f"{self.prefix}.{number}", template=self.template)
        layout.root.mkdir(mode=0o700)
        subject = f"/O=conpaassql/OU={CLUSTER}/CN=node-{number}"
        self.authority.equip(layout.tls, subject, layout.address)
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
    node: Node, username: str, password: str, database: str = "", timeout_s: int = 10
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
        ssl_mode="REQUIRED",
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
