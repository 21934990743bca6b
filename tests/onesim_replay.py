"""Replays exchanges recorded with a real OpenNebula against a simulator, and compares the answers field by field."""

from __future__ import annotations

import base64
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from onesim import actions, allocate, server, states
from onesim.config import Config
from onesim.core import Core
from onesim.faults import Faults
from onesim.hypervisor import Nothing
from onesim.model import LOCKED, Vm

# Values that no two cores share: times, secrets, numbers of requests, which of two equal hosts was taken.
VOLATILE = frozenset(
    {
        *("STIME", "ETIME", "LAST_POLL", "PSTIME", "PETIME", "RSTIME", "RETIME", "ESTIME", "EETIME", "REGTIME", "TIME"),
        *("MODTIME", "DATE", "EXPIRATION_TIME", "REQUEST_ID", "UUID", "TOKEN_PASSWORD", "TOKEN", "BASE_PATH"),
        *("TOTAL_MB", "FREE_MB", "USED_MB", "USED_DISK", "FREE_DISK", "HID", "HOSTNAME", "DEPLOY_ID", "DESCRIPTION"),
        *("PLAN_ID", "ACTION_ID", "KVM_CPU_FEATURES", "KVM_CPU_MODELS", "MODELNAME", "MEMORY_ENCRYPTION"),
    }
)
# Parts that a dummy driver fills with random numbers or with its own hardware.
IGNORED = frozenset(["MONITORING", "PCI_DEVICES", "NUMA_NODES"])
_MASKS = (
    (re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \d{4}"), "(time)"),
    (re.compile(r"\[one.vm.lock\] \d{10}"), "[one.vm.lock] (time)"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "(hash)"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "(uuid)"),
    (re.compile(r"^[A-Za-z0-9+/]{22}==$"), "(encrypted)"),
    # The core leaves this number unset and prints what lies there; our own is small.
    (re.compile(r"( at line )(\d{6,}|\d), (columns 10:12|columns 1:8)"), r"\1(any), \3"),
    # The same folder, inside documents in base64.
    (re.compile(r"^/tmp/h/one/"), "/srv/one/"),
    # Expat's words, which depend on its version.
    (re.compile(r"(Call is not valid XML\.).*"), r"\1"),
)
_STEPS = 400


@dataclass(frozen=True, slots=True)
class Exchange:
    number: int
    method: str
    case: str
    http: str
    path: str
    request: bytes
    status: int
    response: bytes

    @property
    def name(self) -> str:
        return f"{self.number:03d} {self.method} {self.case}"


def from_archive(archive: Path) -> list[Exchange]:
    """Return the exchanges of a ``.tar.xz`` with NNN-method-case.{request.xml,response.xml,meta.json}."""
    with tarfile.open(archive) as opened:
        files = {member.name: opened.extractfile(member) for member in opened.getmembers() if member.isfile()}
        contents = {name.rsplit("/", 1)[-1]: found.read() for name, found in files.items() if found is not None}
    return from_files(contents)


def from_json(path: Path) -> list[Exchange]:
    """Return the exchanges of a JSON file: a list of objects with the fields of an Exchange."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return [Exchange(**{**row, **{body: row[body].encode() for body in ("request", "response")}}) for row in rows]


def from_files(contents: Mapping[str, bytes]) -> list[Exchange]:
    stems = sorted(name.removesuffix(".meta.json") for name in contents if name.endswith(".meta.json"))
    return [_exchange(stem, contents) for stem in stems]


def _exchange(stem: str, contents: Mapping[str, bytes]) -> Exchange:
    meta: dict[str, Any] = json.loads(contents[f"{stem}.meta.json"])
    request = contents.get(f"{stem}.request.xml", b"")
    response = contents.get(f"{stem}.response.xml", b"")
    case, path = meta.get("case", ""), meta.get("path", "/RPC2")
    return Exchange(meta["n"], meta["method"], case, meta.get("http", "POST"), path, request, meta["status"], response)


@dataclass
class Clock:
    """A clock that is moved by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Replay:
    """A simulator on the way through a recording.

    Attributes:
        known: recorded tokens, and what the simulator gave out instead.
    """

    config: Config
    clock: Clock = field(default_factory=Clock)
    faults: Faults = field(default_factory=Faults)
    known: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.core = Core(self.config, Nothing(), self.faults, self.clock)

    def settle(self, until: Callable[[], bool] = lambda: False) -> None:
        """Let time go on until nothing moves any more, or something holds."""
        for _ in range(_STEPS):
            self.core.tick()
            if until() or not (self._moving() or self._copying()):
                return
            self.clock.now += 0.05 if any(vm.way for vm in self._moving()) else 0.5
        raise AssertionError(f"still moving: {[(vm.id, vm.at) for vm in self._moving()]}")

    def _copying(self) -> bool:
        return any(
            image.state == LOCKED and image.ready_at > self.clock.now for image in self.core.pools.images.values()
        )

    def _moving(self) -> list[Vm]:
        return [vm for vm in self.core.live_vms() if vm.way or self._unseen(vm) or vm.at.state == states.CLONING]

    def _unseen(self, vm: Vm) -> bool:
        return vm.at == states.AWAITING and (vm.try_at is None or vm.try_at <= self.clock.now)

    def seek(self, vm_id: int, at: states.At) -> None:
        """Let time go on until a VM is in a state."""
        self.settle(lambda: self.core.pools.vms[vm_id].at == at)
        assert self.core.pools.vms[vm_id].at == at, self.core.pools.vms[vm_id].at

    def vm(self, number: int) -> Vm:
        return self.core.pools.vms[number]

    def do(self, action: str, vm_id: int) -> None:
        """Order something as oneadmin."""
        actions.action(self.core, self.core.pools.users[0], action, vm_id)

    def allocate(self, template: str) -> None:
        """Make a VM on hold as oneadmin."""
        allocate.allocate(self.core, self.core.pools.users[0], template, True)

    def change(self, wished: Mapping[str, object]) -> None:
        self.faults.change(wished)

    def call(self, exchange: Exchange) -> bytes:
        """Return the simulator's answer to a recorded request."""
        body = exchange.request
        for old, new in self.known.items():
            body = body.replace(old, new)
        _, text = server.answered(self.core, body)
        if exchange.method == "one.user.login":
            self._learn(exchange.response, text.encode())
        return text.encode()

    def _learn(self, recorded: bytes, answered: bytes) -> None:
        old, new = value(recorded), value(answered)
        if isinstance(old, list) and isinstance(new, list) and old[0] and new[0] and old[1]:
            self.known[str(old[1]).encode()] = str(new[1]).encode()


def value(response: bytes) -> object:
    """Return an answer as Python's objects; a fault is a pair of its code and text."""
    root = ElementTree.fromstring(response)
    fault = root.find("fault/value/struct")
    if fault is not None:
        members = {member.findtext("name"): member.find("value") for member in fault}
        return _plain(members["faultCode"]), _plain(members["faultString"])
    return _plain(root.find("params/param/value"))


def _plain(element: ElementTree.Element | None) -> object:
    if element is None:
        return None
    if not len(element):
        return element.text or ""
    kind, text = element[0], element[0].text or ""
    if kind.tag == "array":
        return [_plain(child) for child in kind.findall("data/value")]
    if kind.tag == "struct":
        return {member.findtext("name"): _plain(member.find("value")) for member in kind}
    if kind.tag == "boolean":
        return text == "1"
    if kind.tag in ("i4", "int"):
        return int(text)
    return f"{kind.tag}:{text}" if kind.tag not in ("string",) else text


def differences(recorded: bytes, answered: bytes) -> list[str]:
    """Return what differs between two answers; an empty list: they say the same."""
    if recorded == answered:
        return []
    old, new = value(recorded), value(answered)
    if _is_document(old) and _is_document(new):
        return _document_differences(old[1], new[1])  # type: ignore[index]
    before, after = _masked(repr(old)), _masked(repr(new))
    return [] if before == after else [f"- {before[:600]}", f"+ {after[:600]}"]


def _is_document(answer: object) -> bool:
    return isinstance(answer, list) and len(answer) == 3 and str(answer[1]).startswith("<")


def _masked(text: str) -> str:
    """Return a text without what is different each time."""
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return text


def _document_differences(recorded: str, answered: str) -> list[str]:
    old, new = list(_lines(ElementTree.fromstring(recorded), "")), list(_lines(ElementTree.fromstring(answered), ""))
    if old == new:
        return []
    missing, more = _minus(old, new), _minus(new, old)
    return [*(f"- {line}" for line in missing), *(f"+ {line}" for line in more)] or ["another order"]


def _minus(lines: Sequence[str], others: Sequence[str]) -> list[str]:
    left = list(others)
    found = []
    for line in lines:
        if line in left:
            left.remove(line)
        else:
            found.append(line)
    return found


def _lines(element: ElementTree.Element, path: str) -> Iterator[str]:
    """Flatten a document into one line per element, in its order."""
    if element.tag in IGNORED:
        return
    here = f"{path}/{element.tag}"
    if element.tag == "VM" and element.find("ID") is not None:
        here += f"[{element.findtext('ID')}]"
    if not len(element):
        inner = _encoded(element.text or "")
        if inner is not None:
            yield from _lines(inner, here)
            return
        text = "(any)" if element.tag in VOLATILE and (element.text or "") else (element.text or "").strip()
        yield f"{here} = {_masked(text)}"
        return
    yield here
    for child in element:
        yield from _lines(child, here)


def _encoded(text: str) -> ElementTree.Element | None:
    """Return the document in a value such as ``$NETWORK[TEMPLATE]`` has; None: the value is none."""
    if not text.startswith(("PE", "PF")) or len(text) < 200:
        return None
    return ElementTree.fromstring(base64.b64decode(text))
