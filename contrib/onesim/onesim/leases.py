"""Addresses of a network: handed out round-robin, given back when a VM ends."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from onesim.attrs import Vector
from onesim.model import Lease, Network, Range, Vm


class NoLeaseError(Exception):
    """No address is free, or the one asked for is not."""


def new_range(number: int, attrs: Vector) -> Range:
    """Make an address range from an AR vector.

    Raises:
        ValueError: no usable IP or SIZE.
    """
    first, size = int(ipaddress.IPv4Address(attrs["IP"])), int(attrs["SIZE"])
    if size < 1:
        raise ValueError("SIZE")
    shown = {**attrs, "AR_ID": str(number), "MAC": attrs.get("MAC") or mac(first), "SHARED": "NO"}
    shown.setdefault("TYPE", "IP4")
    return Range(number, shown, first, size)


def mac(address: int) -> str:
    """Return the MAC that the core derives from an IPv4 address: 02:00 and its four bytes."""
    return ":".join(["02", "00", *(f"{byte:02x}" for byte in address.to_bytes(4, "big"))])


def mac_of(address: str) -> str:
    return mac(int(ipaddress.IPv4Address(address)))


def ip(address: int) -> str:
    return str(ipaddress.IPv4Address(address))


def take(network: Network, vm: int, wanted: str = "") -> tuple[Range, str]:
    """Lease an address and return it with its range.

    Without ``wanted`` the next one in turn, which goes on from the last that was handed out, even if that call failed
    later; so a freed address is not used again at once.

    Raises:
        NoLeaseError: none is free; or ``wanted`` is in use or in no range.
    """
    for found in network.ranges:
        address = _numbered(found, wanted) if wanted else _next(found)
        if address is not None:
            found.leases[address] = Lease(vm, mac(address))
            return found, ip(address)
    raise NoLeaseError


def _numbered(found: Range, wanted: str) -> int | None:
    try:
        address = int(ipaddress.IPv4Address(wanted))
    except ValueError:
        return None
    inside = found.first <= address < found.first + found.size
    return address if inside and address not in found.leases else None


def _next(found: Range) -> int | None:
    for step in range(found.size):
        index = (found.next_index + step) % found.size
        if found.first + index not in found.leases:
            found.next_index = (index + 1) % found.size
            return found.first + index
    return None


def give_back(network: Network, address: str) -> None:
    """Free an address; one that is not leased is no error."""
    number = int(ipaddress.IPv4Address(address))
    for found in network.ranges:
        found.leases.pop(number, None)


def nics(vm: Vm) -> Iterator[Vector]:
    yield from vm.attrs.vectors("NIC")
    yield from vm.attrs.vectors("NIC_ALIAS")


def used(network: Network) -> int:
    return sum(len(found.leases) for found in network.ranges)
