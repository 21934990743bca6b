"""VM groups: VMs of one group stand on different hosts."""

import hashlib

from conpaassql.errors import IaasDenied, IaasRefused, Unsupported
from conpaassql.iaas.opennebula import elements, faults, marks
from conpaassql.iaas.opennebula.body import GROUP_ROLE
from conpaassql.iaas.opennebula.cloud import MINE, Cloud
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.iaas.opennebula.template import Template, coded, vector

_LONGEST_NAME = 128


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
