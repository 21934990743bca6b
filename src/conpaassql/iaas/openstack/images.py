"""Glance's images, and the ones among them that are snapshots of servers.

Source: Image API v2 reference, "Image statuses", "List images" (filters by any property);
Compute API reference, "Create image (createImage action)".
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from conpaassql.errors import IaasDenied, IaasError, IaasMissing
from conpaassql.iaas.openstack import servers
from conpaassql.libcloudvm import choose, marks
from conpaassql.libcloudvm.answers import Json
from conpaassql.libcloudvm.wire import Nova
from conpaassql.offers import Image, Snapshot, SnapshotState

_STATES: Mapping[str, SnapshotState] = {
    "active": SnapshotState.READY,
    "importing": SnapshotState.PENDING,
    "queued": SnapshotState.PENDING,
    "saving": SnapshotState.PENDING,
    "uploading": SnapshotState.PENDING,
}
_GONE = frozenset({"deleted", "pending_delete"})


def offered(nova: Nova, **filters: str) -> Sequence[Image]:
    """Return the images that can be used now.

    Raises:
        IaasError: Glance refused or did not answer.
    """
    found = nova.pages("image", "/v2/images", "images", {"status": "active", **filters})
    return [
        Image(
            id=str(image["id"]),
            name=str(image.get("name") or ""),
            min_disk_gib=int(image.get("min_disk") or 0),
            min_ram_mib=int(image.get("min_ram") or 0),
        )
        for image in found
    ]


def named(nova: Nova, name: str) -> str:
    """Return the id of the image of this name.

    Raises:
        IaasMissing: there is none.
        IaasRefused: there are several.
    """
    return choose.named("image", offered(nova, name=name), name).id


def snapshot(nova: Nova, owner: str, server: Mapping[str, Json], name: str) -> str:
    """Ask for an image of a server, unless there is one of this name, and return its id.

    Raises:
        IaasError: Nova refused; IaasBusy while it does something else to the server.
    """
    if known := [image for image in _mine(nova, owner) if image.get(marks.SNAPSHOT) == name]:
        return str(known[0]["id"])
    kept = {marks.OWNER: owner, marks.SNAPSHOT: name, marks.VM: servers.vm(server).name}
    body = {"createImage": {"name": name, "metadata": kept}}
    answer = nova.call("compute", "POST", f"/servers/{server['id']}/action", body)
    made = answer.headers.get("location", "").rpartition("/")[2] or str(answer.body.get("image_id", ""))
    if not made:
        raise IaasError(f"OPENSTACK makes the image {name} but does not say which it is; ask again.")
    return made


def snapshots(nova: Nova, owner: str) -> Sequence[Snapshot]:
    """Return the owner's snapshots.

    Raises:
        IaasError: Glance refused or did not answer.
    """
    return [_snapshot(image) for image in _mine(nova, owner)]


def delete(nova: Nova, owner: str, image_id: str) -> None:
    """Remove an image, if it is a snapshot of this owner.

    Raises:
        IaasError: Glance refused or did not answer.
    """
    try:
        image = nova.call("image", "GET", f"/v2/images/{image_id}").body
        if image.get(marks.OWNER) == owner and marks.SNAPSHOT in image:
            nova.call("image", "DELETE", f"/v2/images/{image_id}")
    except IaasMissing:
        return
    except IaasDenied as exc:
        if exc.details.get("status") != 403:
            raise
        return  # another's image: Glance says so instead of hiding it


def _mine(nova: Nova, owner: str) -> Iterator[Mapping[str, Json]]:
    found = nova.pages("image", "/v2/images", "images", {marks.OWNER: owner})
    for image in found:
        ours = image.get(marks.OWNER) == owner and marks.SNAPSHOT in image
        if ours and image.get("status") not in _GONE:
            yield image


def _snapshot(image: Mapping[str, Json]) -> Snapshot:
    status = str(image.get("status", ""))
    state = _STATES.get(status, SnapshotState.FAILED)
    return Snapshot(
        id=str(image["id"]),
        name=str(image[marks.SNAPSHOT]),
        vm=str(image.get(marks.VM, "")),
        state=state,
        created_at=_moment(str(image.get("created_at", ""))),
        message=f"the image is {status}" if state is SnapshotState.FAILED else "",
    )


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
