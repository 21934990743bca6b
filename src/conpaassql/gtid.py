"""Sets of transactions by their global identifiers, for both flavours; pure.

MySQL writes ``uuid:1-5:7,uuid:tag:1-3``: any set.  MariaDB writes a position, ``0-1-100,1-2-7``:
the last transaction of each domain (domain, server, sequence number), which stands for all
before it.  Both become the same thing: intervals of numbers by origin, so one algebra serves.

What is missing between two MariaDB positions is not a position.  It is written ``0-1-91..100``,
for people; no server is told so.

Source: MySQL 8.4 manual 17.1.3.1 (GTID sets); MariaDB manual, "Global Transaction ID".
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from conpaassql.errors import Invalid

Intervals = tuple[tuple[int, int], ...]  # ascending, first and last inclusive, never touching each other

_MARIADB = re.compile(r"(\d+)-(\d+)-(?:(\d+)\.\.)?(\d+)")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True, slots=True)
class GtidSet:
    """Transactions.  ``origins`` is MariaDB's domain, or MySQL's server uuid (with its tag), sorted.

    ``servers`` tells for each MariaDB domain which server wrote the last one; MySQL has none.
    """

    origins: tuple[tuple[str, Intervals], ...] = ()
    servers: tuple[tuple[str, int], ...] = ()


EMPTY = GtidSet()


def parse(text: str) -> GtidSet:
    """Read a set as a server writes it, or as ``text`` does.

    Raises:
        Invalid: it is neither flavour's.
    """
    found = EMPTY
    for part in re.sub(r"\s", "", text).lower().split(","):
        if part:
            found = union(found, _mariadb(part) or _mysql(part))
    return found


def text(gtids: GtidSet) -> str:
    """Write a set as its server would; ``parse`` reads it back."""
    servers = dict(gtids.servers)
    parts = []
    for origin, intervals in gtids.origins:
        if origin in servers:
            parts += [_position(f"{origin}-{servers[origin]}", *interval) for interval in intervals]
        else:
            spans = (str(first) if first == last else f"{first}-{last}" for first, last in intervals)
            parts.append(":".join((origin, *spans)))
    return ",".join(parts)


def is_empty(gtids: GtidSet) -> bool:
    """Return whether there is no transaction in it."""
    return not gtids.origins


def contains(whole: GtidSet | str, part: GtidSet | str) -> bool:
    """Return whether every transaction of ``part`` is in ``whole``; either may be as a server writes it.

    By number alone: two MariaDB servers that each wrote their own number 100 look alike here;
    see ``forked``.
    """
    return is_empty(minus(_read(part), _read(whole)))


def union(left: GtidSet, right: GtidSet) -> GtidSet:
    """Return what is in either."""
    mine, theirs = dict(left.origins), dict(right.origins)
    both = {origin: _merge((*mine.get(origin, ()), *theirs.get(origin, ()))) for origin in mine | theirs}
    last = {
        origin: max(
            (intervals[-1][1], servers[origin])
            for intervals, servers in (
                (mine.get(origin), dict(left.servers)),
                (theirs.get(origin), dict(right.servers)),
            )
            if intervals is not None and origin in servers
        )[1]
        for origin in dict((*left.servers, *right.servers))
    }
    return _make(both, last)


def minus(left: GtidSet, right: GtidSet) -> GtidSet:
    """Return what is in ``left`` and not in ``right`` (what ``right`` misses)."""
    theirs = dict(right.origins)
    rest = {origin: _cut(intervals, theirs.get(origin, ())) for origin, intervals in left.origins}
    return _make(rest, dict(left.servers))


def forked(left: GtidSet, right: GtidSet) -> bool:
    """Return whether two MariaDB positions surely hold different transactions under one number.

    That is visible only where both end at the same number; else it takes the binary logs.
    """
    mine, theirs = dict(left.origins), dict(right.origins)
    servers = dict(right.servers)
    return any(
        origin in servers and server != servers[origin] and mine[origin][-1][1] == theirs[origin][-1][1]
        for origin, server in left.servers
    )


def _read(gtids: GtidSet | str) -> GtidSet:
    return parse(gtids) if isinstance(gtids, str) else gtids


def _mariadb(part: str) -> GtidSet | None:
    match = _MARIADB.fullmatch(part)
    if match is None:
        return None
    domain, server, first, last = match.groups()
    interval = (int(first or 1), int(last))
    if not 1 <= interval[0] <= interval[1]:
        raise _invalid(part)
    origin = str(int(domain))
    return _make({origin: (interval,)}, {origin: int(server)})


def _mysql(part: str) -> GtidSet:
    """Read ``uuid:1-3:tag:5:7``; numbers belong to the tag before them, or to none."""
    uuid, *pieces = part.split(":")
    if not _UUID.fullmatch(uuid) or not pieces:
        raise _invalid(part)
    found: dict[str, Intervals] = {}
    origin = uuid
    for piece in pieces:
        span = _INTERVAL.fullmatch(piece)
        if span is None:
            if not _TAG.fullmatch(piece):
                raise _invalid(part)
            origin = f"{uuid}:{piece}"
            continue
        first = int(span[1])
        last = int(span[2] or first)
        if not 1 <= first <= last:
            raise _invalid(part)
        found[origin] = _merge((*found.get(origin, ()), (first, last)))
    return _make(found, {})


def _invalid(part: str) -> Invalid:
    return Invalid(f"{part!r} is not a GTID set. Give it as the server shows it.", gtids=part)


def _make(origins: Mapping[str, Intervals], servers: Mapping[str, int]) -> GtidSet:
    """Build the one form in which equal sets are equal values."""
    kept = tuple(sorted((origin, intervals) for origin, intervals in origins.items() if intervals))
    return GtidSet(kept, tuple(sorted((origin, servers[origin]) for origin, _ in kept if origin in servers)))


def _position(origin: str, first: int, last: int) -> str:
    return f"{origin}-{last}" if first == 1 else f"{origin}-{first}..{last}"


def _merge(intervals: Iterable[tuple[int, int]]) -> Intervals:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _cut(intervals: Intervals, holes: Intervals) -> Intervals:
    """Return ``intervals`` without ``holes``."""
    rest: list[tuple[int, int]] = []
    for first, last in intervals:
        at = first
        for start, end in holes:
            if end < at or start > last:
                continue
            if start > at:
                rest.append((at, start - 1))
            at = end + 1
        if at <= last:
            rest.append((at, last))
    return tuple(rest)
