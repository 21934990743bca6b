"""EC2's images, and the ones among them that are snapshots of instances.

An image stands on snapshots of volumes, which cost money after the image is gone; they go with it.

Source: EC2 API reference, "CreateImage", "DeregisterImage", "DescribeSnapshots".
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from conpaassql.errors import IaasMissing, IaasRefused
from conpaassql.iaas.ec2 import instances
from conpaassql.libcloudvm import marks
from conpaassql.libcloudvm.answers import Json, part
from conpaassql.libcloudvm.wire import Ec2
from conpaassql.offers import Image, Snapshot, SnapshotState

_IMAGE = f"{marks.PREFIX}image"  # of a volume's snapshot: the image that stands on it
_STATES: Mapping[str, SnapshotState] = {
    "available": SnapshotState.READY,
    "pending": SnapshotState.PENDING,
    "transient": SnapshotState.PENDING,
}


def offered(ec2: Ec2, default: str) -> Sequence[Image]:
    """Return this account's images and the ``default`` one; the public ones are a hundred thousand.

    Raises:
        IaasError: EC2 refused or did not answer.
    """
    found = list(ec2.pages("DescribeImages", "imagesSet", {"Owner.1": "self"}))
    if default and default not in {image["imageId"] for image in found}:
        found.append(described(ec2, default))
    ready = [image for image in found if image.get("imageState") == "available"]
    return [
        Image(id=str(image["imageId"]), name=str(image.get("name") or ""), min_disk_gib=root_gib(image))
        for image in ready
    ]


def described(ec2: Ec2, wanted: str) -> Mapping[str, Json]:
    """Return what EC2 knows of an image, by id or by its exact name.

    Raises:
        IaasMissing: there is none that this user can see.
        IaasRefused: several have this name.
    """
    by_name = instances.filters({"name": wanted})
    asked: instances.Params = {"ImageId.1": wanted} if wanted.startswith("ami-") else by_name
    found = list(ec2.pages("DescribeImages", "imagesSet", asked))
    if not found:
        raise IaasMissing(f"EC2 has no image {wanted} for this user; name another, or ask for access to it.")
    if len(found) > 1:
        several = ", ".join(sorted(str(image["imageId"]) for image in found))
        raise IaasRefused(f"several images are called {wanted}: {several}; use an id.")
    only: Mapping[str, Json] = found[0]
    return only


def root_gib(image: Mapping[str, Json]) -> int:
    """Return the least size of a VM's first disk; 0: EC2 does not say."""
    for disk in image.get("blockDeviceMapping") or []:
        if disk.get("deviceName") == image.get("rootDeviceName"):
            return int((disk.get("ebs") or {}).get("volumeSize") or 0)
    return 0


def snapshot(ec2: Ec2, owner: str, vm_id: str, vm_name: str, name: str) -> str:
    """Ask for an image of an instance, unless there is one of this name, and return its id; the instance runs on.

    Raises:
        IaasError: EC2 refused or did not answer.
    """
    for image in _mine(ec2, owner):
        if instances.pairs(image).get(marks.SNAPSHOT) == name:
            return str(image["imageId"])
    kept = {marks.OWNER: owner, marks.SNAPSHOT: name, marks.VM: vm_name, "Name": name}
    wanted: instances.Params = {
        "InstanceId": vm_id,
        "Name": _title(owner, name),
        "NoReboot": "true",
        **instances.tagged(1, "image", kept),
    }
    return str(part(ec2.call("CreateImage", wanted), "imageId"))


def snapshots(ec2: Ec2, owner: str) -> Sequence[Snapshot]:
    """Return the owner's snapshots.

    Raises:
        IaasError: EC2 refused or did not answer.
    """
    return [_snapshot(image) for image in _mine(ec2, owner)]


def delete(ec2: Ec2, owner: str, image_id: str) -> None:
    """Remove an image, if it is this owner's, and what it stood on, also what an earlier attempt has left.

    Raises:
        IaasError: EC2 refused or did not answer.
    """
    for image in _mine(ec2, owner):
        if image["imageId"] == image_id:
            _mark(ec2, owner, image)
            ec2.call("DeregisterImage", {"ImageId": image_id})
    marked = instances.filters({f"tag:{marks.OWNER}": owner, f"tag:{_IMAGE}": image_id})
    for found in list(ec2.pages("DescribeSnapshots", "snapshotSet", {"Owner.1": "self", **marked})):
        try:
            ec2.call("DeleteSnapshot", {"SnapshotId": str(found["snapshotId"])})
        except IaasMissing:
            continue


def _mark(ec2: Ec2, owner: str, image: Mapping[str, Json]) -> None:
    """Write onto the snapshots below an image what they belong to, as nothing else says so when the image is gone."""
    disks = [disk.get("ebs") or {} for disk in image.get("blockDeviceMapping") or []]
    below = [str(disk["snapshotId"]) for disk in disks if disk.get("snapshotId")]
    if below:
        resources = {f"ResourceId.{number}": snapshot_id for number, snapshot_id in enumerate(below, 1)}
        tags = instances.tags({marks.OWNER: owner, _IMAGE: str(image["imageId"])})
        ec2.call("CreateTags", {**resources, **tags})


def _mine(ec2: Ec2, owner: str) -> Iterator[Mapping[str, Json]]:
    wanted = {"Owner.1": "self", **instances.filters({f"tag:{marks.OWNER}": owner})}
    for image in ec2.pages("DescribeImages", "imagesSet", wanted):
        if marks.SNAPSHOT in instances.pairs(image) and image.get("imageState") != "deregistered":
            yield image


def _title(owner: str, name: str) -> str:
    """Return a name that EC2 accepts and that is nobody else's: names of images are unique in an account."""
    readable = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in f"{owner}-{name}")
    return f"conpaassql-{readable[:80]}-{hashlib.sha256(f'{owner}/{name}'.encode()).hexdigest()[:12]}"


def _snapshot(image: Mapping[str, Json]) -> Snapshot:
    kept = instances.pairs(image)
    word = str(image.get("imageState", ""))
    state = _STATES.get(word, SnapshotState.FAILED)
    reason = str((image.get("stateReason") or {}).get("message") or f"the image is {word}")
    return Snapshot(
        id=str(image["imageId"]),
        name=kept[marks.SNAPSHOT],
        vm=kept.get(marks.VM, ""),
        state=state,
        created_at=_moment(str(image.get("creationDate", ""))),
        message=reason if state is SnapshotState.FAILED else "",
    )


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
