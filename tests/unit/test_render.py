"""Templates: ours, the one of 2012, and broken ones."""

from pathlib import Path

import pytest

from conpaassql import render
from conpaassql.errors import ConfigError
from conpaassql.settings import Template, parse_manager

SEED = """\
NAME      = $NAME
CPU       = $CPU
MEMORY    = $MEM_SIZE
  OS      = [
    $OS
  ]
DISK      = [
  IMAGE_ID = ${IMAGE_ID},
  $DISK
]
NIC       = [ NETWORK_ID = $NETWORK_ID ]
CONTEXT   = [
  ip = "$NIC[IP, NETWORK=\\"x\\"]", vm = $VMID, user = "$USER[NAME]", ns = $NAMESERVER,
  $CONTEXT
]
RANK      = "- RUNNING_VMS"
"""


def section(text: str = "") -> Template:
    return parse_manager(f"[onevm_agent_template]\n{text}").template


def own(tmp_path: Path, text: str) -> Template:
    (tmp_path / "t").write_text(text)
    return section(f"FILENAME = {tmp_path / 't'}\nOS = boot=hd\nCONTEXT = vmname=$NAME,x={{{{ CPU }}}},y=$CPU")


def test_the_template_of_2012(tmp_path: Path) -> None:
    template = own(tmp_path, SEED)
    text = render.vm_template(template, {"NAME": "agent-7", "IMAGE_ID": "193"})
    assert "NAME      = agent-7\nCPU       = 0.2\nMEMORY    = 256\n" in text
    assert "IMAGE_ID = 193," in text
    assert '"$NIC[IP, NETWORK=\\"x\\"]", vm = $VMID, user = "$USER[NAME]", ns = $NAMESERVER,' in text
    assert "boot=hd" in text


def test_what_is_filled_in_is_not_looked_at_again(tmp_path: Path) -> None:
    text = render.vm_template(own(tmp_path, SEED), {"NAME": "{{ CPU }} $CPU {% if"})
    assert "NAME      = {{ CPU }} $CPU {% if\n" in text
    assert "vmname=$NAME,x={{ CPU }},y=$CPU" in text


def test_ours_without_and_with_everything() -> None:
    bare = render.vm_template(section(), {"NAME": "a"})
    assert "DISK" not in bare
    assert 'MEMORY   = "256"' in bare
    full = section("IMAGE_ID=193\nNETWORK_ID=private\nOS=ARCH=x86_64\nDISK=DEV_PREFIX=vd\nCONTEXT=A=1\nUSERDATA=00ff")
    text = render.vm_template(full, {"NAME": "a"})
    assert 'IMAGE_ID = "193"' in text
    assert 'NETWORK = "private"' in text
    assert 'USER_DATA = "00ff"' in text


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a\n{{ NOBODY }}\n", 2, "NOBODY"),
        ("a\nb\n{% if %}\n", 3, "line 3"),
        ("{{ NAME + 1 }}\n", 1, "line 1"),
    ],
)
def test_a_broken_template_is_named_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        render.vm_template(own(tmp_path, text), {"NAME": "a"})
    assert caught.value.details == {"file": str(tmp_path / "t"), "line": line}


def test_a_template_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        render.vm_template(section(f"FILENAME = {tmp_path}/absent"), {"NAME": "a"})


def test_my_cnf_has_the_server_and_its_options() -> None:
    text = render.my_cnf(256, 7, 3, {"max_connections": "12"})
    assert "server_id = 7\n" in text
    assert "gtid_domain_id = 3\n" in text
    assert "max_connections = 12\n" in text
    assert "@ROOT@" in text
