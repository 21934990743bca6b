"""How one agent takes a stream from another: by its own certificate."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from conpaassql import mtls, protocol
from conpaassql.mtls import Download
from conpaassql.protocol import Empty, Peer


@contextmanager
def download(tls: Path, peer: Peer, verb: str, patience_s: float = 0.0) -> Iterator[Download]:
    """Call a streaming verb without parameters on another agent.

    Args:
        tls: the folder with ``ca.pem``, ``node.pem`` and ``node.key``.
        peer: whose certificate must carry ``peer.host`` as an address.
        verb: its name.
        patience_s: how long no byte may come; 0: as the table of verbs says.

    Raises:
        Error: what the other agent raised; AgentError when it does not answer or is not who it should be.
    """
    known = protocol.BY_NAME[verb]
    endpoint = mtls.Endpoint(
        host=peer.host,
        port=peer.agent_port,
        ca=tls / "ca.pem",
        certificate=tls / "node.pem",
        key=tls / "node.key",
    )
    with mtls.download(endpoint, replace(known, timeout_s=patience_s or known.timeout_s), Empty()) as stream:
        yield stream
