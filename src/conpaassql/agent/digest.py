"""Whether a replica holds what its source holds: checksums of all tables at one common position.

The source opens a snapshot, says at which position, and computes.  The replica applies exactly
up to that position, opens its own snapshot and goes on applying; then both compute at leisure.
Nobody waits for anybody's checksums, and no write is held up.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import msgspec

from conpaassql.agent import accounts, peers
from conpaassql.agent.flavour import MARIADB
from conpaassql.agent.mysqld import Name, Session
from conpaassql.agent.node import Node
from conpaassql.agent.tasks import Progress
from conpaassql.errors import AgentError, Conflict, MysqlError
from conpaassql.mtls import Download
from conpaassql.protocol import Empty, Peer, Snapshot, TableDigest, Verify

ACCOUNTS = "(accounts)"
_CHECKSUM_TIMEOUT_S = 3600.0  # of one table
_FIRST_LINE_S = 30.0  # from the source, while the applier is held
_CATCH_UP_S = 300.0
_LOOK_S = 0.02
_NAMED = 10  # tables in a sentence
_ACCOUNT_ROWS = (
    "SELECT Host, User, JSON_REMOVE(Priv, '$.password_last_changed') FROM mysql.global_priv WHERE User IN %s",
    "SELECT * FROM mysql.db WHERE User IN %s",
    "SELECT Host, User, Role FROM mysql.roles_mapping WHERE User IN %s",
)
# A table that came or went since the snapshot, or that cannot be read in it.
_CHANGED = frozenset({1146, 1412, 1049})

T = TypeVar("T")


def digest(node: Node, _request: Empty = Empty()) -> Iterator[bytes]:
    """Yield lines of JSON: a ``Snapshot``, then a ``TableDigest`` for each of its tables.

    Raises:
        MysqlError: also while streaming.
    """
    with node.mysqld.session(_CHECKSUM_TIMEOUT_S) as session:
        known = _accounts(node)
        snapshot = _snapshot(session)
        # Accounts are in no snapshot: only what is the same before and after it is the state in it.
        steady = known == _accounts(node)
        yield _line(snapshot)
        yield _line(known if steady else TableDigest(table=ACCOUNTS, note="changed meanwhile"))
        for found in _tables(session):
            yield _line(found)


def verify(node: Node, request: Verify) -> Empty:
    """Begin to compare this replica with ``request.source`` (task ``verify``).

    The result is in the task's sentence and in ``State.verified``.

    Raises:
        Conflict: this node follows somebody else or nobody, or other work is running.
        StaleTerm: see ``StateFile.accept``.
    """
    with node.state.order(request.term):
        with node.mysqld.session() as session:
            _check_replica(session, request.source)
        node.tasks.start("verify", lambda progress: _verify(node, request, progress))
    return Empty()


def compare(here: Mapping[str, TableDigest], there: Mapping[str, TableDigest]) -> tuple[list[str], list[str]]:
    """Return the names of what differs, and notes about what could not be compared; both sorted."""
    different, notes = [], []
    for name in sorted(here.keys() | there.keys()):
        one, other = here.get(name), there.get(name)
        note = (one and one.note) or (other and other.note)
        if note:
            notes.append(f"{name} ({note})")
        elif one is None or other is None or one.checksum != other.checksum:
            different.append(name)
    return different, notes


def _check_replica(session: Session, source: Peer) -> None:
    status = session.records(session.flavour.replica_status)
    if not status or status[0]["Master_Host"] != source.host:
        raise Conflict("This node does not follow that source, so they cannot be compared. Choose its own source.")


def _verify(node: Node, request: Verify, progress: Progress) -> str:
    progress.phase("waiting")
    # The applier stops before the source is asked: so the source's position is never behind this one.
    with node.mysqld.session(_CHECKSUM_TIMEOUT_S) as snapshot, ExitStack() as held:
        applier = held.enter_context(_applier_held(node))
        with _asked(node, request, progress) as stream:
            lines = stream.lines()
            goal = _decode(next(lines, b""), Snapshot)
            _apply_until(applier, goal, progress)
            _snapshot(snapshot)
            _expect(applier, goal)
            known = _accounts(node)
            held.close()
            stream.wait_up_to(_CHECKSUM_TIMEOUT_S)
            here = _computed(snapshot, known, progress)
            progress.phase("comparing")
            there = {found.table: found for found in (_decode(line, TableDigest) for line in lines)}
    different, notes = compare(here, there)
    node.state.change(verified="different" if different else "equal")
    return _sentence(goal.executed, len(here), different, notes)


@contextmanager
def _asked(node: Node, request: Verify, progress: Progress) -> Iterator[Download]:
    tls = node.layout.tls
    with peers.download(tls, request.source, "digest", _FIRST_LINE_S) as stream, progress.broken_by(stream.cut):
        yield stream


def _computed(snapshot: Session, known: TableDigest, progress: Progress) -> dict[str, TableDigest]:
    progress.phase("computing")
    here = {known.table: known}
    for found in _tables(snapshot):
        progress.check()
        here[found.table] = found
    return here


def _sentence(position: str, count: int, different: list[str], notes: list[str]) -> str:
    says = f"Compared {count} tables at {position}: "
    says += f"{_some(different)} differ. Clone this node again." if different else "all are equal."
    return says + (f" Not compared: {_some(notes)}." if notes else "")


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def _applier_held(node: Node) -> Iterator[Session]:
    """Stop the applier, and the applier alone, for the block; it runs afterwards whatever happens.

    The receiver goes on: it keeps receiving and confirming.  Stopping it would throw away what it
    received and the applier has not applied.
    """
    with node.mysqld.session(_CATCH_UP_S) as session:
        session.run("STOP SLAVE SQL_THREAD")
        try:
            yield session
        finally:
            with node.mysqld.session(_CATCH_UP_S) as fresh:
                fresh.run("STOP SLAVE SQL_THREAD")  # it may be on its way to the position
                fresh.run("START SLAVE SQL_THREAD")


def _apply_until(session: Session, goal: Snapshot, progress: Progress) -> None:
    """Apply up to exactly ``goal``, which this replica has not passed.

    UNTIL takes a place in the source's log here: a GTID position it takes only when the receiver
    is stopped as well.  Where no event follows, the applier waits at the goal and does not end.

    Raises:
        MysqlError: it did not get there in time, or stopped somewhere else.
    """
    if _reached(session, goal):
        return
    session.run("START SLAVE SQL_THREAD UNTIL MASTER_LOG_FILE=%s, MASTER_LOG_POS=%s", goal.log_file, goal.log_position)
    deadline = time.monotonic() + _CATCH_UP_S
    while _applying(session) and not _reached(session, goal):
        progress.check()
        if time.monotonic() > deadline:
            raise MysqlError(f"The replica did not reach {goal.executed} within {_CATCH_UP_S:g} s. Try again later.")
        time.sleep(_LOOK_S)
    _expect(session, goal)


def _reached(session: Session, goal: Snapshot) -> bool:
    return _parts(_applied(session)) == _parts(goal.executed)


def _applying(session: Session) -> bool:
    return bool(session.records("SHOW SLAVE STATUS")[0]["Slave_SQL_Running"] != "No")


def _expect(session: Session, goal: Snapshot) -> None:
    """Make sure that the applier stands at ``goal``.

    Raises:
        MysqlError: it does not.
    """
    if not _reached(session, goal):
        why = session.records("SHOW SLAVE STATUS")[0]["Last_SQL_Error"]
        raise MysqlError(f"The replica stands at {_applied(session)} instead of {goal.executed}. {why}".strip())


def _applied(session: Session) -> str:
    return str(session.rows("SELECT @@GLOBAL.gtid_slave_pos")[0][0])


def _parts(position: str) -> list[str]:
    return sorted(part.strip() for part in position.split(",") if part.strip())


def _snapshot(session: Session) -> Snapshot:
    """Open a consistent snapshot and say where it stands.

    Source: MariaDB's manual, "Enhancements for START TRANSACTION WITH CONSISTENT SNAPSHOT".  A
    domain of which the binary log holds nothing stands where it was when the data was copied here.
    """
    copied = _by_domain(_applied(session))
    session.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    status = dict(session.rows("SHOW STATUS LIKE 'binlog_snapshot_%'"))
    file, position = status["Binlog_snapshot_file"], int(status["Binlog_snapshot_position"])
    logged = session.rows("SELECT BINLOG_GTID_POS(%s, %s)", file, position)[0][0]
    executed = ",".join((copied | _by_domain(str(logged or ""))).values())
    return Snapshot(executed=executed, log_file=file, log_position=position)


def _by_domain(position: str) -> dict[str, str]:
    return {part.split("-")[0]: part for part in _parts(position)}


def _tables(session: Session) -> Iterator[TableDigest]:
    """Yield the checksum of every table of the tenants, in the snapshot that ``session`` has open."""
    found = session.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, IF(TABLE_TYPE = 'SEQUENCE', 'SEQUENCE', COALESCE(ENGINE, '?')) "
        "FROM information_schema.TABLES "
        "WHERE TABLE_TYPE IN ('BASE TABLE', 'SEQUENCE', 'SYSTEM VERSIONED') ORDER BY 1, 2"
    )
    session.run("SAVEPOINT before_a_table")
    for schema, table, engine in found:
        if schema.casefold() in MARIADB.system_databases:
            continue
        name = f"{schema}.{table}"
        if engine != "InnoDB":  # not in the snapshot; a sequence is not, although InnoDB keeps it
            yield TableDigest(table=name, note=f"engine {engine}")
            continue
        yield _table(session, name, (Name(schema), Name(table)))
        # Lets go of the table, so that nobody's ALTER waits until all the others are done.
        session.run("ROLLBACK TO SAVEPOINT before_a_table")


def _table(session: Session, name: str, path: tuple[Name, Name]) -> TableDigest:
    try:
        checksum = session.rows("CHECKSUM TABLE %s.%s", *path)[0][1]
    except MysqlError as exc:
        if exc.details.get("errno") not in _CHANGED:
            raise
        checksum = None
    if checksum is None:
        return TableDigest(table=name, note="changed meanwhile")
    return TableDigest(table=name, checksum=str(checksum))


def _accounts(node: Node) -> TableDigest:
    """Return a checksum of the tenants' accounts and rights as if they were a table.

    In a session of its own: a transaction that has read these tables can set no savepoint.
    """
    users = [user.username for user in accounts.users(node).users] + [accounts.ROLE]
    content = hashlib.sha256()
    with node.mysqld.session() as session:
        for sql in _ACCOUNT_ROWS:
            content.update(repr(sorted(repr(row) for row in session.rows(sql, users))).encode())
    return TableDigest(table=ACCOUNTS, checksum=content.hexdigest()[:16])


def _line(value: Snapshot | TableDigest) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _decode(line: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise AgentError(f"The source sent something that is not a comparison: {exc}.") from exc
