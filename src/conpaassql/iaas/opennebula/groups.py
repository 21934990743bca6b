"""VM groups: VMs of one group stand on different hosts.  A group goes with its last VM."""

import hashlib
from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager

from conpaassql.errors import Error, IaasDenied, IaasRefused, Unsupported
from conpaassql.iaas.opennebula import elements, faults, marks
from conpaassql.iaas.opennebula.alone import alone
from conpaassql.iaas.opennebula.body import GROUP_ROLE
from conpaassql.iaas.opennebula.cloud import MINE, Cloud
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.iaas.opennebula.template import Template, coded, vector

_LONGEST_NAME = 128

# How many VMs are being made that are to join a group, by cloud and owner: an empty group may be for one of them.
_joining: Counter[Hashable] = Counter()


@contextmanager
def joining(cloud: Cloud) -> Iterator[None]:
    """Have no group taken for one that is not needed any more, while a VM is made for it."""
    key = _key(cloud)
    with alone(key):
        _joining[key] += 1
    try:
        yield
    finally:
        with alone(key):
            _joining[key] -= 1


def tidy(cloud: Cloud, listed: Collection[str]) -> None:
    """Delete the owner's empty groups, if a VM has left one; ``listed`` are the ids of the VMs that are there.

    What is refused is let be: a group that stays harms nobody.
    """
    if not cloud.memory.untidy:
        return
    key = _key(cloud)
    with alone(key):
        if _joining[key]:
            return  # at a later look
        try:
            if not _emptied(cloud, listed):
                return
        except Error:
            pass
        cloud.memory.tidied()


def _key(cloud: Cloud) -> Hashable:
    return (cloud.config.url, cloud.owner, "groups")


def _emptied(cloud: Cloud, listed: Collection[str]) -> bool:
    """Delete what is empty; return whether OpenNebula has no VM in a group any more that it does not list."""
    leaving = False
    for one in _each(cloud):
        members = {vm for role in one.iterfind("ROLES/ROLE") for vm in elements.text(role, "VMS").split(",") if vm}
        if not members:
            cloud.rpc.change("vmgroup.delete", elements.number(one, "ID"))
        leaving = leaving or bool(members.difference(listed))
    return not leaving


def group(cloud: Cloud, apart: str) -> int | None:
    """Return the id of the VM group for ``apart``, made where there is none.

    None: this user may not make one.  Better a VM beside another than no VM; the log says so.
    """
    try:
        found = _found(cloud, apart)
        return _made(cloud, apart) if found is None else found
    except (IaasDenied, Unsupported) as exc:
        cloud.say_once([f"the VMs of {apart} may share a host, as no VM group can be made for them: {exc.says}"])
        return None


def _found(cloud: Cloud, apart: str) -> int | None:
    wanted = coded(apart)
    return next((found for found, name in _names(cloud) if name == wanted), None)


def _names(cloud: Cloud) -> list[tuple[int, str]]:
    return [(elements.number(one, "ID"), elements.text(one, f"TEMPLATE/{marks.APART}")) for one in _each(cloud)]


def _each(cloud: Cloud) -> list[Element]:
    xml = cloud.rpc.read("vmgrouppool.info", MINE, -1, -1)
    return [
        one
        for one in elements.each_kept(xml, "VM_GROUP")
        if marks.is_of(elements.attributes(one.find("TEMPLATE")), cloud.owner)
    ]


def _name(owner: str, apart: str) -> str:
    """Return a name that no other group has; one that had to be changed or cut ends in a digest of the whole."""
    whole = f"conpaassql-{owner}-{apart}"
    safe = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "-" for char in whole)
    if safe == whole and len(whole) <= _LONGEST_NAME:
        return whole
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{safe[: _LONGEST_NAME - 13]}-{digest}"


def _made(cloud: Cloud, apart: str) -> int | None:
    body = Template(
        (
            ("NAME", _name(cloud.owner, apart)),
            ("ROLE", vector(NAME=GROUP_ROLE, POLICY="ANTI_AFFINED")),
            (marks.OWNER, coded(cloud.owner)),
            (marks.APART, coded(apart)),
        )
    )
    try:
        return int(cloud.rpc.change("vmgroup.allocate", body.text()))
    except IaasRefused as exc:
        if exc.details.get("code") not in (faults.ALLOCATE, faults.INTERNAL):
            raise
        found = _found(cloud, apart)  # somebody else made it a moment ago
        if found is None:
            raise
        return found
