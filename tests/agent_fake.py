"""Pretend agents: the verbs of ``protocol`` on a few values in memory, without processes or sockets.

A host is an address of the pretended cloud.  Replicas copy their source at each look.  A host can
be cut off, as by a pulled cable; what it holds stays.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from conpaassql import protocol
from conpaassql.errors import AgentError, Conflict, Forbidden, Invalid, NotFound, StaleTerm
from conpaassql.model import Address
from conpaassql.pki import Identity
from conpaassql.protocol import Account, AgentFacts, Data, Empty, Server, Task, TaskState

CLONE_LOOKS = 2  # looks that a clone takes
TOTAL_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Content:
    """What a database holds, and how it came about.  ``loaded_bytes`` is the size of all dumps."""

    executed: str = ""
    written: int = 0
    users: tuple[Account, ...] = ()
    passwords: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    databases: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    loaded_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class PretendAgent:
    """One host."""

    node: int
    cluster: str
    term: int = 0
    data: Data = Data.EMPTY
    server: Server = Server.STOPPED
    read_only: bool = True
    wait: bool = False
    acknowledge: bool = False
    source: str | None = None
    server_id: int = 0
    content: Content = Content()
    options: tuple[tuple[str, str], ...] = ()
    task: Task | None = None
    task_looks: int = 0
    verified: str = ""
    statements: int = 0
    errors: int = 0
    uptime_s: float = 0.0


Answer = Callable[[PretendAgent, Any], object]


class PretendAgents:
    """Implements ``manager.agents.Agents``.  ``cut`` holds the addresses that do not answer."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._hosts: dict[str, PretendAgent] = {}
        self.cut: set[str] = set()
        self.breaks_after: int | None = None  # databases after which a dump breaks off
        self.padding_mib = 0  # how much longer every dump is
        self.answers: Mapping[str, Answer] = {
            "initialise": self._initialise,
            "clone": self._clone,
            "start": self._start,
            "restart": self._start,
            "stop": self._stop,
            "follow": self._follow,
            "open": self._open,
            "close": self._close,
            "semi_sync": self._semi_sync,
            "grant": self._grant,
            "revoke": self._revoke,
            "verify": self._verify,
            "put_user": self._put_user,
            "drop_user": self._drop_user,
            "set_password": self._set_password,
            "users": lambda agent, _: protocol.Users(users=agent.content.users),
            "create_database": self._create_database,
            "drop_database": self._drop_database,
            "databases": lambda agent, _: protocol.Databases(databases=agent.content.databases),
            "set_options": self._set_options,
            "log": lambda agent, _: protocol.Text(text=f"node {agent.node} is ready\n"),
        }

    def boot(self, host: str, node: int, cluster: str) -> None:
        """A VM has come up: its agent answers from now on."""
        with self._lock:
            self._hosts.setdefault(host, PretendAgent(node=node, cluster=cluster))

    def remove(self, host: str) -> None:
        """The VM is gone, with its data."""
        with self._lock:
            self._hosts.pop(host, None)

    def agent(self, host: str) -> PretendAgent:
        """Return the host's agent, for tests to look at and to spoil."""
        return self._hosts[host]

    def state(self) -> str:
        """Return everything that orders can change, for comparison."""
        with self._lock:
            return repr({host: replace(agent, uptime_s=0.0, task_looks=0) for host, agent in self._hosts.items()})

    def call(self, host: str, verb: str, request: object) -> Any:
        """See ``Agents``."""
        with self._lock:
            agent = self._reach(host)
            if verb == "facts":
                return self._facts(agent)
            if isinstance(request, protocol.Order):
                _accept(agent, request.term)
            return self.answers[verb](agent, request)

    def facts(self, hosts: Mapping[int, str]) -> Mapping[int, AgentFacts]:
        """See ``Agents``."""
        with self._lock:
            there = {node: host for node, host in hosts.items() if host in self._hosts and host not in self.cut}
            return {node: self._facts(self._hosts[host]) for node, host in there.items()}

    def download(self, host: str, verb: str, request: object) -> Iterator[bytes]:
        """See ``Agents``; a dump is a line for each database."""
        assert verb == "dump" and isinstance(request, protocol.Dump)
        with self._lock:
            content = self._reach(host).content
        if unknown := set(request.databases) - set(content.databases):
            raise NotFound(f"There is no database {min(unknown)!r}.", database=min(unknown))
        for count, name in enumerate(request.databases or content.databases):
            if count == self.breaks_after:
                raise AgentError(f"The agent at {host} broke off.", host=host)
            yield f"CREATE DATABASE `{name}`;\n".encode()
        for _ in range(self.padding_mib):
            yield b"-" * (1 << 20)

    def upload(self, host: str, verb: str, request: object, chunks: Iterable[bytes]) -> Any:
        """See ``Agents``; what is loaded is counted and let go, except databases made in it."""
        assert verb == "load" and isinstance(request, protocol.Order)
        with self._lock:
            agent = self._reach(host)
            _accept(agent, request.term)
            _expect_open(agent)
        size, head = 0, b""
        for chunk in chunks:
            size += len(chunk)
            head = head or chunk[:4096]
        made = tuple(name.decode() for name in re.findall(rb"CREATE DATABASE `([^`]*)`;", head))
        with self._lock:
            kept = agent.content
            databases = tuple(sorted({*kept.databases, *made}))
            _write(agent, databases=databases, loaded_bytes=kept.loaded_bytes + size)
        return Empty()

    def close(self) -> None:
        """See ``Agents``."""

    def _reach(self, host: str) -> PretendAgent:
        if host in self.cut or host not in self._hosts:
            raise AgentError(f"The agent at {host} does not answer: no route to host.", host=host)
        return self._hosts[host]

    # --- looking

    def _facts(self, agent: PretendAgent) -> AgentFacts:
        agent.uptime_s += 1
        self._advance(agent)
        name = f"conpaassql_repl_{agent.node}"
        subject = Identity(cluster=agent.cluster, node=agent.node).subject
        return AgentFacts(
            node=agent.node,
            version="0",
            term=agent.term,
            data=agent.data,
            server=agent.server,
            mysqld=self._server(agent) if agent.server is Server.RUNNING else None,
            task=agent.task,
            account=protocol.ReplicaAccount(name=name, password_hash="*0", subject=subject),
            disk_total_bytes=TOTAL_BYTES,
            disk_free_bytes=TOTAL_BYTES // 2,
            restarts=0,
            verified=agent.verified,
        )

    def _advance(self, agent: PretendAgent) -> None:
        """Long work goes on with each look, and so does replication."""
        if agent.task and agent.task.state is TaskState.RUNNING:
            agent.task_looks -= 1
            if agent.task_looks <= 0:
                self._finish(agent, agent.task)
        source = self._source(agent)
        if source and agent.server is Server.RUNNING:
            agent.content = source.content

    def _finish(self, agent: PretendAgent, task: Task) -> None:
        agent.task = replace(task, state=TaskState.DONE, done_bytes=task.total_bytes)
        if task.kind == "clone":
            agent.data, agent.server = Data.READY, Server.RUNNING
        else:
            agent.verified = "equal"

    def _source(self, agent: PretendAgent) -> PretendAgent | None:
        if agent.source is None or agent.source in self.cut:
            return None
        found = self._hosts.get(agent.source)
        granted = found is not None and f"conpaassql_repl_{agent.node}" in found.content.grants
        return found if found and found.server is Server.RUNNING and granted else None

    def _server(self, agent: PretendAgent) -> protocol.ServerFacts:
        mine = next(host for host, other in self._hosts.items() if other is agent)
        confirming = [a for a in self._hosts.values() if a.source == mine and a.acknowledge]
        return protocol.ServerFacts(
            version="10.11.0-MariaDB",
            server_id=agent.server_id,
            read_only=agent.read_only,
            executed=agent.content.executed,
            replica=self._replica(agent),
            acknowledging=agent.acknowledge,
            waiting=agent.wait,
            acknowledgers=len(confirming),
            connections=0,
            counters=protocol.Counters(
                statements=agent.statements,
                errors=agent.errors,
                busy_s=agent.statements / 1000,
                bytes_in=100 * agent.statements,
                bytes_out=200 * agent.statements,
                uptime_s=agent.uptime_s,
            ),
        )

    def _replica(self, agent: PretendAgent) -> protocol.ReplicaFacts | None:
        if agent.source is None:
            return None
        attached = self._source(agent) is not None
        return protocol.ReplicaFacts(
            source=Address(host=agent.source, port=protocol.MYSQL_PORT),
            receiving=attached,
            applying=True,
            received=agent.content.executed,
            lag_s=0.0 if attached else None,
        )

    # --- servers and their data

    def _initialise(self, agent: PretendAgent, request: protocol.Setup) -> Empty:
        if agent.data is Data.FOREIGN:
            raise Conflict("The data directory holds files of somebody else.")
        agent.data = Data.READY
        return self._start(agent, request)

    def _start(self, agent: PretendAgent, request: protocol.Setup) -> Empty:
        agent.server_id = _server_id(request.my_cnf)
        agent.server, agent.read_only = Server.RUNNING, True
        return Empty()

    def _stop(self, agent: PretendAgent, _request: protocol.Order) -> Empty:
        agent.server, agent.read_only = Server.STOPPED, True
        agent.acknowledge = agent.wait = False
        return Empty()

    def _clone(self, agent: PretendAgent, request: protocol.Clone) -> Empty:
        if agent.data is Data.EMPTY:
            agent.content = self._reach(request.source.host).content
            agent.server_id = _server_id(request.my_cnf)
            agent.data, agent.task_looks = Data.COPYING, CLONE_LOOKS
            agent.task = Task(kind="clone", state=TaskState.RUNNING, phase="copying", total_bytes=1000, done_bytes=500)
        return Empty()

    def _verify(self, agent: PretendAgent, _request: protocol.Verify) -> Empty:
        agent.task, agent.task_looks = Task(kind="verify", state=TaskState.RUNNING), 1
        return Empty()

    # --- replication

    def _follow(self, agent: PretendAgent, request: protocol.Follow) -> Empty:
        agent.source, agent.acknowledge = request.source.host, request.acknowledge
        agent.read_only, agent.wait = True, False
        return Empty()

    def _open(self, agent: PretendAgent, request: protocol.Open) -> protocol.Position:
        if agent.server is not Server.RUNNING:
            raise Conflict("The server does not run.")
        agent.read_only, agent.wait = False, request.wait
        agent.source, agent.acknowledge = None, False
        return protocol.Position(executed=agent.content.executed)

    def _close(self, agent: PretendAgent, _request: protocol.Close) -> protocol.Position:
        agent.read_only = True
        return protocol.Position(executed=agent.content.executed)

    def _semi_sync(self, agent: PretendAgent, request: protocol.SemiSync) -> Empty:
        agent.wait, agent.acknowledge = request.wait, request.acknowledge
        return Empty()

    def _grant(self, agent: PretendAgent, request: protocol.Grant) -> Empty:
        if request.account.name not in agent.content.grants:
            _write(agent, grants=(*agent.content.grants, request.account.name))
        return Empty()

    def _revoke(self, agent: PretendAgent, request: protocol.Revoke) -> Empty:
        _write(agent, grants=tuple(name for name in agent.content.grants if name != request.name))
        return Empty()

    # --- tenants

    def _put_user(self, agent: PretendAgent, request: protocol.PutUser) -> Empty:
        _expect_open(agent)
        _check_user(request.username)
        _check_password(request.password)
        if not re.fullmatch(r"[A-Za-z0-9._:/%-]{1,255}", request.host):
            raise Invalid(f"{request.host!r} is not a host.")
        if unknown := set(request.databases) - set(agent.content.databases):
            raise NotFound(f"There is no database {min(unknown)!r}.", database=min(unknown))
        new = Account(username=request.username, host=request.host, databases=request.databases)
        users = {(user.username, user.host): user for user in agent.content.users}
        users[new.username, new.host] = new
        passwords = {**dict(agent.content.passwords), request.username: request.password}
        _write(agent, users=tuple(users.values()), passwords=tuple(passwords.items()))
        return Empty()

    def _drop_user(self, agent: PretendAgent, request: protocol.DropUser) -> Empty:
        _expect_open(agent)
        _check_user(request.username)
        _write(agent, users=tuple(user for user in agent.content.users if user.username != request.username))
        return Empty()

    def _set_password(self, agent: PretendAgent, request: protocol.SetPassword) -> Empty:
        _expect_open(agent)
        _check_user(request.username)
        _check_password(request.password)
        if request.username not in {user.username for user in agent.content.users}:
            raise NotFound(f"There is no user {request.username!r}.", username=request.username)
        passwords = {**dict(agent.content.passwords), request.username: request.password}
        _write(agent, passwords=tuple(passwords.items()))
        return Empty()

    def _create_database(self, agent: PretendAgent, request: protocol.Database) -> Empty:
        _expect_open(agent)
        _check_text("database name", request.name, 64)
        _write(agent, databases=tuple(sorted({*agent.content.databases, request.name})))
        return Empty()

    def _drop_database(self, agent: PretendAgent, request: protocol.Database) -> Empty:
        _expect_open(agent)
        _check_text("database name", request.name, 64)
        _write(agent, databases=tuple(name for name in agent.content.databases if name != request.name))
        return Empty()

    def _set_options(self, agent: PretendAgent, request: protocol.SetOptions) -> Empty:
        for name in request.options:
            if not re.fullmatch(r"[A-Za-z0-9_]+", name):
                raise Invalid(f"There is no option {name!r} for the whole server.", option=name)
        agent.options = tuple({**dict(agent.options), **request.options}.items())
        return Empty()


def _accept(agent: PretendAgent, term: int) -> None:
    if term < agent.term:
        says = f"This order is of term {term}, and the node knows term {agent.term}."
        raise StaleTerm(says, term=term, known=agent.term)
    agent.term = term


def _expect_open(agent: PretendAgent) -> None:
    if agent.server is not Server.RUNNING or agent.read_only:
        raise Conflict("This node is not the primary.")


def _write(agent: PretendAgent, **changes: Any) -> None:
    """One more transaction."""
    number = agent.content.written + 1
    agent.content = replace(agent.content, written=number, executed=f"0-{agent.server_id}-{number}", **changes)
    agent.statements += 10


def _server_id(my_cnf: str) -> int:
    found = re.search(r"^server_id\s*=\s*(\d+)", my_cnf, re.MULTILINE)
    assert found, "the option file names no server_id"
    return int(found.group(1))


def _check_user(name: str) -> None:
    """As ``agent.accounts`` does."""
    _check_text("user name", name, 80)
    if "'" in name or "\\" in name:
        raise Invalid(f"The user name {name!r} holds a quote or a backslash.")
    if name == "root" or name.startswith("conpaassql_"):
        raise Forbidden(f"The user {name!r} is the server's own.", username=name)


def _check_password(password: str) -> None:
    if not password:
        raise Invalid("An empty password would let everybody in.")


def _check_text(what: str, text: str, length: int) -> None:
    if not 1 <= len(text) <= length or text != text.strip():
        raise Invalid(f"A {what} has 1 to {length} characters and no blank around it.")
    if any(not letter.isprintable() or ord(letter) > 0xFFFF for letter in text):
        raise Invalid(f"The {what} {text!r} holds a letter that the server cannot keep.")
