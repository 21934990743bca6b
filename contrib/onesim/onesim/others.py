"""Pools that a simulated cloud has only one or none of: clusters, groups, zones, VDCs, markets, access rules."""

from __future__ import annotations

from onesim import errors, objects, pools, quotas, xml
from onesim.attrs import Attrs
from onesim.kernel import Core, Method, find, parsed
from onesim.model import SecurityGroup, Thing, User
from onesim.objects import SECGROUP, head
from onesim.rights import MANAGE, USE, need, owned

_ENDPOINTS = {"ENDPOINT": "http://localhost:2633/RPC2", "ENDPOINT_GRPC": "localhost:2634"}
_NO_VMS = xml.plains(dict.fromkeys(("UPDATED_VMS", "OUTDATED_VMS", "UPDATING_VMS", "ERROR_VMS"), ""))
_DESCRIPTION = "The default security group is added to every network."

# Number, who, on what, rights, zone, in words: what a fresh core lets everybody in the group ``users`` do.
_RULES = (
    (
        0,
        "200000001",
        "121429400000000",
        8,
        "400000000",
        "@1 VM+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VMGROUP+BACKUPJOB/* CREATE *",
    ),
    (3, "200000001", "2400000000", 2, "100000000", "@1 HOST/* MANAGE #0"),
    (4, "200000001", "4400000000", 1, "100000000", "@1 NET/* USE #0"),
    (5, "200000001", "100400000000", 1, "100000000", "@1 DATASTORE/* USE #0"),
    (1, "400000000", "800400000000", 1, "400000000", "* ZONE/* USE *"),
    (2, "400000000", "18000400000000", 1, "400000000", "* MARKETPLACE+MARKETPLACEAPP/* USE *"),
)


def default_secgroup() -> SecurityGroup:
    """Return group 0, which lets everything in and out."""
    group = SecurityGroup(0, "default", permissions=[1, 1, 1, 1, 0, 0, 1, 0, 0])
    both = [{"PROTOCOL": "ALL", "RULE_TYPE": way} for way in ("OUTBOUND", "INBOUND")]
    group.attrs = Attrs([("DESCRIPTION", _DESCRIPTION), *(("RULE", rule) for rule in both)])
    return group


def secgroup(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    group: SecurityGroup = SECGROUP.get(core, number)
    need(who, group, USE, "SECGROUP")
    return _secgroup(group)


def _secgroup(group: SecurityGroup) -> str:
    return xml.element("SECURITY_GROUP", head(group), _NO_VMS, group.attrs.xml())


def new_secgroup(core: Core, who: User, text: str) -> int:
    attrs = parsed(text)
    name = attrs.text("NAME")
    objects.check_name(name)
    objects.need_free(core.pools.secgroups, "security group", "SECURITY GROUP", name, who.id)
    attrs.drop("NAME")
    group = SecurityGroup(core.number("secgroup", 100), name, attrs=attrs)
    owned(core, group, who)
    core.pools.secgroups[group.id] = group
    return group.id


def delete_secgroup(core: Core, who: User, number: int) -> int:
    group: SecurityGroup = SECGROUP.get(core, number)
    need(who, group, MANAGE, "SECGROUP")
    del core.pools.secgroups[number]
    return number


def secgroups(core: Core, who: User, filter_flag: int, start: int, end: int) -> str:
    found = pools.chosen(core.pools.secgroups, who, filter_flag, start, end)
    return xml.element("SECURITY_GROUP_POOL", *map(_secgroup, found))


def clusters(core: Core, who: User) -> str:
    return xml.element("CLUSTER_POOL", cluster(core, who, 0))


def cluster(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    """Return the only cluster."""
    if number != 0:
        raise errors.missing("cluster", number)
    return xml.element(
        "CLUSTER",
        xml.plains({"ID": 0, "NAME": "default"}),
        xml.ids("HOSTS", core.pools.hosts),
        xml.ids("DATASTORES", core.pools.datastores),
        xml.ids("VNETS", core.pools.networks),
        xml.element("TEMPLATE", xml.cdatas({"RESERVED_CPU": "", "RESERVED_MEM": ""})),
    )


def groups(core: Core, who: User) -> str:
    ordered = sorted(core.pools.groups.values(), key=lambda group: -group.id)
    defaults = quotas.none("DEFAULT_GROUP_QUOTAS")
    return xml.element("GROUP_POOL", *(_group(core, group) for group in ordered), defaults)


def _group(core: Core, group: Thing) -> str:
    users = (user.id for user in core.pools.users.values() if group.id in (user.gid, *user.groups))
    own = xml.element(
        "GROUP",
        xml.plains({"ID": group.id, "NAME": group.name}),
        group.attrs.xml(),
        xml.ids("USERS", users),
        "<ADMINS></ADMINS>",
    )
    number = xml.plain("ID", group.id)
    return own + quotas.none("QUOTAS", number) + xml.element("VLAN_RULES", number)


def sunstone() -> Attrs:
    """Return what the group ``users`` says to the web interface."""
    views = {"DEFAULT_VIEW": "cloud", "GROUP_ADMIN_DEFAULT_VIEW": "groupadmin", "GROUP_ADMIN_VIEWS": "groupadmin,cloud"}
    return Attrs([("SUNSTONE", {**views, "VIEWS": "cloud"})])


def group(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    """Return a group; -1 is the caller's own."""
    return _group(core, find(core.pools.groups, "group", who.gid if number == -1 else number))


def zones(core: Core, who: User) -> str:
    return xml.element("ZONE_POOL", zone(core, who, 0))


def zone(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    """Return the only zone."""
    if number != 0:
        raise errors.missing("zone", number)
    return xml.element(
        "ZONE",
        xml.plains({"ID": 0, "NAME": "OpenNebula", "STATE": 0}),
        xml.element("TEMPLATE", xml.cdatas(_ENDPOINTS)),
        "<SERVER_POOL></SERVER_POOL>",
    )


def rules(core: Core, who: User) -> str:
    names = ("ID", "USER", "RESOURCE", "RIGHTS", "ZONE", "STRING")
    shown = (xml.element("ACL", xml.plains(dict(zip(names, rule, strict=True)))) for rule in _RULES)
    return xml.element("ACL_POOL", *shown)


def _empty(tag: str) -> Method:
    return Method("", lambda core, who: f"<{tag}></{tag}>")


METHODS = {
    **objects.methods(SECGROUP),
    "one.secgroup.allocate": Method("s", new_secgroup),
    "one.secgroup.info": Method("i?b", secgroup),
    "one.secgroup.delete": Method("i", delete_secgroup),
    "one.secgrouppool.info": Method("iii", secgroups),
    "one.clusterpool.info": Method("", clusters),
    "one.cluster.info": Method("i?b", cluster),
    "one.group.info": Method("i?b", group),
    "one.zone.info": Method("i?b", zone),
    "one.grouppool.info": Method("", groups),
    "one.zonepool.info": Method("", zones),
    "one.acl.info": Method("", rules),
    "one.vdcpool.info": _empty("VDC_POOL"),
    "one.marketpool.info": _empty("MARKETPLACE_POOL"),
}
