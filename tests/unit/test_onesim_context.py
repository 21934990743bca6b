"""The simulator makes of a CONTEXT what the real core made of it, recorded where the recording is at hand."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onesim import context
from onesim.context import ExpansionError, File, Thing, VmView

RECORDED = Path(__file__).parents[3] / "shared" / "reference" / "opennebula" / "context_expansion.json"
ENDPOINT = "http://127.0.0.1:5030"


def nic(number: int, network: str, address: str, **more: str) -> dict[str, str]:
    mac = "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))
    return {
        "NIC_ID": str(number),
        "NETWORK_ID": str(number),
        "NETWORK": network,
        "AR_ID": "0",
        "IP": address,
        "MAC": mac,
        **more,
    }


FILES = {
    "3": File(id=3, name="init.sh", source="/ds/3", type="CONTEXT"),
    "4": File(id=4, name="vmlinuz", source="/ds/4", type="KERNEL"),
    "5": File(id=5, name="late.sh", source="/ds/5", type="CONTEXT", ready=False),
}


def find_file(by: Mapping[str, str]) -> File:
    found = [file for file in FILES.values() if by.get("IMAGE_ID") == str(file.id) or by.get("IMAGE") == file.name]
    if not found:
        raise ExpansionError(f"User 0 does not own an image with name: {by.get('IMAGE')} . Set IMAGE_UNAME.")
    return found[0]


VM = VmView(
    vm=Thing(
        attributes={
            "NAME": "web",
            "VMID": "7",
            "UID": "0",
            "UNAME": "oneadmin",
            "GID": "0",
            "GNAME": "oneadmin",
            "CPU": "0.1",
            "MEMORY": "64",
            "CUSTOM": "custom value",
        },
        xml=lambda: "<VM/>",
    ),
    vectors={
        "NIC": (nic(0, "private", "10.30.1.48"), nic(1, "small", "10.31.1.10", METHOD="static")),
        "DISK": ({"DISK_ID": "0", "IMAGE": "debian", "IMAGE_ID": "0", "SOURCE": "dummy_path"},),
        "OS": ({"UUID": "3bfa6f5f-747a-41dc-8982-66a129891fac"},),
    },
    networks={
        ("0", "0"): Thing(
            attributes={
                "GATEWAY": "10.30.1.1",
                "DNS": "10.30.1.1",
                "NETWORK_ADDRESS": "10.30.1.0",
                "NETWORK_MASK": "255.255.255.0",
                "BRIDGE": "br30",
            },
            xml=lambda: "<VNET/>",
        ),
        ("1", "0"): Thing(attributes={"BRIDGE": "br31"}),
    },
    images={"0": Thing(attributes={"DEV_PREFIX": "sd"}, xml=lambda: "<IMAGE/>")},
    user=Thing(attributes={"TOKEN_PASSWORD": "secret"}, xml=lambda: "<USER/>"),
    file=find_file,
    onegate_endpoint=ENDPOINT,
)

VALUES = [
    ("", ""),
    ("plain", "plain"),
    ("$NAME", "web"),
    ("$name-$VMID.x", "web-7.x"),
    ("$NAME$VMID", "web7"),
    ("a $NAME b", "a web b"),
    ("$CUSTOM", "custom value"),
    ("$NOSUCH|$1|$NIC", "||"),
    ("$NIC[IP]:80", "10.30.1.48:80"),
    ('$NIC[IP, NETWORK="small"]', "10.31.1.10"),
    ("$NIC[ MAC , NIC_ID = 1 ]", "02:00:0a:1f:01:0a"),
    ('$NIC[IP, NETWORK="nosuch"]', ""),
    ("$NETWORK[DNS, NETWORK=private]", "10.30.1.1"),
    ("$NETWORK[BRIDGE, NIC_ID=1]", "br31"),
    ("$NETWORK[DNS]", ""),
    ("$NETWORK[DNS, NAME=private]", ""),
    ("$IMAGE[DEV_PREFIX, IMAGE=debian]", "sd"),
    ("$IMAGE[DEV_PREFIX]", ""),
    ("$USER[TOKEN_PASSWORD]", "secret"),
    ("$TEMPLATE", base64.b64encode(b"<VM/>").decode()),
    ("$NETWORK[TEMPLATE, NETWORK_ID=0]", base64.b64encode(b"<VNET/>").decode()),
    ("$IMAGE[TEMPLATE, IMAGE_ID=0]", base64.b64encode(b"<IMAGE/>").decode()),
    ("$USER[TEMPLATE]", base64.b64encode(b"<USER/>").decode()),
    ("\\$NAME \\x", "\\$NAME \\x"),
    ("$NIC[IP, NETWORK=$NETWORK]", ""),
    ("čšž $NAME", "čšž web"),
    ("the very end\\", "the very end"),
]


@pytest.mark.parametrize(("value", "becomes"), VALUES, ids=[value for value, _ in VALUES])
def test_what_a_value_becomes(value: str, becomes: str) -> None:
    assert context.expand(value, VM) == becomes


WRONG = [
    ("cost 5$", "unexpected EOA, expecting $end or VARIABLE or RSTRING at line 0, columns 7:8"),
    ("č$(id)", "unexpected EOA, expecting $end or VARIABLE or RSTRING at line 0, columns 4:5"),
    ("$NAME,x", "unexpected COMMA, expecting OBRACKET or EOA at line 0, columns 6:7"),
    ("$NAME\nx", "unexpected VARIABLE, expecting OBRACKET or EOA at line 1, columns 7:8"),
    ("$NIC[]", "unexpected CBRACKET, expecting VARIABLE at line 0, columns 6:7"),
    ("$NIC[IP, NETWORK=", "unexpected $end, expecting STRING at line 0, columns 17:18"),
    ("$NIC[IP], ", "unexpected COMMA, expecting EOA at line 0, columns 9:11"),
]


@pytest.mark.parametrize(("value", "says"), WRONG, ids=[value for value, _ in WRONG])
def test_what_is_wrong_in_a_value(value: str, says: str) -> None:
    with pytest.raises(ExpansionError) as caught:
        context.expand(value, VM)
    assert str(caught.value) == f"Error parsing: {value}. syntax error, {says}"


@given(st.text(st.sampled_from('$\\NAME NIC[IP],="\n@^_'), max_size=40))
def test_any_text_is_expanded_or_refused(value: str) -> None:
    try:
        made = context.expand(value, VM)
    except ExpansionError as exc:
        assert str(exc).startswith(f"Error parsing: {value}. syntax error, unexpected ")
    else:
        assert "$" in value or made in (value, value[:-1])


def test_the_context_is_expanded_as_one_text() -> None:
    with pytest.raises(ExpansionError, match=r"B=geheim@\^_\^@X=\$\?\. syntax error, .* columns 25:26$"):
        context.expanded({"X": "$?", "B": "geheim", "A": "1"}, VM)
    assert context.expanded({"A": "x@^_^@B=$NAME", "C": "@^_^@"}, VM) == {"A": "x", "B": "web", "C": ""}


def test_network_keys_of_nics_and_aliases() -> None:
    alias = nic(0, "small", "10.31.1.11", PARENT_ID="0", ALIAS_ID="0", NETWORK_ID="1")
    waiting = {"NIC_ID": "2", "NETWORK_MODE": "auto"}
    vectors = {**VM.vectors, "NIC": (*VM.vectors["NIC"], waiting), "NIC_ALIAS": (alias,)}
    made = context.complete({"NETWORK": "yes", "ETH0_IP": "1.2.3.4"}, replace(VM, vectors=vectors))
    assert (made["ETH0_IP"], made["ETH1_IP"], made["ETH0_ALIAS0_IP"]) == ("10.30.1.48", "10.31.1.10", "10.31.1.11")
    assert (made["ETH1_METHOD"], made["ETH1_MASK"]) == ("static", "")
    assert not [key for key in made if key.startswith("ETH2_")]
    assert list(made) == sorted(made)


@pytest.mark.parametrize("given", ["NO", "", "true"])
def test_no_network_keys_unless_they_are_wished(given: str) -> None:
    assert context.complete({"NETWORK": given}, VM) == {"NETWORK": given}


FILES_DS = [
    ("$FILE[IMAGE_ID=3]", "/ds/3:'init.sh' "),
    ('$FILE[IMAGE="init.sh"]', "/ds/3:'init.sh' "),
    ('$FILE[IMAGE_ID=3] $FILE[IMAGE="init.sh", IMAGE_UNAME="x"]', "/ds/3:'init.sh' /ds/3:'init.sh' "),
]


@pytest.mark.parametrize(("value", "becomes"), FILES_DS)
def test_files_of_images(value: str, becomes: str) -> None:
    assert context.complete({"FILES_DS": value}, VM)["FILES_DS"] == becomes


FILES_DS_WRONG = [
    ("init.sh", "Error parsing: init.sh. syntax error, unexpected RSTRING, expecting VARIABLE at line 0, columns 1:8"),
    ("$FILE[IMAGE_ID=4]", "Only images of type CONTEXT can be used in FILE_DS attribute."),
    ("$FILE[IMAGE_ID=5]", "CONTEXT Image '5' not in READY state."),
    ("$NIC[IMAGE_ID=3]", "Error parsing: $NIC[IMAGE_ID=3]. Must use FILE variable for attribute."),
    ("$FILE[NAME=x]", "Error parsing: $FILE[NAME=x]. Cannot get image, set IMAGE_ID or IMAGE."),
    (
        '$FILE[IMAGE="no"]',
        'Error parsing: $FILE[IMAGE="no"]. User 0 does not own an image with name: no . Set IMAGE_UNAME.',
    ),
]


@pytest.mark.parametrize(("value", "says"), FILES_DS_WRONG, ids=[value for value, _ in FILES_DS_WRONG])
def test_wrong_files_of_images(value: str, says: str) -> None:
    with pytest.raises(ExpansionError) as caught:
        context.files_ds(value, VM)
    assert str(caught.value) == says


def test_a_token_needs_onegate() -> None:
    made = context.complete({"TOKEN": "YES"}, VM)
    assert made == {"TOKEN": "YES", "ONEGATE_ENDPOINT": ENDPOINT, "VMID": "7"}
    with pytest.raises(ExpansionError, match="onegate endpoint was not defined"):
        context.complete({"TOKEN": "YES"}, replace(VM, onegate_endpoint=""))


def test_scripts_stay_as_they_are_but_for_the_dollar() -> None:
    given = {"START_SCRIPT_BASE64": "ZWNobyAkSE9NRQo=", "START_SCRIPT": "#!/bin/sh\necho 'a' \"b\" $HOME x"}
    made = context.complete(given, VM)
    assert made == {"START_SCRIPT_BASE64": "ZWNobyAkSE9NRQo=", "START_SCRIPT": "#!/bin/sh\necho 'a' \"b\"  x"}


def test_a_password_is_not_shown() -> None:
    shown = context.concealed("geheim")
    assert len(base64.b64decode(shown)) == 16
    assert shown == context.concealed("geheim") != context.concealed("geheim2")


# --- what the real core answered


@dataclass(frozen=True)
class Case:
    """One recorded allocation: its number is that of the VM, and what the core answered."""

    name: str
    pairs: Mapping[str, str]
    answer: Mapping[str, str]
    error: str


def recorded() -> list[Case]:
    if not RECORDED.exists():
        return []
    cases: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return [
        Case(name, case["pairs"], case.get("context", {}), case["error"][1] if case.get("error") else "")
        for name, case in cases.items()
    ]


CASES = recorded()
absent = pytest.mark.skipif(not CASES, reason=f"the recording is not at {RECORDED}")


def as_recorded(case: Case) -> VmView:
    """Return the VM of a case; what depends on the core's past (addresses, numbers, XML) is as in the answer."""
    said = " ".join(case.answer.values())
    private, small = (re.search(rf"10\.{net}\.1\.\d+(?<!\.1\.1)\b", said) for net in (30, 31))
    number = re.search(r"(?:-odd22|odd23 |^)(\d+)$", case.answer.get("X", case.answer.get("C2", "")))
    vmid = case.answer.get("VMID", number[1] if number else "7")
    names = {**VM.vm.attributes, "NAME": f"ctx-{case.name}", "VMID": vmid}
    nics = (
        nic(0, "private", private[0] if private else "10.30.1.99"),
        nic(1, "small", small[0] if small else "10.31.1.11"),
    )
    return replace(
        VM,
        vm=Thing(attributes=names, xml=lambda: xml(case, "C11")),
        vectors={**VM.vectors, "NIC": nics, "OS": ({"UUID": case.answer.get("E11", "")},)},
        networks={**VM.networks, ("0", "0"): replace(VM.networks["0", "0"], xml=lambda: xml(case, "B11"))},
        images={"0": replace(VM.images["0"], xml=lambda: xml(case, "E5"))},
        user=Thing(attributes={"TOKEN_PASSWORD": case.answer.get("E6", "")}, xml=lambda: xml(case, "E8")),
    )


def xml(case: Case, key: str) -> str:
    return base64.b64decode(case.answer.get(key) or case.answer["X"]).decode()


@absent
def test_all_recorded_expressions_are_here() -> None:
    assert sum(len(case.pairs) for case in CASES) >= 111


@absent
@pytest.mark.parametrize("case", [case for case in CASES if not case.error], ids=lambda case: case.name)
def test_recorded_expansion(case: Case) -> None:
    made = context.complete({**case.pairs, "DISK_ID": "1", "TARGET": "hda"}, as_recorded(case))
    if "PASSWORD" in made:
        made["PASSWORD"] = case.answer["PASSWORD"]
    assert made == case.answer


@absent
@pytest.mark.parametrize("case", [case for case in CASES if case.error], ids=lambda case: case.name)
def test_recorded_refusal(case: Case) -> None:
    if case.error.endswith("] Parse error."):
        assert any("]]>" in value for value in case.pairs.values())  # the template's reader refused, see there
        return
    with pytest.raises(ExpansionError) as caught:
        context.complete({**case.pairs, "DISK_ID": "1", "TARGET": "hda"}, as_recorded(case))
    assert f"[one.vm.allocate] {caught.value}" == case.error
