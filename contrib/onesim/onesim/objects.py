"""What may be done with objects of every kind: rename, chmod, chown, lock, update; and the look of their heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onesim import errors, xml
from onesim.attrs import Attrs
from onesim.kernel import Core, Method, find, parsed
from onesim.model import Lock, Thing, User
from onesim.rights import MANAGE, need, need_admin

_BAD_CHARS = "&|:\\\";/'#{}$<>\t\n"
_PERMISSIONS = tuple(f"{whose}_{right}" for whose in ("OWNER", "GROUP", "OTHER") for right in "UMA")


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of object is spoken of.

    Attributes:
        method: as in ``one.<method>.info``.
        word: in refusals, "VM".
        noun: in "Error getting <noun>".
        pool: name of its pool in Pools.
    """

    method: str
    word: str
    noun: str
    pool: str

    def all(self, core: Core) -> dict[int, Any]:
        found: dict[int, Any] = getattr(core.pools, self.pool)
        return found

    def get(self, core: Core, number: int) -> Any:
        return find(self.all(core), self.noun, number)


VM = Kind("vm", "VM", "virtual machine", "vms")
IMAGE = Kind("image", "IMAGE", "image", "images")
NET = Kind("vn", "NET", "virtual network", "networks")
TEMPLATE = Kind("template", "TEMPLATE", "virtual machine template", "templates")
HOST = Kind("host", "HOST", "host", "hosts")
DATASTORE = Kind("datastore", "DATASTORE", "datastore", "datastores")
SECGROUP = Kind("secgroup", "SECGROUP", "security group", "secgroups")
VMGROUP = Kind("vmgroup", "VMGROUP", "VM group", "vmgroups")


def head(thing: Thing) -> str:
    """Return the elements that begin every object."""
    rights = dict(zip(_PERMISSIONS, thing.permissions, strict=True))
    return owner(thing) + xml.element("PERMISSIONS", xml.plains(rights)) + locked(thing)


def owner(thing: Thing) -> str:
    values = {"ID": thing.id, "UID": thing.uid, "GID": thing.gid, "UNAME": thing.uname, "GNAME": thing.gname}
    return xml.plains({**values, "NAME": thing.name})


def locked(thing: Thing) -> str:
    lock = thing.lock
    if lock is None:
        return ""
    values = {"LOCKED": lock.level, "OWNER": lock.owner, "TIME": lock.at, "REQ_ID": lock.request}
    return xml.element("LOCK", xml.plains(values))


def check_name(name: str) -> None:
    """Refuse a name that the core refuses.

    Raises:
        errors.OneError: 8192.
    """
    for char in name:
        if char in _BAD_CHARS:
            raise errors.internal(f"Invalid NAME, char '{char}' is not allowed")
    if len(name.encode()) > 128:
        raise errors.internal("Invalid NAME, max length is 128 chars")


def need_free(
    pool: Mapping[int, Thing], noun: str, word: str, name: str, uid: int | None = None, about: int = -1
) -> None:
    """Refuse a name that another object (of the same owner, if given) has; ``about`` is the error's object.

    Raises:
        errors.OneError: 16384.
    """
    for thing in pool.values():
        if thing.name == name and uid in (None, thing.uid):
            text = f"Error allocating a new {noun}. NAME is already taken by {word} {thing.id}."
            raise errors.OneError(errors.ALLOCATE, text, about)


def rewritten(thing: Thing, attrs: Attrs, append: int) -> None:
    """Replace (0) or append to (1) the template of an object."""
    if append:
        thing.attrs.merge(attrs)
    else:
        thing.attrs = attrs


def _rename(kind: Kind) -> Callable[..., int]:
    def rename(core: Core, who: User, number: int, name: str) -> int:
        thing = kind.get(core, number)
        need(who, thing, MANAGE, kind.word)
        check_name(name)
        if kind is not VM:
            need_free(
                {key: other for key, other in kind.all(core).items() if key != number}, kind.noun, kind.word, name
            )
        thing.name = name
        return int(thing.id)

    return rename


def _chmod(kind: Kind) -> Callable[..., int]:
    def chmod(core: Core, who: User, number: int, *rights: int) -> int:
        thing = kind.get(core, number)
        need(who, thing, MANAGE, kind.word)
        thing.permissions = [
            before if wanted == -1 else wanted for before, wanted in zip(thing.permissions, rights, strict=False)
        ]
        return int(thing.id)

    return chmod


def _chown(kind: Kind) -> Callable[..., int]:
    def chown(core: Core, who: User, number: int, uid: int, gid: int) -> int:
        user = find(core.pools.users, "user", uid) if uid >= 0 else None
        group = find(core.pools.groups, "group", gid) if gid >= 0 else None
        thing = kind.get(core, number)
        need_admin(who, "MANAGE", kind.word, number)
        if user is not None:
            thing.uid, thing.uname = user.id, user.name
        if group is not None:
            thing.gid, thing.gname = group.id, group.name
        return int(thing.id)

    return chown


def _lock(kind: Kind) -> Callable[..., int]:
    def lock(core: Core, who: User, number: int, level: int, test: bool) -> int:
        thing = kind.get(core, number)
        if thing.lock is not None and test:
            raise errors.wrong_action(str(thing.lock.at))
        thing.lock = None
        need(who, thing, MANAGE, kind.word)
        thing.lock = Lock(level, who.id, core.now())
        return int(thing.id)

    return lock


def _unlock(kind: Kind) -> Callable[..., int]:
    def unlock(core: Core, who: User, number: int) -> int:
        thing = kind.get(core, number)
        held, thing.lock = thing.lock, None
        try:
            need(who, thing, MANAGE, kind.word)
        except errors.OneError:
            thing.lock = held
            raise
        return int(thing.id)

    return unlock


def _update(kind: Kind) -> Callable[..., int]:
    def update(core: Core, who: User, number: int, text: str, append: int) -> int:
        thing = kind.get(core, number)
        need(who, thing, MANAGE, kind.word)
        rewritten(thing, parsed(text, errors.ACTION), append)
        return int(thing.id)

    return update


def methods(kind: Kind) -> dict[str, Method]:
    """Return the rows that every kind has."""
    prefix = f"one.{kind.method}"
    return {
        f"{prefix}.rename": Method("is", _rename(kind)),
        f"{prefix}.chmod": Method("iiiiiiiiii", _chmod(kind)),
        f"{prefix}.chown": Method("iii", _chown(kind)),
        f"{prefix}.lock": Method("iib", _lock(kind)),
        f"{prefix}.unlock": Method("i", _unlock(kind)),
        f"{prefix}.update": Method("isi", _update(kind)),
    }
