"""One mysqld: its process and the way to speak with it.  The only user of MySQLdb."""

import hashlib
import json
import math
import os
import pwd
import select
import shutil
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import MySQLdb
import MySQLdb.connections
import MySQLdb.constants.CLIENT as CLIENT
import MySQLdb.cursors

from conpaassql.agent.flavour import Flavour, detect
from conpaassql.agent.layout import Layout
from conpaassql.agent.state import replace_file
from conpaassql.errors import AgentError, MysqlError

CONNECT_TIMEOUT_S = 2.0
_POLL_S = 0.002  # a server starts in about 0.1 s
_KILL_GRACE_S = 10.0  # from SIGKILL until the kernel has let go of everything
_LOST = 2013  # CR_SERVER_LOST: also what a read timeout looks like
_LOG_END_BYTES = 2000
# No option that a tenant may set must change what our own statements mean or how long they run.
_HELLO = "SET sql_mode='STRICT_TRANS_TABLES', max_statement_time=0"


class Name(str):
    """An identifier among the values of a statement: quoted as a name, not as a string."""

    __slots__ = ()


class Session:
    """One connection to the server.  Use it in one thread; ``Mysqld.session`` closes it.

    Values are bound to ``%s``; write ``%%`` for a percent sign in statements that have values.
    All methods raise MysqlError with the server's ``errno``.
    """

    def __init__(self, connection: MySQLdb.connections.Connection) -> None:
        self._connection = connection
        self.flavour: Flavour = detect(str(connection.get_server_info()))  # type: ignore[no-untyped-call]

    def run(self, sql: str, *values: object) -> None:
        """Run a statement and drop its result."""
        self._execute(sql, values, MySQLdb.cursors.Cursor)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        return list(self._execute(sql, values, MySQLdb.cursors.Cursor))

    def records(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Run a statement and return its rows by column name (for SHOW)."""
        return list(self._execute(sql, values, MySQLdb.cursors.DictCursor))

    def _execute(self, sql: str, values: tuple[object, ...], kind: type[MySQLdb.cursors.BaseCursor]) -> Any:
        try:
            with closing(self._connection.cursor(kind)) as cursor:
                cursor.execute(self._bind(sql, values))
                return cursor.fetchall()
        except MySQLdb.Error as exc:
            raise _translate(exc) from exc

    def _bind(self, sql: str, values: tuple[object, ...]) -> bytes:
        if not values:
            return sql.encode()
        return sql.encode() % tuple(
            _quote(value) if isinstance(value, Name) else self._connection.literal(value) for value in values
        )


@dataclass(frozen=True, slots=True)
class _Note:
    """Which process is our mysqld.  A pid alone is used again by others; with these it is not."""

    pid: int
    started: int  # clock ticks since boot
    boot: str


class Mysqld:
    """The server of one node.

    It is an ordinary child of the agent and outlives it: a later agent finds it again by a note
    on disk, or by who listens on the socket.
    """

    def __init__(self, layout: Layout, root_user: str = "", root_password: str = "") -> None:
        """Describe the server; nothing is started.

        Args:
            layout: where it lives.
            root_user: the account with all rights; empty: the account named as the operating
                system's user that runs the agent, which the server lets in by the socket alone.
            root_password: for a ``root_user`` that needs one.
        """
        self.layout = layout
        self.root_user = root_user or pwd.getpwuid(os.geteuid()).pw_name
        self._root_password = root_password

    def write_my_cnf(self, text: str) -> None:
        """Write the option file with this node's root and address filled in."""
        filled = text.replace("@ROOT@", str(self.layout.root)).replace("@ADDRESS@", self.layout.address)
        replace_file(self.layout.my_cnf, filled)

    def start(self, timeout_s: float) -> None:
        """Start the server unless it runs, and return when it accepts statements.

        A server that is still busy recovering when ``timeout_s`` has passed is left to it: call again.

        Raises:
            MysqlError: it died or did not accept in time; the sentence holds the end of its log.
        """
        try:
            self._start(time.monotonic() + timeout_s)
        except OSError as exc:
            raise MysqlError(f"mysqld cannot be started: {exc.strerror}. Look at the disk of this node.") from exc

    def _start(self, deadline: float) -> None:
        log = self.layout.logs / "mysqld.log"
        for folder in (self.layout.run, self.layout.logs, *(self.layout.root / name for name in ("tmp", "files"))):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.pid()
        if found is None or not self._wait_accepting(found, log, deadline, dying_is_fine=True):
            self._wait_accepting(self._spawn(log), log, deadline)

    def _wait_accepting(self, pid: int, log: Path, deadline: float, *, dying_is_fine: bool = False) -> bool:
        """Return True when the server accepts; False when it ends instead and that is fine (it was dying already)."""
        offset = log.stat().st_size if log.exists() else 0
        with _pidfd(pid) as handle:
            while not self._accepts():
                if handle is None or _gone(handle, _POLL_S):
                    self.pid()  # reaps it
                    if dying_is_fine:
                        return False
                    raise MysqlError(f"mysqld ended while starting. Its log says: {_end(log, offset)}")
                if time.monotonic() > deadline:
                    raise MysqlError(
                        f"mysqld did not accept in time; it may still be recovering. Its log says: {_end(log, offset)}"
                    )
        return True

    def stop(self, timeout_s: float) -> None:
        """End the server in order; kill it when ``timeout_s`` has passed.  Not running is fine.

        Raises:
            MysqlError: it is still there although it was killed (a hung disk).
        """
        for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, _KILL_GRACE_S)):
            pid = self.pid()
            if pid is None:
                break
            with _pidfd(pid) as handle:
                if handle is not None:
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(handle, number)
                    _gone(handle, patience_s)
        if self.pid() is not None:
            raise MysqlError("mysqld does not end, although it was killed. Look at the disk and the kernel's log.")
        self.layout.pid_file.unlink(missing_ok=True)

    def pid(self) -> int | None:
        """Return the living mysqld's process id.  A zombie is reaped, and is not alive."""
        note = self._note()
        if note is not None and _alive(note):
            return note.pid
        return self._adopt()

    @contextmanager
    def session(self, read_timeout_s: float = 10.0, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> Iterator[Session]:
        """Connect over the socket with all rights.

        After a read timeout the connection is of no use; the statement may still run in the server.

        Raises:
            MysqlError: nobody answers, or the login is refused.
        """
        connection = self._connect(read_timeout_s, connect_timeout_s)
        with closing(connection):
            yield Session(connection)

    @contextmanager
    def change(self, read_timeout_s: float = 10.0) -> Iterator[Session]:
        """Connect for changes: a statement that we give up on is ended in the server too.

        Otherwise a CREATE USER that waits for a confirmation would hold its locks, and others up, for ever.

        Raises:
            MysqlError: as ``session``.
        """
        with self.session(read_timeout_s) as session:
            number = session.rows("SELECT CONNECTION_ID()")[0][0]
            try:
                yield session
            except MysqlError as exc:
                if exc.details.get("errno") == _LOST:
                    with suppress(MysqlError), self.session() as other:
                        other.run("KILL CONNECTION %s", number)
                raise

    def _connect(self, read_timeout_s: float, connect_timeout_s: float) -> MySQLdb.connections.Connection:
        try:
            return MySQLdb.connect(
                unix_socket=str(self.layout.socket),
                user=self.root_user,
                password=self._root_password,
                connect_timeout=math.ceil(connect_timeout_s),
                read_timeout=math.ceil(read_timeout_s),
                charset="utf8mb4",
                init_command=_HELLO,
                autocommit=True,
                ssl_mode="DISABLED",  # the socket does not leave the machine
                client_flag=CLIENT.FOUND_ROWS,
            )
        except MySQLdb.Error as exc:
            raise _translate(exc) from exc

    def _accepts(self) -> bool:
        if not self.layout.socket.exists():  # so it is at nearly every try, and looking costs nothing
            return False
        try:
            with self.session():
                return True
        except MysqlError:
            return False

    def _spawn(self, log: Path) -> int:
        program = shutil.which("mariadbd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
        if program is None:
            raise MysqlError("There is no program mariadbd on this machine. Install the MariaDB server.")
        arguments = [program, f"--defaults-file={self.layout.my_cnf}"]
        if os.geteuid() == 0:
            arguments.append("--user=root")  # the agent's own user, whoever that is; mysqld asks root to say so
        # No setsid: whoever ends the node's session ends mysqld too.  No pipes: it must outlive the agent.
        appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            program,
            arguments,
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), appending, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )
        try:
            self._remember(pid)
        except AgentError:
            os.kill(pid, signal.SIGKILL)  # else nobody would know of it until it listens
            os.waitpid(pid, 0)
            raise
        return pid

    def _remember(self, pid: int) -> None:
        seen = _look(pid)
        if seen is not None:
            replace_file(self.layout.pid_file, json.dumps(asdict(seen)))

    def _note(self) -> _Note | None:
        try:
            return _Note(**json.loads(self.layout.pid_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None  # absent or torn: the socket tells as well

    def _adopt(self) -> int | None:
        """Find a mysqld of which there is no note (the agent died between starting it and noting it)."""
        pid = _listener(self.layout.socket)
        if pid is not None:
            with suppress(AgentError):  # a full disk: it is found by its socket again
                self._remember(pid)
        return pid


def native_hash(password: str) -> str:
    """Return what MariaDB stores of a password, so that the password itself is in no statement and no log.

    Source: MariaDB's manual, "mysql_native_password": ``*`` and SHA1(SHA1(password)) in hex.
    """
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def _quote(name: str) -> bytes:
    return b"`" + name.replace("`", "``").encode() + b"`"


def _translate(exc: MySQLdb.Error) -> MysqlError:
    errno = exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0
    says = str(exc.args[1]) if len(exc.args) > 1 else str(exc)
    return MysqlError(f"The database server says: {says}", errno=errno)


def _look(pid: int) -> _Note | None:
    """Return the identity of a living process; None for one that is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the program's name may hold anything
    state, started = fields[0], int(fields[19])
    return None if state in "ZX" else _Note(pid, started, boot)


def _alive(note: _Note) -> bool:
    with suppress(ChildProcessError):  # an earlier agent's child: init reaps it
        os.waitpid(note.pid, os.WNOHANG)
    return _look(note.pid) == note


def _listener(path: Path) -> int | None:
    """Return the process that listens on a socket, or None.

    Source: unix(7), SO_PEERCRED: the credentials at the time of listen(2).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except OSError:
            return None
        pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid


@contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    """Hold a process by a handle that cannot come to mean another one; None: it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _gone(handle: int, timeout_s: float) -> bool:
    """Wait until the process has ended, at most ``timeout_s``."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def _end(log: Path, offset: int) -> str:
    """Return the errors that the log got since ``offset``, else its last lines."""
    try:
        with log.open("rb") as file:
            file.seek(max(offset, log.stat().st_size - 50 * _LOG_END_BYTES))
            text = file.read().decode(errors="replace")
    except OSError as exc:
        return f"(no log: {exc})"
    errors = "\n".join(line for line in text.splitlines() if "[ERROR]" in line)
    return (errors or text)[-_LOG_END_BYTES:].strip()
