"""What a real core answered, read by us; only where its recordings lie beside the checkout."""

import json
import re
import tarfile
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conpaassql.errors import IaasBusy, IaasDenied, IaasMissing, IaasQuota, IaasRefused
from conpaassql.iaas.opennebula import elements, pool, rpc, template
from conpaassql.iaas.opennebula.faults import Refusal, error
from conpaassql.model import VmState

ARCHIVE = Path(__file__).parents[3] / "shared" / "reference" / "opennebula" / "recorded.tar.xz"

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason="no recordings of a real core beside the checkout")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One recorded call."""

    name: str
    method: str
    status: int
    request: bytes
    response: bytes

    @property
    def params(self) -> tuple[Any, ...]:
        return xmlrpc.client.loads(self.request)[0]

    @property
    def answer(self) -> list[Any] | None:
        try:
            return list(xmlrpc.client.loads(self.response)[0][0])  # type: ignore[call-overload]
        except xmlrpc.client.Fault:
            return None


@pytest.fixture(scope="module")
def exchanges() -> list[Exchange]:
    parts: dict[str, dict[str, bytes]] = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            found = re.fullmatch(r".*/(.+)\.(request\.xml|response\.xml|meta\.json)", member.name)
            file = archive.extractfile(member) if found else None
            if found and file:
                parts.setdefault(found[1], {})[found[2]] = file.read()
    return list(_exchanges(parts))


def _exchanges(parts: dict[str, dict[str, bytes]]) -> Iterator[Exchange]:
    for name, part in sorted(parts.items()):
        meta = json.loads(part["meta.json"])
        if meta["status"] == 200 and "response.xml" in part:
            yield Exchange(
                name=name,
                method=meta["method"],
                status=meta["status"],
                request=part["request.xml"],
                response=part["response.xml"],
            )


def test_answers_are_read_as_they_are(exchanges: list[Exchange]) -> None:
    read = 0
    for exchange in exchanges:
        if exchange.method.startswith("one.") and exchange.answer is not None:
            assert rpc._unmarshalled(exchange.response) == exchange.answer, exchange.name
            read += 1
    assert read > 700


def test_every_refusal_has_a_meaning_and_no_secret(exchanges: list[Exchange]) -> None:
    seen: dict[int, set[str]] = {}
    for exchange in exchanges:
        if not exchange.method.startswith("one.") or (answer := exchange.answer) is None or answer[0]:
            continue
        found = error(Refusal(method=exchange.method, code=answer[2], text=answer[1]))
        seen.setdefault(answer[2], set()).add(type(found).__name__)
        assert "geheim" not in found.says, exchange.name
        assert "@^_^@" not in found.says, exchange.name
        assert not re.search(r"\[one\.", found.says), exchange.name
    assert seen[256] == {IaasDenied.__name__}
    assert seen[512] == {IaasDenied.__name__, IaasQuota.__name__, IaasBusy.__name__}
    assert seen[1024] == {IaasMissing.__name__}
    assert seen[16384] == {IaasRefused.__name__}


def test_every_vm_is_understood(exchanges: list[Exchange]) -> None:
    states: set[VmState] = set()
    for exchange in exchanges:
        if exchange.method == "one.vm.info" and (answer := exchange.answer) and answer[0]:
            element = elements.parse(answer[1])
            vm = pool.vm(element, pool.kept(element, ""))  # without our mark: of the owner without a name
            assert vm.id == str(exchange.params[1]), exchange.name
            if element.find("TEMPLATE/NIC/IP") is not None:
                assert vm.address, exchange.name
            states.add(vm.state)
        if exchange.method.startswith("one.vmpool.info") and (answer := exchange.answer) and answer[0]:
            xml = answer[1]
            assert len(list(elements.each(xml, "VM"))) == len(elements.parse(xml).findall("VM")), exchange.name
    assert states >= {VmState.PENDING, VmState.BOOTING, VmState.RUNNING, VmState.STOPPED, VmState.FAILED}


def test_both_forms_have_the_same_stamp(exchanges: list[Exchange]) -> None:
    """Else every look would ask for every VM; among the recorded ones are aliases and several cards."""
    whole: dict[str, set[str]] = {}
    short: list[tuple[str, str]] = []
    for exchange in exchanges:
        if not re.match(r"one\.vm(pool)?\.info", exchange.method) or not (answer := exchange.answer) or not answer[0]:
            continue
        root = elements.parse(answer[1])
        for element in [root] if root.tag == "VM" else root.findall("VM"):
            number = elements.text(element, "ID")
            if element.find("PERMISSIONS") is None:
                short.append((number, pool.stamp(element)))
            else:
                whole.setdefault(number, set()).add(pool.stamp(element))
    compared = [(number, stamp in whole[number]) for number, stamp in short if number in whole]
    assert all(same for _, same in compared), compared
    assert len({number for number, _ in compared}) > 50


def test_we_read_templates_as_the_core_does(exchanges: list[Exchange]) -> None:
    agreed = refused = 0
    for exchange in exchanges:
        if exchange.method != "one.vm.allocate" or (answer := exchange.answer) is None:
            continue
        text = exchange.params[1] if len(exchange.params) > 1 else None
        if not isinstance(text, str) or text.lstrip().startswith("<") or "Error parsing" in str(answer[1]):
            continue
        if "Parse error" in str(answer[1]):
            with pytest.raises(IaasRefused):
                template.parse(text).text()
            refused += 1
        elif answer[0]:
            whole = template.parse(text)
            assert template.parse(whole.text()) == whole, exchange.name
            agreed += 1
    assert agreed > 100
    assert refused >= 5
