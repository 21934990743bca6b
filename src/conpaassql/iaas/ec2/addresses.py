"""EC2's elastic addresses.  One of ours is tagged with its VM in the moment when it is taken, so that none is lost.

Source: EC2 API reference, "AllocateAddress", "AssociateAddress", "ReleaseAddress".
"""

from collections.abc import Mapping, Sequence

from conpaassql.errors import IaasMissing
from conpaassql.iaas.ec2 import instances
from conpaassql.libcloudvm import marks
from conpaassql.libcloudvm.answers import Json, part
from conpaassql.libcloudvm.wire import Ec2


def assign(ec2: Ec2, owner: str, vm_id: str, pool: str) -> str:
    """Return an address that leads to the VM; one taken before in vain is used up first.

    Raises:
        IaasBusy: the VM is not running yet.
        IaasMissing: there is no such pool.
        IaasFull: no address is left.
        IaasQuota: the account has as many as it may.
    """
    if not instances.is_pool(pool):
        raise IaasMissing(f"there is no pool of addresses {pool}; use amazon, or one of your own (ipv4pool-...).")
    taken = _ours(ec2, owner, vm_id)
    address = taken[0] if taken else _take(ec2, owner, vm_id, pool)
    if not address.get("associationId"):
        # Said twice it is the same; taken by force it would be another's.
        wanted = {
            "AllocationId": str(part(address, "allocationId")),
            "InstanceId": vm_id,
            "AllowReassociation": "false",
        }
        ec2.call("AssociateAddress", wanted)
    return str(part(address, "publicIp"))


def release(ec2: Ec2, owner: str, vm_id: str) -> None:
    """Give back every address that was taken for the VM.

    Raises:
        IaasError: EC2 refused or did not answer.
    """
    for address in _ours(ec2, owner, vm_id):
        try:
            if held := address.get("associationId"):
                ec2.call("DisassociateAddress", {"AssociationId": str(held)})
            ec2.call("ReleaseAddress", {"AllocationId": str(address["allocationId"])})
        except IaasMissing:
            continue


def _take(ec2: Ec2, owner: str, vm_id: str, pool: str) -> Mapping[str, Json]:
    kept = instances.tagged(1, "elastic-ip", {marks.OWNER: owner, marks.VM: vm_id})
    where = {} if pool in instances.AMAZON else {"PublicIpv4Pool": pool}
    return ec2.call("AllocateAddress", {"Domain": "vpc", **kept, **where})


def _ours(ec2: Ec2, owner: str, vm_id: str) -> Sequence[Mapping[str, Json]]:
    wanted = instances.filters({f"tag:{marks.OWNER}": owner, f"tag:{marks.VM}": vm_id})
    return list(ec2.pages("DescribeAddresses", "addressesSet", wanted))
