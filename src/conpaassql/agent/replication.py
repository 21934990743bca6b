"""Who writes, who follows whom, who waits for whom.

The account of a node is named after it, needs its certificate and its password, and may do
nothing but read the binary log.  The password is made by the node and stays there: the primary
gets its hash.
"""

import time
from typing import Any

from conpaassql import gtid
from conpaassql.agent.mysqld import Session, native_hash
from conpaassql.agent.node import Node
from conpaassql.errors import AgentError, Conflict, Invalid, MysqlError
from conpaassql.protocol import (
    REPLICA_ACCOUNT_PREFIX,
    Close,
    Empty,
    Follow,
    Grant,
    Open,
    Peer,
    Position,
    ReplicaAccount,
    Revoke,
    SemiSync,
)

LOADER = "conpaassql_load"  # runs dumps
APPLY_TIMEOUT_S = 7.0  # below the caller's patience for these verbs
_HEARTBEAT_S = 1.0
_ADMIT_TIMEOUT_S, _ADMIT_LOOK_S = 2.0, 0.05
# The largest there is (49 days): a shorter one ends in commits that nobody has confirmed.
_PATIENCE_MS = 4294967295
_NO_SUCH_THREAD = 1094
_LOCK_WAIT_TIMEOUT = 1205


def account(node: Node) -> ReplicaAccount:
    """Return the account by which this node reads others.

    Raises:
        AgentError: the node has no certificate yet.
    """
    try:
        subject = (node.layout.tls / "subject").read_text().strip()
    except OSError as exc:
        raise AgentError("This node has no certificate yet. Enrol it first.") from exc
    return ReplicaAccount(
        name=f"{REPLICA_ACCOUNT_PREFIX}{node.id}",
        password_hash=native_hash(node.state.read().account_password),
        subject=subject,
    )


def grant(node: Node, request: Grant) -> Empty:
    """Let another node replicate from this primary and, by replication, from every copy of it.

    An account that is as it should be is left alone, so repeating writes no binary log.  While
    writes wait for a confirmation that nobody can give, the account is made on this node alone:
    else the first replica of a new primary could never connect.  So ask every new primary again,
    and early: for its own account too, by which it will follow its successor.

    Raises:
        Conflict: this node is not the primary.
        Invalid: the account's name is not one of ours.
        MysqlError, StaleTerm: see there.
    """
    wanted = request.account
    _check_name(wanted.name)
    with node.state.order(request.term, request.number), node.mysqld.change() as session:
        expect_primary(session)
        who = (wanted.name, "%")
        requires = f"REQUIRE SUBJECT '{wanted.subject}'"
        found = session.rows("SELECT 1 FROM mysql.global_priv WHERE User=%s AND Host=%s", *who)
        shown = "".join(row[0] for row in session.rows("SHOW GRANTS FOR %s@%s", *who)) if found else ""
        if all(part in shown for part in (requires, f"'{wanted.password_hash}'", "GRANT REPLICATION SLAVE ON *.*")):
            return Empty()
        if unconfirmed(session):
            session.run("SET SESSION sql_log_bin=0")
        session.run(
            "CREATE USER IF NOT EXISTS %s@%s IDENTIFIED BY PASSWORD %s REQUIRE SUBJECT %s",
            *who,
            wanted.password_hash,
            wanted.subject,
        )
        session.run(
            "ALTER USER %s@%s IDENTIFIED BY PASSWORD %s REQUIRE SUBJECT %s",
            *who,
            wanted.password_hash,
            wanted.subject,
        )
        session.run("GRANT REPLICATION SLAVE ON *.* TO %s@%s", *who)
    return Empty()


def revoke(node: Node, request: Revoke) -> Empty:
    """Remove a replica's account and cut its connections; absent is fine.

    Raises:
        Conflict, Invalid, MysqlError, StaleTerm: as ``grant``.
    """
    _check_name(request.name)
    with node.state.order(request.term, request.number), node.mysqld.change() as session:
        expect_primary(session)
        if unconfirmed(session):
            session.run("SET SESSION sql_log_bin=0")
        if _known(session, request.name):
            session.run("DROP USER %s@'%%'", request.name)
        _kill(session, session.rows("SELECT ID FROM information_schema.PROCESSLIST WHERE USER=%s", request.name))
    return Empty()


def follow(node: Node, request: Follow) -> Empty:
    """Replicate from a source.  Following it already, only ``acknowledge`` is brought about.

    A receiver that is started again throws away what it received and did not yet apply, and
    whose old source may be dead.  So everything received is applied first.  When that takes too
    long the receiver stays stopped, the applier goes on, and the order can be repeated.

    Raises:
        MysqlError: the server refused, or is still applying.
        Invalid: the source is the node itself.
        StaleTerm: see ``StateFile.accept``.
    """
    if request.source.node == node.id:
        raise Invalid("A node cannot follow itself. Name another one.")
    with node.state.order(request.term, request.number), node.mysqld.session() as session:
        _close_hard(session, node.mysqld.root_user)
        if _follows(session, request.source):
            _acknowledge(session, request.acknowledge)
            return Empty()
        status = replica_row(session)
        if status is None:
            _tell_position(session, node)
        else:
            _stop_receiving(session, status, may_fail=True)
            session.run(session.flavour.stop_replica)
        _set(session, session.flavour.acknowledging_variable, request.acknowledge)
        if status is None or not _points_to(status, request.source):
            _change_source(session, node, request.source)
        _heed_log(session)
        session.run(session.flavour.start_replica)
    return Empty()


def open_writes(node: Node, request: Open) -> Position:
    """Become the primary: apply all that was received, stop replicating, take writes.

    Repeating it on an open primary changes nothing but the waiting.

    Raises:
        MysqlError: the server refused, or is still applying what it received (repeat the order).
        StaleTerm: see ``StateFile.accept``.
    """
    with node.state.order(request.term, request.number), node.mysqld.session() as session:
        status = replica_row(session)
        if status is not None:
            _stop_receiving(session, status, may_fail=False)
            session.run(session.flavour.stop_replica)
            session.run(session.flavour.forget_source)
        elif node.state.read().position:  # a copy that never followed
            _tell_position(session, node)
        _set(session, session.flavour.acknowledging_variable, False)
        _wait_for_confirmations(session, request.wait)
        session.run("SET GLOBAL read_only=0")
        return _position(session)


def close_writes(node: Node, request: Close) -> Position:
    """Refuse writes, let running ones end, and cut every tenant's connection.

    A dump that is being loaded is cut off first: it may hold its tables for minutes.

    Raises:
        Conflict: a write did not end within ``timeout_s``; the node takes writes as before.
        MysqlError, StaleTerm: see there.
    """
    patience_s = max(1, round(request.timeout_s))  # the server counts whole seconds; 0 would never wait
    with (
        node.state.order(request.term, request.number),
        node.mysqld.session(read_timeout_s=patience_s + 5.0) as session,
    ):
        session.run("SET SESSION lock_wait_timeout=%s", patience_s)
        _kill(session, session.rows("SELECT ID FROM information_schema.PROCESSLIST WHERE USER=%s", LOADER))
        try:
            session.run("SET GLOBAL read_only=1")
        except MysqlError as exc:
            if exc.details.get("errno") != _LOCK_WAIT_TIMEOUT:
                raise
            raise Conflict(
                f"A write has not ended within {patience_s} s, and the node still takes writes. "
                "Wait for it or end it, and try again."
            ) from exc
        _kill(session, _tenants(session, node.mysqld.root_user))
        return _position(session)


def semi_sync(node: Node, request: SemiSync) -> Empty:
    """Change who waits and who confirms.  A replica's receiver is restarted if it must be, nothing is lost.

    Writes that wait when the waiting ends are told that all is well, although one copy alone has them.

    Raises:
        MysqlError: the server refused, or is still applying what it received (repeat the order).
        StaleTerm: see ``StateFile.accept``.
    """
    with node.state.order(request.term, request.number), node.mysqld.session() as session:
        _wait_for_confirmations(session, request.wait)
        _acknowledge(session, request.acknowledge)
    return Empty()


def replica_row(session: Session) -> dict[str, Any] | None:
    """Return how this server replicates, by the server's own column names; None: it does not."""
    rows = session.records(session.flavour.replica_status)
    return rows[0] if rows else None


def admits(node: Node, number: int) -> bool:
    """Return whether the manager lets node ``number`` read from this one; wait a little for the word of it.

    That is so while the node's replica account is here.  It is made on the primary, and comes to
    other nodes by replication.

    Raises:
        MysqlError: the server does not answer.
    """
    deadline = time.monotonic() + _ADMIT_TIMEOUT_S
    with node.mysqld.session(_ADMIT_TIMEOUT_S) as session:
        while not _known(session, f"{REPLICA_ACCOUNT_PREFIX}{number}"):
            if time.monotonic() > deadline:
                return False
            time.sleep(_ADMIT_LOOK_S)
    return True


def _known(session: Session, name: str) -> bool:
    return bool(session.rows("SELECT 1 FROM mysql.global_priv WHERE User=%s AND Host='%%'", name))


def expect_primary(session: Session) -> None:
    """Make sure that this server takes writes.

    Raises:
        Conflict: it does not.
    """
    if session.rows("SELECT @@GLOBAL.read_only")[0][0]:
        raise Conflict("This node is not the primary, and only the primary takes changes. Ask the primary.")


def unconfirmed(session: Session) -> bool:
    """Return whether a write would now wait for a confirmation that nobody can give."""
    waiting = _is_set(session, session.flavour.waiting_variable)
    return waiting and session.rows("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_clients'")[0][1] == "0"


def _check_name(name: str) -> None:
    if not name.startswith(REPLICA_ACCOUNT_PREFIX) or not name.removeprefix(REPLICA_ACCOUNT_PREFIX).isdecimal():
        raise Invalid(
            f"{name!r} is not the name of a replica's account. Use {REPLICA_ACCOUNT_PREFIX}<number of the node>."
        )


def _tell_position(session: Session, node: Node) -> None:
    """Tell a server that follows nobody yet from where on it has to be sent transactions.

    What it wrote itself as a primary counts as received.  A fresh copy stands where its donor noted,
    or beyond: a donor that is a replica commits its row of mysql.gtid_slave_pos together with the
    transaction, and updates the variable that is noted a moment later.
    """
    own = session.rows("SELECT @@GLOBAL.gtid_current_pos")[0][0]
    position = gtid.union(gtid.parse(own), gtid.parse(node.state.read().position))
    session.run("SET GLOBAL gtid_slave_pos=%s", gtid.text(position))
    if node.state.read().position:
        node.state.change(position="")


def _heed_log(session: Session) -> None:
    """Count what stands in the server's own binary log as applied.

    A statement that is no transaction, such as CREATE USER, is executed, then logged, then noted in
    the position.  A server that was killed between the last two would be sent it once more, and
    refuses it in strict mode: "out-of-order sequence number".
    """
    noted, logged = session.rows("SELECT @@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_binlog_pos")[0]
    if not gtid.contains(noted, logged):
        session.run("SET GLOBAL gtid_slave_pos=%s", gtid.text(gtid.union(gtid.parse(noted), gtid.parse(logged))))


def _points_to(status: dict[str, object], source: Peer) -> bool:
    return (status["Master_Host"], status["Master_Port"]) == (source.host, source.mysql_port)


def _follows(session: Session, source: Peer) -> bool:
    status = replica_row(session)
    return (
        status is not None
        and _points_to(status, source)
        and status["Slave_IO_Running"] in ("Yes", "Connecting")
        and status["Slave_SQL_Running"] == "Yes"
    )


def _change_source(session: Session, node: Node, source: Peer) -> None:
    tls = node.layout.tls
    session.run(
        session.flavour.change_source,
        source.host,
        source.mysql_port,
        f"{REPLICA_ACCOUNT_PREFIX}{node.id}",
        node.state.read().account_password,
        *(str(tls / name) for name in ("ca.pem", "node.pem", "node.key")),
        _HEARTBEAT_S,
    )


def _stop_receiving(session: Session, status: dict[str, Any], *, may_fail: bool) -> None:
    """Stop the receiver, and wait until the applier has done all that was received.

    ``may_fail`` says whether a broken applier is accepted, or a MysqlError.

    Source: MariaDB purges the relay logs when any thread is started while both are stopped
    (sql/slave.cc, start_slave_threads), so a stopped applier is started before.
    """
    if status["Slave_IO_Running"] != "No":
        if status["Slave_SQL_Running"] != "Yes":
            session.run(session.flavour.start_applier)
        session.run(session.flavour.stop_receiver)
    deadline = time.monotonic() + APPLY_TIMEOUT_S
    while not _applied(session, may_fail):
        if time.monotonic() > deadline:
            raise MysqlError("The server is still applying what it received. Try again.")


def _applied(session: Session, may_fail: bool) -> bool:
    """Wait a little for the applier.  A broken one counts as done when it ``may_fail``."""
    row = replica_row(session)
    if row is None:
        return True
    received = row["Gtid_IO_Pos"]
    if gtid.contains(session.rows(session.flavour.executed)[0][0], received):
        return True
    if row["Slave_SQL_Running"] == "Yes":
        # In short waits: an applier that breaks leaves this one without an answer.
        return bool(session.rows(session.flavour.wait_applied, received, 0.5)[0][0] == 0)
    if may_fail:
        return True
    says = row["Last_SQL_Error"] or "the applier was stopped"
    raise MysqlError(f"What was received up to {received} cannot be applied: {says}")


def _acknowledge(session: Session, wanted: bool) -> None:
    """Confirm received transactions, or stop doing so.  It takes effect when the receiver starts."""
    if _is_set(session, session.flavour.acknowledging_variable) == wanted:
        return
    status = replica_row(session)
    receiving = status is not None and status["Slave_IO_Running"] != "No"
    if status is not None and receiving:
        _stop_receiving(session, status, may_fail=True)
    _set(session, session.flavour.acknowledging_variable, wanted)
    if receiving:
        session.run(session.flavour.start_receiver)


def _wait_for_confirmations(session: Session, wanted: bool) -> None:
    if wanted:
        session.run(f"SET GLOBAL {session.flavour.patience_variable}=%s", _PATIENCE_MS)
    _set(session, session.flavour.waiting_variable, wanted)


def _close_hard(session: Session, root_user: str) -> None:
    """Refuse writes although some may wait for a confirmation that never comes.

    Their clients are cut off first: to stop waiting means to tell them that all is well.
    """
    deadline = time.monotonic() + APPLY_TIMEOUT_S
    session.run("SET SESSION lock_wait_timeout=1")
    while not session.rows("SELECT @@GLOBAL.read_only")[0][0]:
        _kill(session, _tenants(session, root_user))
        try:
            session.run("SET GLOBAL read_only=1")
        except MysqlError as exc:
            if exc.details.get("errno") != _LOCK_WAIT_TIMEOUT or time.monotonic() > deadline:
                raise
    if _is_set(session, session.flavour.waiting_variable):
        _kill(session, _tenants(session, root_user))
        _wait_for_confirmations(session, False)


def _is_set(session: Session, variable: str) -> bool:
    return bool(session.rows(f"SELECT @@GLOBAL.{variable}")[0][0])


def _set(session: Session, variable: str, wanted: bool) -> None:
    if _is_set(session, variable) != wanted:
        session.run(f"SET GLOBAL {variable}=%s", int(wanted))


def _tenants(session: Session, root_user: str) -> list[tuple[int]]:
    """Return every connection but the server's own, the agent's and those of replicas."""
    return session.rows(
        "SELECT ID FROM information_schema.PROCESSLIST WHERE USER NOT IN ('system user', 'event_scheduler', %s) "
        "AND USER NOT LIKE %s AND COMMAND NOT IN ('Binlog Dump', 'Daemon')",
        root_user,
        REPLICA_ACCOUNT_PREFIX.replace("_", r"\_") + "%",
    )


def _kill(session: Session, ids: list[tuple[int]]) -> None:
    for (number,) in ids:
        try:
            session.run("KILL CONNECTION %s", number)
        except MysqlError as exc:
            if exc.details.get("errno") != _NO_SUCH_THREAD:
                raise


def _position(session: Session) -> Position:
    return Position(executed=session.rows(session.flavour.executed)[0][0])
