"""The templates that the document of 2012 prints, literally, on a core of today."""

import base64

import pytest

from conpaassql.errors import IaasRefused
from conpaassql.iaas.opennebula import template
from conpaassql.iaas.opennebula.repair import GATEWAY, NAMESERVER, repair

MANAGER = """\
NAME    = conpaassql-manager
CPU      = 0.2
MEMORY  = 512
  OS     = [
    arch = "i686",
    boot = "hd",
    root  = "hda" ]
DISK    = [
  image_id = "193", // The same as in step 4
  bus = "scsi",
  readonly = "no" ]
NIC     = [ NETWORK_ID = 205 ] // The same as in step 4
GRAPHICS = [
  type="vnc"
]
CONTEXT = [
  target=sd,
  files = /home/ales/sql/manager/conpaassql-install.sh \\
  // the same as in step 1, location (5)
]
RANK    = "- RUNNING_VMS"
"""
AGENT = """\
NAME      = conpaassql_server
CPU       = 0.2
MEMORY    = 256
  OS      = [
    arch=i686,boot = hd, root = hda
  ]
DISK      = [
  IMAGE_ID = 193,
  bus=scsi,readonly=no
]
NIC       = [ NETWORK_ID = 205 ]
GRAPHICS  = [
  type="vnc"
]
CONTEXT   = [
  vmid=$VMID,vmname=$NAME,ip_private="$NIC[IP, NETWORK=$NETWORK"]",ip_gateway="$IP_GATEWAY",netmask=\
"$NETMASK",nameserver="$NAMESERVER",target=sd,files=$AGENT_FILES
]
RANK      = "- RUNNING_VMS"
"""


def context(whole: template.Template) -> dict[str, str]:
    return template.flat(whole.vectors("CONTEXT")[0])


def test_the_manager_s_template() -> None:
    whole, notes = repair(MANAGER)
    assert whole.vectors("OS") == [(("ARCH", "i686"), ("ROOT", "hda"), ("BOOT", "disk0"))]
    assert whole.vectors("DISK") == [(("IMAGE_ID", "193"), ("BUS", "scsi"), ("READONLY", "no"))]
    assert context(whole) == {"TARGET": "sd", "FILES": "/home/ales/sql/manager/conpaassql-install.sh"}
    assert (whole.first("SCHED_RANK"), whole.has("RANK")) == ("- RUNNING_VMS", False)
    assert [note.split(":")[0] for note in notes[:4]] == ["line 9", "line 12", "line 18", "line 19"]
    assert any("OS/BOOT" in note for note in notes)


def test_the_agent_s_template() -> None:
    whole, notes = repair(AGENT, {GATEWAY: "10.30.1.1", NAMESERVER: "10.30.1.2"})
    assert context(whole) == {
        "VMID": "$VMID",
        "VMNAME": "$NAME",
        "IP_PRIVATE": "$NIC[IP]",
        "IP_GATEWAY": "10.30.1.1",
        "NETMASK": "",
        "NAMESERVER": "10.30.1.2",
        "TARGET": "sd",
    }
    assert any("quotes inside $NIC[...]" in note and note.startswith("line 16") for note in notes)


def test_what_is_repaired_needs_no_repair() -> None:
    for text in (MANAGER, AGENT):
        whole, _ = repair(text)
        again, notes = repair(whole.text())
        assert (again, notes) == (whole, ())


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ('"$NIC[IP, NETWORK="private"]"', '$NIC[IP, NETWORK="private"]'),
        ('"$NIC[IP, NETWORK=\\"private\\"]"', '$NIC[IP, NETWORK="private"]'),
        ('"$NIC[IP, NETWORK=private"]"', '$NIC[IP, NETWORK="private"]'),
        ('"$NETWORK[GATEWAY, NAME="private"]"', '$NETWORK[GATEWAY, NETWORK="private"]'),
        ('"$NETWORK[GATEWAY, NETWORK_ID=0]"', "$NETWORK[GATEWAY, NETWORK_ID=0]"),
    ],
)
def test_expressions(value: str, becomes: str) -> None:
    whole, _ = repair(f"CONTEXT = [ X = {value}, Y = 1 ]")
    assert context(whole) == {"X": becomes, "Y": "1"}


@pytest.mark.parametrize(
    ("boot", "becomes"), [("hd", "disk0"), ("hd,network", "disk0,nic0"), ("cdrom", ""), ("disk1", "disk1")]
)
def test_boot(boot: str, becomes: str) -> None:
    whole, notes = repair(f'OS = [ ARCH = "x86_64", BOOT = "{boot}" ]')
    assert template.first(whole.vectors("OS")[0], "BOOT") == becomes
    assert bool(notes) == (boot != becomes)


def test_an_os_of_nothing_but_a_wrong_boot_goes() -> None:
    whole, _ = repair("OS = [ BOOT = cdrom ]\nOS2 = [ ]\nA = 1")
    assert whole.items == (("A", "1"),)


def test_scripts_are_saved_from_expansion() -> None:
    whole, notes = repair('CONTEXT = [ START_SCRIPT = "echo $HOME", USER_DATA = "x $y" ]')
    found = context(whole)
    assert base64.b64decode(found["START_SCRIPT_BASE64"]) == b"echo $HOME"
    assert (base64.b64decode(found["USER_DATA"]), found["USERDATA_ENCODING"]) == (b"x $y", "base64")
    assert len(notes) == 2


def test_quoted_texts_are_not_touched() -> None:
    text = 'A = "x // y"\nB = "z,]"\nC = "# d \\"e\\""\nD = "back\\\nslash"\nE = http://f'
    whole, notes = repair(text)
    assert not notes
    assert [value for _, value in whole.items] == ["x // y", "z,]", '# d "e"', "back\\\nslash", "http://f"]


def test_what_cannot_be_repaired_is_refused_with_its_line() -> None:
    with pytest.raises(IaasRefused, match="line 3") as caught:
        repair("A = 1 // x\n\nB = two words\n")
    assert caught.value.details["line"] == 3
