"""Trying a cloud out before it is used: what is right and wrong, and what to do; nothing is changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from conpaassql.errors import Error, IaasDenied
from conpaassql.iaas.opennebula import body, catalog, create, disks, elements, faults, template
from conpaassql.iaas.opennebula.cloud import VISIBLE, Cloud
from conpaassql.iaas.opennebula.elements import Element
from conpaassql.iaas.opennebula.template import Template
from conpaassql.model import VmSpec
from conpaassql.offers import Finding

_ADMINISTRATORS = 0  # the group oneadmin
_MYSELF = -1
_UNLIMITED, _DEFAULT = -2.0, -1.0
_RESERVE = 1  # addresses


@dataclass(frozen=True, slots=True)
class _Look:
    """What the checks share."""

    cloud: Cloud
    spec: VmSpec
    whole: Template

    def user(self) -> Element:
        """Return what OpenNebula says of the user."""
        return elements.parse(self.cloud.rpc.read("user.info", _MYSELF))


def check(cloud: Cloud, spec: VmSpec) -> Iterator[Finding]:
    """Yield the findings, the most basic first; see ``iaas.Checks``."""
    opening = _opening(cloud)
    yield from opening
    if opening[-1].fatal:
        return
    ordered, findings = _template(cloud, spec)
    yield from findings
    if ordered is None:
        return
    look = _Look(cloud, spec, ordered)
    for part in _PARTS:
        yield from _guarded(part, look)


def _opening(cloud: Cloud) -> list[Finding]:
    """Look at the connection, the login and the version."""
    url = cloud.config.url
    try:
        version = ".".join(str(part) for part in cloud.version())
    except IaasDenied as exc:
        return [_bad("credentials", exc.says, "Set OPENNEBULA_USER and OPENNEBULA_PASSWORD.", fatal=True)]
    except Error as exc:
        return [_bad("connection", exc.says, "Set OPENNEBULA_URL to OpenNebula's XML-RPC address.", fatal=True)]
    findings = [_good("connection", f"OpenNebula {version} answers at {url} for user {cloud.config.user}.")]
    if cloud.config.in_clear:
        says = f"{url} is not encrypted: whoever listens on the way reads the password."
        findings.append(_bad("encryption", says, "Use an https:// address, or keep to a network that you trust."))
    return findings


def _template(cloud: Cloud, spec: VmSpec) -> tuple[Template | None, list[Finding]]:
    try:
        body.check(spec)
        ordered, notes = create.given(spec, cloud.config)
        if cloud.config.template:
            ordered = body.chosen(create.stored(cloud)[1], spec)
        whole = body.base(spec, cloud.config, ordered)
        whole.text()
    except Error as exc:
        return None, [_bad("template", exc.says, "Mend the VM template or the options.", fatal=True)]
    cure = "Nothing has to be done; to be rid of this, change the template."
    findings = [Finding(code="template-repaired", ok=True, says=note, cure=cure) for note in notes]
    return whole, [*findings, _good("template", "The VM template can be read.")]


def _guarded(part: Callable[[_Look], Iterator[Finding]], look: _Look) -> Iterator[Finding]:
    """Yield what a part finds; an error of OpenNebula is a finding, too."""
    try:
        yield from part(look)
    except Error as exc:
        says, cure = faults.parted(exc.says)
        yield _bad(part.__name__.strip("_").replace("_", "-"), says, cure or "See what OpenNebula says.")


def _image(look: _Look) -> Iterator[Finding]:
    for name in dict.fromkeys(body.image_names(look.whole)):
        number = catalog.id_of(look.cloud, catalog.IMAGE, name)
        found = elements.parse(look.cloud.rpc.read("image.info", number))
        says = f"Image {number} ({elements.text(found, 'NAME')})"
        state = elements.number(found, "STATE")
        if state == catalog.ERROR:
            reason = faults.clean(elements.text(found, "TEMPLATE/ERROR"))
            yield _bad("image", f"{says} is in state ERROR: {reason}", "Delete it and make it again.")
        elif state not in (*catalog.IMAGE_USABLE, catalog.LOCKED):
            yield _bad("image", f"{says} is not ready.", "Wait for it, or enable it (oneimage enable).")
        elif elements.number(found, "PERSISTENT"):
            yield _bad(
                "image", f"{says} is persistent: only one VM can have it.", "oneimage nonpersistent, or a clone."
            )
        else:
            yield _good("image", f"{says} can be used; it has {elements.number(found, 'SIZE')} MiB.")


def _network(look: _Look) -> Iterator[Finding]:
    names = list(dict.fromkeys(body.network_names(look.whole)))
    if not names:
        yield _bad("network", "The VM has no network.", "Set OPENNEBULA_NETWORK_ID or NETWORK_ID of the template.")
    for name in names:
        number = catalog.id_of(look.cloud, catalog.NETWORK, name)
        found = elements.parse(look.cloud.rpc.read("vn.info", number))
        free = catalog.free(found)
        says = f"Network {number} ({elements.text(found, 'NAME')}) has {free} free addresses"
        if free < _RESERVE:
            yield _bad("network", f"{says}.", "Add an address range (onevnet addar).")
        else:
            yield _good("network", f"{says}.")


def _quota(look: _Look) -> Iterator[Finding]:
    flavor = look.spec.flavor
    wanted = {"VMS": 1.0, "CPU": flavor.cpu, "MEMORY": float(flavor.memory_mib)}
    user = look.user()
    full = [name for name, need in wanted.items() if 0 <= _left(user, name) < need]
    if full:
        cure = "Free something, or ask for a larger quota (oneuser quota)."
        yield _bad("quota", f"The user's quota of {', '.join(full)} does not suffice for one VM.", cure)
    else:
        yield _good("quota", "The user's quotas leave room for a VM.")


def _left(user: Element, name: str) -> float:
    """Return what is left of a quota; below 0: there is no limit."""
    for place in ("VM_QUOTA/VM", "DEFAULT_USER_QUOTAS/VM_QUOTA/VM"):
        limit = _float(elements.text(user, f"{place}/{name}", "-1"))
        if limit == _UNLIMITED:
            return _UNLIMITED
        if limit != _DEFAULT:
            return max(0.0, limit - _float(elements.text(user, f"VM_QUOTA/VM/{name}_USED", "0")))
    return _UNLIMITED


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return _DEFAULT


def _files(look: _Look) -> Iterator[Finding]:
    context = next(iter(look.whole.vectors("CONTEXT")), ())
    if paths := template.first(context, "FILES"):
        where = f"CONTEXT/FILES = {paths} names files on OpenNebula's front-end, not here"
        if elements.number(look.user(), "GID", -1) == _ADMINISTRATORS:
            yield _good("files", f"{where}; user {look.cloud.config.user} may do that. They have to be there.")
        else:
            cure = "Leave files= out: the VM gets its start script by itself; or name images in OPENNEBULA_FILES_DS."
            yield _bad("files", f"{where}; only OpenNebula's administrators may.", cure)


def _files_ds(look: _Look) -> Iterator[Finding]:
    for number in catalog.file_images(look.cloud):
        yield _good("files-ds", f"File image {number} can be used.")


def _data_disk(look: _Look) -> Iterator[Finding]:
    if look.spec.extras.data_disk_mib:
        yield _good("data-disk", f"Data disks go to datastore {disks.datastore(look.cloud)}.")


def _hosts(look: _Look) -> Iterator[Finding]:
    """Look at the hosts, which ordinary users do not see."""
    hosts = elements.each_kept(look.cloud.rpc.read("hostpool.info"), "HOST")
    if not hosts:
        return
    fitting = [host for host in hosts if _fits(host, look.spec)]
    if not fitting:
        cure = "Enable a host (onehost enable), or choose a smaller size."
        yield _bad("hosts", "No enabled host has room for a VM at the moment.", cure)
        return
    yield _good("hosts", f"{len(fitting)} of {len(hosts)} hosts have room for a VM.")


def _fits(host: Element, spec: VmSpec) -> bool:
    if elements.number(host, "STATE", -1) not in (1, 2):  # MONITORING_MONITORED, MONITORED
        return False
    # In hundredths of a processor, and in KiB.
    cpu = elements.number(host, "HOST_SHARE/MAX_CPU") - elements.number(host, "HOST_SHARE/CPU_USAGE")
    memory = elements.number(host, "HOST_SHARE/MAX_MEM") - elements.number(host, "HOST_SHARE/MEM_USAGE")
    return cpu >= spec.flavor.cpu * 100 and memory >= spec.flavor.memory_mib * 1024


def _onegate(look: _Look) -> Iterator[Finding]:
    """Say what TOKEN needs; whether the core has an end point for it only its administrators can see."""
    context = template.flat(next(iter(look.whole.vectors("CONTEXT")), ()))
    if {**context, **look.spec.context}.get("TOKEN", "").upper() != "YES":
        return
    try:
        config = elements.parse(look.cloud.rpc.read("system.config"))
    except IaasDenied:
        yield _good("onegate", "TOKEN is wanted; OpenNebula has to have an ONEGATE_ENDPOINT.")
        return
    if endpoint := elements.text(config, "ONEGATE_ENDPOINT"):
        yield _good("onegate", f"VMs report to OneGate at {endpoint}.")
    else:
        cure = "Set it and restart OpenNebula, or leave TOKEN out."
        yield _bad("onegate", "TOKEN is wanted, but oned.conf has no ONEGATE_ENDPOINT.", cure)


def _groups(look: _Look) -> Iterator[Finding]:
    if look.spec.extras.apart:
        look.cloud.rpc.read("vmgrouppool.info", VISIBLE, -1, -1)
        yield _good("vm-groups", "VM groups are there, by which replicas stand on different hosts.")


def _old_options(look: _Look) -> Iterator[Finding]:
    if look.cloud.config.scripts:
        says = "OPENNEBULA_CONTEXT_SCRIPT_... name files on the front-end, which only administrators may use."
        yield Finding(code="scripts", ok=True, says=says, cure="Remove them: the VM gets its start script by itself.")


_PARTS = (_image, _network, _quota, _files, _files_ds, _data_disk, _hosts, _onegate, _groups, _old_options)


def _good(code: str, says: str) -> Finding:
    return Finding(code=code, ok=True, says=says)


def _bad(code: str, says: str, cure: str, *, fatal: bool = False) -> Finding:
    return Finding(code=code, ok=False, says=says, cure=cure, fatal=fatal)
