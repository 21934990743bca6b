"""OpenNebula's refusals, as the core words them, and what they mean to a caller."""

import pytest

from conpaassql.errors import (
    Error,
    IaasBusy,
    IaasDenied,
    IaasError,
    IaasFull,
    IaasMissing,
    IaasQuota,
    IaasRefused,
    Unsupported,
)
from conpaassql.iaas.opennebula.faults import Refusal, clean, error, parted

SAID: list[tuple[int, str, type[Error]]] = [
    (256, "[one.vmpool.info] User couldn't be authenticated, aborting call.", IaasDenied),
    (512, "[one.vm.info] User [2] : Not authorized to perform USE VM [1].", IaasDenied),
    (512, "[one.vm.allocate] User [2] : user [2] limit of 1 reached for VMS quota in VM.", IaasQuota),
    (512, "User [2] : user [2] limit of 2 reached for LEASES quota in NETWORK with ID: 0.", IaasQuota),
    (512, "[one.vm.resize] User [2] : user [2] limit of 300 reached for MEMORY quota in VM.", IaasQuota),
    (512, "[one.vm.allocate] User [2] : VM Template includes a restricted attribute FILES.", IaasDenied),
    (512, "[one.vm.action] User [0] : VM is locked. [8].", IaasBusy),
    (1024, "[one.vm.info] Error getting virtual machine [12345].", IaasMissing),
    (8192, "[one.vm.allocate] DISK 0: Image with ID: 999 does not exist", IaasMissing),
    (8192, "[one.vm.allocate] Virtual network with ID: 999 does not exist", IaasMissing),
    (8192, "DISK 0: User 0 does not own an image with name: nosuch . Set IMAGE_UNAME or IMAGE_UID.", IaasMissing),
    (8192, "User 0 does not own a network with name: nosuch . Set NETWORK_UNAME or NETWORK_UID.", IaasMissing),
    (8192, "[one.vm.allocate] Cannot get IP/MAC lease from virtual network 1.", IaasFull),
    (2048, "[one.vm.attachnic] Cannot get IP/MAC lease from virtual network 1.", IaasFull),
    (2048, "[one.image.allocate] Not enough space in datastore", IaasFull),
    (2048, "[one.vm.resize] Not enough CPU: 10000/800", IaasFull),
    (8192, "Parse error: syntax error, unexpected VARIABLE, expecting EQUAL at line 8, columns 165:169", IaasRefused),
    (8192, "[one.vm.allocate] MEMORY attribute must be a positive integer value.", IaasRefused),
    (8192, "[one.vm.allocate] DISK 0: Cannot acquire image 9, it is in state: ERROR", IaasRefused),
    (8192, "DISK 0: Cannot acquire image 1, it is persistent and already in use", IaasBusy),
    (2048, 'Error performing action "resume": This action is not available for state RUNNING', IaasBusy),
    (2048, 'Error performing action "terminate": Could not terminate VM 7, wrong state PROLOG.', IaasBusy),
    (2048, "Could not add a new NIC to VM 8, wrong state HOTPLUG_NIC.", IaasBusy),
    (2048, "Cannot delete image. There are 4 VMs using it.", IaasBusy),
    (2048, 'Action "shutdown" is not supported', Unsupported),
    (2048, "[one.vm.resize] Hotplug resize not supported by driver dummy", Unsupported),
    (16384, "Error allocating a new image. NAME is already taken by IMAGE 5.", IaasRefused),
    (-506, "Method 'one.vmpool.infoset' not defined", Unsupported),
    (-501, "Not enough parameters", IaasRefused),
    (65536, "not leader", IaasError),
    (4711, "what a later version may say", IaasRefused),
]


@pytest.mark.parametrize(("code", "text", "kind"), SAID, ids=[f"{code}-{text[-30:]}" for code, text, _ in SAID])
def test_what_it_means(code: int, text: str, kind: type[Error]) -> None:
    found = error(Refusal(method="one.vm.allocate", code=code, text=text))
    assert type(found) is kind
    assert found.details["code"] == code
    assert found.says.startswith("OpenNebula says: ")
    assert found.says[-1] == "."


@pytest.mark.parametrize(("code", "text"), [row[:2] for row in SAID if row[0] > 0 and row[0] != 4711])
def test_each_has_a_cure(code: int, text: str) -> None:
    says = error(Refusal(method="one.vm.allocate", code=code, text=text)).says
    assert len(says) > len(f"OpenNebula says: {clean(text)}") + 5


@pytest.mark.parametrize(
    ("says", "wrong", "cure"),
    [
        ("OpenNebula says: Image 9. Look at its id.", "OpenNebula says: Image 9.", "Look at its id."),
        ("OpenNebula says: who; knows.", "OpenNebula says: who; knows.", ""),
        ("there are several (3, 5); use an id.", "there are several (3, 5).", "Use an id."),
        ("It is locked. Somebody locked it; have it unlocked (onevm unlock).", "It is locked.", None),
        ("nobody knows", "nobody knows", ""),
    ],
)
def test_what_to_do_is_told_from_what_is_wrong(says: str, wrong: str, cure: str | None) -> None:
    found = parted(says)
    assert found == (wrong, "Somebody locked it; have it unlocked (onevm unlock)." if cure is None else cure)


@pytest.mark.parametrize(("kind", "command"), [("IMAGE", "oneimage chmod"), ("NET", "onevnet chmod")])
def test_a_missing_right_is_given_by_its_command(kind: str, command: str) -> None:
    text = f"[one.vm.allocate] User [2] : Not authorized to perform USE {kind} [0]."
    assert command in error(Refusal(method="one.vm.allocate", code=512, text=text)).says


def test_files_are_explained() -> None:
    text = "User [2] : VM Template includes a restricted attribute FILES."
    assert "OPENNEBULA_FILES_DS" in error(Refusal(method="one.vm.allocate", code=512, text=text)).says


EXPANSION = (
    "[one.vm.allocate] Error parsing: DISK_ID=1@^_^@PASSWORD=geheim@^_^@X=$(id). syntax error, {}"
    "unexpected EOA, expecting $end or VARIABLE or RSTRING at line 0, columns 33:34"
)


def test_the_cure_of_a_dollar_is_said() -> None:
    says = error(Refusal(method="one.vm.allocate", code=8192, text=EXPANSION.format(""))).says
    assert "START_SCRIPT_BASE64" in says
    assert "geheim" not in says


@pytest.mark.parametrize("inserted", ["", "@^_^@Y=geheim. syntax error, "])
def test_an_error_about_the_context_never_repeats_it(inserted: str) -> None:
    says = clean(EXPANSION.format(inserted))
    assert "geheim" not in says
    assert "PASSWORD" not in says
    assert says.endswith("unexpected EOA, expecting $end or VARIABLE or RSTRING at line 0, columns 33:34.")


def test_a_context_without_the_parser_s_end_is_cut_wholly() -> None:
    text = "Error parsing: PASSWORD=geheim@^_^@X=. syntax error, unexpected geheim as a value, of course"
    assert "geheim" not in clean(text)


def test_the_password_is_never_said() -> None:
    says = clean("who is conpaas:oh so\nsecret ?", "oh so\nsecret")
    assert "secret" not in says
    assert "conpaas:***" in says


def test_long_and_empty_texts() -> None:
    assert len(clean("x" * 10_000)) < 500
    assert clean("") == "no reason given."
    assert clean("[HOST] Not enough\n CPU") == "[HOST] Not enough CPU."
