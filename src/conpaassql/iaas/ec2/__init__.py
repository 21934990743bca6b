"""EC2, and clouds that speak its language.

A VM is known by its tags (owner, name and the caller's own), which it gets in the moment when it is
made.  EC2 remembers creations by a token of ours, so that an answer that got lost does not make a
second VM, even while the first is not listed yet.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from conpaassql.errors import ConfigError, IaasBusy, IaasError, IaasMissing, IaasRefused
from conpaassql.iaas.ec2 import addresses, checks, flavors, images, instances
from conpaassql.libcloudvm import choose, marks
from conpaassql.libcloudvm.answers import Json, part
from conpaassql.libcloudvm.locks import Names
from conpaassql.libcloudvm.options import chosen, seconds
from conpaassql.libcloudvm.wire import Ec2, Reach
from conpaassql.model import Flavor, Vm, VmSpec, VmState
from conpaassql.offers import Finding, Image, Network, Nic, OfferedFlavor, Snapshot

NAMES = ("EC2",)
OPTIONS: Mapping[str, str] = {
    "EC2_URL": "",
    "EC2_REGION": "us-east-1",
    "EC2_USER": "",
    "EC2_PASSWORD": "",
    "EC2_IMAGE_ID": "",
    "EC2_SIZE_ID": "t3.micro",
    "EC2_SECURITY_GROUP_NAME": "",
    "EC2_KEY_NAME": "",
    "EC2_SUBNET_ID": "",
    "EC2_CA_FILE": "",
    "EC2_TIMEOUT_S": "30",
}

_REQUIRED = ("EC2_USER", "EC2_PASSWORD")
_ID = re.compile(r"i-[0-9a-f]{8,17}")
_IMAGE_ID = re.compile(r"ami-[0-9a-f]{8,17}")
_PAGE = 1000
_TURNS = 20  # how often a name can be used again within the hours that EC2 remembers a token


class Driver:
    """EC2, for one owner.

    Implements ``iaas.Driver``, ``Power``, ``Catalog``, ``Snapshots``, ``Resizing``, ``PublicAddresses``,
    ``Labels`` and ``Checks``.  ``VmSpec.template`` is not used: everything it could say is in the spec.
    VMs that shall stand ``apart`` are not kept so: EC2 allows that for seven at most.
    """

    def __init__(self, options: Mapping[str, str], owner: str) -> None:
        """Read the options; the cloud is not called before the first order.

        Raises:
            ConfigError: an option is missing or wrong.
        """
        self._chosen = chosen(options, OPTIONS, _REQUIRED)
        self._owner = owner
        self._names = Names()
        self._known_types: dict[str, Sequence[OfferedFlavor]] = {}  # by architecture
        self._timeout_s = seconds("EC2_TIMEOUT_S", self._chosen["EC2_TIMEOUT_S"])
        self._ec2 = _ec2(self._chosen, self._timeout_s)

    def create(self, spec: VmSpec) -> str:
        """Ask for an instance, unless this owner has one of this name."""
        with self._names.held(spec.name, 2 * self._timeout_s):
            if known := self._named(spec.name):
                return known
            instances.refuse(spec.extras)
            return self._run(spec, instances.order(spec, self._owner, self._choice(spec)))

    def list(self) -> Sequence[Vm]:
        """List the owner's instances, a thousand per call."""
        return [instances.vm(instance) for instance in self._instances()]

    def delete(self, vm_id: str) -> None:
        """Give back the VM's public address, then ask for its end."""
        if not _ID.fullmatch(vm_id):
            return
        addresses.release(self._ec2, self._owner, vm_id)  # also of a VM that somebody else has removed
        if self._instance(vm_id) is None:
            return
        try:
            self._ec2.call("TerminateInstances", {"InstanceId.1": vm_id})
        except IaasMissing:
            return

    def power_off(self, vm_id: str) -> None:
        """Stop an instance without asking its system."""
        if instances.status(self._known(vm_id)) != "stopped":
            self._ec2.call("StopInstances", {"InstanceId.1": vm_id, "Force": "true"})

    def power_on(self, vm_id: str) -> None:
        """Start an instance."""
        if instances.status(self._known(vm_id)) not in ("running", "pending"):
            self._ec2.call("StartInstances", {"InstanceId.1": vm_id})

    def images(self) -> Sequence[Image]:
        """List this account's images and the one of EC2_IMAGE_ID."""
        return images.offered(self._ec2, self._chosen["EC2_IMAGE_ID"])

    def flavors(self) -> Sequence[OfferedFlavor]:
        """List EC2's types of instances; they bring no disk of their own."""
        return self._types()

    def networks(self) -> Sequence[Network]:
        """List the subnets with their free addresses."""
        found = self._ec2.pages("DescribeSubnets", "subnetSet")
        return [
            Network(
                id=str(subnet["subnetId"]),
                name=instances.pairs(subnet).get("Name") or str(subnet["subnetId"]),
                free=int(subnet["availableIpAddressCount"]),
            )
            for subnet in found
        ]

    def snapshot(self, vm_id: str, name: str) -> str:
        """Ask for an image of an instance."""
        with self._names.held(f"snapshot {name}", 2 * self._timeout_s):
            vm = instances.vm(self._known(vm_id))
            return images.snapshot(self._ec2, self._owner, vm_id, vm.name, name)

    def snapshots(self) -> Sequence[Snapshot]:
        """List the images that this owner made of instances."""
        return images.snapshots(self._ec2, self._owner)

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove such an image and what it stands on."""
        if _IMAGE_ID.fullmatch(snapshot_id):
            images.delete(self._ec2, self._owner, snapshot_id)

    def resize(self, vm_id: str, flavor: Flavor) -> None:
        """Change the type to the smallest that is large enough, with the VM stopped for it.

        Stopping takes its time: IaasBusy asks to be called again, until the VM has been started
        with its new type.  The disk stays as it is.
        """
        instance = self._known(vm_id)
        target = choose.fitting(self._types(str(instance.get("architecture") or "x86_64")), flavor)
        if str(instance["instanceType"]) != target.id:
            if instances.status(instance) != "stopped":
                self._ec2.call("StopInstances", {"InstanceId.1": vm_id})
            if instances.status(self._known(vm_id)) != "stopped":
                raise IaasBusy(f"{vm_id} has to stop before it gets another size; ask again.")
            wanted = {"InstanceId": vm_id, "InstanceType.Value": target.id}
            self._ec2.call("ModifyInstanceAttribute", wanted)
        self.power_on(vm_id)

    def assign(self, vm_id: str, pool: str) -> str:
        """Return the VM's elastic address, taken from ``pool`` (``amazon`` or ``ipv4pool-...``).

        The address that EC2 may have given it by itself does not count: it changes with the next start.
        """
        self._known(vm_id)
        with self._names.held(f"address {vm_id}", 2 * self._timeout_s):
            return addresses.assign(self._ec2, self._owner, vm_id, pool)

    def release(self, vm_id: str) -> None:
        """Give the VM's elastic address back."""
        self._known(vm_id)
        addresses.release(self._ec2, self._owner, vm_id)

    def label(self, vm_id: str, labels: Mapping[str, str]) -> None:
        """Keep the words in the instance's tags, where every console shows them."""
        wanted = marks.labelled(labels)
        had = marks.labelled(marks.labels(instances.pairs(self._known(vm_id))))
        gone = {key: value for key, value in had.items() if key not in wanted}
        for action, tags in (("CreateTags", wanted), ("DeleteTags", gone)):
            if tags:
                self._ec2.call(action, {"ResourceId.1": vm_id, **instances.tags(tags)})

    def check(self, spec: VmSpec) -> Iterator[Finding]:
        """Look at login, image, network and key, and let EC2 try the order out."""
        yield from checks.findings(self._ec2, spec, self._chosen, self._choice)

    def _run(self, spec: VmSpec, order: instances.Params) -> str:
        """Carry an order out once, however often it is asked for."""
        for turn in range(_TURNS):
            try:
                token = instances.token(self._owner, spec.name, turn)
                made = self._ec2.call("RunInstances", {**order, "ClientToken": token})
            except IaasError as exc:
                # A VM of this name was there before and has been removed.
                if exc.details.get("word") != "IdempotentInstanceTerminated":
                    raise
            else:
                return str(part(made, "instancesSet")[0]["instanceId"])
        raise IaasBusy(f"{spec.name} has been made and removed {_TURNS} times today; use another name.")

    def _choice(self, spec: VmSpec) -> instances.Choice:
        wanted = spec.image or self._chosen["EC2_IMAGE_ID"]
        if not wanted:
            raise IaasMissing("no image is named; set EC2_IMAGE_ID.")
        image = images.described(self._ec2, wanted)
        nics = self._nics(spec)
        groups = spec.extras.security_groups or _words(self._chosen["EC2_SECURITY_GROUP_NAME"])
        ids = tuple(group for group in groups if group.startswith("sg-"))
        names = tuple(group for group in groups if not group.startswith("sg-"))
        if nics and names:  # with a subnet, EC2 wants ids
            ids, names = (*ids, *self._group_ids(names, nics)), ()
        return instances.Choice(
            image=str(image["imageId"]),
            root_device=str(image.get("rootDeviceName") or "/dev/sda1"),
            root_gib=images.root_gib(image),
            flavor=spec.flavor_id or self._chosen["EC2_SIZE_ID"],
            nics=nics,
            group_ids=ids,
            group_names=names,
            key_name=spec.extras.key_name or self._chosen["EC2_KEY_NAME"],
        )

    def _nics(self, spec: VmSpec) -> tuple[Nic, ...]:
        default = spec.network or self._chosen["EC2_SUBNET_ID"]
        cards = spec.extras.nics or ((Nic(network=default),) if default else ())
        return tuple(card if card.port else replace(card, network=self._subnet(card.network)) for card in cards)

    def _subnet(self, wanted: str) -> str:
        if wanted.startswith("subnet-"):
            return wanted
        return choose.named("network", self.networks(), wanted).id

    def _group_ids(self, names: Sequence[str], nics: Sequence[Nic]) -> Sequence[str]:
        """Return the security groups of these names in the cloud that the cards are in."""
        subnet = next((card.network for card in nics if card.network), "")
        if not subnet:
            raise IaasRefused("security groups go with a network; the ports have their own.")
        (found,) = self._ec2.pages("DescribeSubnets", "subnetSet", {"SubnetId.1": subnet})
        wanted = instances.filters({"group-name": names, "vpc-id": str(found["vpcId"])})
        groups = list(self._ec2.pages("DescribeSecurityGroups", "securityGroupInfo", wanted))
        known = {str(group["groupName"]): str(group["groupId"]) for group in groups}
        for name in names:
            if name not in known:
                raise IaasMissing(f"there is no security group {name} where the subnet {subnet} is.")
        return [known[name] for name in names]

    def _types(self, architecture: str = "") -> Sequence[OfferedFlavor]:
        """Return the types of instances; they are many and seldom change, so they are asked for once."""
        if architecture not in self._known_types:
            self._known_types[architecture] = flavors.offered(self._ec2, architecture)
        return self._known_types[architecture]

    def _instances(self, **more: str) -> Iterator[Mapping[str, Json]]:
        wanted = {f"tag:{marks.OWNER}": self._owner, "instance-state-name": instances.THERE, **more}
        params: instances.Params = {**instances.filters(wanted), "MaxResults": _PAGE}
        for reservation in self._ec2.pages("DescribeInstances", "reservationSet", params):
            yield from reservation["instancesSet"]

    def _named(self, name: str) -> str | None:
        found = [instances.vm(instance) for instance in self._instances(**{f"tag:{marks.NAME}": name})]
        there = [vm.id for vm in found if vm.state is not VmState.DELETING]
        return min(there, default=None)

    def _instance(self, vm_id: str) -> Mapping[str, Json] | None:
        """Return an instance of this owner; None: there is none, or it is another's."""
        if not _ID.fullmatch(vm_id):
            return None
        return next(self._instances(**{"instance-id": vm_id}), None)

    def _known(self, vm_id: str) -> Mapping[str, Json]:
        instance = self._instance(vm_id)
        if instance is None:
            raise IaasMissing(f"there is no VM {vm_id}.", vm=vm_id)
        return instance


def _ec2(chosen: Mapping[str, str], timeout_s: float) -> Ec2:
    region = chosen["EC2_REGION"]
    if not re.fullmatch(r"[A-Za-z0-9-]+", region):
        raise ConfigError(
            f"[iaas] EC2_REGION = {region}: use a name such as eu-west-1.", section="iaas", key="EC2_REGION"
        )
    reach = Reach(
        cloud="EC2",
        url=chosen["EC2_URL"] or f"https://ec2.{region}.amazonaws.com",
        user=chosen["EC2_USER"],
        password=chosen["EC2_PASSWORD"],
        ca_file=chosen["EC2_CA_FILE"],
        timeout_s=timeout_s,
    )
    return Ec2(reach, region=region)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
