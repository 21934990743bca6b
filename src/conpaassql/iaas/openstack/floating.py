"""Neutron's floating addresses.  One of ours says in its description whose it is, so that none is left behind.

Source: Networking API v2 reference, "Floating IPs".
"""

from collections.abc import Mapping, Sequence

from conpaassql.errors import IaasBusy, IaasMissing
from conpaassql.libcloudvm.answers import Json, part
from conpaassql.libcloudvm.wire import Nova

_PATH = "/v2.0/floatingips"


def assign(nova: Nova, owner: str, vm_id: str, network: str) -> str:
    """Return an address of the external network that leads to the VM; one taken before in vain is used up first.

    Raises:
        IaasBusy: the VM has no port yet.
        IaasFull: no address is left.
        IaasQuota: the project has as many as it may.
    """
    port = _port(nova, vm_id)
    taken = _ours(nova, owner, vm_id)
    if held := [entry for entry in taken if entry.get("port_id")]:
        return str(held[0]["floating_ip_address"])
    if taken:
        wanted = {"floatingip": {"port_id": port}}
        made = nova.call("network", "PUT", f"{_PATH}/{taken[0]['id']}", wanted)
    else:
        about = _description(owner, vm_id)
        wanted = {"floatingip": {"floating_network_id": network, "port_id": port, "description": about}}
        made = nova.call("network", "POST", _PATH, wanted)
    return str(part(made.body, "floatingip", "floating_ip_address"))


def release(nova: Nova, owner: str, vm_id: str) -> None:
    """Give back every address that was taken for the VM.

    Raises:
        IaasError: Neutron refused or did not answer.
    """
    for entry in _ours(nova, owner, vm_id):
        try:
            nova.call("network", "DELETE", f"{_PATH}/{entry['id']}")
        except IaasMissing:
            continue


def _ours(nova: Nova, owner: str, vm_id: str) -> Sequence[Mapping[str, Json]]:
    about = _description(owner, vm_id)
    found = nova.pages("network", _PATH, "floatingips", {"description": about})
    return [entry for entry in found if entry.get("description") == about]


def _port(nova: Nova, vm_id: str) -> str:
    found = part(nova.call("network", "GET", "/v2.0/ports", params={"device_id": vm_id}).body, "ports")
    ports = [port for port in found if port.get("device_id") == vm_id and port.get("fixed_ips")]
    if not ports:
        raise IaasBusy(f"{vm_id} has no address of its own yet; ask again.")
    return str(ports[0]["id"])


def _description(owner: str, vm_id: str) -> str:
    return f"conpaassql {owner} {vm_id}"
