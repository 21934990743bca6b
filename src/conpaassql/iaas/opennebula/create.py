"""Making a VM, once for each name, whatever gets lost or happens at the same moment."""

import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace

from conpaassql.errors import IaasBusy, IaasMissing
from conpaassql.iaas.opennebula import body, catalog, disks, elements, groups, guest, look, marks, repair, template
from conpaassql.iaas.opennebula.alone import alone
from conpaassql.iaas.opennebula.body import Ids
from conpaassql.iaas.opennebula.cloud import Cloud
from conpaassql.iaas.opennebula.config import Config
from conpaassql.iaas.opennebula.guest import Told
from conpaassql.iaas.opennebula.template import Template
from conpaassql.model import Vm, VmSpec, VmState

TERMINATE = "terminate-hard"
_MYSELF = -1


def create(cloud: Cloud, spec: VmSpec) -> str:
    """Ask for a VM and return its id; see ``iaas.Driver``.

    Raises:
        IaasBusy: the VM that had the name is still being deleted.
    """
    body.check(spec)
    cloud.version()
    with alone((cloud.config.url, cloud.owner, spec.name)):
        found = _present(cloud, spec.name)
        if found is not None:
            return found
        with groups.joining(cloud) if spec.extras.apart else nullcontext():
            made = _instantiated(cloud, spec) if cloud.config.template else _allocated(cloud, spec)
        # Another process of this owner may have been at it: names are not unique in OpenNebula, but ids rise.
        return _present(cloud, spec.name) or str(made)


def given(spec: VmSpec, config: Config) -> tuple[Template, repair.Notes]:
    """Return the template that comes with an order, repaired, and what was changed in it.

    It is empty where the cloud has the template, or everything is to be chosen here.
    """
    if config.template or not spec.template.strip():
        return Template(), ()
    places = {repair.GATEWAY: config.gateway, repair.NAMESERVER: config.nameserver}
    return repair.repair(spec.template, places)


def _present(cloud: Cloud, name: str) -> str | None:
    """Return the id of the VM of that name; of several, all but the first asked for are sent away."""
    named = [vm for vm in look.vms(cloud) if vm.name == name]
    alive = sorted((vm for vm in named if vm.state is not VmState.DELETING), key=_number)
    for other in alive[1:]:
        _send_away(cloud, other)
    if named and not alive:
        raise IaasBusy(f"the VM that was called {name} is still being deleted.", vm=named[0].id)
    return alive[0].id if alive else None


def _number(vm: Vm) -> int:
    return int(vm.id)


def _send_away(cloud: Cloud, vm: Vm) -> None:
    try:
        cloud.rpc.change("vm.action", TERMINATE, int(vm.id))
    except (IaasBusy, IaasMissing):
        cloud.say_once([f"VM {vm.id} is a second {vm.name} and cannot be terminated yet."])


def _allocated(cloud: Cloud, spec: VmSpec) -> int:
    ordered, notes = given(spec, cloud.config)
    cloud.say_once(notes)
    whole = _completed(cloud, spec, body.base(spec, cloud.config, ordered))
    return int(cloud.rpc.change("vm.allocate", whole.text(), False))


def _instantiated(cloud: Cloud, spec: VmSpec) -> int:
    """Instantiate the template of the options; only what differs from it is sent.

    Attributes that only administrators may use are thereby left to the template.
    """
    number, kept = stored(cloud)
    whole = _completed(cloud, spec, body.base(spec, cloud.config, body.chosen(kept, spec)))
    changed = {name for name, _ in whole.items if _all(whole, name) != _all(kept, name)} - {"NAME"}
    extra = Template(tuple(item for item in whole.items if item[0] in changed))
    return int(cloud.rpc.change("template.instantiate", number, spec.name, False, extra.text(), False))


def stored(cloud: Cloud) -> tuple[int, Template]:
    """Return the template of OPENNEBULA_TEMPLATE_ID with its number."""
    number = catalog.id_of(cloud, catalog.TEMPLATE, cloud.config.template)
    found = elements.parse(cloud.rpc.read("template.info", number)).find("TEMPLATE")
    items: list[tuple[str, template.Value]] = []
    for element in () if found is None else found:
        pairs = tuple((child.tag, child.text or "") for child in element)
        items.append((element.tag, pairs or element.text or ""))
    return number, Template(tuple(items))


def _all(whole: Template, name: str) -> list[template.Value]:
    return [value for key, value in whole.items if key == name]


def _completed(cloud: Cloud, spec: VmSpec, whole: Template) -> Template:
    """Return the order with every name replaced by an id, with CONTEXT and marks; make what it stands on."""
    told = _told(cloud, spec)
    ids = _ids(cloud, spec, whole)
    told = replace(told, data=ids.data)
    context = guest.context(next(iter(whole.vectors("CONTEXT")), ()), told)
    public = body.public_network(spec.extras)
    whole = body.finished(whole, spec, ids).with_("CONTEXT", context)
    for name, value in marks.of_vm(cloud.owner, spec.tags, spec.extras.meta):
        whole = whole.with_(name, value)
    return whole.with_(marks.PUBLIC, str(ids.networks[public])) if public else whole


def _ids(cloud: Cloud, spec: VmSpec, whole: Template) -> Ids:
    extras = spec.extras
    images = catalog.ids_of(cloud, catalog.IMAGE, body.image_names(whole))
    networks = catalog.ids_of(cloud, catalog.NETWORK, body.network_names(whole))
    secured = catalog.ids_of(cloud, catalog.SECURITY_GROUP, extras.security_groups)
    root_mib = _root_mib(cloud, whole, images)
    # Last, as these are made; what was missing has been said by now.
    return Ids(
        images=images,
        networks=networks,
        security_groups=tuple(secured.values()),
        group=groups.group(cloud, extras.apart) if extras.apart else None,
        data=disks.data_disk(cloud, spec.name, extras.data_disk_mib) if extras.data_disk_mib else None,
        root_mib=root_mib,
    )


def _root_mib(cloud: Cloud, whole: Template, images: Mapping[str, int]) -> int:
    root = whole.vectors("DISK")[0]
    name = next(iter(body.image_names(Template((("DISK", root),)))), "")
    if name not in images or not template.first(root, "SIZE"):
        return 0
    return elements.number(elements.parse(cloud.rpc.read("image.info", images[name])), "SIZE")


def _told(cloud: Cloud, spec: VmSpec) -> Told:
    """Return what the guest is told, but for the disk that is not there yet."""
    return Told(
        keys=spec.context,
        userdata=spec.extras.userdata,
        files=spec.extras.files,
        ssh_key=_ssh_key(cloud, spec.extras.key_name) if spec.extras.key_name else "",
        images=catalog.file_images(cloud),
    )


def _ssh_key(cloud: Cloud, name: str) -> str:
    """Return the public key that the user's attribute of that name holds.

    Raises:
        IaasMissing: there is no such attribute, or no public key in it.
    """
    user = elements.parse(cloud.rpc.read("user.info", _MYSELF))
    found = elements.text(user, f"TEMPLATE/{name.upper()}") if re.fullmatch(r"\w+", name) else ""
    # The user has secrets among his attributes, such as TOKEN_PASSWORD, that must not get into a VM.
    if not re.match(r"(ssh|ecdsa|sk)-[\w@.-]+ [\w+/=]+", found) or "$" in found:
        whose = f"user {cloud.config.user}"
        says = f"key_name: {whose} has no public key in an attribute {name!r}; add it with oneuser update."
        raise IaasMissing(says, name=name)
    return found
