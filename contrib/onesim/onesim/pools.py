"""Which objects of a pool a call sees: whose, from which number on, how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from onesim import errors
from onesim.model import Thing, User
from onesim.rights import USE, may

T = TypeVar("T", bound=Thing)
PRIMARY_GROUP, MINE, ALL, MINE_AND_GROUP = -4, -3, -2, -1


def chosen(pool: Mapping[int, T], who: User, filter_flag: int, start: int, end: int) -> list[T]:
    """Return the visible objects, by descending number: one's own, whatever one may do with them, and what one may use.

    Args:
        filter_flag: -4 of my primary group, -3 mine, -2 all that I may see, -1 mine and my group's, >= 0 that user's.
        start: first number; -1 is the lowest.
        end: last number; -1 is the highest; below that ``start`` is an offset and ``-end`` a count.

    Raises:
        errors.OneError: 4096, no such filter.
    """
    if filter_flag < PRIMARY_GROUP:
        raise errors.OneError(errors.RPC_API, "Incorrect filter_flag")
    seen = [thing for thing in pool.values() if _whose(thing, who, filter_flag) and _visible(who, thing)]
    return paged(sorted(seen, key=lambda thing: -thing.id), start, end)


def paged(things: Sequence[T], start: int, end: int) -> list[T]:
    """Return a page or a range of numbers of a list; see ``chosen``."""
    if end < -1:
        offset = max(start, 0)
        return list(things[offset : offset - end])
    last = end if end >= 0 else max((thing.id for thing in things), default=-1)
    return [thing for thing in things if max(start, 0) <= thing.id <= last]


def _visible(who: User, thing: Thing) -> bool:
    return thing.uid == who.id or may(who, thing, USE)


def _whose(thing: Thing, who: User, filter_flag: int) -> bool:
    if filter_flag == ALL:
        return True
    if filter_flag == MINE:
        return thing.uid == who.id
    if filter_flag == PRIMARY_GROUP:
        return thing.gid == who.gid
    if filter_flag == MINE_AND_GROUP:
        return thing.uid == who.id or thing.gid in (who.gid, *who.groups)
    return thing.uid == filter_flag
