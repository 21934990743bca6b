"""Databases as SQL text, out and in, as streams: nothing grows with their size.

What comes in is a tenant's text and is not trusted: it runs under an account that has rights on
the tenants' databases and no others, in a client that knows no commands of its own.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from conpaassql.agent import accounts, programs
from conpaassql.agent.mysqld import Session, native_hash
from conpaassql.agent.node import Node
from conpaassql.agent.replication import LOADER, expect_primary, unconfirmed
from conpaassql.agent.state import replace_file
from conpaassql.errors import Conflict, Error, MysqlError, NotFound, SqlError, Unavailable
from conpaassql.protocol import Dump, Empty, Order

_DUMP_IDLE_S = 60.0
_COPY_TIMEOUT_S, _COPY_LOOK_S = 10.0, 0.05
_LOAD_IDLE_S = 3600.0  # one statement may build an index over a large table
_LONGEST_HEAD_BYTES = 1 << 16  # of a line that we have to read; longer ones are rows

_NAME = rb"(?:`((?:[^`]|``)+)`|([0-9A-Za-z_$]+))"
_IF_NOT_EXISTS = rb"(?:/\*!\d+\s+IF\s+NOT\s+EXISTS\s*\*/\s*|IF\s+NOT\s+EXISTS\s+)?"
_CREATE_DATABASE = re.compile(rb"CREATE\s+(?:DATABASE|SCHEMA)\s+" + _IF_NOT_EXISTS + _NAME, re.IGNORECASE)
_QUOTED = rb"(?:`(?:[^`]|``)*`|'[^']*')"
_DEFINER = re.compile(
    rb"(CREATE\s+|/\*!\d{5}\s+(?:CREATE\s*\*/\s*/\*!\d{5}\s+)?)DEFINER\s*=\s*" + _QUOTED + rb"(?:@" + _QUOTED + rb")?",
    re.IGNORECASE,
)
# Not the dump's fault: no room, no memory, being stopped or killed, not the primary, a lock or a time limit.
_SERVERS_FAULT = frozenset({1021, 1037, 1038, 1041, 1053, 1114, 1205, 1206, 1213, 1317, 1836, 1927, 1969})
_CLIENTS_FAULT = range(2000, 3000)  # the connection
_SERVER_SAID = re.compile(r"ERROR (?:(\d+) \(\w+\) )?at line (\d+)[^:]*: (.*)", re.DOTALL)


def dump(node: Node, request: Dump) -> Iterator[bytes]:
    """Return databases as SQL, all of one moment; closing the stream ends it.  No users, nothing of the server's own.

    Raises:
        NotFound: a database that was named is not there, or is the server's own.
        MysqlError: also while streaming; what was sent so far is not a whole dump.
    """
    present = accounts.databases(node).databases
    if absent := sorted(set(request.databases) - set(present)):
        raise NotFound(f"There is no database {absent[0]!r}. Look at the list of databases.", database=absent[0])
    names = request.databases or present
    if not names:
        return iter([b"-- There is no database yet.\n"])
    return programs.output(_dump_command(node, names), node.layout.root / "tmp", _DUMP_IDLE_S)


def _dump_command(node: Node, names: Iterable[str]) -> list[str]:
    return [
        "mariadb-dump",
        "--no-defaults",
        f"--user={node.mysqld.root_user}",
        f"--socket={node.layout.socket}",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
        "--single-transaction",
        "--quick",
        "--routines",
        "--triggers",
        "--events",
        "--hex-blob",
        "--databases",
        "--",  # a database may be called like an option
        *names,
    ]


def load(node: Node, request: Order, chunks: Iterable[bytes]) -> Empty:
    """Run a dump on the primary.

    What the dump defines (views, routines, triggers, events) belongs to an account of ours
    afterwards, which may do what tenants may, whoever its definer was.

    Raises:
        Conflict: this node is not the primary or ceased to be it meanwhile, or a load is running.
        Forbidden, Invalid: the dump creates a database of the server's own, or of a name that cannot be.
        SqlError: a statement failed; details hold ``line`` and ``errno``.  Those before it have been run.
        MysqlError: the server failed, or went away; the same details where it said so.
        StaleTerm: see ``StateFile.accept``.
    """
    node.state.accept(request.term)
    with _changing(node) as session:
        _prepare_loader(node, session)
    with _unlocked(node) as command, programs.started(command, node.layout.root / "tmp", reads=True) as client:
        try:
            for piece in rewritten(chunks, lambda name: _admit_new(node, name)):
                client.write(piece, _LOAD_IDLE_S)
            client.finish(_LOAD_IDLE_S)
        except MysqlError as exc:
            _expect_open(node)
            raise _located(exc, client.tail()) from exc
    with _changing(node) as session:
        accounts.grant_all_databases(session)
    return Empty()


def _expect_open(node: Node) -> None:
    """Tell a load that was cut off by a change of roles from one that failed by itself.

    Raises:
        Conflict: this node is not the primary any more.
        MysqlError: the server does not answer.
    """
    with node.mysqld.session() as session:
        if session.rows("SELECT @@GLOBAL.read_only")[0][0]:
            raise Conflict(
                "The primary was changed while the dump was loaded. Its first statements have been run; load it again."
            )


def rewritten(chunks: Iterable[bytes], admit: Callable[[str], None]) -> Iterator[bytes]:
    """Yield a dump with its definers replaced by whoever loads it; ``admit`` hears of each database before its line.

    Only the beginnings of lines are looked at.  That decides nothing about safety: a statement
    that hides elsewhere is refused by the server for want of rights.
    """
    rest, inside = b"", False  # inside: what comes next is not the beginning of a line
    for chunk in chunks:
        rest += chunk
        cut = rest.rfind(b"\n") + 1
        if len(rest) - cut > _LONGEST_HEAD_BYTES:
            cut = len(rest)
        if cut:
            yield _rewrite(rest[:cut], inside, admit)
            inside = not rest.endswith(b"\n", 0, cut)
            rest = rest[cut:]
    if rest:
        yield _rewrite(rest, inside, admit)


def _rewrite(block: bytes, inside: bool, admit: Callable[[str], None]) -> bytes:
    lines = block.split(b"\n")
    for index, line in enumerate(lines):
        if line[:1] in b"Cc/" and not (inside and index == 0):
            lines[index] = _rewrite_line(line, admit)
    return b"\n".join(lines)


def _rewrite_line(line: bytes, admit: Callable[[str], None]) -> bytes:
    if found := _CREATE_DATABASE.match(line):
        quoted, plain = found.groups()
        admit((quoted.replace(b"``", b"`") if quoted else plain).decode(errors="replace"))
    return _DEFINER.sub(rb"\1DEFINER=CURRENT_USER", line, count=1) if _DEFINER.match(line) else line


def _prepare_loader(node: Node, session: Session) -> None:
    """Make the account that loads, if it is not there, with the tenants' rights on each database.

    It stays, since it owns what dumps define, and is locked but for the time of a load.

    Raises:
        Conflict: a load is running.
    """
    if session.rows("SELECT 1 FROM information_schema.PROCESSLIST WHERE USER=%s", LOADER):
        raise Conflict("A dump is being loaded. Wait for its end.")
    if not session.rows("SELECT 1 FROM mysql.global_priv WHERE User=%s AND Host='localhost'", LOADER):
        session.run("CREATE USER %s@'localhost' IDENTIFIED BY PASSWORD %s ACCOUNT LOCK", LOADER, _random_hash())
    held = {row[0] for row in session.rows("SELECT Db FROM mysql.db WHERE User=%s AND Host='localhost'", LOADER)}
    for name in accounts.databases(node).databases:
        if accounts.pattern(name) not in held:
            _admit(session, name)


def _admit(session: Session, database: str) -> None:
    """Let the account that loads into a database, which may be about to be created."""
    session.run("GRANT ALL PRIVILEGES ON %s.* TO %s@'localhost'", accounts.pattern(database), LOADER)


def _admit_new(node: Node, database: str) -> None:
    """As ``_admit``, in the middle of a load.

    Raises:
        Invalid, Forbidden: no tenant may have a database of this name.
        Conflict: the node has ceased to be the primary.
    """
    accounts.check_database(database)
    with _changing(node) as session:
        _admit(session, database)


@contextmanager
def _changing(node: Node) -> Iterator[Session]:
    """Change accounts on the primary; no order can close it meanwhile, so that none comes after the closing.

    Not an order of the load's term: that may be over while this node takes writes as before.

    Raises:
        Conflict: the node has ceased to be the primary.
        Unavailable: no copy confirms writes, or another order takes too long.
    """
    _await_copy(node)
    with node.state.alone(), node.mysqld.change() as session:
        expect_primary(session)
        yield session


def _await_copy(node: Node) -> None:
    """Wait for a copy to confirm writes, before orders are held off: it takes one of those to connect it.

    Raises:
        Unavailable: there is none for too long.
    """
    deadline = time.monotonic() + _COPY_TIMEOUT_S
    with node.mysqld.session() as session:
        while unconfirmed(session):
            if time.monotonic() > deadline:
                raise Unavailable("No copy confirms writes at the moment, so nothing can be loaded. Try again soon.")
            time.sleep(_COPY_LOOK_S)


def _random_hash() -> str:
    return native_hash(secrets.token_urlsafe(24))


@contextmanager
def _unlocked(node: Node) -> Iterator[list[str]]:
    """Give the command of a client that may log in to load, on this server and for the block only."""
    password = secrets.token_urlsafe(24)
    options = node.layout.run / f"load-{secrets.token_hex(4)}.cnf"
    replace_file(options, f"[client]\nuser={LOADER}\npassword={password}\nsocket={node.layout.socket}\n")
    try:
        _set_lock(node, native_hash(password), "UNLOCK")
        yield [
            "mariadb",
            f"--defaults-file={options}",
            "--batch",
            "--binary-mode",  # no commands of the client in the text, but for DELIMITER
            "--sandbox",
            "--skip-local-infile",
            "--default-character-set=utf8mb4",
            "--max-allowed-packet=1G",
        ]
    finally:
        options.unlink()
        _set_lock(node, _random_hash(), "LOCK")


def _set_lock(node: Node, password_hash: str, lock: str) -> None:
    with node.mysqld.session() as session:
        session.run("SET SESSION sql_log_bin=0")  # the password is of no use elsewhere
        session.run(f"ALTER USER %s@'localhost' IDENTIFIED BY PASSWORD %s ACCOUNT {lock}", LOADER, password_hash)


def _located(exc: MysqlError, said: str) -> Error:
    """Return the error with the server's own words and the line of the dump, where it has them."""
    found = _SERVER_SAID.search(said)
    if not found:
        return exc
    errno, line, text = int(found[1] or 0), int(found[2]), found[3].strip()
    # Without a number it is the client that refused, as a command of its own in the dump.
    kind = MysqlError if errno in _SERVERS_FAULT or errno in _CLIENTS_FAULT else SqlError
    said_no = f"{text} (error {errno})" if errno else text
    return kind(
        f"Line {line} of the dump failed: {said_no}. The statements before it have been run.",
        line=line,
        errno=errno,
    )
