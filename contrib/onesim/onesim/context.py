"""What the core makes of CONTEXT when a VM is allocated: variables, ETHn_ keys, FILES_DS, the OneGate keys.

The core expands the whole CONTEXT as one text, ``A=1@^_^@B=2`` in the keys' order, so a wrong
expression shows every value, and columns count from the first key.  Facts that follow from its
reader: a ``$`` begins a variable unless a backslash stands before it (both stay); ``, = [ ]`` right
after a variable belong to it, a line's end there is dropped, any other character ends it; an
unquoted value in brackets has letters and digits only, others are skipped; a lone backslash at the
very end is dropped.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from onesim import syntax
from onesim.syntax import END, Rule, Token

_SEPARATOR = "@^_^@"

_MODES = {
    "text": (Rule("RSTRING", re.compile(r"(?:[^$\\]++|\\[\s\S])+")), Rule("", re.compile(r"\$"), "variable")),
    "variable": (
        Rule("EQUAL", re.compile(r"[ \t]*=[ \t]*"), "value"),
        Rule("COMMA", re.compile(r"[ \t]*,[ \t]*")),
        Rule("OBRACKET", re.compile(r"\[[ \t]*")),
        Rule("CBRACKET", re.compile(r"[ \t]*\]")),
        Rule("VARIABLE", re.compile(r"[A-Za-z0-9_]+")),
        Rule("EOA", re.compile(r"\$")),
        Rule("EOA", re.compile(r"."), "text"),
    ),
    "value": (
        Rule("STRING", re.compile(r'"[^"]*"'), "variable"),
        Rule("STRING", re.compile(r"[A-Za-z0-9]+"), "variable"),
    ),
}
_AT_END = {"variable": "EOA"}

_VARIABLES = {
    "begin": {"VARIABLE": "name", "RSTRING": "text"},
    "more": {END: "", "VARIABLE": "name", "RSTRING": "text"},
    "text": {END: "", "VARIABLE": "name", "RSTRING": "text"},
    "name": {"OBRACKET": "open", "EOA": "more"},
    "open": {"VARIABLE": "wanted"},
    "wanted": {"COMMA": "next", "CBRACKET": "close"},
    "next": {"VARIABLE": "by"},
    "by": {"EQUAL": "equal"},
    "equal": {"STRING": "chosen"},
    "chosen": {"CBRACKET": "close"},
    "close": {"EOA": "more"},
}
_FILES = {
    "begin": {"VARIABLE": "name"},
    "more": {END: "", "VARIABLE": "name"},
    "name": {"OBRACKET": "open"},
    "open": {"VARIABLE": "by"},
    "by": {"EQUAL": "equal"},
    "equal": {"STRING": "chosen"},
    "chosen": {"COMMA": "next", "CBRACKET": "close"},
    "next": {"VARIABLE": "by also"},
    "by also": {"EQUAL": "equal also"},
    "equal also": {"STRING": "chosen also"},
    "chosen also": {"CBRACKET": "close"},
    "close": {"EOA": "more"},
}


class _NicKey(NamedTuple):
    """A key after ``ETHn_``: its name in the NIC, another one, whether the network is asked if the NIC has none."""

    key: str
    name: str
    other: str = ""
    asks_network: bool = False


_NIC_KEYS = (
    _NicKey("DNS", "DNS", "", True),
    _NicKey("EXTERNAL", "EXTERNAL"),
    _NicKey("GATEWAY", "GATEWAY", "", True),
    _NicKey("IP", "IP"),
    _NicKey("IP6", "IP6_GLOBAL", "IP6"),
    _NicKey("IP6_GATEWAY", "GATEWAY6", "", True),
    _NicKey("IP6_METHOD", "IP6_METHOD", "", True),
    _NicKey("IP6_METRIC", "IP6_METRIC", "", True),
    _NicKey("IP6_PREFIX_LENGTH", "PREFIX_LENGTH", "", True),
    _NicKey("IP6_ULA", "IP6_ULA"),
    _NicKey("MAC", "MAC"),
    _NicKey("MASK", "NETWORK_MASK", "", True),
    _NicKey("METHOD", "METHOD", "", True),
    _NicKey("METRIC", "METRIC", "", True),
    _NicKey("MTU", "GUEST_MTU", "", True),
    _NicKey("NETWORK", "NETWORK_ADDRESS", "", True),
    _NicKey("ROUTES", "ROUTES", "", True),
    _NicKey("SEARCH_DOMAIN", "SEARCH_DOMAIN", "", True),
    _NicKey("VLAN_ID", "VLAN_ID", "", True),
    _NicKey("VROUTER_IP", "VROUTER_IP"),
    _NicKey("VROUTER_IP6", "VROUTER_IP6_GLOBAL", "VROUTER_IP6"),
    _NicKey("VROUTER_MANAGEMENT", "VROUTER_MANAGEMENT"),
)


class ExpansionError(Exception):
    """The core refuses the CONTEXT; ``str()`` is its sentence, which may hold every value of the CONTEXT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """An object that expressions look into: its template's single attributes, and the whole of it as XML."""

    attributes: Mapping[str, str] = field(default_factory=dict)
    xml: Callable[[], str] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """An image of a FILES_DS expression."""

    id: int
    name: str
    source: str
    type: str  # CONTEXT, KERNEL, OS ...
    ready: bool = True


def _no_file(by: Mapping[str, str]) -> File:
    raise ExpansionError(f"Image with ID: {by.get('IMAGE_ID', -1)} does not exist")


@dataclass(frozen=True, slots=True, kw_only=True)
class VmView:
    """What a VM's CONTEXT can speak of, as it stands when the core expands it.

    ``vm`` holds the single attributes of the VM (NAME, VMID, UID, UNAME, GID, GNAME, CPU ...) and of
    its user template.  ``vectors`` are those of the VM's template by name (NIC, NIC_ALIAS, DISK, OS);
    GRAPHICS and what users made up are not there yet at allocate.  ``networks`` are by NETWORK_ID and AR_ID, the
    address range's attributes laid over the network's; ``images`` by IMAGE_ID.  ``file`` finds an image by
    IMAGE_ID, or IMAGE with or without IMAGE_UNAME or IMAGE_UID, or raises ExpansionError.
    """

    vm: Thing
    vectors: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    networks: Mapping[tuple[str, str], Thing] = field(default_factory=dict)
    images: Mapping[str, Thing] = field(default_factory=dict)
    user: Thing = field(default_factory=Thing)
    file: Callable[[Mapping[str, str]], File] = _no_file
    onegate_endpoint: str = ""


def complete(context: Mapping[str, str], vm: VmView) -> dict[str, str]:
    """Return the CONTEXT as the core keeps it, keys sorted; it is to hold DISK_ID and TARGET already.

    PASSWORD stays in clear, as the guest gets it; see ``concealed``.

    Raises:
        ExpansionError: an expression is wrong, or no such file, or no OneGate.
    """
    made = expanded({key: value for key, value in context.items() if key != "FILES_DS"}, vm)
    made |= network_keys(vm) if made.get("NETWORK", "").upper() == "YES" else {}
    files = context.get("FILES_DS", "")
    if files and (said := files_ds(files, vm)):
        made["FILES_DS"] = said
    made |= _onegate_keys(made, vm)
    return dict(sorted(made.items()))


def expanded(context: Mapping[str, str], vm: VmView) -> dict[str, str]:
    """Return the pairs with every expression replaced by its value.

    Raises:
        ExpansionError: an expression is wrong.
    """
    whole = _SEPARATOR.join(f"{key}={value}" for key, value in sorted(context.items()))
    parts = (part.partition("=") for part in expand(whole, vm).split(_SEPARATOR))
    made: dict[str, str] = {}
    for key, equal, value in parts:
        if equal:
            made.setdefault(key, value)
    return made


def expand(value: str, vm: VmView) -> str:
    """Return a text with every expression in it replaced by its value; what is not there is empty.

    Raises:
        ExpansionError: an expression is wrong.
    """
    if not value:
        return ""
    parts: list[str] = []
    seen: dict[str, str] = {}
    for place, token in _walk(value, _VARIABLES):
        match place:
            case "text":
                parts.append(token.text)
            case "name":
                seen = {place: token.text.upper()}
            case "wanted" | "by":
                seen[place] = token.text.upper()
            case "chosen":
                seen[place] = token.text.strip('"')
            case "more":
                parts += (_looked_up(seen, vm), token.text.replace("$", ""))
    return "".join(parts)


def network_keys(vm: VmView) -> dict[str, str]:
    """Return the ETHn_ keys of every NIC and alias that has an address already."""
    made: dict[str, str] = {}
    for kind in ("NIC", "NIC_ALIAS"):
        for nic in vm.vectors.get(kind, ()):
            if nic.get("NETWORK_MODE", "").upper() != "AUTO" or "NETWORK_ID" in nic:
                made |= {_stem(kind, nic) + key.key: _nic_value(nic, vm, key) for key in _NIC_KEYS}
    return made


def files_ds(value: str, vm: VmView) -> str:
    """Return FILES_DS as the core keeps it: ``source:'name' `` of each image.

    Raises:
        ExpansionError: an expression is wrong, or an image is absent, not ready or of another type.
    """
    said = ""
    for file in list(files(value, vm)):
        if file.type != "CONTEXT":
            raise ExpansionError("Only images of type CONTEXT can be used in FILE_DS attribute.")
        if not file.ready:
            raise ExpansionError(f"{file.type} Image '{file.id}' not in READY state.")
        said += f"{file.source}:'{file.name}' "
    return said


def concealed(password: str) -> str:
    """Return something that looks like the encrypted PASSWORD of vm.info, always the same for one password."""
    blocks = len(password.encode()) // 16 + 1
    return base64.b64encode(hashlib.shake_128(password.encode()).digest(16 * blocks)).decode()


def _walk(text: str, table: syntax.Table) -> Iterator[tuple[str, Token]]:
    try:
        yield from syntax.walk(syntax.tokens(text, _MODES, "text", _AT_END), table, "begin")
    except syntax.Wrong as exc:
        raise ExpansionError(f"Error parsing: {text}. {exc}") from exc


def _looked_up(seen: Mapping[str, str], vm: VmView) -> str:
    name = seen["name"]
    if "wanted" not in seen:
        return _attribute(vm.vm, name)
    wanted, by, chosen = seen["wanted"], seen.get("by", ""), seen.get("chosen", "")
    match name:
        case "NETWORK":
            return _attribute(_network(by, chosen, vm), wanted)
        case "IMAGE":
            return _attribute(_image(by, chosen, vm), wanted)
        case "USER":
            return _attribute(vm.user, wanted)
    vectors = vm.vectors.get(name, ())
    found = next((vector for vector in vectors if not by or vector.get(by, "") == chosen), {})
    return found.get(wanted, "")


def _attribute(thing: Thing | None, name: str) -> str:
    if thing is None:
        return ""
    if name == "TEMPLATE":
        return base64.b64encode(thing.xml().encode()).decode()
    return thing.attributes.get(name, "")


def _network(by: str, chosen: str, vm: VmView) -> Thing | None:
    """Return a network that the VM has a NIC in; an alias wins over a NIC."""
    if by not in ("NETWORK", "NETWORK_ID", "NIC_ID"):
        return None
    for kind in ("NIC_ALIAS", "NIC"):
        for nic in vm.vectors.get(kind, ()):
            if nic.get(by, "") == chosen:
                return vm.networks.get((nic.get("NETWORK_ID", ""), nic.get("AR_ID", "")))
    return None


def _image(by: str, chosen: str, vm: VmView) -> Thing | None:
    """Return an image that the VM has a disk of."""
    if by not in ("IMAGE", "IMAGE_ID"):
        return None
    disks = vm.vectors.get("DISK", ())
    return next((vm.images.get(disk.get("IMAGE_ID", "")) for disk in disks if disk.get(by, "") == chosen), None)


def _stem(kind: str, nic: Mapping[str, str]) -> str:
    if kind == "NIC":
        return f"ETH{nic['NIC_ID']}_"
    return f"ETH{nic['PARENT_ID']}_ALIAS{nic['ALIAS_ID']}_"


def _nic_value(nic: Mapping[str, str], vm: VmView, key: _NicKey) -> str:
    value = nic.get(key.name) or nic.get(key.other) or ""
    return value or (_attribute(_network("NIC_ID", nic["NIC_ID"], vm), key.name) if key.asks_network else "")


def files(value: str, vm: VmView) -> Iterator[File]:
    """Yield the images that the ``$FILE[...]`` expressions of FILES_DS, KERNEL_DS or INITRD_DS name.

    Raises:
        ExpansionError: an expression is wrong, or there is no such image.
    """
    seen: dict[str, str] = {}
    for place, token in _walk(value, _FILES):
        match place:
            case "name":
                seen = {place: token.text.upper()}
            case "by" | "by also":
                seen[place] = token.text.upper()
            case "chosen" | "chosen also":
                seen[place] = token.text.strip('"')
            case "more":
                yield _file(value, seen, vm)


def _file(value: str, seen: Mapping[str, str], vm: VmView) -> File:
    by = {
        seen[place]: seen[chosen] for place, chosen in (("by also", "chosen also"), ("by", "chosen")) if place in seen
    }
    try:
        if seen["name"] != "FILE":
            raise ExpansionError("Must use FILE variable for attribute.")
        if seen["by"] not in ("IMAGE", "IMAGE_ID"):
            raise ExpansionError("Cannot get image, set IMAGE_ID or IMAGE.")
        return vm.file(by)
    except ExpansionError as exc:
        raise ExpansionError(f"Error parsing: {value}. {exc}") from exc


def _onegate_keys(context: Mapping[str, str], vm: VmView) -> dict[str, str]:
    if context.get("TOKEN", "").upper() != "YES":
        return {}
    if not vm.onegate_endpoint:
        raise ExpansionError("TOKEN set, but onegate endpoint was not defined in oned.conf.")
    return {"ONEGATE_ENDPOINT": vm.onegate_endpoint, "VMID": vm.vm.attributes["VMID"]}
