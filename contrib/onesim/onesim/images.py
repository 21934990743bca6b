"""Images."""

from __future__ import annotations

from onesim import errors, objects, pools, xml
from onesim.attrs import Attrs
from onesim.datastores import free_mb
from onesim.kernel import Core, Method, find, parsed
from onesim.model import DISABLED, ERROR, IMAGE_STATES, LOCKED, READY, USED, USED_PERSISTENT, Image, User
from onesim.objects import DATASTORE, IMAGE, check_name, head, need_free
from onesim.rights import MANAGE, USE, need, owned

KINDS = ("OS", "CDROM", "DATABLOCK", "KERNEL", "RAMDISK", "CONTEXT")
FILES = (3, 4, 5)  # kinds that live in file datastores and are never disks
_STATED_MB = 1024  # what the dummy drivers of the recorded core say of every file


def allocate(core: Core, who: User, text: str, datastore: int, check_capacity: bool = True) -> int:
    attrs = parsed(text)
    store = DATASTORE.get(core, datastore)
    need(who, store, USE, "DATASTORE")
    size = _size(attrs)
    if size > free_mb(core, store):
        raise errors.wrong_action("Not enough space in datastore")
    image = new(core, who, attrs, datastore)
    image.size_mb = size
    return image.id


def _size(attrs: Attrs) -> int:
    if attrs.text("PATH"):
        return _STATED_MB
    size = attrs.text("SIZE")
    if not size.isdigit():
        raise errors.internal("Cannot parse image SIZE: Wrong number or missing SIZE attribute.")
    return int(size)


def new(core: Core, who: User, attrs: Attrs, datastore: int) -> Image:
    """Register an image; it is LOCKED while it is copied.

    Raises:
        errors.OneError: a bad name, or one that the same owner has used.
    """
    name = attrs.text("NAME")
    check_name(name)
    need_free(core.pools.images, "image", "IMAGE", name, who.id)
    word = attrs.text("TYPE", "OS").upper()
    kind = KINDS.index(word) if word in KINDS else 0
    image = Image(core.number("image"), name, kind=kind, datastore=datastore, path=attrs.text("PATH"))
    image.persistent = attrs.text("PERSISTENT").upper() == "YES"
    if kind == KINDS.index("DATABLOCK") and not image.path:
        image.format = "raw"
    attrs.drop("NAME", "TYPE", "PATH", "SIZE", "PERSISTENT", "FORMAT")
    if kind not in FILES and not attrs.has("DEV_PREFIX"):
        attrs.put("DEV_PREFIX", "sd")
    image.attrs, image.regtime = attrs, core.now()
    copying(core, image)
    owned(core, image, who)
    core.pools.images[image.id] = image
    return image


def copying(core: Core, image: Image) -> None:
    image.state, image.ready_at, image.failing = LOCKED, core.after(core.copy_s), core.copy_error


def settled(core: Core, image: Image) -> Image:
    """Let a LOCKED image become READY, or ERROR, once its time has come."""
    if image.state == LOCKED and core.clock() >= image.ready_at:
        image.state = ERROR if image.failing else READY
        if image.failing:
            text = f"{core.stamp()} : Error copying image in the datastore: {image.failing}"
            image.attrs.put("ERROR", text)
    return image


def users_of(core: Core) -> dict[int, list[int]]:
    """Return the numbers of the living VMs that have each image as a disk."""
    found: dict[int, list[int]] = {}
    for vm in core.live_vms():
        for disk in vm.attrs.vectors("DISK"):
            if disk.get("IMAGE_ID", "").isdigit():
                found.setdefault(int(disk["IMAGE_ID"]), []).append(vm.id)
    return found


def state(image: Image, vms: list[int]) -> int:
    if image.state != READY or not vms:
        return image.state
    return USED_PERSISTENT if image.persistent else USED


def info(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    image: Image = IMAGE.get(core, number)
    need(who, image, USE, "IMAGE")
    return shown(core, image, users_of(core).get(number, []))


def shown(core: Core, image: Image, vms: list[int]) -> str:
    now = state(settled(core, image), vms)
    copied = image.state not in (LOCKED, ERROR)
    return xml.element(
        "IMAGE",
        head(image),
        xml.plains({"TYPE": image.kind, "DISK_TYPE": 0, "PERSISTENT": int(image.persistent)}),
        xml.plains({"REGTIME": image.regtime, "MODTIME": image.regtime}),
        xml.cdatas({"SOURCE": image.source if copied else "", "PATH": image.path}),
        xml.cdatas({"FORMAT": image.format if copied else "", "FS": ""}),
        xml.plains({"SIZE": image.size_mb, "STATE": now, "PREV_STATE": 0 if now == LOCKED else now}),
        xml.plains({"RUNNING_VMS": len(vms), "CLONING_OPS": 0, "CLONING_ID": -1, "TARGET_SNAPSHOT": -1}),
        xml.plains({"DATASTORE_ID": image.datastore, "DATASTORE": core.pools.datastores[image.datastore].name}),
        xml.ids("VMS", set(vms)),
        xml.plains({"CLONES": "", "APP_CLONES": ""}),
        image.attrs.xml(),
        _snapshots(image),
        xml.plains({"BACKUP_INCREMENTS": "", "BACKUP_DISK_IDS": ""}),
    )


def _snapshots(image: Image) -> str:
    if image.returned:
        return "<SNAPSHOTS></SNAPSHOTS>"
    return xml.element("SNAPSHOTS", xml.cdatas({"ALLOW_ORPHANS": "NO", "CURRENT_BASE": -1, "NEXT_SNAPSHOT": 0}))


def pool(core: Core, who: User, filter_flag: int, start: int, end: int) -> str:
    users = users_of(core)
    found = pools.chosen(core.pools.images, who, filter_flag, start, end)
    return xml.element("IMAGE_POOL", *(shown(core, image, users.get(image.id, [])) for image in found))


def delete(core: Core, who: User, number: int, force: bool = False) -> int:
    image: Image = IMAGE.get(core, number)
    need(who, image, MANAGE, "IMAGE")
    vms = users_of(core).get(number, [])
    if vms:
        raise errors.wrong_action(f"Cannot delete image. There are {len(vms)} VMs using it.")
    if settled(core, image).state == LOCKED and not force:
        raise errors.wrong_action("Cannot delete image. Image is in state LOCKED.")
    del core.pools.images[number]
    core.hypervisor.forget(number)
    return number


def persistent(core: Core, who: User, number: int, wanted: bool) -> int:
    image: Image = IMAGE.get(core, number)
    need(who, image, MANAGE, "IMAGE")
    now = state(settled(core, image), users_of(core).get(number, []))
    if now not in (READY, DISABLED):
        word = "" if wanted else "non "
        text = f"Could not make image {word}persistent: Image cannot be in state {IMAGE_STATES[now]}."
        raise errors.internal(text)
    image.persistent = wanted
    return number


def enable(core: Core, who: User, number: int, wanted: bool) -> int:
    image: Image = IMAGE.get(core, number)
    need(who, image, MANAGE, "IMAGE")
    if image.state in (READY, DISABLED):
        image.state = READY if wanted else DISABLED
    return number


def change_type(core: Core, who: User, number: int, kind: str) -> int:
    image: Image = IMAGE.get(core, number)
    need(who, image, MANAGE, "IMAGE")
    if kind.upper() not in KINDS:
        raise errors.internal(f"Unknown type: {kind}")
    image.kind = KINDS.index(kind.upper())
    return number


def clone(core: Core, who: User, number: int, name: str, datastore: int = -1) -> int:
    image: Image = IMAGE.get(core, number)
    need(who, image, USE, "IMAGE")
    target = image.datastore if datastore < 0 else find(core.pools.datastores, "datastore", datastore).id
    attrs = image.attrs.copy()
    attrs.drop("ERROR")
    for key, value in (("NAME", name), ("TYPE", KINDS[image.kind]), ("PATH", image.source)):
        attrs.put(key, value)
    copy = new(core, who, attrs, target)
    copy.size_mb, copy.format = image.size_mb, image.format
    return copy.id


METHODS = {
    **objects.methods(IMAGE),
    "one.image.allocate": Method("si?b", allocate),
    "one.image.info": Method("i?b", info),
    "one.image.delete": Method("i?b", delete),
    "one.image.persistent": Method("ib", persistent),
    "one.image.enable": Method("ib", enable),
    "one.image.chtype": Method("is", change_type),
    "one.image.clone": Method("is?i", clone),
    "one.imagepool.info": Method("iii", pool),
}
