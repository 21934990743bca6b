"""Nova's servers as our VMs, and our orders as Nova's; pure.

Source: Compute API reference, "Servers": "Server status", "Create server" (block_device_mapping_v2,
os:scheduler_hints), "List servers detailed"; OpenStack Nova guide, "Block device mapping".
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from conpaassql.errors import Unsupported
from conpaassql.libcloudvm import cloudinit, marks
from conpaassql.libcloudvm.answers import Json
from conpaassql.model import Vm, VmSpec, VmState
from conpaassql.offers import BlockDevice, Extras, Nic

GROUP = f"{marks.PREFIX}group"  # the server group that keeps a VM apart from others
GONE = frozenset({"DELETED", "SOFT_DELETED"})
MAX_USER_DATA_BYTES = 65535 * 3 // 4  # Nova counts them in base64

STATES: Mapping[str, VmState] = {
    "ACTIVE": VmState.RUNNING,
    "BUILD": VmState.BOOTING,
    "ERROR": VmState.FAILED,
    "HARD_REBOOT": VmState.BOOTING,
    "MIGRATING": VmState.RUNNING,
    "PASSWORD": VmState.RUNNING,
    "PAUSED": VmState.STOPPED,
    "REBOOT": VmState.BOOTING,
    "REBUILD": VmState.BOOTING,
    "RESCUE": VmState.UNKNOWN,  # runs, but not from its own disk
    "RESIZE": VmState.BOOTING,
    "REVERT_RESIZE": VmState.BOOTING,
    "SHELVED": VmState.STOPPED,
    "SHELVED_OFFLOADED": VmState.STOPPED,
    "SHUTOFF": VmState.STOPPED,
    "SUSPENDED": VmState.STOPPED,
    "UNKNOWN": VmState.UNKNOWN,
    "VERIFY_RESIZE": VmState.RUNNING,
}
_UNPLACED = frozenset({"", "scheduling"})

# What wakes a server that is not running.
WAKING: Mapping[str, str] = {
    "SHUTOFF": "os-start",
    "SUSPENDED": "resume",
    "PAUSED": "unpause",
    "SHELVED": "unshelve",
    "SHELVED_OFFLOADED": "unshelve",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What of the cloud's a server is made with, by id; ``group`` is a server group."""

    image: str
    flavor: str
    networks: tuple[Mapping[str, str], ...] = ()
    key_name: str = ""
    security_groups: tuple[str, ...] = ()
    group: str = ""


def is_of(server: Mapping[str, Json], owner: str) -> bool:
    """Whether a server is this owner's, and still there."""
    return pairs(server).get(marks.OWNER) == owner and str(server.get("status", "")).upper() not in GONE


def pairs(server: Mapping[str, Json]) -> Mapping[str, str]:
    """Return what is kept with a server."""
    found: Mapping[str, str] = server.get("metadata") or {}
    return found


def vm(server: Mapping[str, Json]) -> Vm:
    """Return a server as we see it."""
    kept = pairs(server)
    private, public = addresses(server)
    found = state(str(server.get("status", "")), str(server.get("OS-EXT-STS:task_state") or ""))
    return Vm(
        id=str(server["id"]),
        name=kept.get(marks.NAME) or str(server.get("name", "")),
        state=found,
        address=private,
        tags=marks.tags(kept),
        message=_message(server, found),
        labels=marks.labels(kept),
        public_address=public,
        zone=_zone(server),
    )


def state(status: str, task: str) -> VmState:
    """Return our state; a status of a future Nova is UNKNOWN.  ``task`` is what Nova is doing to it, or nothing."""
    if task in ("deleting", "soft-deleting") or status.upper() in GONE:
        return VmState.DELETING
    if status.upper() == "BUILD" and task in _UNPLACED:
        return VmState.PENDING
    return STATES.get(status.upper(), VmState.UNKNOWN)


def addresses(server: Mapping[str, Json]) -> tuple[str | None, str | None]:
    """Return a server's own address (IPv4 before IPv6) and its floating one."""
    every = [entry for network in (server.get("addresses") or {}).values() for entry in network]
    fixed = [entry for entry in every if entry.get("OS-EXT-IPS:type") != "floating"]
    floating = [entry for entry in every if entry.get("OS-EXT-IPS:type") == "floating"]
    return _first(fixed), _first(floating)


def order(spec: VmSpec, owner: str, choice: Choice) -> dict[str, Json]:
    """Return the request that makes the server of ``spec``.

    Raises:
        IaasRefused: user data is too large, or ``meta`` uses our names.
        Unsupported: an extra that Nova has not.
    """
    extras = spec.extras
    refuse(extras)
    kept = marks.packed(owner, spec.name, spec.tags, extras.meta)
    told = cloudinit.user_data(spec.context, extras.userdata, extras.files)
    server: dict[str, Json] = {
        "name": spec.name,
        "imageRef": choice.image,
        "flavorRef": choice.flavor,
        "metadata": kept | ({GROUP: choice.group} if choice.group else {}),
        "networks": list(choice.networks),
        "key_name": choice.key_name,
        "security_groups": [{"name": name} for name in choice.security_groups],
        "availability_zone": extras.availability_zone,
        "user_data": _base64(told),
        "block_device_mapping_v2": _disks(choice.image, extras),
    }
    hints = dict(extras.hints) | ({"group": choice.group} if choice.group else {})
    wanted = {key: value for key, value in server.items() if value}
    return {"server": wanted} | ({"os:scheduler_hints": hints} if hints else {})


def refuse(extras: Extras) -> None:
    """Refuse what Nova has not.

    Raises:
        Unsupported: names the first such extra.
    """
    if extras.data_disk_mib:
        raise Unsupported("data_disk_mib: disks that outlive their VM are not offered on OPENSTACK; leave it out.")
    for device in extras.block_devices:
        if device.source not in ("blank", "image", "volume", "snapshot"):
            raise Unsupported(f"block_device {device.device}: {device.source} is no source; use an image or volume.")


def nic(card: Nic, network_id: str) -> dict[str, str]:
    """Return a network card in Nova's words."""
    where = {"port": card.port} if card.port else {"uuid": network_id}
    return where | ({"fixed_ip": card.address} if card.address else {})


def _disks(image: str, extras: Extras) -> list[dict[str, Json]]:
    """Return the disks beside the first; none: Nova's own default.  The first has to be named as soon as others are."""
    more = [_disk(device) for device in extras.block_devices]
    if extras.swap_mib:  # in MiB here, unlike every other size of a disk
        swap = {"source_type": "blank", "destination_type": "local", "guest_format": "swap"}
        more.append({**swap, "boot_index": -1, "delete_on_termination": True, "volume_size": extras.swap_mib})
    first = {"source_type": "image", "destination_type": "local", "uuid": image, "boot_index": 0}
    return [{**first, "delete_on_termination": True}, *more] if more else []


def _disk(device: BlockDevice) -> dict[str, Json]:
    name = device.device if device.device.startswith("/dev/") else f"/dev/{device.device}"
    wanted: dict[str, Json] = {
        "device_name": name if device.device else "",
        "source_type": device.source,
        "destination_type": "volume",
        "uuid": device.id,
        "volume_size": device.size_gib,
    }
    chosen = {key: value for key, value in wanted.items() if value}
    return {**chosen, "boot_index": -1, "delete_on_termination": not device.keep}


def _base64(text: str) -> str:
    return base64.b64encode(cloudinit.within(text, MAX_USER_DATA_BYTES)).decode() if text else ""


def _first(entries: Iterable[Mapping[str, Json]]) -> str | None:
    chosen = sorted(entries, key=lambda entry: int(entry.get("version", 4)))
    return str(chosen[0]["addr"]) if chosen else None


def _message(server: Mapping[str, Json], found: VmState) -> str:
    """Return why a server failed; a fault that it has got over is no message."""
    if found is not VmState.FAILED:
        return ""
    return str((server.get("fault") or {}).get("message", "")) or "the cloud does not say why"


def _zone(server: Mapping[str, Json]) -> str:
    """Return ``zone:host``; ordinary users see only a hash of the host's name, which is enough to compare."""
    zone = str(server.get("OS-EXT-AZ:availability_zone") or "")
    host = str(server.get("OS-EXT-SRV-ATTR:host") or server.get("hostId") or "")
    return f"{zone}:{host[:16]}" if host else ""
