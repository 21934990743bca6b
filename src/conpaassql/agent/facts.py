"""One look at a node from inside: quick, and with an answer whatever state the server is in."""

import shutil
from importlib.metadata import version
from typing import Any

from conpaassql.agent import replication
from conpaassql.agent.data import data_kind
from conpaassql.agent.mysqld import Session
from conpaassql.agent.node import Node
from conpaassql.agent.state import State
from conpaassql.errors import AgentError, MysqlError, Unsupported
from conpaassql.model import Address
from conpaassql.protocol import (
    AgentFacts,
    Counters,
    Data,
    ReplicaAccount,
    ReplicaFacts,
    Server,
    ServerFacts,
    Task,
    TaskState,
)

_TIMEOUT_S = 1.0  # a server that takes longer is as good as silent, and the caller waits
_VERSION = version("conpaassql")

_OURS = r"('system user', 'event_scheduler', 'unauthenticated user', %s) AND USER NOT LIKE 'conpaassql\_%%'"
_CONNECTIONS = f"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER NOT IN {_OURS}"  # noqa: S608 - a constant
# Statements as clients send them: not those inside procedures, not pings and goodbyes.
_STATEMENTS = (
    "SELECT SUM(COUNT_STAR), SUM(SUM_ERRORS), SUM(SUM_TIMER_WAIT) "  # noqa: S608 - a constant
    "FROM performance_schema.events_statements_summary_by_user_by_event_name "
    f"WHERE USER NOT IN {_OURS} AND (EVENT_NAME LIKE 'statement/sql/%%' OR EVENT_NAME = 'statement/com/Execute')"
)
# Needs ``userstat``.
_BYTES = (
    "SELECT SUM(BYTES_RECEIVED), SUM(BYTES_SENT) FROM information_schema.USER_STATISTICS "  # noqa: S608 - a constant
    f"WHERE USER NOT IN {_OURS}"
)
# Not information_schema.GLOBAL_STATUS: that hangs while a CREATE USER waits for a confirmation.
_STATUS = ("Uptime", "Rpl_semi_sync_%")
_PICOSECONDS = 1e12


def facts(node: Node) -> AgentFacts:
    """Look at the node.

    Never raises for a server that is down or does not answer; that is a fact like others.
    """
    state, task = node.state.read(), node.tasks.current()
    server, mysqld, trouble = _look(node)
    disk = shutil.disk_usage(node.layout.root)
    return AgentFacts(
        node=node.id,
        version=_VERSION,
        term=state.term,
        data=_data(node, state, task),
        server=server,
        mysqld=mysqld,
        task=task,
        account=_account(node),
        disk_total_bytes=disk.total,
        disk_free_bytes=disk.free,
        restarts=state.restarts,
        verified=state.verified,
        says=trouble or state.says,
    )


def _data(node: Node, state: State, task: Task | None) -> Data:
    kind = data_kind(node.layout, state)
    cloning = task is not None and task.kind == "clone" and task.state is TaskState.RUNNING
    return Data.COPYING if cloning and kind is Data.EMPTY else kind


def _account(node: Node) -> ReplicaAccount | None:
    try:
        return replication.account(node)
    except AgentError:
        return None


def _look(node: Node) -> tuple[Server, ServerFacts | None, str]:
    """Ask the server; the text says what went wrong."""
    if node.mysqld.pid() is None:
        return Server.STOPPED, None, ""
    try:
        with node.mysqld.session(_TIMEOUT_S, _TIMEOUT_S) as session:
            return Server.RUNNING, _server(session, node.mysqld.root_user), ""
    except (MysqlError, Unsupported) as exc:
        return Server.SILENT, None, exc.says


def _server(session: Session, root_user: str) -> ServerFacts:
    version, server_id, read_only, executed = session.rows(
        f"SELECT VERSION(), @@GLOBAL.server_id, @@GLOBAL.read_only, ({session.flavour.executed})"
    )[0]
    status: dict[str, str] = dict(row for like in _STATUS for row in session.rows("SHOW GLOBAL STATUS LIKE %s", like))
    return ServerFacts(
        version=version,
        server_id=server_id,
        read_only=bool(read_only),
        executed=executed,
        replica=_replica(replication.replica_row(session)),
        acknowledging=status["Rpl_semi_sync_slave_status"] == "ON",
        waiting=status["Rpl_semi_sync_master_status"] == "ON",
        acknowledgers=int(status["Rpl_semi_sync_master_clients"]),
        connections=session.rows(_CONNECTIONS, root_user)[0][0],
        counters=_counters(session, root_user, status),
    )


def _counters(session: Session, root_user: str, status: dict[str, str]) -> Counters:
    statements, errors, busy = (int(number or 0) for number in session.rows(_STATEMENTS, root_user)[0])
    received, sent = (int(number or 0) for number in session.rows(_BYTES, root_user)[0])
    return Counters(
        statements=statements,
        errors=errors,
        busy_s=busy / _PICOSECONDS,
        bytes_in=received,
        bytes_out=sent,
        uptime_s=float(status["Uptime"]),
    )


def _replica(row: dict[str, Any] | None) -> ReplicaFacts | None:
    if row is None:
        return None
    lag_s = row["Seconds_Behind_Master"]
    return ReplicaFacts(
        source=Address(host=row["Master_Host"], port=row["Master_Port"]),
        receiving=row["Slave_IO_Running"] == "Yes",
        applying=row["Slave_SQL_Running"] == "Yes",
        received=row["Gtid_IO_Pos"],
        lag_s=None if lag_s is None else float(lag_s),
        error=row["Last_SQL_Error"] or row["Last_IO_Error"],
    )
