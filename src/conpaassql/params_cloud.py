"""How parameters about clouds are read: lists of key=value, network cards, disks, names of providers and machines.

What is repeatable may come as an array of texts, as one text, or as a JSON object.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from conpaassql import params
from conpaassql.errors import Invalid
from conpaassql.offers import BlockDevice, Nic
from conpaassql.params import Read, wrong

PROVIDER_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
MACHINE_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NUMBERS = ("mindisk", "minram", "vcpus", "ram", "disk", "swap")
RESERVED = ("conpaassql", "mysql-fabric")  # how the keys of our own marks begin, in any case of letters
MOST_LONG_TEXT = 65535  # of one user data or file; Nova's own bound
MOST_ITEMS = 1000

# https://docs.openstack.org/python-novaclient/latest/cli/nova.html#nova-boot, --block-device-mapping
_SOURCES = {"": "volume", "volume": "volume", "snap": "snapshot", "snapshot": "snapshot", "image": "image"}
_SOURCES["blank"] = "blank"
_DELETES = {"": None, "0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}

Properties = str | float
Filters = tuple[tuple[str, Properties], ...]


def provider_name(name: str, value: Any) -> str:
    """Read the name of a provider: letters, digits, ``.``, ``_`` and ``-``; at most 128."""
    if not isinstance(value, str) or not PROVIDER_NAME.fullmatch(value):
        raise wrong(name, "a provider's name: letters, digits, . _ and -, at most 128")
    return value


def machine_uuid(name: str, value: Any) -> str:
    """Read a machine's UUID, in any case of letters."""
    if not isinstance(value, str) or not MACHINE_UUID.fullmatch(value.lower()):
        raise wrong(name, "a machine's UUID, such as 9f3d9729-f220-11e3-adbb-b86b23dc9477")
    return value.lower()


def long_text(name: str, value: Any) -> str:
    """Read text without NUL, of at most 65,535 bytes."""
    if not isinstance(value, str) or "\0" in value:
        raise wrong(name, "text")
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError as exc:
        raise wrong(name, "text in valid Unicode") from exc
    if size_bytes > MOST_LONG_TEXT:
        raise wrong(name, f"text of at most {MOST_LONG_TEXT} bytes")
    return value


def pairs(name: str, value: Any) -> dict[str, str]:
    """Read key=value, many times; a key comes once."""
    return _pairs(name, value, params.text)


def files(name: str, value: Any) -> dict[str, str]:
    """Read path=content, many times; paths are absolute."""
    found = _pairs(name, value, long_text)
    if any(not path.startswith("/") for path in found):
        raise wrong(name, "absolute paths in the machine, each with its content")
    return found


def meta(name: str, value: Any) -> dict[str, str]:
    """Read key=value, many times, without the keys that this program keeps for itself."""
    found = pairs(name, value)
    if taken := sorted(key for key in found if key.lower().startswith(RESERVED)):
        raise Invalid(
            f"Invalid argument: {name} DETAIL:Keys that begin with {' or '.join(RESERVED)} are reserved; "
            "choose others.",
            argument=name,
            keys=[key[:64] for key in taken[:10]],
        )
    return found


def filters(*keys: str) -> Read:
    """Read key=value with keys out of ``keys``, in any case of letters; numbers become numbers."""

    def read(name: str, value: Any) -> Filters:
        found = pairs(name, value)
        lowered = {key.lower(): text for key, text in found.items()}
        if len(lowered) < len(found) or (extra := set(lowered) - set(keys)):
            shown = "the same key twice" if len(lowered) < len(found) else ", ".join(sorted(extra))[:64]
            raise wrong(name, f"key=value with keys out of {', '.join(keys)}, not {shown}")
        return tuple((key, _number(name, key, text) if key in NUMBERS else text) for key, text in lowered.items())

    return read


def private_nics(name: str, value: Any) -> tuple[Nic, ...]:
    """Read network cards: ``net-id=,v4-fixed-ip=`` or ``port-id=``."""
    return tuple(_nic(name, item, ("net-id", "port-id", "v4-fixed-ip")) for item in _items(name, value))


def public_nics(name: str, value: Any) -> tuple[Nic, ...]:
    """Read public network cards: ``net-id=`` or ``port-id=``."""
    return tuple(_nic(name, item, ("net-id", "port-id")) for item in _items(name, value))


def block_devices(name: str, value: Any) -> tuple[BlockDevice, ...]:
    """Read disks: ``device=id:type:size in GiB:delete-on-terminate``, where all but the id may be left out.

    Types are volume (also the empty word), snap, image and blank; a volume stays when its machine
    goes unless the last part says 1, others go unless it says 0.
    """
    if isinstance(value, dict):
        value = [f"{key}={params.text(name, item)}" for key, item in value.items()]
    return tuple(_block_device(name, item) for item in _items(name, value))


def _block_device(name: str, item: Any) -> BlockDevice:
    device, equals, rest = params.text(name, item).partition("=")
    parts = [*rest.split(":"), "", "", ""]
    source, delete = _SOURCES.get(parts[1].lower()), parts[3].lower()
    known = bool(parts[0]) != (source == "blank") and source is not None and delete in _DELETES
    if not (device.strip() and equals and known) or rest.count(":") > 3 or not re.fullmatch(r"[0-9]{0,6}", parts[2]):
        raise wrong(name, "device=id:type:size:delete-on-terminate, such as vdb=4711:volume:10:1 or vdc=:blank:5")
    deletes = _DELETES[delete]
    return BlockDevice(
        device=device.strip(),
        source=source or "",
        id=parts[0],
        size_gib=int(parts[2] or 0),
        keep=source == "volume" if deletes is None else not deletes,
    )


def _nic(name: str, item: Any, keys: tuple[str, ...]) -> Nic:
    should = f"{', '.join(f'{key}=' for key in keys)} with commas between, and one of net-id and port-id"
    found = item if isinstance(item, dict) else pairs(name, str(params.text(name, item)).split(","))
    given = {str(key).strip().lower().replace("_", "-"): params.text(name, text) for key, text in found.items()}
    if set(given) - set(keys) or ("net-id" in given) == ("port-id" in given) or not all(given.values()):
        raise wrong(name, should)
    address = given.get("v4-fixed-ip", "")
    if address and ("port-id" in given or not _is_address(address)):
        raise wrong(name, should)
    return Nic(network=given.get("net-id", ""), port=given.get("port-id", ""), address=address)


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _pairs(name: str, value: Any, read: Read) -> dict[str, str]:
    """Return what comes as an object, or as texts ``key=value``."""
    listed: Iterable[tuple[Any, Any]] = (
        value.items() if isinstance(value, Mapping) else [_split(name, item) for item in _items(name, value)]
    )
    found: dict[str, str] = {}
    for key, item in listed:
        cleaned = params.text(name, key).strip()
        if not cleaned or cleaned in found:
            raise wrong(name, "key=value, each key once")
        found[cleaned] = read(name, str(item) if isinstance(item, int | float) else item)
    if len(found) > MOST_ITEMS:
        raise wrong(name, f"at most {MOST_ITEMS} of key=value")
    return found


def _split(name: str, item: Any) -> tuple[str, str]:
    if not isinstance(item, str) or "=" not in item:
        raise wrong(name, "key=value")
    key, _, text = item.partition("=")
    return key, text


def _items(name: str, value: Any) -> list[Any]:
    """One thing is a list of one; a list has its bound."""
    items = value if isinstance(value, list) else [value]
    if len(items) > MOST_ITEMS:
        raise wrong(name, f"at most {MOST_ITEMS}")
    return items


def _number(name: str, key: str, text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text.strip()):
        raise wrong(name, f"key=value with a number as {key}")
    return float(text)


IMAGE_FILTERS = filters("name", "id", "mindisk", "minram")
FLAVOR_FILTERS = filters("name", "id", "vcpus", "ram", "disk", "swap")
