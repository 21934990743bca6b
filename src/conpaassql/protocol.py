"""What manager and agent say to each other: one table of verbs, with request and reply types.

Transport: HTTPS with certificates of the manager's authority on both sides.  A verb is
``POST /v1/<name>`` with a JSON object of its request type; the answer is its reply type as
JSON with status 200, or ``{"code", "says", "details"}`` with the error's status.  Streams are
``GET`` or ``POST /v1/<name>`` with raw bytes and the request in the query string.

Every verb can be repeated without harm.  An order carries the cluster's ``term``; an agent
remembers the highest it has seen and refuses a lower one, or a late one, with ``stale-term``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from conpaassql.model import Address

AGENT_PORT = 60000
MYSQL_PORT = 3306
REPLICA_ACCOUNT_PREFIX = "conpaassql_repl_"  # followed by the number of the node that it lets in


class Data(StrEnum):
    """What the agent's data directory holds."""

    EMPTY = "empty"  # nothing: may be initialised or cloned into
    COPYING = "copying"  # a clone is on its way; the directory itself is still absent
    READY = "ready"  # a database that this agent made or copied
    FOREIGN = "foreign"  # files that this agent did not make: never touched


class Server(StrEnum):
    """What mysqld does."""

    STOPPED = "stopped"
    RUNNING = "running"  # the process lives and answers
    SILENT = "silent"  # the process lives and does not answer (starting or hung)


class TaskState(StrEnum):
    """Where a long piece of work stands; the last two are final."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Long work inside the agent: it survives the manager and reports itself as a fact.

    ``done_bytes`` of ``total_bytes`` (0: not known).  ``phase`` is one word.  ``says`` tells
    why it failed, or what it found.
    """

    kind: str
    state: TaskState
    phase: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFacts:
    """How a replica follows its source.

    ``received`` and ``executed`` positions are GTID sets as text.  ``lag_s`` is None where the
    server cannot say (the receiver is not connected).
    """

    source: Address
    receiving: bool
    applying: bool
    received: str
    lag_s: float | None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Running totals since the server started, without the agent's own statements."""

    statements: int
    errors: int
    busy_s: float
    bytes_in: int
    bytes_out: int
    uptime_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What mysqld says of itself."""

    version: str
    server_id: int
    read_only: bool
    executed: str  # GTID set: everything that this server has applied or written itself
    replica: ReplicaFacts | None
    acknowledging: bool  # as a replica, confirms what it receives (semi-synchronous)
    waiting: bool  # as a primary, waits for a confirmation before a commit counts
    acknowledgers: int  # replicas connected now that confirm
    connections: int  # of users, without the agent's own and replication's
    counters: Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaAccount:
    """The account by which one node reads another's binary log.  The password never leaves the node."""

    name: str
    password_hash: str
    subject: str  # of the client certificate that the account requires


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """One look at a node, from inside."""

    node: int
    version: str
    term: int
    data: Data
    server: Server
    mysqld: ServerFacts | None
    task: Task | None
    account: ReplicaAccount | None
    disk_total_bytes: int
    disk_free_bytes: int
    restarts: int  # times that the agent had to start a mysqld that died
    verified: str = ""  # "equal", "different" or "": how the last comparison with a source ended
    says: str = ""  # the last thing that went wrong, for people


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another node of the cluster."""

    node: int
    host: str
    agent_port: int = AGENT_PORT
    mysql_port: int = MYSQL_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order without parameters.  ``term`` is the cluster's.

    ``number`` rises with each order about roles: one that arrives after a later one, because it
    was held up on its way, is refused.  0 is an order whose place in the row does not matter.
    """

    term: int
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup(Order):
    """``my_cnf`` is the server's option file; ``@ROOT@`` and ``@ADDRESS@`` in it are the agent's to fill in."""

    my_cnf: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone(Setup):
    """Copy a database from ``source``, whose agent streams it."""

    source: Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow(Order):
    """Replicate from ``source``; ``acknowledge`` says whether to confirm what is received."""

    source: Peer
    acknowledge: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(Order):
    """Take writes.  ``wait`` says whether a commit waits for a replica's confirmation."""

    wait: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Order):
    """Refuse writes and cut the users' connections.  Running writes get ``timeout_s`` to end."""

    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SemiSync(Order):
    """Change who waits and who confirms, without touching replication otherwise."""

    wait: bool
    acknowledge: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant(Order):
    """Let the node that owns ``account`` replicate (asked of the primary)."""

    account: ReplicaAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoke(Order):
    """Remove a replica account by name; absent is fine."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify(Order):
    """Compare every table with ``source`` at one common position."""

    source: Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of the database as tenants see it."""

    username: str
    host: str
    databases: tuple[str, ...] = ()  # empty: every database of the tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class PutUser(Order):
    """Create a user or change its password and rights.  No administrative right is ever given."""

    username: str
    password: str = field(repr=False)
    host: str = "%"
    databases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DropUser(Order):
    """Remove a user at every host."""

    username: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPassword(Order):
    """Change the password of an existing user at every host."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database(Order):
    """One database by name."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOptions(Order):
    """Change dynamic server options at once; the option file is the manager's business."""

    options: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """How much of a log's end is wanted."""

    lines: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Text, for people."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """The users of the tenant."""

    users: tuple[Account, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """The databases of the tenant."""

    databases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Everything that a server has executed, as a GTID set."""

    executed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    """Nothing to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where a source's snapshot stands: as a GTID set, and in its own binary log."""

    executed: str
    log_file: str
    log_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDigest:
    """One table's checksum, or ``note``: why there is none that could be compared."""

    table: str
    checksum: str = ""
    note: str = ""


class Caller(StrEnum):
    """Whose certificate a verb takes."""

    MANAGER = "manager"
    NODE = "node"  # another node of the same cluster


class Shape(StrEnum):
    """How a verb's bytes travel."""

    CALL = "call"  # JSON in, JSON out
    DOWNLOAD = "download"  # query in, raw bytes out
    UPLOAD = "upload"  # query and raw bytes in, JSON out


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing an agent can do."""

    name: str
    says: str
    request: type
    reply: type = Empty
    caller: Caller = Caller.MANAGER
    shape: Shape = Shape.CALL
    timeout_s: float = 10.0  # the caller's patience; for streams: without a byte moving


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """Which databases to dump; none named: all of the tenant."""

    databases: tuple[str, ...] = ()


VERBS: tuple[Verb, ...] = (
    Verb(name="facts", says="Look at the node.", request=Empty, reply=AgentFacts, timeout_s=2.0),
    Verb(name="initialise", says="Make an empty database and start it.", request=Setup, timeout_s=60.0),
    Verb(name="clone", says="Copy a database from another node (a task).", request=Clone),
    Verb(name="start", says="Start mysqld, read-only.", request=Setup, timeout_s=60.0),
    Verb(name="stop", says="Stop mysqld.", request=Order, timeout_s=60.0),
    Verb(name="restart", says="Stop and start mysqld.", request=Setup, timeout_s=120.0),
    Verb(name="follow", says="Replicate from a source.", request=Follow),
    Verb(name="open", says="Take writes.", request=Open, reply=Position),
    Verb(name="close", says="Refuse writes.", request=Close, reply=Position),
    Verb(name="semi_sync", says="Say who waits and who confirms.", request=SemiSync),
    Verb(name="grant", says="Let a node replicate.", request=Grant),
    Verb(name="revoke", says="Let a node replicate no longer.", request=Revoke),
    Verb(name="verify", says="Compare with a source (a task).", request=Verify),
    Verb(name="put_user", says="Create or change a user.", request=PutUser),
    Verb(name="drop_user", says="Remove a user.", request=DropUser),
    Verb(name="set_password", says="Change a user's password.", request=SetPassword),
    Verb(name="users", says="List the users.", request=Empty, reply=Users),
    Verb(name="create_database", says="Create a database.", request=Database),
    Verb(name="drop_database", says="Remove a database.", request=Database, timeout_s=60.0),
    Verb(name="databases", says="List the databases.", request=Empty, reply=Databases),
    Verb(name="set_options", says="Change server options.", request=SetOptions),
    Verb(name="log", says="The end of the server's and the agent's log.", request=Lines, reply=Text),
    Verb(name="dump", says="Dump databases as SQL.", request=Dump, shape=Shape.DOWNLOAD, timeout_s=60.0),
    Verb(name="load", says="Run a dump.", request=Order, shape=Shape.UPLOAD, timeout_s=600.0),
    Verb(
        name="copy",
        says="Stream a physical copy.",
        request=Empty,
        caller=Caller.NODE,
        shape=Shape.DOWNLOAD,
        timeout_s=30.0,
    ),
    Verb(
        name="digest",
        says="Checksum all tables in one snapshot: lines of JSON, a Snapshot and then a TableDigest each.",
        request=Empty,
        caller=Caller.NODE,
        shape=Shape.DOWNLOAD,
        timeout_s=3600.0,
    ),
)

BY_NAME: Mapping[str, Verb] = {verb.name: verb for verb in VERBS}
