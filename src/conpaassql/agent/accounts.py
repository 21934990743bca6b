"""Tenants' users, databases and options, on the primary.

No tenant gets a right on everything.  A role holds all rights on each of the tenant's databases;
users who may use them all get the role, others get rights on the databases they name.
The server's own databases and accounts, and ours, are neither shown nor touched.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from conpaassql.agent.flavour import MARIADB
from conpaassql.agent.mysqld import Name, Session, native_hash
from conpaassql.agent.node import Node
from conpaassql.agent.replication import expect_primary, unconfirmed
from conpaassql.errors import Forbidden, Invalid, MysqlError, NotFound, Unavailable
from conpaassql.protocol import (
    Account,
    Database,
    Databases,
    DropUser,
    Empty,
    PutUser,
    SetOptions,
    SetPassword,
    Users,
)

ROLE = "conpaassql_tenant"
OWN_PREFIX = "conpaassql_"
_USER_LENGTH, _DATABASE_LENGTH = 80, 64
_HOST = re.compile(r"[A-Za-z0-9._:/%-]{1,255}")
# What would undo replication, durability or the wall between tenants and the machine.
_DENIED = re.compile(
    r"read_only|super_read_only|gtid_.*|rpl_.*|semi_sync.*|slave_.*|replicate_.*|relay_.*|master_.*|sync_.*"
    r"|log_bin.*|sql_log_.*|binlog_(?!expire_logs_seconds$|cache_size$|stmt_cache_size$).*|log_slave_.*|server_id"
    r"|datadir|plugin.*|secure_.*|init_.*|general_log.*|slow_query_log_file|log_output|log_error.*|local_infile"
    r"|innodb_flush_log_at_trx_commit|innodb_doublewrite|innodb_.*_file_path|innodb_.*_dir|innodb_ft_.*_table"
    r"|event_scheduler|strict_password_validation|old_passwords|secure_auth|require_secure_transport|tls_.*|ssl_.*"
    r"|performance_schema.*|debug.*|wsrep_.*|enforce_storage_engine|default_password_lifetime|proxy_.*|system_.*"
    r"|expire_logs_days|userstat|max_allowed_packet_for_.*|pseudo_.*|foreign_key_checks|unique_checks|innodb_force_.*"
    r"|innodb_read_only.*|binlog_format|aria_log_.*|aria_encrypt.*|encrypt_.*|extra_max_connections|feedback_.*"
)
_SERVER_ERRORS = range(1000, 2000)  # the server answered; from 2000 on it is the connection


def put_user(node: Node, request: PutUser) -> Empty:
    """Create a user, or change its password and rights to exactly these.

    Raises:
        Invalid: a name, host or password that cannot be; NotFound: a database that is not there.
        Forbidden: an account of the server's own.
        Conflict: this node is not the primary.
        MysqlError, StaleTerm: see there.
    """
    _check_user(node, request.username)
    _check_password(request.password)
    if not _HOST.fullmatch(request.host):
        raise Invalid(f"{request.host!r} is not a host. Use an address, a name, or a pattern such as 10.0.% or %.")
    for name in request.databases:
        check_database(name)
    who = (request.username, request.host)
    with _primary(node, request.term) as session:
        if absent := sorted(set(request.databases) - set(_databases(session))):
            raise NotFound(f"There is no database {absent[0]!r}. Create it first.", database=absent[0])
        _put(session, who, native_hash(request.password))
        _set_role(session, who, not request.databases)
        wanted = set(request.databases)
        held = _granted(session, who)
        for name in sorted(held - wanted):
            _revoke(session, who, name)
        for name in sorted(wanted - held):
            session.run("GRANT ALL PRIVILEGES ON %s.* TO %s@%s", pattern(name), *who)
    return Empty()


def drop_user(node: Node, request: DropUser) -> Empty:
    """Remove a user at every host and cut its connections.

    Raises:
        NotFound: there is no such user (its connections are cut all the same).
        Invalid, Forbidden, Conflict, MysqlError, StaleTerm: as ``put_user``.
    """
    _check_user(node, request.username)
    with _primary(node, request.term) as session:
        hosts = _hosts(session, request.username)
        for host in hosts:
            session.run("DROP USER %s@%s", request.username, host)
        session.run("KILL CONNECTION USER %s", request.username)
    if not hosts:
        raise NotFound(f"There is no user {request.username!r}. Look at the list.", username=request.username)
    return Empty()


def set_password(node: Node, request: SetPassword) -> Empty:
    """Change the password of an existing user at every host.

    Raises:
        NotFound: there is no such user.
        Invalid, Forbidden, Conflict, MysqlError, StaleTerm: as ``put_user``.
    """
    _check_user(node, request.username)
    _check_password(request.password)
    with _primary(node, request.term) as session:
        hosts = _hosts(session, request.username)
        if not hosts:
            raise NotFound(f"There is no user {request.username!r}. Create it first.", username=request.username)
        for host in hosts:
            _put(session, (request.username, host), native_hash(request.password))
    return Empty()


def users(node: Node, _request: Empty = Empty()) -> Users:
    """List the tenant's users.

    Raises:
        MysqlError: the server does not answer.
    """
    with node.mysqld.session() as session:
        found = session.rows(
            "SELECT User, Host FROM mysql.global_priv WHERE NOT IFNULL(JSON_VALUE(Priv, '$.is_role'), 0) "
            "ORDER BY User, Host"
        )
        return Users(
            users=tuple(
                Account(username=user, host=host, databases=tuple(sorted(_granted(session, (user, host)))))
                for user, host in found
                if not _protected(node, user)
            )
        )


def create_database(node: Node, request: Database) -> Empty:
    """Create a database and let everybody in who may use them all; one that exists is fine.

    Raises:
        Invalid: such a name cannot be; Forbidden: it is the server's own.
        Conflict, MysqlError, StaleTerm: as ``put_user``.
    """
    check_database(request.name)
    with _primary(node, request.term) as session:
        if request.name not in _databases(session):
            session.run("CREATE DATABASE IF NOT EXISTS %s", Name(request.name))
        grant_all_databases(session)
    return Empty()


def drop_database(node: Node, request: Database) -> Empty:
    """Remove a database with all rights on it.

    Raises:
        NotFound: there is no such database (rights that were left behind are removed all the same).
        Invalid, Forbidden, Conflict, MysqlError, StaleTerm: as ``create_database``.
    """
    check_database(request.name)
    with _primary(node, request.term, read_timeout_s=50.0) as session:
        there = request.name in _databases(session)
        if there:
            session.run("DROP DATABASE IF EXISTS %s", Name(request.name))
        # Rights outlive a database, and would open a later one of the same name.
        for user, host in session.rows("SELECT User, Host FROM mysql.db WHERE Db=%s", str(pattern(request.name))):
            _revoke(session, (user, host), request.name)
    if not there:
        raise NotFound(f"There is no database {request.name!r}. Look at the list.", database=request.name)
    return Empty()


def databases(node: Node, _request: Empty = Empty()) -> Databases:
    """List the tenant's databases.

    Raises:
        MysqlError: the server does not answer.
    """
    with node.mysqld.session() as session:
        return Databases(databases=tuple(_databases(session)))


def set_options(node: Node, request: SetOptions) -> Empty:
    """Change options of the running server, all or none of them.  Any node takes this, not only the primary.

    Raises:
        Invalid: an option that does not exist, cannot be changed at once, or has no such value.
        Forbidden: an option that the service depends on.
        MysqlError, StaleTerm: see there.
    """
    with node.state.order(request.term), node.mysqld.session() as session:
        done: list[tuple[str, object]] = []
        for name in request.options:
            _check_option(session, name)
        for name, value in request.options.items():
            before = session.rows("SELECT @@GLOBAL.%s", Name(name))[0][0]
            try:
                session.run("SET GLOBAL %s=%s", Name(name), _option_value(value))
            except MysqlError as exc:
                for undone, old in reversed(done):
                    session.run("SET GLOBAL %s=%s", Name(undone), old)
                if exc.details.get("errno") not in _SERVER_ERRORS:
                    raise
                raise Invalid(f"The option {name} cannot be {value!r}: {exc.says}", option=name) from exc
            done.append((name, before))
    return Empty()


def grant_all_databases(session: Session) -> None:
    """Give the tenants' role all rights on each database that it does not yet have.

    Call it after databases appeared (a create, a load).

    Raises:
        MysqlError: the server refused.
    """
    _ensure_role(session)
    for name in sorted(set(_databases(session)) - _granted(session, (ROLE, ""))):
        session.run("GRANT ALL PRIVILEGES ON %s.* TO %s", pattern(name), Name(ROLE))


@contextmanager
def _primary(node: Node, term: int, read_timeout_s: float = 10.0) -> Iterator[Session]:
    """Work on the primary.  No other order can close it for writes meanwhile."""
    with node.state.order(term), node.mysqld.change(read_timeout_s) as session:
        expect_primary(session)
        if unconfirmed(session):
            raise Unavailable("No copy confirms writes at the moment, so nothing can be changed. Try again soon.")
        yield session


def _protected(node: Node, username: str) -> bool:
    plain = username.casefold()
    return plain in MARIADB.system_accounts or plain.startswith(OWN_PREFIX) or plain == node.mysqld.root_user.casefold()


def _check_user(node: Node, username: str) -> None:
    _check_text("user name", username, _USER_LENGTH)
    if "'" in username or "\\" in username:
        # MariaDB writes SET DEFAULT ROLE and SET PASSWORD to the binary log with the name as it
        # stands between quotes: a replica would run the rest of the name as SQL.
        raise Invalid(f"The user name {username!r} holds a quote or a backslash. Use another one.")
    if _protected(node, username):
        raise Forbidden(f"The user {username!r} is the server's own. Use another name.", username=username)


def check_database(name: str) -> None:
    """Make sure that a tenant may have a database of this name.

    Raises:
        Invalid: it cannot be; Forbidden: it is the server's own.
    """
    _check_text("database name", name, _DATABASE_LENGTH)
    if name.casefold().startswith("#mysql50#"):  # the server takes the rest as the bare name of a directory
        raise Invalid(f"{name!r} cannot be the name of a database. Use another beginning.")
    if name.casefold() in MARIADB.system_databases:
        raise Forbidden(f"The database {name!r} is the server's own. Use another name.", database=name)


def _check_text(what: str, text: str, length: int) -> None:
    if not 1 <= len(text) <= length:
        raise Invalid(f"A {what} has 1 to {length} characters, and this one has {len(text)}. Use another one.")
    if text != text.strip():
        raise Invalid(f"The {what} {text!r} begins or ends with a blank. Leave it out.")
    for letter in text:
        if not letter.isprintable() or ord(letter) > 0xFFFF:  # the server keeps names in three bytes a letter
            raise Invalid(f"The {what} {text!r} holds {letter!r}, which the server cannot keep. Leave it out.")


def _check_password(password: str) -> None:
    if not password:
        raise Invalid("An empty password would let everybody in. Choose one.")


def _check_option(session: Session, name: str) -> None:
    if _DENIED.fullmatch(name.casefold()):
        raise Forbidden(f"The option {name} belongs to the service. Leave it out.", option=name)
    known = session.rows(
        "SELECT READ_ONLY, VARIABLE_SCOPE FROM information_schema.SYSTEM_VARIABLES WHERE VARIABLE_NAME=%s", name
    )
    if not known or not re.fullmatch(r"[A-Za-z0-9_]+", name) or known[0][1] == "SESSION ONLY":
        raise Invalid(f"There is no option {name!r} for the whole server. Look its name up.", option=name)
    if known[0][0] == "YES":
        raise Invalid(f"The option {name} takes effect at a restart only. Put it into the configuration.", option=name)


def _option_value(value: str) -> object:
    """Return a number where it is one: the server refuses '5' for a number."""
    if re.fullmatch(r"-?[0-9]{1,20}", value):
        return int(value)
    return float(value) if re.fullmatch(r"-?[0-9]{1,20}\.[0-9]{1,20}", value) else value


def _put(session: Session, who: tuple[str, str], password_hash: str) -> None:
    for verb in ("CREATE USER IF NOT EXISTS", "ALTER USER"):
        session.run(f"{verb} %s@%s IDENTIFIED BY PASSWORD %s", *who, password_hash)


def _ensure_role(session: Session) -> None:
    if not session.rows("SELECT 1 FROM mysql.global_priv WHERE User=%s AND Host=''", ROLE):
        session.run("CREATE ROLE IF NOT EXISTS %s", Name(ROLE))


def _set_role(session: Session, who: tuple[str, str], wanted: bool) -> None:
    held = bool(session.rows("SELECT 1 FROM mysql.roles_mapping WHERE User=%s AND Host=%s AND Role=%s", *who, ROLE))
    if wanted and not held:
        grant_all_databases(session)
        session.run("GRANT %s TO %s@%s", Name(ROLE), *who)
    if wanted:
        session.run("SET DEFAULT ROLE %s FOR %s@%s", Name(ROLE), *who)
    if held and not wanted:
        session.run("SET DEFAULT ROLE NONE FOR %s@%s", *who)
        session.run("REVOKE %s FROM %s@%s", Name(ROLE), *who)


def _hosts(session: Session, username: str) -> list[str]:
    return [row[0] for row in session.rows("SELECT Host FROM mysql.global_priv WHERE User=%s AND Host<>''", username)]


def _databases(session: Session) -> list[str]:
    names = (row[0] for row in session.rows("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA"))
    return sorted(name for name in names if name.casefold() not in MARIADB.system_databases)


def _granted(session: Session, who: tuple[str, str]) -> set[str]:
    rows = session.rows("SELECT Db FROM mysql.db WHERE User=%s AND Host=%s", *who)
    return {re.sub(r"\\([\\_%])", r"\1", row[0]) for row in rows}


def _revoke(session: Session, who: tuple[str, str], database: str) -> None:
    user, host = who
    if host:
        session.run("REVOKE ALL PRIVILEGES ON %s.* FROM %s@%s", pattern(database), user, host)
    else:  # a role
        session.run("REVOKE ALL PRIVILEGES ON %s.* FROM %s", pattern(database), Name(user))


def pattern(name: str) -> Name:
    """Return a database's name as grants want it, where ``_`` and ``%`` would match other names too."""
    return Name(re.sub(r"([\\_%])", r"\\\1", name))
