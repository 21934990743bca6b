"""Attributes of VMs that only the group oneadmin may set, as a fresh oned.conf of 7.4 lists them."""

from __future__ import annotations

from onesim import errors
from onesim.attrs import Attrs
from onesim.model import User

_SPEEDS = tuple(f"{way}_{what}" for way in ("INBOUND", "OUTBOUND") for what in ("AVG_BW", "PEAK_BW", "PEAK_KB"))
_FILTERS = ("FILTER", "FILTER_IP_SPOOFING", "FILTER_MAC_SPOOFING")
_LIMITS = tuple(
    f"{which}_{what}_SEC{more}"
    for which in ("TOTAL", "READ", "WRITE")
    for what in ("BYTES", "IOPS")
    for more in ("", "_MAX_LENGTH", "_MAX")
)
_NIC = ("MAC", "VLAN_ID", "BRIDGE", *_FILTERS, *_SPEEDS, "OPENNEBULA_MANAGED", "EXTERNAL", "VLAN_TAGGED_ID")
IN_VECTORS: dict[str, tuple[str, ...]] = {
    "CONTEXT": ("FILES",),
    "NIC": _NIC,
    "NIC_ALIAS": _NIC,
    "NIC_DEFAULT": _NIC,
    "DISK": (*_LIMITS, "SIZE_IOPS_SEC", "OPENNEBULA_MANAGED", "ORIGINAL_SIZE", "SIZE_PREV"),
    "RAW": ("DATA",),
    "USER_INPUTS": ("CPU", "MEMORY", "VCPU"),
    "TOPOLOGY": ("PIN_POLICY", "HUGEPAGE_SIZE"),
}
SINGLE = ("DEPLOY_ID", "CPU_COST", "MEMORY_COST", "DISK_COST", "PCI", "EMULATOR", "USER_PRIORITY")


def check(who: User, attrs: Attrs) -> None:
    """Refuse a template of an ordinary user that says one of these.

    Raises:
        errors.OneError: 512.
    """
    if who.admin:
        return
    for name, value in attrs.pairs:
        found = [name] if name in SINGLE else []
        if isinstance(value, dict):
            found += [key for key in IN_VECTORS.get(name, ()) if key in value]
        if found:
            text = f"User [{who.id}] : VM Template includes a restricted attribute {found[0]}."
            raise errors.OneError(errors.AUTHORIZATION, text)
