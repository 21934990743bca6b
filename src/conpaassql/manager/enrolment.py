"""How a VM becomes a node: its one-time join token against a certificate."""

import hmac

from conpaassql import pki
from conpaassql.errors import IaasError, Unauthorized
from conpaassql.manager.context import Manager
from conpaassql.model import Goal, Node
from conpaassql.pki import Identity


def enrol(manager: Manager, *, node: int, token: str, request: str) -> dict[str, str]:
    """Return a certificate for a node's key.

    The certificate names the node as the record has it and the address as the cloud has it; what
    the request says of itself is ignored.  The token works for one key: the same key may ask again
    (its answer may have been lost), another never.

    Raises:
        Unauthorized: unknown node, wrong token, or a token that another key has used.
        Invalid: the signing request is malformed.
        IaasError: the cloud does not list the VM's address yet; ask again.
    """
    cluster, found = _find(manager, node)
    if found is None or not hmac.compare_digest(manager.join_token(found.name).encode(), token.encode()):
        raise Unauthorized("The join token is not valid for this node.", node=node)
    fingerprint = pki.request_fingerprint(request.encode())
    address = _address(manager, found)
    with manager.store.transaction():  # of two keys at the same time only one finds the token unused
        used = manager.store.nodes.key_fingerprint(node)
        if used not in (None, fingerprint):
            raise Unauthorized("The join token was used already, by another key.", node=node)
        if used is None:
            manager.store.nodes.set_joined(node, fingerprint)
            manager.event(cluster, "joined", f"The agent of node {node} at {address} joined.", node)
    signed = manager.authority.sign(request.encode(), Identity(cluster=cluster, node=node), (address,))
    manager.wake(found.cluster_id)
    return {"certificate": signed.decode()}


def _find(manager: Manager, node: int) -> tuple[str, Node | None]:
    for name, snapshot in manager.store.records().items():
        for known in snapshot.nodes:
            if known.id == node and known.goal is Goal.PRESENT:
                return name, known
    return "", None


def _address(manager: Manager, node: Node) -> str:
    """The VM's address by the cloud's word, looked up anew when the last look did not know it."""
    provider = manager.providers.of(manager.store.record(node.cluster_id).cluster)
    for max_age_s in (1.0, 0.0):
        vms = provider.view(max_age_s)
        vm = vms.get(node.name) if vms else None
        if vm and vm.address:
            return vm.address
    raise IaasError(f"The cloud does not know the address of {node.name} yet; it is asked again.", node=node.id)
