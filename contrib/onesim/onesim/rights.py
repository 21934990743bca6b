"""Who may do what: owner, group and others, and the rules that a fresh core has for the group ``users``."""

from __future__ import annotations

from onesim import errors
from onesim.kernel import Core
from onesim.model import Datastore, Host, Network, Thing, User

USE, MANAGE, ADMIN = 0, 1, 2
_WORDS = ("USE", "MANAGE", "ADMIN")

# What the default access rules grant to everybody in the group ``users``.
_RULES: dict[type, tuple[int, ...]] = {Host: (MANAGE,), Datastore: (USE,), Network: (USE,)}


def may(who: User, thing: Thing, right: int) -> bool:
    if who.admin or right in _RULES.get(type(thing), ()):
        return True
    use = thing.permissions
    group = thing.gid == who.gid or thing.gid in who.groups
    return bool((thing.uid == who.id and use[right]) or (group and use[3 + right]) or use[6 + right])


def need(who: User, thing: Thing, right: int, kind: str) -> None:
    """Check a right, and for all but use the lock.

    Raises:
        errors.OneError: 512.
    """
    if not may(who, thing, right):
        raise errors.refused(who.id, _WORDS[right], kind, thing.id)
    if thing.lock is not None and right >= _lowest(thing.lock.level):
        raise errors.OneError(errors.AUTHORIZATION, f"User [{who.id}] : {kind} is locked. [{thing.id}].")


def _lowest(level: int) -> int:
    """Return the lowest right that a lock takes away; looking at a locked object stays allowed."""
    return ADMIN if level == 3 else MANAGE


def need_admin(who: User, right: str, kind: str, number: int | None = None) -> None:
    """Check that a call which only administrators may make was made by one."""
    if who.admin:
        return
    where = "" if number is None else f" [{number}]"
    text = f"User [{who.id}] : Not authorized to perform {right} {kind}{where}."
    raise errors.OneError(errors.AUTHORIZATION, text)


def owned(core: Core, thing: Thing, who: User) -> None:
    """Make a new object its maker's."""
    thing.uid, thing.gid, thing.uname = who.id, who.gid, who.name
    thing.gname = core.pools.groups[who.gid].name
