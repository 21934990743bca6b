"""Virtual networks."""

from __future__ import annotations

from onesim import errors, leases, pools, xml
from onesim.attrs import Attrs, Vector
from onesim.kernel import Core, Method, parsed
from onesim.model import Lease, Network, Range, User
from onesim.objects import NET, check_name, head, methods, need_free
from onesim.rights import ADMIN, MANAGE, USE, need, need_admin, owned

_VM_BIT = 1 << 36
_EMPTY_ATTRS = ("OUTER_VLAN_ID", "PHYDEV", "VLAN_ID")


def allocate(core: Core, who: User, text: str, cluster: int = -1) -> int:
    attrs = parsed(text)
    need_admin(who, "CREATE", "NET")
    return new(core, who, attrs).id


def new(core: Core, who: User, attrs: Attrs) -> Network:
    """Make a network from a template.

    Raises:
        errors.OneError: no VN_MAD, a bad or taken name, a wrong address range.
    """
    name = attrs.text("NAME")
    if not attrs.text("VN_MAD"):
        raise errors.internal("No VN_MAD in template for Virtual Network.")
    check_name(name)
    need_free(core.pools.networks, "virtual network", "NET", name, who.id)
    ranges = attrs.take(["AR"]).vectors("AR")
    attrs.drop("NAME")
    for key in _EMPTY_ATTRS:
        attrs.put(key, attrs.text(key))
    attrs.put("BRIDGE_TYPE", attrs.text("BRIDGE_TYPE", "linux"))
    attrs.put("SECURITY_GROUPS", attrs.text("SECURITY_GROUPS", "0"))
    network = Network(core.number("network"), name, attrs=attrs)
    for vector in ranges:
        _add_range(network, vector)
    owned(core, network, who)
    core.pools.networks[network.id] = network
    return network


def _add_range(network: Network, vector: Vector) -> None:
    number = max((found.id for found in network.ranges), default=-1) + 1
    try:
        network.ranges.append(leases.new_range(number, vector))
    except (KeyError, ValueError) as exc:
        raise errors.internal("Wrong or missing SIZE or IP in address range.") from exc


def info(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    network: Network = NET.get(core, number)
    need(who, network, USE, "NET")
    return shown(network, _body_tail(network))


def _body_tail(network: Network) -> str:
    ranges = "".join(_range(found) for found in network.ranges)
    return _use(network) + network.attrs.xml() + xml.element("AR_POOL", ranges)


def _use(network: Network) -> str:
    vms = {lease.vm for found in network.ranges for lease in found.leases.values() if lease.vm >= 0}
    return "".join(
        (
            xml.plains({"USED_LEASES": leases.used(network), "VROUTERS": ""}),
            xml.ids("UPDATED_VMS", vms),
            xml.plains(dict.fromkeys(("OUTDATED_VMS", "UPDATING_VMS", "ERROR_VMS"), "")),
        )
    )


def shown(network: Network, tail: str) -> str:
    attrs = network.attrs
    return xml.element(
        "VNET",
        head(network),
        xml.ids("CLUSTERS", [0]),
        xml.cdatas(
            {"BRIDGE": attrs.text("BRIDGE"), "BRIDGE_TYPE": attrs.text("BRIDGE_TYPE"), "STATE": 1, "PREV_STATE": 1}
        ),
        "<PARENT_NETWORK_ID/><TEMPLATE_ID/>",
        xml.cdata("VN_MAD", attrs.text("VN_MAD")),
        "<PHYDEV/><VLAN_ID/><OUTER_VLAN_ID/>",
        xml.plains({"VLAN_ID_AUTOMATIC": 0, "OUTER_VLAN_ID_AUTOMATIC": 0}),
        tail,
    )


def _range(found: Range) -> str:
    last = found.first + found.size - 1
    inner = _own(found, {}) + xml.cdatas({"MAC_END": leases.mac(last), "IP_END": leases.ip(last)})
    inner += xml.plain("USED_LEASES", len(found.leases))
    return xml.element(
        "AR", inner, xml.element("LEASES", *(_lease(ip, found.leases[ip]) for ip in sorted(found.leases)))
    )


def _own(found: Range, more: dict[str, str]) -> str:
    own = {**found.attrs, **more, "NEXT_INDEX": str(found.next_index)}
    return xml.cdatas({key: own[key] for key in sorted(own)})


def _pooled_range(found: Range) -> str:
    """The short form: leases as pairs of index and VM; bit 36 says that it is a VM."""
    pairs = (f" {ip - found.first} {_VM_BIT | lease.vm}" for ip, lease in sorted(found.leases.items()) if lease.vm >= 0)
    return xml.element("AR", _own(found, {"ALLOCATED": "".join(pairs)}))


def _lease(address: int, lease: Lease) -> str:
    values = {"IP": leases.ip(address), "MAC": lease.mac, "VM": lease.vm}
    return xml.element("LEASE", xml.cdatas(values))


def pool(core: Core, who: User, filter_flag: int, start: int, end: int) -> str:
    networks = pools.chosen(core.pools.networks, who, filter_flag, start, end)
    return xml.element("VNET_POOL", *map(pooled, networks))


def pooled(network: Network) -> str:
    """Return a network as the pool shows it."""
    return shown(network, _pool_tail(network))


def _pool_tail(network: Network) -> str:
    ranges = "".join(map(_pooled_range, network.ranges))
    return _use(network) + network.attrs.xml() + xml.element("AR_POOL", ranges)


def delete(core: Core, who: User, number: int, force: bool = False) -> int:
    network: Network = NET.get(core, number)
    need(who, network, MANAGE, "NET")
    if leases.used(network):
        text = "Cannot delete virtual network. Can not remove a virtual network with leases in use"
        raise errors.wrong_action(text)
    del core.pools.networks[number]
    return number


def add_ar(core: Core, who: User, number: int, text: str) -> int:
    network: Network = NET.get(core, number)
    need(who, network, ADMIN, "NET")
    for vector in parsed(text).vectors("AR"):
        _add_range(network, vector)
    return number


def remove_ar(core: Core, who: User, number: int, range_id: int, force: bool = False) -> int:
    network: Network = NET.get(core, number)
    need(who, network, ADMIN, "NET")
    found = next((each for each in network.ranges if each.id == range_id), None)
    if found is None:
        raise errors.internal("Address Range does not exist")
    if found.leases:
        raise errors.internal("Address Range has leases in use")
    network.ranges.remove(found)
    return number


def hold(core: Core, who: User, number: int, text: str) -> int:
    network: Network = NET.get(core, number)
    need(who, network, MANAGE, "NET")
    for vector in parsed(text).vectors("LEASES"):
        try:
            leases.take(network, -1, vector.get("IP", "-"))
        except leases.NoLeaseError as exc:
            raise errors.internal("Address is not part of the address range or in use.") from exc
    return number


def release(core: Core, who: User, number: int, text: str) -> int:
    network: Network = NET.get(core, number)
    need(who, network, MANAGE, "NET")
    for vector in parsed(text).vectors("LEASES"):
        leases.give_back(network, vector.get("IP", "0.0.0.0"))
    return number


METHODS = {
    **methods(NET),
    "one.vn.allocate": Method("s?i", allocate),
    "one.vn.info": Method("i?b", info),
    "one.vn.delete": Method("i?b", delete),
    "one.vn.add_ar": Method("is", add_ar),
    "one.vn.rm_ar": Method("ii?b", remove_ar),
    "one.vn.hold": Method("is", hold),
    "one.vn.release": Method("is", release),
    "one.vnpool.info": Method("iii", pool),
}
