"""Templates of 2012 for a core of today: what it would refuse or silently drop is put right, and said.

``text`` works on the text, so that it can be read at all; ``meaning`` on the template that was read.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from conpaassql.iaas.opennebula import template
from conpaassql.iaas.opennebula.template import Pairs, Template, Value

Notes = tuple[str, ...]

# What the INI of 2012 left to the reader to fill in; OpenNebula knows no such names and makes them empty.
GATEWAY, NAMESERVER = "IP_GATEWAY", "NAMESERVER"
_PLACES = (GATEWAY, NAMESERVER, "NETMASK", "AGENT_FILES")
_BOOT_OF_2012 = {"hd": "disk0", "network": "nic0"}
_RENAMED = {"RANK": "SCHED_RANK", "REQUIREMENTS": "SCHED_REQUIREMENTS"}
_SCRIPTS = {"START_SCRIPT": ("START_SCRIPT_BASE64", ""), "USER_DATA": ("USER_DATA", "USERDATA_ENCODING")}

_PIECES = re.compile(
    r"""
      "(?P<variable>\$\w+)\[(?P<inside>[^\]\n]*)\]"  # "$NIC[IP, NETWORK="private"]"
    | (?P<string>"(?:[^"\\]|\\"|\\(?!"))*")
    | (?P<comment>(?:^|(?<=[ \t]))\#[^\n]*)
    | (?P<slashes>(?:^|(?<=[\s,\]\[]))//[^\n]*)
    | (?P<backslash>\\[ \t]*(?=\n))
    """,
    re.VERBOSE | re.MULTILINE,
)
_COMMA = re.compile(r'"(?:[^"\\]|\\"|\\(?!"))*"|,(?=(?:\s|,)*\])')
_EMPTY = re.compile(r'"(?:[^"\\]|\\"|\\(?!"))*"|^[ \t]*(?P<name>\w+)[ \t]*=[ \t]*\[\s*\]', re.MULTILINE)


@dataclass(slots=True)
class _Pass:
    """One walk over a text that keeps its lines."""

    source: str
    notes: list[str] = field(default_factory=list)

    def note(self, found: re.Match[str], says: str) -> None:
        line = self.source.count("\n", 0, found.start()) + 1
        self.notes.append(f"line {line}: {says}")


def repair(text: str, places: Mapping[str, str] | None = None) -> tuple[Template, Notes]:
    """Return the template that a text means, and what was changed in it, one sentence each.

    ``places`` are values for ``GATEWAY`` and ``NAMESERVER``; absent or empty: nobody knows them.

    Raises:
        IaasRefused: it cannot be read; the sentence names the line and the cure.
    """
    readable, notes = _text(text)
    found, more = _meaning(template.parse(readable), places or {})
    return found, (*notes, *more)


def _text(source: str) -> tuple[str, Notes]:
    walk = _Pass(source)
    source = _PIECES.sub(lambda found: _piece(walk, found), source)
    walk.source = source
    source = _COMMA.sub(lambda found: _comma(walk, found), source)
    walk.source = source
    return _EMPTY.sub(lambda found: _empty(walk, found), source), tuple(walk.notes)


def _piece(walk: _Pass, found: re.Match[str]) -> str:
    if found["variable"]:
        return _expression(walk, found)
    if found["slashes"]:
        walk.note(found, "// begins no comment in OpenNebula; the rest of the line was left out.")
        return ""
    if found["backslash"]:
        walk.note(found, "a backslash at the end of a line means nothing in OpenNebula; it was left out.")
        return ""
    return found[0]


def _expression(walk: _Pass, found: re.Match[str]) -> str:
    """Put the quotes right in ``"$NIC[IP, NETWORK="private"]"``, which also comes with one of them missing."""
    inside = found["inside"]
    if '"' not in inside.replace('\\"', ""):
        return found[0]
    what, *conditions = (part.strip() for part in inside.replace('\\"', "").replace('"', "").split(","))
    pairs = [condition.partition("=") for condition in conditions]
    quoted = [f'{key.strip()}=\\"{value.strip()}\\"' if equal else key for key, equal, value in pairs]
    whole = f'"{found["variable"]}[{", ".join([what, *quoted])}]"'
    walk.note(found, f"the quotes inside {found['variable']}[...] were put right.")
    return whole


def _comma(walk: _Pass, found: re.Match[str]) -> str:
    if found[0] != ",":
        return found[0]
    walk.note(found, "a comma before ] was left out.")
    return ""


def _empty(walk: _Pass, found: re.Match[str]) -> str:
    if not found["name"]:
        return found[0]
    walk.note(found, f"{found['name']} has nothing in it and was left out.")
    return "\n" * found[0].count("\n")


def _meaning(source: Template, places: Mapping[str, str]) -> tuple[Template, Notes]:
    notes: list[str] = []
    items: list[tuple[str, Value]] = []
    for name, value in source.items:
        if name == "OS" and not isinstance(value, str):
            value = _boot(value, notes.append)
        if name == "CONTEXT" and not isinstance(value, str):
            value = _context(value, places, notes.append)
        if (now := _RENAMED.get(name)) and isinstance(value, str):
            notes.append(f"{name} is {now} since OpenNebula 4; it was renamed.")
            name = now
        if value != ():
            items.append((name, value))
    return Template(tuple(items)), tuple(notes)


def _boot(pairs: Pairs, note: Callable[[str], None]) -> Pairs:
    boot = template.first(pairs, "BOOT")
    words = [word.strip() for word in boot.split(",") if word.strip()]
    known = [_BOOT_OF_2012.get(word.lower(), word) for word in words]
    kept = [word for word in known if re.fullmatch(r"(disk|nic)\d+", word)]
    if kept == words:
        return pairs
    others = tuple(pair for pair in pairs if pair[0] != "BOOT")
    note(f'OS/BOOT = "{boot}" is refused since OpenNebula 5.0; it became "{",".join(kept)}".')
    return (*others, ("BOOT", ",".join(kept))) if kept else others


def _context(pairs: Pairs, places: Mapping[str, str], note: Callable[[str], None]) -> Pairs:
    changed: list[tuple[str, str]] = []
    for key, value in pairs:
        if key in _SCRIPTS and "$" in value:
            changed += _script(key, value, note)
        else:
            changed.append((key, _filled(key, _conditions(key, value, note), places, note)))
    # Even an empty FILES is refused to those who are no administrators.
    return tuple(pair for pair in changed if pair != ("FILES", ""))


def _conditions(key: str, value: str, note: Callable[[str], None]) -> str:
    """Replace the conditions that are always false: they make the value empty without a word."""
    now = re.sub(r'(\$NIC\[[^\]]*?),\s*NETWORK\s*=\s*"?\$NETWORK"?\s*\]', r"\1]", value, flags=re.I)
    if now != value:
        note(f"CONTEXT/{key}: NETWORK=$NETWORK finds nothing in OpenNebula; the first card is taken.")
    again = re.sub(r"(\$NETWORK\[[^\]]*?,\s*)NAME(\s*=)", r"\1NETWORK\2", now, flags=re.I)
    if again != now:
        note(f"CONTEXT/{key}: $NETWORK[..., NAME=...] finds nothing since OpenNebula 3; it became NETWORK=.")
    return again


def _filled(key: str, value: str, places: Mapping[str, str], note: Callable[[str], None]) -> str:
    """Fill in what the INI of 2012 left open, where it is known."""
    if not value.startswith("$") or value[1:].upper() not in _PLACES:
        return value
    if known := places.get(value[1:].upper()):
        note(f"CONTEXT/{key}: {value} was replaced by {known}, as the options of [iaas] say.")
        return known
    instead = "the VM gets its start script by itself" if key == "FILES" else "the VM has ETH0_... instead"
    note(f"CONTEXT/{key}: OpenNebula knows no {value}, and would make it empty; {instead}.")
    return ""


def _script(key: str, value: str, note: Callable[[str], None]) -> Pairs:
    """Save a script from OpenNebula, which empties every ``$WORD`` in it."""
    name, encoding = _SCRIPTS[key]
    note(f"CONTEXT/{key}: OpenNebula would expand the $ in it; it is handed over in base64.")
    code = base64.b64encode(value.encode()).decode()
    return ((name, code), *(((encoding, "base64"),) if encoding else ()))
