"""Words of a command line to one request, by the catalog: verbs, positions and ``name=value``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conpaassql import catalog, params
from conpaassql.catalog import Effect, Row
from conpaassql.errors import Invalid
from conpaassql.params import Param

BY_VERB: Mapping[str, Row] = {verb: row for row in catalog.ROWS for verb in (row.name, *row.spellings)}
OPTIONS = ("cluster", "force", "provider_id")  # given by name only; words stand for the others, in their order
SECRET = "password"  # noqa: S105  the name of a parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask for.  ``file`` is where a stream comes from or goes to; "-" is standard input or output."""

    row: Row
    values: Mapping[str, Any]
    file: str = ""

    @property
    def asks_secret(self) -> bool:
        """Whether the password is still to be read from standard input."""
        return self.values.get(SECRET) == "-"


def read(verb: str, words: Sequence[str]) -> Request:
    """Return the request that ``verb`` and its words make.

    Raises:
        Invalid: no such verb, or the words do not fit it.
    """
    row = BY_VERB.get(verb)
    if row is None:
        raise Invalid(f"There is no verb {verb!r}; --help lists all.")
    named, plain = _split(row, words)
    placed = _placed(row, _without_tags(row, plain))
    if twice := sorted(set(named) & set(placed)):
        raise Invalid(f"{twice[0]} is given twice, by name and by its place. {usage(row)}")
    given = {**placed, **named}
    file = str(given.pop("file", "-" if row.effect is Effect.DOWNLOAD else ""))
    if row.effect is Effect.UPLOAD and not file:
        raise Invalid(f"Which file is to be loaded? {usage(row)}")
    _check(row, given)
    return Request(row=row, values=given, file=file)


def usage(row: Row) -> str:
    """Return how a verb is called, in one line: places in capitals, what may be left out in brackets."""
    places = _places(row)
    words = [_shown(param) for param in places]
    words += [f"[{param.name}=...]" for param in row.params if param not in places]
    return f"Usage: {' '.join((row.name, *words))}"


def _shown(param: Param) -> str:
    word = "OPTION=VALUE..." if param.read is params.mapping else param.name.upper()
    return word if param.required else f"[{word}]"


def _places(row: Row) -> Sequence[Param]:
    """Return the parameters that plain words stand for, in order; a stream's file is one of them."""
    places = [param for param in row.params if param.name not in OPTIONS or param.required]
    if row.effect is Effect.DOWNLOAD:
        return [_file(required=False)]  # what to dump is told by name
    return [*places, _file(required=True)] if row.effect is Effect.UPLOAD else places


def _file(*, required: bool) -> Param:
    return Param(name="file", read=params.text, says="A path, or -.", required=required)


def _split(row: Row, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Part ``name=value`` from plain words.  Only known names count, so that a password may hold a "="."""
    known = {spelling: param.name for param in row.params for spelling in param.spellings}
    known |= {name: name for name in row.ignored}
    if row.effect in (Effect.DOWNLOAD, Effect.UPLOAD):
        known["file"] = "file"
    gathers = next((param.name for param in row.params if param.read is params.mapping), None)
    named: dict[str, Any] = {}
    plain: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in known:
            _put(named, known[name], _object(value) if known[name] == gathers else value)
        elif equals and gathers:
            named.setdefault(gathers, {})[name] = value
        else:
            plain.append(word)
    return named, plain


def _put(named: dict[str, Any], name: str, value: Any) -> None:
    if name in named:
        raise Invalid(f"{name} is given twice; give it once.")
    named[name] = value


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise Invalid(f"{text[:64]!r} is no JSON object ({exc}); write NAME=VALUE words instead.") from exc


def _without_tags(row: Row, words: Sequence[str]) -> Sequence[str | tuple[str, str]]:
    """Read the pairs ``id 7`` and ``count 2`` of 2012; a bare number of nodes to add is their count."""
    names = {spelling: param.name for param in row.params for spelling in param.spellings}
    if len(words) == 2 and words[0] in ("id", "count") and words[0] in names:
        return [(names[words[0]], words[1])]
    if "function" in names and len(words) == 1 and words[0].isdigit():
        return [("count", words[0])]
    return words


def _placed(row: Row, words: Sequence[str | tuple[str, str]]) -> dict[str, str]:
    """Name plain words by their places.

    The required places are filled first: with few words, optional ones are left out from the right.
    """
    tagged = dict(word for word in words if isinstance(word, tuple))
    plain = [word for word in words if isinstance(word, str)]
    places = _places(row)
    spare = len(plain) - sum(param.required for param in places)
    taken = []
    for param in places:
        if not param.required:
            spare -= 1
        if param.required or spare >= 0:
            taken.append(param.name)
    if len(plain) > len(taken) and "serviceNodeId" in row.ignored:
        taken.append("serviceNodeId")  # documented in 2012, without a meaning then and now
    if len(plain) > len(taken):
        raise Invalid(f"{row.name} does not take {plain[len(taken)]!r}. {usage(row)}")
    return tagged | dict(zip(taken, plain, strict=False))


def _check(row: Row, given: Mapping[str, Any]) -> None:
    """Refuse what the manager would refuse, before anything is sent."""
    for param in row.params:
        if param.required and param.name not in given:
            raise Invalid(f"{param.name} is missing: {param.says} {usage(row)}")
    for name in catalog.NODE_SPELLINGS:
        # A word that clearly names something must not be dropped, and the default cluster be taken instead.
        if name in row.ignored and name in given and not str(given[name]).isdigit():
            meant = str(given[name])[:64]
            raise Invalid(f"{row.name} is for a whole cluster, and {meant!r} is no node's id; say cluster={meant}.")
    params.bind(row.params, row.ignored, given)
