"""Datastores: where images and disks lie."""

from __future__ import annotations

from onesim import errors, objects, xml
from onesim.kernel import Core, Method, parsed
from onesim.model import Datastore, User
from onesim.objects import DATASTORE, head, need_free
from onesim.rights import ADMIN, USE, may, need, need_admin, owned

_KINDS = {"IMAGE_DS": 0, "SYSTEM_DS": 1, "FILE_DS": 2}


def allocate(core: Core, who: User, text: str, cluster: int = 0) -> int:
    attrs = parsed(text)
    need_admin(who, "CREATE", "DATASTORE")
    if not attrs.text("TM_MAD"):
        raise errors.internal("No TM_MAD in template.")
    name = attrs.text("NAME")
    need_free(core.pools.datastores, "datastore", "DATASTORE", name)
    kind = _KINDS.get(attrs.text("TYPE", "IMAGE_DS"), 0)
    datastore = Datastore(core.number("datastore", 100), name, kind=kind, attrs=attrs)
    datastore.tm_mad = attrs.text("TM_MAD")
    datastore.ds_mad = "-" if kind == 1 else attrs.text("DS_MAD", "dummy")
    datastore.permissions = [1, 1, 0, 1, 0, 0, 0, 0, 0]
    datastore.total_mb = core.config.datastore_mb
    attrs.drop("NAME")
    owned(core, datastore, who)
    core.pools.datastores[datastore.id] = datastore
    return datastore.id


def info(core: Core, who: User, number: int, decrypt: bool = False) -> str:
    datastore: Datastore = DATASTORE.get(core, number)
    need(who, datastore, USE, "DATASTORE")
    return shown(core, datastore)


def shown(core: Core, datastore: Datastore) -> str:
    images = [image for image in core.pools.images.values() if image.datastore == datastore.id]
    used = sum(image.size_mb for image in images)
    return xml.element(
        "DATASTORE",
        head(datastore),
        xml.cdatas({"DS_MAD": datastore.ds_mad, "TM_MAD": datastore.tm_mad}),
        xml.cdata("BASE_PATH", f"/var/lib/one//datastores/{datastore.id}"),
        xml.plains({"TYPE": datastore.kind, "DISK_TYPE": 0, "STATE": 0 if datastore.enabled else 1}),
        xml.ids("CLUSTERS", [0]),
        xml.plains({"TOTAL_MB": datastore.total_mb, "FREE_MB": datastore.total_mb - used, "USED_MB": used}),
        xml.ids("IMAGES", [image.id for image in images]),
        datastore.attrs.xml(),
    )


def pool(core: Core, who: User) -> str:
    seen = [datastore for datastore in core.pools.datastores.values() if may(who, datastore, USE)]
    ordered = sorted(seen, key=lambda datastore: -datastore.id)
    return xml.element("DATASTORE_POOL", *(shown(core, datastore) for datastore in ordered))


def enable(core: Core, who: User, number: int, wanted: bool) -> int:
    datastore: Datastore = DATASTORE.get(core, number)
    need(who, datastore, ADMIN, "DATASTORE")
    datastore.enabled = wanted
    return number


def delete(core: Core, who: User, number: int) -> int:
    datastore: Datastore = DATASTORE.get(core, number)
    need(who, datastore, ADMIN, "DATASTORE")
    if any(image.datastore == number for image in core.pools.images.values()):
        raise errors.wrong_action(f"Cannot delete datastore. Datastore {number} is not empty.")
    del core.pools.datastores[number]
    return number


def free_mb(core: Core, datastore: Datastore) -> int:
    used = sum(image.size_mb for image in core.pools.images.values() if image.datastore == datastore.id)
    return datastore.total_mb - used


METHODS = {
    **objects.methods(DATASTORE),
    "one.datastore.allocate": Method("s?i", allocate),
    "one.datastore.info": Method("i?b", info),
    "one.datastore.enable": Method("ib", enable),
    "one.datastore.delete": Method("i", delete),
    "one.datastorepool.info": Method("", pool),
}
