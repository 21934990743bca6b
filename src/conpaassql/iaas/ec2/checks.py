"""What a check of an EC2 account looks at; nothing is changed: EC2 itself can try an order out ("DryRun").

Source: EC2 API reference, "RunInstances", parameter DryRun.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from conpaassql.errors import Error, IaasError, IaasFull
from conpaassql.iaas.ec2 import instances
from conpaassql.libcloudvm.wire import Ec2
from conpaassql.model import VmSpec
from conpaassql.offers import Extras, Finding

Choose = Callable[[VmSpec], instances.Choice]


def findings(ec2: Ec2, spec: VmSpec, chosen: Mapping[str, str], choose: Choose) -> Iterator[Finding]:
    """Yield a finding for each thing that a VM of ``spec`` needs."""
    cure = "Check EC2_USER (the access key), EC2_PASSWORD (its secret), EC2_REGION and EC2_URL."
    login = _found("login", lambda: _login(ec2), cure)
    yield replace(login, fatal=not login.ok)
    if not login.ok:
        return
    bare = replace(spec, extras=Extras(), network="")
    yield _found("image", lambda: f"The image {choose(bare).image} is there.", "Name another in EC2_IMAGE_ID.")
    yield _found("network", lambda: _subnets(ec2, choose(spec)), "Name a subnet with free addresses in EC2_SUBNET_ID.")
    cure = "Import the key pair, or set EC2_KEY_NAME."
    yield _found("key", lambda: _key(ec2, chosen["EC2_KEY_NAME"] if not spec.extras.key_name else ""), cure)
    cure = "What EC2 says has to be put right: rights, quota, flavor, security group or key."
    yield _found("order", lambda: _try_out(ec2, spec, choose(spec)), cure)


def _found(code: str, look: Callable[[], str], cure: str) -> Finding:
    try:
        return Finding(code=code, ok=True, says=look())
    except Error as exc:
        return Finding(code=code, ok=False, says=exc.says, cure=cure)


def _login(ec2: Ec2) -> str:
    ec2.call("DescribeAvailabilityZones")
    return "The login is accepted."


def _subnets(ec2: Ec2, choice: instances.Choice) -> str:
    for subnet in [card.network for card in choice.nics if card.network]:
        (found,) = ec2.pages("DescribeSubnets", "subnetSet", {"SubnetId.1": subnet})
        if not int(found["availableIpAddressCount"]):
            raise IaasFull(f"The subnet {subnet} has no address left.")
    return "The subnets have free addresses." if choice.nics else "No subnet is named: EC2 takes the default one."


def _key(ec2: Ec2, name: str) -> str:
    if not name:
        return "No key pair is set; the order names its own, or nobody can log in by one."
    ec2.call("DescribeKeyPairs", {"KeyName.1": name})
    return f"The key pair {name} is there."


def _try_out(ec2: Ec2, spec: VmSpec, choice: instances.Choice) -> str:
    try:
        ec2.call("RunInstances", {**instances.order(spec, "check", choice), "DryRun": "true"})
    except IaasError as exc:
        if exc.details.get("word") != "DryRunOperation":
            raise
    return "EC2 would carry the order out."
