"""INI files: what is accepted, what is refused, and in which words."""

import os
from pathlib import Path

import pytest

from conpaassql import options, settings
from conpaassql.errors import ConfigError
from conpaassql.iaas import modules
from conpaassql.model import Flavor
from conpaassql.settings import parse_agent, parse_manager

TOP = Path(__file__).parents[2]

SEED = r"""
[iaas]
DRIVER=OPENNEBULA_XMLRPC
OPENNEBULA_URL=$ONE_URL
OPENNEBULA_USER=$ONE_USERNAME
OPENNEBULA_PASSWORD=$ONE_PASSWORD
OPENNEBULA_IMAGE_ID = $AGENT_IMAGE_ID
OPENNEBULA_SIZE_ID = 1

OPENNEBULA_NETWORK_ID = $AGENT_NETWORK_ID
OPENNEBULA_NETWORK_GATEWAY=$IP_GATEWAY
OPENNEBULA_NETWORK_NAMESERVER=$NAMESERVER

[manager]
find_existing_agents = true

[onevm_agent_template]
FILENAME=/root/conpaassql/bin/agent.template
NAME=conpaassql_server
CPU=0.2
MEM_SIZE=256
DISK=bus=scsi,readonly=no
OS=arch=i686,boot = hd, root = hda
IMAGE_ID=$AGENT_IMAGE_ID
NETWORK_ID=$AGENT_NETWORK_ID
CONTEXT=vmid=$VMID,vmname=$NAME,ip_private="$NIC[IP, \
NETWORK=$NETWORK"]",ip_gateway="$IP_GATEWAY",netmask=\
"$NETMASK",nameserver="$NAMESERVER",target=sd,files=\
$AGENT_FILES
"""

AGENT = "[agent]\nnode = 3\nroot = /x/disk\naddress = 127.1.2.3\nmanager_url = https://127.0.0.1:50000\n"


def test_the_file_of_2012_loads_unchanged() -> None:
    got = parse_manager(SEED)
    assert got.iaas.driver == "OPENNEBULA_XMLRPC"
    assert got.iaas.options["OPENNEBULA_PASSWORD"] == "$ONE_PASSWORD"
    assert got.iaas.options["OPENNEBULA_SIZE_ID"] == "1"
    assert got.manager.find_existing_agents
    assert got.template.filename == Path("/root/conpaassql/bin/agent.template")
    assert got.template.os == "arch=i686,boot = hd, root = hda"
    assert got.template.context == (
        'vmid=$VMID,vmname=$NAME,ip_private="$NIC[IP, NETWORK=$NETWORK"]",ip_gateway="$IP_GATEWAY",'
        'netmask="$NETMASK",nameserver="$NAMESERVER",target=sd,files=$AGENT_FILES'
    )
    assert got.template.flavor == Flavor(cpu=0.2, memory_mib=256, disk_mib=10240)


def test_the_samples_are_the_tables() -> None:
    for which in options.TABLES:
        assert (TOP / "conf" / f"{which}.ini").read_text() == settings.sample(which)
    assert (TOP / "docs" / "configuration.md").read_text() == settings.reference()


def test_the_samples_load_and_say_the_defaults() -> None:
    assert settings.load_manager(TOP / "conf" / "manager.ini") == parse_manager("")
    assert settings.load_agent(TOP / "conf" / "agent.ini").port == 60000
    uncommented = settings.sample("manager").replace("\n#", "\n;").replace("\n;", "\n")
    options_only = "\n".join(line for line in uncommented.splitlines() if "=" in line or line.startswith("["))
    assert parse_manager(options_only).manager == parse_manager("").manager


@pytest.mark.parametrize("module", [module for module in modules() if module.__name__.startswith("conpaassql.")])
def test_every_option_of_a_driver_is_in_the_table(module: object) -> None:
    known = {option.key: option.default for option in options.MANAGER if option.section == "iaas"}
    assert module.OPTIONS.items() <= known.items()


def test_every_row_has_a_field() -> None:
    got = parse_manager("")
    for section, value in (("manager", got.manager), ("onevm_agent_template", got.template)):
        keys = {option.key.lower() for option in options.MANAGER if option.section == section}
        assert keys == set(value.__dataclass_fields__)


def test_defaults_that_follow_from_others() -> None:
    got = parse_manager("[manager]\nstate_dir = /srv/c\naddress = 10.0.0.7\n[iaas]\nOPENNEBULA_IMAGE_ID = 193\n")
    assert got.manager.public_address == "10.0.0.7"
    assert got.manager.use_tls
    assert got.manager.public_url == "https://10.0.0.7:50000"
    assert got.iaas.options["LOCAL_ROOT"] == "/srv/c/local"
    assert got.template.image_id == "193"
    assert not parse_manager("").manager.use_tls
    assert parse_manager("[manager]\naddress = ::1\n").manager.public_url == "http://[::1]:50000"


def test_the_state_directory_depends_on_who_runs_the_manager() -> None:
    expected = "/var/lib/conpaassql" if os.geteuid() == 0 else os.path.expanduser("~/.local/state/conpaassql")
    assert parse_manager("").manager.state_dir == Path(expected)


def test_comments_and_indents() -> None:
    got = parse_manager(
        "\ufeff# one\n; two\n[iaas] \n  OPENNEBULA_URL=http://h:2633/RPC2 # your installation\n"
        "OpenNebula_Password = a # b ; c\\\n\topennebula_user = me#too\n".lstrip("\ufeff")
    )
    assert got.iaas.options["OPENNEBULA_URL"] == "http://h:2633/RPC2"
    assert got.iaas.options["OPENNEBULA_PASSWORD"] == "a # b ; c\\"
    assert got.iaas.options["OPENNEBULA_USER"] == "me#too"


def test_a_comment_goes_on_to_no_other_line() -> None:
    assert parse_manager("[manager]\n# port = 1 \\\nport = 7\n").manager.port == 7


def test_an_installed_driver_may_have_options_of_its_own() -> None:
    assert parse_manager("[iaas]\nDRIVER=proxmox\nPROXMOX_URL=u\n").iaas.options["PROXMOX_URL"] == "u"


@pytest.mark.parametrize(
    ("text", "section", "key", "says"),
    [
        ("[manger]\n", "manger", None, "perhaps manager is meant"),
        ("[iaas]\nOPENNEBULA_IMGE_ID = 1\n", "iaas", "opennebula_imge_id", "perhaps OPENNEBULA_IMAGE_ID is meant"),
        ("[iaas]\nnonsense = 1\n", "iaas", "nonsense", "no such option; use one of DRIVER"),
        ("[manager]\nport = 70000\n", "manager", "port", "at most 65535"),
        ("[manager]\nport = many\n", "manager", "port", "is not a whole number"),
        ("[manager]\npoll_agents_timer = nan\n", "manager", "poll_agents_timer", "out of range"),
        ("[manager]\nadd_nodes_deadline_s = inf\n", "manager", "add_nodes_deadline_s", "out of range"),
        ("[manager]\nfind_existing_agents = maybe\n", "manager", "find_existing_agents", "neither true nor false"),
        ("[manager]\nauth = nobody\n", "manager", "auth", "use one of token, none"),
        ("[manager]\nauth = none\naddress = 0.0.0.0\n", "manager", "auth", "none is refused on 0.0.0.0"),
        ("[manager]\nlogfile = ~nobody-at-all/x\n", "manager", "logfile", "there is no user"),
        ("[DEFAULT]\nport = 1\n", "DEFAULT", None, "no such section"),
    ],
)
def test_what_is_refused(text: str, section: str, key: str | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse_manager(text, "m.ini")
    assert caught.value.says.startswith("m.ini: ")
    assert caught.value.details["section"] == section
    assert caught.value.details.get("key") == key


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("password = geheim\n", "line 1: stands before the first section"),
        ("[iaas]\n\ngeheim\n", "line 3: is neither"),
        ("[manager]\nport=1\nport=2\n", r"line 3: \[manager\] port stands here a second time"),
        ("[manager]\n[iaas]\n[manager]\n", r"line 3: \[manager\] stands here a second time"),
        ("[onevm_agent_template]\nOS=a\\\nb\ngeheim\n", "line 4: is neither"),
    ],
)
def test_what_is_no_ini_file_is_named_by_its_line_but_not_quoted(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse_manager(text)
    assert "geheim" not in caught.value.says


def test_secrets_are_in_no_representation() -> None:
    assert "geheim" not in repr(parse_manager("[iaas]\nOPENNEBULA_PASSWORD = geheim\n"))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.ini: cannot be read"):
        settings.load_manager(tmp_path / "absent.ini")
    (tmp_path / "latin.ini").write_bytes(b"[manager]\nname = caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        settings.load_manager(tmp_path / "latin.ini")


def test_the_agent_of_2012_is_understood_and_told() -> None:
    got = parse_agent(
        "[MySQL_root_connection]\nlocation=\npassword=contrail\nusername=root\n"
        "[MySQL_configuration]\nmy_cnf_file=/etc/mysql/my.cnf\npath_mysql_ssr=/etc/init.d/mysql\n" + AGENT
    )
    assert got.superuser == "root"
    assert len(got.notes) == 3
    assert not any("contrail" in note for note in got.notes)


def test_an_agent_needs_to_know_who_it_is() -> None:
    assert parse_agent(AGENT).template == Path("/x/template")
    assert parse_agent(AGENT).join_token_file is None
    with pytest.raises(ConfigError, match=r"\[agent\] node: is missing; this node's number"):
        parse_agent("")
