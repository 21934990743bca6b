"""The template of a VM to be, from what was ordered; pure but for the ids, which come in by ``Ids``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conpaassql.errors import IaasRefused, Unsupported
from conpaassql.iaas.opennebula import template
from conpaassql.iaas.opennebula.config import Config
from conpaassql.iaas.opennebula.template import Pairs, Template
from conpaassql.model import Flavor, VmSpec
from conpaassql.offers import BlockDevice, Extras, Nic

GRAPHICS = template.vector(TYPE="VNC", LISTEN="127.0.0.1")
_MIB_PER_GIB = 1024
_HINTS = {
    "requirements": "SCHED_REQUIREMENTS",
    "rank": "SCHED_RANK",
    "ds_requirements": "SCHED_DS_REQUIREMENTS",
    "ds_rank": "SCHED_DS_RANK",
}
_UNNAMEABLE = frozenset("&|:\\\";/'#{}$<>\t\n\r")
_LONGEST_NAME = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """What names were found to mean: the ids of everything that a VM stands on.

    ``group`` is its VM group, ``data`` its data disk; None: it has none.  ``root_mib`` is the size
    of its image, 0 where it does not matter.
    """

    images: Mapping[str, int]
    networks: Mapping[str, int]
    security_groups: tuple[int, ...] = ()
    group: int | None = None
    data: int | None = None
    root_mib: int = 0


def check(spec: VmSpec) -> None:
    """Refuse what this cloud lacks, before anything is made.

    Raises:
        Unsupported: an option that OpenNebula has nothing for.
        IaasRefused: the name cannot be a VM's.
    """
    extras = spec.extras
    if spec.flavor_id:
        raise Unsupported("OpenNebula has no named flavors; choose processors, memory and disk freely.")
    if any(nic.port for nic in (*extras.nics, *extras.public_nics)):
        raise Unsupported("nics: OpenNebula has no ports; name a network.")
    if len(_public(extras)) > 1:
        raise Unsupported("public_nics: OpenNebula's VMs have one public address each; name one network.")
    for device in extras.block_devices:
        if device.source == "blank" and device.keep:
            raise Unsupported(
                "block_device: a blank disk of OpenNebula goes with its VM; use data_disk_mib to keep one."
            )
    for hint in extras.hints:
        if hint.lower() not in _HINTS:
            raise Unsupported(f"scheduler_hints: OpenNebula has no {hint!r}; use {', '.join(_HINTS)}.")
    if not spec.name or len(spec.name) > _LONGEST_NAME or set(spec.name) & _UNNAMEABLE:
        raise IaasRefused(f"{spec.name!r} cannot name a VM of OpenNebula; use letters, digits, points and dashes.")


def base(spec: VmSpec, config: Config, given: Template) -> Template:
    """Return what is ordered with names in it: the given template, completed by the spec and the options."""
    whole = given.with_("NAME", spec.name)
    if not whole.has("CPU"):
        whole = whole.with_("CPU", f"{spec.flavor.cpu:g}")
        whole = whole if whole.has("VCPU") else whole.plus("VCPU", str(max(1, math.ceil(spec.flavor.cpu))))
    if not whole.has("MEMORY"):
        whole = whole.with_("MEMORY", str(spec.flavor.memory_mib))
    if not whole.has("GRAPHICS"):
        whole = whole.plus("GRAPHICS", GRAPHICS)
    return _with_cards(_with_disks(whole, spec, config), spec, config)


def chosen(stored: Template, spec: VmSpec) -> Template:
    """Return a template of the cloud's without what the order says otherwise: size, image and network."""
    whole = stored.without("CPU", "VCPU", "MEMORY", "NAME")
    disks = whole.vectors("DISK")
    if spec.image and disks:
        kept = tuple(pair for pair in disks[0] if not pair[0].startswith("IMAGE"))
        whole = whole.with_("DISK", (("IMAGE", spec.image), *kept), *disks[1:])
    return whole.without("NIC") if spec.network else whole


def _with_disks(whole: Template, spec: VmSpec, config: Config) -> Template:
    disks = whole.vectors("DISK")
    if not any(_is_imaged(disk) for disk in disks):
        image = spec.image or config.image
        if not image:
            raise IaasRefused("there is no image to make a VM from; set OPENNEBULA_IMAGE_ID or name an image.")
        root = (("IMAGE", image), *(disks[0] if disks else ()))
        disks = [root, *disks[1:]]
    if not template.first(disks[0], "SIZE"):
        disks[0] = (*disks[0], ("SIZE", str(spec.flavor.disk_mib)))
    if spec.extras.swap_mib:
        disks.append(template.vector(TYPE="swap", SIZE=str(spec.extras.swap_mib)))
    return whole.with_("DISK", *disks, *(_block(device) for device in spec.extras.block_devices))


def _is_imaged(disk: Pairs) -> bool:
    return bool(template.first(disk, "IMAGE_ID") or template.first(disk, "IMAGE"))


def _block(device: BlockDevice) -> Pairs:
    size = str(device.size_gib * _MIB_PER_GIB) if device.size_gib else ""
    if device.source == "blank":
        return template.vector(TYPE="fs", FORMAT="raw", SIZE=size, TARGET=device.device)
    return template.vector(IMAGE=device.id, SIZE=size, TARGET=device.device)


def _with_cards(whole: Template, spec: VmSpec, config: Config) -> Template:
    cards = [_card(nic) for nic in spec.extras.nics] or whole.vectors("NIC")
    if not cards and (network := spec.network or config.network):
        cards = [template.vector(NETWORK=network)]
    if cards and config.gateway and not template.first(cards[0], "GATEWAY"):
        cards[0] = (*cards[0], ("GATEWAY", config.gateway))
    if cards and config.nameserver and not template.first(cards[0], "DNS"):
        cards[0] = (*cards[0], ("DNS", config.nameserver))
    return whole.with_("NIC", *cards, *(_card(nic) for nic in _public(spec.extras)))


def _card(nic: Nic) -> Pairs:
    return template.vector(NETWORK=nic.network, IP=nic.address)


def _public(extras: Extras) -> Sequence[Nic]:
    if extras.public_nics:
        return extras.public_nics
    return (Nic(network=extras.public_network),) if extras.public_network else ()


def public_network(extras: Extras) -> str:
    """Return the network of the public card; empty: there is none."""
    return next((nic.network for nic in _public(extras)), "")


def image_names(whole: Template) -> list[str]:
    """Return the images that are to be found, ids among them."""
    return [_of(disk, "IMAGE") for disk in whole.vectors("DISK") if _of(disk, "IMAGE")]


def network_names(whole: Template) -> list[str]:
    """Return the networks that are to be found, ids among them."""
    return [_of(card, "NETWORK") for card in whole.vectors("NIC") if _of(card, "NETWORK")]


def _of(pairs: Pairs, key: str) -> str:
    """Return id or name of an image or network; one whose owner is given can be left to OpenNebula."""
    if template.first(pairs, f"{key}_UNAME") or template.first(pairs, f"{key}_UID"):
        return ""
    return template.first(pairs, f"{key}_ID") or template.first(pairs, key)


def finished(whole: Template, spec: VmSpec, ids: Ids) -> Template:
    """Return the order with ids in the place of names, and with what depends on them."""
    disks = [_numbered(disk, "IMAGE", ids.images) for disk in whole.vectors("DISK")]
    disks[0] = _grown(disks[0], ids.root_mib)
    if ids.data is not None:
        disks.append(template.vector(IMAGE_ID=str(ids.data)))
    cards = [_numbered(card, "NETWORK", ids.networks) for card in whole.vectors("NIC")]
    if ids.security_groups:
        groups = ",".join(str(number) for number in ids.security_groups)
        cards = [template.merged(card, {"SECURITY_GROUPS": groups}) for card in cards]
    whole = whole.with_("DISK", *disks).with_("NIC", *cards)
    if ids.group is not None:
        whole = whole.with_("VMGROUP", template.vector(VMGROUP_ID=str(ids.group), ROLE=GROUP_ROLE))
    return _placed(whole, spec.extras)


GROUP_ROLE = "node"


def _numbered(pairs: Pairs, key: str, ids: Mapping[str, int]) -> Pairs:
    name = _of(pairs, key)
    if not name:
        return pairs
    others = tuple(pair for pair in pairs if pair[0] not in (key, f"{key}_ID"))
    return ((f"{key}_ID", str(ids[name])), *others)


def _grown(disk: Pairs, root_mib: int) -> Pairs:
    """Leave out a size that is below the image's own: OpenNebula only ever grows a disk."""
    size = template.first(disk, "SIZE")
    if not size.isdigit() or int(size) > root_mib:
        return disk
    return tuple(pair for pair in disk if pair[0] != "SIZE")


def _placed(whole: Template, extras: Extras) -> Template:
    """Add what the scheduler is to heed; requirements of the template and of the order hold both."""
    hints = {_HINTS[hint.lower()]: value for hint, value in extras.hints.items()}
    requirements = [whole.first("SCHED_REQUIREMENTS"), hints.pop("SCHED_REQUIREMENTS", ""), _zone(extras)]
    if several := [f"({one})" for one in requirements if one]:
        whole = whole.with_("SCHED_REQUIREMENTS", " & ".join(several))
    for name, value in hints.items():
        whole = whole.with_(name, value)
    return whole


def _zone(extras: Extras) -> str:
    """Return the requirement that a zone means: a cluster by id or name, a host after a colon."""
    cluster, _, host = extras.availability_zone.partition(":")
    if any(char in '"\\' for char in extras.availability_zone):
        raise IaasRefused(f"availability_zone: {extras.availability_zone!r} names no cluster or host of OpenNebula.")
    wanted = []
    if cluster:
        wanted.append(f"CLUSTER_ID = {cluster}" if cluster.isdigit() else f'CLUSTER = "{cluster}"')
    if host:
        wanted.append(f'NAME = "{host}"')
    return " & ".join(wanted)


def resized(flavor: Flavor) -> Template:
    """Return the capacity that a flavor means."""
    values = (("CPU", f"{flavor.cpu:g}"), ("MEMORY", str(flavor.memory_mib)))
    return Template((*values, ("VCPU", str(max(1, math.ceil(flavor.cpu))))))
