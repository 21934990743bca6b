"""Between a VM and ``context.py``: what expressions may look into, and where the expanded CONTEXT goes."""

from __future__ import annotations

from collections.abc import Mapping

from onesim import context, errors, images, networks, users, vminfo
from onesim.attrs import Attrs, Vector
from onesim.context import ExpansionError, File, Thing, VmView
from onesim.devices import image_of, number
from onesim.kernel import Core
from onesim.model import Image, Network, Range, User, Vm

_SEEN_VECTORS = ("NIC", "NIC_ALIAS", "DISK", "OS")


def write(core: Core, who: User, vm: Vm, given: Vector) -> None:
    """Expand a CONTEXT and put it into the VM.

    Raises:
        errors.OneError: 8192, with the core's sentence, which shows the whole CONTEXT.
    """
    try:
        made = context.complete(given, view(core, who, vm))
    except ExpansionError as exc:
        raise errors.internal(str(exc)) from exc
    vm.context_password = made.get("PASSWORD", "")
    if vm.context_password:
        made["PASSWORD"] = context.concealed(vm.context_password)
    if made.get("TOKEN", "").upper() == "YES":
        vm.attrs.put("CREATED_BY", str(who.id))
    vm.attrs.put("CONTEXT", made)


def refresh(core: Core, vm: Vm) -> None:
    """Write the ETHn_ keys anew after the NICs changed."""
    made = vm.attrs.vector("CONTEXT")
    if made is None or made.get("NETWORK", "").upper() != "YES":
        return
    for key in [key for key in made if key.startswith("ETH")]:
        del made[key]
    made.update(context.network_keys(view(core, core.pools.users.get(vm.uid), vm)))


def view(core: Core, who: User | None, vm: Vm) -> VmView:
    """Return what the expressions of a VM's CONTEXT can see."""
    return VmView(
        vm=Thing(attributes=_singles(vm), xml=lambda: vminfo.whole(vm)),
        vectors={name: vm.attrs.vectors(name) for name in _SEEN_VECTORS},
        networks=_networks(core, vm),
        images=_images(core, vm),
        user=_user(core.pools.users.get(vm.uid)),
        file=lambda by: _file(core, who, by),
        onegate_endpoint=core.config.onegate,
    )


def _singles(vm: Vm) -> dict[str, str]:
    own = {"NAME": vm.name, "VMID": str(vm.id), "UID": str(vm.uid), "UNAME": vm.uname, "GID": str(vm.gid)}
    both = {name: value for name, value in [*vm.user.pairs, *vm.attrs.pairs] if isinstance(value, str)}
    return {**both, **own, "GNAME": vm.gname}


def _networks(core: Core, vm: Vm) -> dict[tuple[str, str], Thing]:
    found: dict[tuple[str, str], Thing] = {}
    for kind in ("NIC", "NIC_ALIAS"):
        for nic in vm.attrs.vectors(kind):
            network = core.pools.networks.get(number(nic.get("NETWORK_ID", "")))
            own = next((each for each in network.ranges if str(each.id) == nic.get("AR_ID")), None) if network else None
            if network is not None and own is not None:
                found[nic["NETWORK_ID"], nic["AR_ID"]] = _network(network, own)
    return found


def _network(network: Network, own: Range) -> Thing:
    return Thing(attributes={**_texts(network.attrs), **own.attrs}, xml=lambda: networks.pooled(network))


def _images(core: Core, vm: Vm) -> dict[str, Thing]:
    named = {disk["IMAGE_ID"] for disk in vm.attrs.vectors("DISK") if "IMAGE_ID" in disk}
    found = {name: core.pools.images.get(number(name)) for name in named}
    return {name: _image(core, vm, image) for name, image in found.items() if image is not None}


def _image(core: Core, vm: Vm, image: Image) -> Thing:
    return Thing(
        attributes=_texts(image.attrs),
        xml=lambda: images.shown(core, image, [*images.users_of(core).get(image.id, []), vm.id]),
    )


def _user(user: User | None) -> Thing:
    if user is None:
        return Thing()
    return Thing(attributes=_texts(user.attrs), xml=lambda: users.without_quotas(user))


def _texts(attrs: Attrs) -> dict[str, str]:
    return {name: value for name, value in attrs.pairs if isinstance(value, str)}


def _file(core: Core, who: User | None, by: Mapping[str, str]) -> File:
    try:
        image = image_of(core, who or core.pools.users[0], dict(by))
    except errors.OneError as exc:
        raise ExpansionError(exc.text.replace(" in DISK.", ".")) from exc
    if image is None:
        raise ExpansionError("Cannot get image, set IMAGE_ID or IMAGE.")
    ready = images.settled(core, image).state == 1
    return File(id=image.id, name=image.name, source=image.source, type=images.KINDS[image.kind], ready=ready)


def kernel_files(core: Core, vm: Vm) -> None:
    """Resolve OS/KERNEL_DS and OS/INITRD_DS to the file they name.

    Raises:
        errors.OneError: an expression is wrong, or no such image.
    """
    os = vm.attrs.vector("OS") or {}
    for kind in ("KERNEL", "INITRD"):
        if f"{kind}_DS" in os:
            files = _kernel(core, vm, os[f"{kind}_DS"])
            os.update({f"{kind}_DS_SOURCE": files.source, f"{kind}_DS_ID": str(files.id), f"{kind}_DS_DSID": "1"})


def _kernel(core: Core, vm: Vm, expression: str) -> File:
    try:
        return next(context.files(expression, view(core, core.pools.users.get(vm.uid), vm)))
    except ExpansionError as exc:
        raise errors.internal(str(exc)) from exc
