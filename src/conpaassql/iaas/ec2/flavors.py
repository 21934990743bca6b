"""EC2's types of instances as flavors.

Source: EC2 API reference, "DescribeInstanceTypes".
"""

from collections.abc import Sequence

from conpaassql.iaas.ec2 import instances
from conpaassql.libcloudvm.wire import Ec2
from conpaassql.offers import OfferedFlavor


def offered(ec2: Ec2, architecture: str = "") -> Sequence[OfferedFlavor]:
    """Return the types, or only those that run VMs of one architecture.  They bring no disk of their own.

    Raises:
        IaasError: EC2 refused or did not answer.
    """
    wanted = {"processor-info.supported-architecture": architecture, "bare-metal": "false"} if architecture else {}
    found = ec2.pages("DescribeInstanceTypes", "instanceTypeSet", instances.filters(wanted))
    return [
        OfferedFlavor(
            id=str(kind["instanceType"]),
            name=str(kind["instanceType"]),
            vcpus=float(kind["vCpuInfo"]["defaultVCpus"]),
            ram_mib=int(kind["memoryInfo"]["sizeInMiB"]),
        )
        for kind in found
    ]
