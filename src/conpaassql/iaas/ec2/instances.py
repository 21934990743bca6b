"""EC2's instances as our VMs, and our orders as EC2's; pure.

Sources: EC2 API reference, "RunInstances", "Instance", "InstanceState"; EC2 user guide, "Instance
lifecycle", "Run commands when you launch an EC2 instance" (user data: 16 KB before base64).
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conpaassql.errors import Unsupported
from conpaassql.libcloudvm import cloudinit, marks
from conpaassql.libcloudvm.answers import Json
from conpaassql.model import Vm, VmSpec, VmState
from conpaassql.offers import BlockDevice, Extras, Nic

MAX_USER_DATA_BYTES = 16384
AMAZON = ("", "amazon")  # public addresses of Amazon's own; others are called ipv4pool-...
Params = dict[str, str | int]

STATES: Mapping[str, VmState] = {
    "pending": VmState.BOOTING,
    "running": VmState.RUNNING,
    "stopping": VmState.UNKNOWN,  # may still write; only "stopped" is down
    "stopped": VmState.STOPPED,
    "shutting-down": VmState.DELETING,
    "terminated": VmState.DELETING,
}
THERE = ("pending", "running", "stopping", "stopped", "shutting-down")
_HINTS = {"tenancy": "Placement.Tenancy", "group": "Placement.GroupName", "host_id": "Placement.HostId"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What of the cloud's an instance is made with.  ``group_ids`` stand where there is a subnet, else names may, too.

    ``root_gib`` is the least size of the first disk, ``root_device`` its name.
    """

    image: str
    root_device: str
    root_gib: int
    flavor: str
    nics: tuple[Nic, ...] = ()
    group_ids: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    key_name: str = ""


def pairs(thing: Mapping[str, Json]) -> dict[str, str]:
    """Return the tags that EC2 keeps with anything."""
    return {str(tag["key"]): str(tag["value"]) for tag in thing.get("tagSet") or []}


def status(instance: Mapping[str, Json]) -> str:
    """Return EC2's word for where an instance is in its life."""
    return str((instance.get("instanceState") or {}).get("name", ""))


def vm(instance: Mapping[str, Json]) -> Vm:
    """Return an instance as we see it; a state of a future EC2 is UNKNOWN."""
    kept = pairs(instance)
    word = status(instance)
    state = STATES.get(word, VmState.UNKNOWN)
    return Vm(
        id=str(instance["instanceId"]),
        name=kept.get(marks.NAME) or kept.get("Name", ""),
        state=state,
        address=str(instance.get("privateIpAddress") or "") or None,
        tags=marks.tags(kept),
        message=f"EC2 says {word}" if state is VmState.UNKNOWN else "",
        labels=marks.labels(kept),
        public_address=str(instance.get("ipAddress") or "") or None,
        zone=_zone(instance),
    )


def token(owner: str, name: str, turn: int) -> str:
    """Return what makes the ``turn``-th creation of a name the same, however often it is asked for."""
    return hashlib.sha256("\0".join((owner, name, str(turn))).encode()).hexdigest()


def order(spec: VmSpec, owner: str, choice: Choice) -> Params:
    """Return the parameters of RunInstances, but for its token.

    Raises:
        IaasRefused: user data is too large, or ``meta`` uses our names.
        Unsupported: an extra that EC2 has not.
    """
    refuse(spec.extras)
    extras = spec.extras
    kept = {**marks.packed(owner, spec.name, spec.tags, extras.meta), "Name": spec.name}
    told = cloudinit.user_data(spec.context, extras.userdata, extras.files, extras.swap_mib)
    encoded = base64.b64encode(cloudinit.within(told, MAX_USER_DATA_BYTES)).decode() if told else ""
    wanted: Params = {
        "ImageId": choice.image,
        "InstanceType": choice.flavor,
        "MinCount": 1,
        "MaxCount": 1,
        "KeyName": choice.key_name,
        "UserData": encoded,
        "MetadataOptions.HttpTokens": "required",  # what the VM is told is not for every program that is in it
        "Placement.AvailabilityZone": extras.availability_zone,
        **{_HINTS[key]: value for key, value in extras.hints.items()},
        **_cards(choice),
        **_disks(spec, choice),
        **tagged(1, "instance", kept),
        **tagged(2, "volume", {marks.OWNER: owner, marks.VM: spec.name}),
    }
    return {key: value for key, value in wanted.items() if value != ""}


def refuse(extras: Extras) -> None:
    """Refuse what EC2 has not.

    Raises:
        Unsupported: names the first such extra.
    """
    if extras.data_disk_mib:
        raise Unsupported("data_disk_mib: disks that outlive their VM are not offered on EC2; leave it out.")
    if extras.public_nics:
        raise Unsupported("public_nics: EC2 gives public addresses to private cards; use public_network.")
    if not is_pool(extras.public_network):
        raise Unsupported(f"public_network {extras.public_network}: use amazon, or a pool of addresses (ipv4pool-...).")
    for key in extras.hints:
        if key not in _HINTS:
            raise Unsupported(f"scheduler_hints {key}: EC2 has no such hint; use {', '.join(sorted(_HINTS))}.")
    for device in extras.block_devices:
        if device.source not in ("blank", "snapshot"):
            raise Unsupported(f"block_device {device.device}: EC2 boots with disks that are blank or from a snapshot.")


def is_pool(name: str) -> bool:
    """Whether public addresses may come from a pool of this name."""
    return name in AMAZON or name.startswith("ipv4pool-")


def tagged(number: int, kind: str, kept: Mapping[str, str]) -> Params:
    """Return parameters that tag what is made, in the same moment."""
    root = f"TagSpecification.{number}"
    found: Params = {f"{root}.ResourceType": kind}
    for place, (key, value) in enumerate(kept.items(), 1):
        found |= {f"{root}.Tag.{place}.Key": key, f"{root}.Tag.{place}.Value": value}
    return found


def tags(kept: Mapping[str, str]) -> Params:
    """Return parameters that name tags of things that are there."""
    found: Params = {}
    for number, (key, value) in enumerate(kept.items(), 1):
        found |= {f"Tag.{number}.Key": key, f"Tag.{number}.Value": value}
    return found


def filters(wanted: Mapping[str, str | Sequence[str]]) -> Params:
    """Return filters: every one has to match, by any of its values."""
    found: Params = {}
    for number, (name, values) in enumerate(wanted.items(), 1):
        found[f"Filter.{number}.Name"] = name
        for place, value in enumerate([values] if isinstance(values, str) else values, 1):
            found[f"Filter.{number}.Value.{place}"] = value
    return found


def _cards(choice: Choice) -> Params:
    ids = {f"SecurityGroupId.{number}": group for number, group in enumerate(choice.group_ids, 1)}
    names = {f"SecurityGroup.{number}": group for number, group in enumerate(choice.group_names, 1)}
    if not choice.nics:
        return {**ids, **names}
    if len(choice.nics) == 1 and choice.nics[0] == Nic(network=choice.nics[0].network):  # nothing special about it
        return {"SubnetId": choice.nics[0].network, **ids}
    found: Params = {}
    for number, card in enumerate(choice.nics):
        found |= _card(f"NetworkInterface.{number + 1}", number, card, choice.group_ids)
    return found


def _card(root: str, place: int, card: Nic, groups: Sequence[str]) -> Params:
    if card.port:  # it has its groups and addresses already
        return {f"{root}.DeviceIndex": place, f"{root}.NetworkInterfaceId": card.port}
    return {
        f"{root}.DeviceIndex": place,
        f"{root}.SubnetId": card.network,
        f"{root}.PrivateIpAddress": card.address,
        f"{root}.DeleteOnTermination": "true",
        **{f"{root}.SecurityGroupId.{number}": group for number, group in enumerate(groups, 1)},
    }


def _disks(spec: VmSpec, choice: Choice) -> Params:
    """Return the disks; the first goes with the instance, whatever the image says."""
    gib = max(choice.root_gib, -(-spec.flavor.disk_mib // 1024))
    found = _disk("BlockDeviceMapping.1", BlockDevice(device=choice.root_device, size_gib=gib))
    for number, device in enumerate(spec.extras.block_devices, 2):
        found |= _disk(f"BlockDeviceMapping.{number}", device)
    return found


def _disk(root: str, device: BlockDevice) -> Params:
    name = device.device if device.device.startswith("/dev/") else f"/dev/{device.device}"
    return {
        f"{root}.DeviceName": name,
        f"{root}.Ebs.SnapshotId": device.id,
        f"{root}.Ebs.VolumeSize": device.size_gib or "",
        f"{root}.Ebs.DeleteOnTermination": "false" if device.keep else "true",
    }


def _zone(instance: Mapping[str, Json]) -> str:
    """Return ``zone:host`` where the host is known, which is on dedicated hosts only."""
    placement = instance.get("placement") or {}
    host = placement.get("hostId")
    return f"{placement.get('availabilityZone', '')}:{host}" if host else ""
