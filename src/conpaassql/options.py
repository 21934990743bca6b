"""The table of every option in an INI file: the loader, the samples and the reference are read from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How the text of a value is read."""

    TEXT = "text"
    PATH = "path"  # ``~`` is the user's home; empty is no path
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "true or false"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option.

    ``default`` is the text that an absent or empty option stands for; None means that it must be
    given.  ``minimum`` and ``maximum`` bound integers and numbers, ends included.  A ``secret``
    keeps its whole line and is shown nowhere.  ``example`` stands in the sample where there is no
    default.
    """

    section: str
    key: str
    says: str
    kind: Kind = Kind.TEXT
    default: str | None = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    minimum: float = 0
    maximum: float | None = None
    secret: bool = False
    example: str = ""


def _text(section: str, key: str, says: str, default: str | None = "", *, example: str = "") -> Option:
    return Option(section=section, key=key, says=says, default=default, example=example)


def _secret(section: str, key: str, says: str) -> Option:
    return Option(section=section, key=key, says=says, secret=True)


def _path(section: str, key: str, says: str, default: str | None = "", *, example: str = "") -> Option:
    return Option(section=section, key=key, says=says, default=default, kind=Kind.PATH, example=example)


def _integer(section: str, key: str, says: str, default: str | None, *, unit: str = "", minimum: float = 0) -> Option:
    return Option(
        section=section, key=key, says=says, default=default, kind=Kind.INTEGER, unit=unit, minimum=minimum, example="1"
    )


def _port(section: str, key: str, says: str, default: str) -> Option:
    return Option(section=section, key=key, says=says, default=default, kind=Kind.INTEGER, minimum=1, maximum=65535)


def _number(section: str, key: str, says: str, default: str, *, unit: str = "", minimum: float = 0.01) -> Option:
    return Option(section=section, key=key, says=says, default=default, kind=Kind.NUMBER, unit=unit, minimum=minimum)


def _choice(section: str, key: str, says: str, *choices: str) -> Option:
    return Option(section=section, key=key, says=says, kind=Kind.CHOICE, default=choices[0], choices=choices)


_IAAS = (
    _text("iaas", "DRIVER", "Where VMs come from: LOCAL is this machine, DUMMY only pretends.", "LOCAL"),
    _text("iaas", "OPENNEBULA_URL", "OpenNebula's XML-RPC address.", example="http://10.30.1.1:2633/RPC2"),
    _text("iaas", "OPENNEBULA_USER", "OpenNebula's user name."),
    _secret("iaas", "OPENNEBULA_PASSWORD", "The user's password or login token."),
    _text("iaas", "OPENNEBULA_IMAGE_ID", "Image of the agents' VMs, unless the template section names one."),
    _text("iaas", "OPENNEBULA_SIZE_ID", "Accepted as in 2012; the size comes from CPU and MEM_SIZE."),
    _text("iaas", "OPENNEBULA_NETWORK_ID", "Network of the agents' VMs, unless the template section names one."),
    _text("iaas", "OPENNEBULA_NETWORK_GATEWAY", "Gateway of that network."),
    _text("iaas", "OPENNEBULA_NETWORK_NAMESERVER", "Name server of that network."),
    _text("iaas", "OPENNEBULA_CONTEXT_SCRIPT_MANAGER", "Accepted as in 2012 and not used, as the next."),
    _text("iaas", "OPENNEBULA_CONTEXT_SCRIPT_AGENT", "Accepted as in 2012 and not used: VMs get their script anyway."),
    _text("iaas", "OPENNEBULA_TEMPLATE_ID", "VM template to instantiate, by id or name. Empty: the one of this file."),
    _text("iaas", "OPENNEBULA_DATASTORE_ID", "Datastore for data disks, by id or name. Empty: the first for images."),
    _text("iaas", "OPENNEBULA_FILES_DS", "Images of type CONTEXT that VMs get as files, by id or name, with commas."),
    _text("iaas", "OPENNEBULA_CA_FILE", "Certificates of the authorities to trust. Empty: the usual ones."),
    _number("iaas", "OPENNEBULA_TIMEOUT_S", "Time for an answer of OpenNebula.", "30", unit="s"),
    _text(
        "iaas",
        "OPENSTACK_URL",
        "Keystone's address (version 3), with or without /v3.",
        example="https://cloud.example.org:5000/v3",
    ),
    _text("iaas", "OPENSTACK_USER", "OpenStack's user name."),
    _secret("iaas", "OPENSTACK_PASSWORD", "The user's password."),
    _text("iaas", "OPENSTACK_TENANT", "Name of the project that VMs are made in."),
    _text("iaas", "OPENSTACK_DOMAIN", "Name of the user's domain.", "Default"),
    _text("iaas", "OPENSTACK_TENANT_DOMAIN_ID", "Id of the project's domain.", "default"),
    _text("iaas", "OPENSTACK_REGION", "Region of the services. Empty: the only one."),
    _text("iaas", "OPENSTACK_NETWORK", "Network of VMs, by id or name. Empty: Nova chooses."),
    _text("iaas", "OPENSTACK_PUBLIC_NETWORK", "External network that public addresses come from, by id or name."),
    _text("iaas", "OPENSTACK_IMAGE_ID", "Image of VMs, by id or name, unless another is asked for."),
    _text("iaas", "OPENSTACK_SIZE_ID", "Flavor of VMs, by id or name. Empty: the smallest that is large enough."),
    _text("iaas", "OPENSTACK_KEY_NAME", "Key pair for logging in to VMs. Empty: none."),
    _text(
        "iaas", "OPENSTACK_SECURITY_GROUPS", "Security groups of VMs, parted by commas. Empty: the project's default."
    ),
    _text("iaas", "OPENSTACK_CA_FILE", "Authority of the services' certificates. Empty: the system's."),
    _text("iaas", "OPENSTACK_TIMEOUT_S", "Longest wait for one answer, in seconds.", "30"),
    _text("iaas", "EC2_URL", "EC2's address. Empty: Amazon's in the region.", example="https://ec2.example.org/"),
    _text("iaas", "EC2_REGION", "Region of VMs.", "us-east-1"),
    _text("iaas", "EC2_USER", "Id of the access key."),
    _secret("iaas", "EC2_PASSWORD", "The access key's secret."),
    _text("iaas", "EC2_IMAGE_ID", "Image of VMs, by id or name, unless another is asked for."),
    _text("iaas", "EC2_SIZE_ID", "Type of instances, unless another is asked for.", "t3.micro"),
    _text("iaas", "EC2_SECURITY_GROUP_NAME", "Security groups of VMs, parted by commas. Empty: the network's default."),
    _text("iaas", "EC2_KEY_NAME", "Key pair for logging in to VMs. Empty: none."),
    _text("iaas", "EC2_SUBNET_ID", "Subnet of VMs, by id or name. Empty: the region's default."),
    _text("iaas", "EC2_CA_FILE", "Authority of the service's certificate. Empty: the system's."),
    _text("iaas", "EC2_TIMEOUT_S", "Longest wait for one answer, in seconds.", "30"),
    _text("iaas", "LOCAL_ROOT", "Directory of the VMs on this machine. Empty: `local` below state_dir."),
    _text("iaas", "LOCAL_NETWORK", "Addresses for the VMs on this machine, inside 127.0.0.0/8.", "127.0.0.0/8"),
    _text("iaas", "LOCAL_INIT", "Script that boots a VM on this machine. Empty: the one that comes along."),
    _text("iaas", "DUMMY_STATE", "File that keeps the pretended cloud, for several processes. Empty: memory only."),
    _text("iaas", "DUMMY_CALL_S", "Time that each call of the pretended cloud takes, in seconds.", "0"),
    _text("iaas", "DUMMY_DELAY_S", "Time until a pretended VM runs, in seconds.", "0"),
    _text("iaas", "DUMMY_DELETE_DELAY_S", "Time until a deleted VM is gone, in seconds.", "0"),
    _text("iaas", "DUMMY_SNAPSHOT_DELAY_S", "Time until a pretended snapshot is ready, in seconds.", "0"),
    _text("iaas", "DUMMY_FAIL", "Creations that fail: a name pattern such as `*-3`, or a number n for every n-th."),
    _text("iaas", "DUMMY_FAIL_DELETE", "Deletions of VMs and snapshots that fail; as DUMMY_FAIL."),
    _text("iaas", "DUMMY_FAIL_SNAPSHOT", "Snapshots whose creation fails; as DUMMY_FAIL."),
    _text("iaas", "DUMMY_LOSE_ANSWER", "Creations that work but report a failure; as DUMMY_FAIL."),
    _text("iaas", "DUMMY_LOSE_DELETE", "Deletions that work but report a failure; as DUMMY_FAIL."),
    _text("iaas", "DUMMY_LOSE_SNAPSHOT", "Snapshots that are made but report a failure; as DUMMY_FAIL."),
)

_MANAGER = (
    _text("manager", "name", "This manager's name; its VMs carry it. Unique per cloud user.", "conpaassql"),
    _text("manager", "address", "Address to listen on.", "127.0.0.1"),
    _port("manager", "port", "Port to listen on.", "50000"),
    _path(
        "manager",
        "state_dir",
        "Store, keys and certificates. Empty: /var/lib/conpaassql for root, else ~/.local/state/conpaassql.",
    ),
    _choice("manager", "auth", "Who may call: holders of a token, or (on loopback only) everybody.", "token", "none"),
    _choice(
        "manager",
        "tls",
        "HTTPS; auto: on unless the address is a loopback address. Off is for loopback only.",
        "auto",
        "on",
        "off",
    ),
    _text("manager", "public_address", "The manager's address as agents see it. Empty: address."),
    Option(
        section="manager",
        key="find_existing_agents",
        says="At start, take over agents' VMs that carry this manager's name but are not in its store.",
        kind=Kind.FLAG,
        default="false",
    ),
    _path("manager", "logfile", "File for the log. Empty: standard error."),
    Option(
        section="manager",
        key="install_agents",
        says="Whether new VMs install the agent from this manager at their first boot, unless their image holds it.",
        kind=Kind.FLAG,
        default="true",
    ),
    _path(
        "manager",
        "packages_dir",
        "Wheels that new VMs may install besides, for clouds without internet. Empty: `packages` below state_dir.",
    ),
    _choice(
        "manager",
        "report_ready",
        "Who tells OneGate that a VM is ready: nobody, the agent when it has joined, or the image when it has booted.",
        "no",
        "agent",
        "image",
    ),
    _number("manager", "poll_agents_timer", "Time between two looks at a healthy cluster.", "2", unit="s"),
    _number(
        "manager",
        "add_nodes_deadline_s",
        "Time for new nodes, machines or a snapshot to be ready, else they are undone.",
        "900",
        unit="s",
    ),
    _number(
        "manager",
        "remove_nodes_deadline_s",
        "Time for a node's VM, a machine or its snapshots to be gone; also for undoing what failed.",
        "300",
        unit="s",
    ),
    _number("manager", "switchover_deadline_s", "Time for a planned change of the primary.", "10", unit="s"),
    _integer(
        "manager", "max_body_mib", "Largest request body; dumps have their own limit.", "16", unit="MiB", minimum=1
    ),
    _integer("manager", "max_dump_mib", "Largest dump that is loaded; 0: no limit.", "0", unit="MiB"),
    _integer("manager", "max_nodes_per_call", "Most nodes or machines that one call may ask for.", "100", minimum=1),
)

_T = "onevm_agent_template"
_TEMPLATE = (
    _path(_T, "FILENAME", "VM template of the agents. Empty: the one that comes along."),
    _text(_T, "NAME", "First part of the VMs' names.", "conpaassql-agent"),
    _number(_T, "CPU", "Share of a host's processors.", "0.2", unit="processors"),
    _integer(_T, "MEM_SIZE", "Memory.", "256", unit="MiB", minimum=64),
    _text(_T, "DISK", "More attributes of the VM's DISK."),
    _integer(_T, "DISK_SIZE", "Size of the VM's disk.", "10240", unit="MiB", minimum=256),
    _integer(
        _T,
        "DATA_DISK_SIZE",
        "Size of a disk for the node's data that outlives its VM and comes back to the next one; 0: none.",
        "0",
        unit="MiB",
    ),
    Option(
        section=_T,
        key="DIFFERENT_HOSTS",
        says="Whether the nodes of a cluster must stand on different hosts; with too few hosts nodes stay PENDING.",
        kind=Kind.FLAG,
        default="false",
    ),
    _text(_T, "OS", "The VM's OS section."),
    _text(_T, "IMAGE_ID", "The VM's image. Empty: OPENNEBULA_IMAGE_ID."),
    _text(_T, "NETWORK_ID", "The VM's network. Empty: OPENNEBULA_NETWORK_ID."),
    _text(_T, "CONTEXT", "More attributes of the VM's CONTEXT."),
    _text(_T, "USERDATA", "User data for the VM, as text or hexadecimal."),
)

MANAGER: tuple[Option, ...] = _IAAS + _MANAGER + _TEMPLATE

AGENT: tuple[Option, ...] = (
    _text("MySQL_root_connection", "location", "Accepted as in 2012 and not used: the agent runs its own server."),
    _text("MySQL_root_connection", "username", "The server's administrator.", "root"),
    _secret("MySQL_root_connection", "password", "Accepted as in 2012 and not used: the agent logs in by its socket."),
    _text("MySQL_configuration", "my_cnf_file", "Accepted as in 2012 and not used: the manager sends the options."),
    _text("MySQL_configuration", "path_mysql_ssr", "Accepted as in 2012 and not used: the agent runs its own server."),
    _integer("agent", "node", "This node's number.", None, minimum=1),
    _text("agent", "cluster", "The name of its cluster."),
    _path("agent", "root", "Directory of everything the agent keeps.", None, example="/var/lib/conpaassql/node"),
    _text("agent", "address", "Address that the agent and its server listen on.", None, example="127.1.2.3"),
    _port("agent", "port", "The agent's port.", "60000"),
    _path("agent", "template", "Prepared empty data directory. Empty: `template` beside root."),
    _text("agent", "manager_url", "Where the manager is.", None, example="https://127.0.0.1:50000"),
    _path("agent", "join_token_file", "File (mode 0600) with the token for the first visit to the manager."),
    _path("agent", "ca_file", "Certificate of the manager's authority."),
    _text("agent", "onegate_url", "OpenNebula's OneGate, to be told that this VM is ready. Empty: nobody is told."),
    _path("agent", "onegate_token_file", "File (mode 0600) with the VM's token for OneGate."),
    _text("agent", "vm_id", "The VM's number at OneGate."),
    _integer("agent", "disk_mib", "Size of the disk; 0: ask the file system.", "0", unit="MiB"),
    _integer("agent", "memory_mib", "Size of the memory; 0: ask the kernel.", "0", unit="MiB"),
)

TABLES: Mapping[str, tuple[Option, ...]] = {"manager": MANAGER, "agent": AGENT}


def _about(option: Option) -> str:
    """Return what an option is, in one line."""
    bounds = {
        Kind.CHOICE: f"one of {', '.join(option.choices)}",
        Kind.FLAG: "true or false",
        Kind.INTEGER: f"whole number from {option.minimum:g}" + (f" to {option.maximum:g}" if option.maximum else ""),
        Kind.NUMBER: f"number from {option.minimum:g}",
    }.get(option.kind, "")
    facts = [fact for fact in (bounds, option.unit, "secret" if option.secret else "") if fact]
    return option.says + (f" ({'; '.join(facts)})" if facts else "")


def sample(which: str) -> str:
    """Return the commented sample file of ``manager`` or ``agent``: every option with its default."""
    lines = [
        f"# Configuration of the conpaassql {which}: every option with its default.",
        "# Names of options may be written in any case. A change takes effect at the next start.",
    ]
    section = ""
    for option in TABLES[which]:
        if option.section != section:
            section = option.section
            lines += ["", f"[{section}]"]
        value = option.default if option.default is not None else option.example
        setting = f"{option.key} = {value}".rstrip()
        lines += [f"# {_about(option)}", setting if option.default is None else f"#{setting}"]
    return "\n".join(lines) + "\n"


_INTRODUCTION = """\
# Configuration

This page is written from the table of options. A change takes effect at the next start.

A file is an INI file in UTF-8. Names of options may be written in any case. Lines that begin with `#` or `;` are
comments; ` #` begins a comment in a value, except in a secret, which is the whole line. A backslash at the end of a
line goes on with the next. Nothing is expanded: `$` and `%` stay as they are. An empty option stands for its
default. An unknown section or option is an error, so that a slip of the pen is found at once. A driver of your own
has its options in `[iaas]`, beginning with its name.
"""


def reference() -> str:
    """Return the page on configuration, in Markdown."""
    lines = [_INTRODUCTION.rstrip()]
    section = ""
    for which, table in TABLES.items():
        lines += ["", f"## The {which}'s file (`conf/{which}.ini`)"]
        for option in table:
            if option.section != section:
                section = option.section
                lines += ["", f"### [{section}]", "", "| option | default | meaning |", "|---|---|---|"]
            default = "required" if option.default is None else f"`{option.default}`" if option.default else ""
            lines.append(f"| `{option.key}` | {default} | {_about(option)} |")
    return "\n".join(lines) + "\n"
