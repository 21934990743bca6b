"""Where MySQL and MariaDB differ, as data: SQL texts, and the names of what is the server's own."""

from dataclasses import dataclass

from conpaassql.errors import Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """One kind of server.  ``%s`` in a text is a bound value."""

    name: str
    executed: str  # SELECT of everything that this server has executed, as a GTID set
    replica_status: str
    start_replica: str
    stop_replica: str
    start_receiver: str
    stop_receiver: str
    start_applier: str
    forget_source: str
    change_source: str  # host, port, user, password, ca, cert, key, heartbeat in seconds
    wait_applied: str  # GTID set, seconds; 0: applied
    waiting_variable: str  # as a primary, wait for a confirmation
    acknowledging_variable: str  # as a replica, confirm
    patience_variable: str  # how long to wait for one, in milliseconds
    system_databases: frozenset[str]
    system_accounts: frozenset[str]


MARIADB = Flavour(
    name="MariaDB",
    executed="SELECT @@GLOBAL.gtid_current_pos",
    replica_status="SHOW SLAVE STATUS",
    start_replica="START SLAVE",
    stop_replica="STOP SLAVE",
    start_receiver="START SLAVE IO_THREAD",
    stop_receiver="STOP SLAVE IO_THREAD",
    start_applier="START SLAVE SQL_THREAD",
    forget_source="RESET SLAVE ALL",
    change_source=(
        "CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER=%s, MASTER_PASSWORD=%s, MASTER_SSL=1, "
        "MASTER_SSL_CA=%s, MASTER_SSL_CERT=%s, MASTER_SSL_KEY=%s, MASTER_SSL_VERIFY_SERVER_CERT=1, "
        "MASTER_HEARTBEAT_PERIOD=%s, MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos"
    ),
    wait_applied="SELECT MASTER_GTID_WAIT(%s, %s)",
    waiting_variable="rpl_semi_sync_master_enabled",
    acknowledging_variable="rpl_semi_sync_slave_enabled",
    patience_variable="rpl_semi_sync_master_timeout",
    system_databases=frozenset({"mysql", "sys", "information_schema", "performance_schema"}),
    system_accounts=frozenset({"", "root", "mysql", "mariadb.sys", "public"}),
)

# Not yet driven by any verb: the statements that MySQL 8.4 and 9.x ask for in the same places.
MYSQL = Flavour(
    name="MySQL",
    executed="SELECT @@GLOBAL.gtid_executed",
    replica_status="SHOW REPLICA STATUS",
    start_replica="START REPLICA",
    stop_replica="STOP REPLICA",
    start_receiver="START REPLICA IO_THREAD",
    stop_receiver="STOP REPLICA IO_THREAD",
    start_applier="START REPLICA SQL_THREAD",
    forget_source="RESET REPLICA ALL",
    change_source=(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST=%s, SOURCE_PORT=%s, SOURCE_USER=%s, SOURCE_PASSWORD=%s, "
        "SOURCE_SSL=1, SOURCE_SSL_CA=%s, SOURCE_SSL_CERT=%s, SOURCE_SSL_KEY=%s, SOURCE_SSL_VERIFY_SERVER_CERT=1, "
        "SOURCE_HEARTBEAT_PERIOD=%s, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=0, SOURCE_AUTO_POSITION=1"
    ),
    wait_applied="SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)",
    waiting_variable="rpl_semi_sync_source_enabled",
    acknowledging_variable="rpl_semi_sync_replica_enabled",
    patience_variable="rpl_semi_sync_source_timeout",
    system_databases=frozenset({"mysql", "sys", "information_schema", "performance_schema"}),
    system_accounts=frozenset({"", "root", "mysql.sys", "mysql.session", "mysql.infoschema"}),
)


def detect(version: str) -> Flavour:
    """Return the flavour of a server by its version string (``10.11.19-MariaDB-...``, ``8.4.2``).

    Raises:
        Unsupported: too old, or no version at all.
    """
    if "mariadb" in version.lower():
        # 5.5.5- stands before the version of some MariaDB servers for very old replicas.
        if _numbers(version.removeprefix("5.5.5-")) >= (10, 5):
            return MARIADB
    elif _numbers(version) >= (8, 4):
        return MYSQL
    raise Unsupported(
        f"The database server {version!r} is not supported. Use MariaDB 10.5 or MySQL 8.4, or a later one."
    )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version; empty when there are none."""
    plain = version.split("-")[0].split(".")
    return tuple(int(part) for part in plain if part.isdigit())
