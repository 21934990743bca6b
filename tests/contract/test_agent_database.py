"""The agent's database verbs on real mariadbd servers."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import MySQLdb
import pytest
from servers import Servers, my_cnf, peer, servers, tenant, wait_for

from conpaassql import agent_cli, gtid
from conpaassql.agent import accounts, data, replication
from conpaassql.agent.facts import facts
from conpaassql.agent.mysqld import Mysqld, native_hash
from conpaassql.agent.node import Node
from conpaassql.agent.nudge import Nudge
from conpaassql.errors import AgentError, Conflict, Forbidden, Invalid, MysqlError, NotFound, StaleTerm, Unavailable
from conpaassql.protocol import (
    Close,
    Data,
    Database,
    DropUser,
    Follow,
    Grant,
    Open,
    Order,
    PutUser,
    Revoke,
    SemiSync,
    Server,
    ServerFacts,
    SetOptions,
    SetPassword,
    Setup,
)

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template") / "data"


@pytest.fixture
def made(template: Path) -> Iterator[Servers]:
    with servers("127.40.1", template) as made:
        yield made


def server(node: Node) -> ServerFacts:
    seen = facts(node).mysqld
    assert seen is not None
    return seen


def setup(node: Node, term: int = 0) -> Setup:
    return Setup(term=term, my_cnf=my_cnf(node.id))


def primary(made: Servers, number: int = 1, *, wait: bool = False) -> Node:
    node = made.ready(number)
    replication.open_writes(node, Open(term=0, wait=wait))
    return node


def attach(replica: Node, source: Node, *, acknowledge: bool = False, term: int = 0) -> None:
    for node in (replica, source):  # the source's own too: it may be a replica later
        replication.grant(source, Grant(term=term, account=replication.account(node)))
    replication.follow(replica, Follow(term=term, source=peer(source), acknowledge=acknowledge))
    wait_for(lambda: equal(replica, source))


def equal(one: Node, other: Node) -> bool:
    return server(one).executed == server(other).executed


def pair(made: Servers, *, wait: bool = False) -> tuple[Node, Node]:
    """Return a primary with the database ``app``, its user ``joe``, and a replica."""
    first, second = primary(made), made.ready(2)
    accounts.create_database(first, Database(term=0, name="app"))
    accounts.put_user(first, PutUser(term=0, username="joe", password="secret"))
    attach(second, first, acknowledge=wait)
    replication.semi_sync(first, SemiSync(term=0, wait=wait, acknowledge=False))
    return first, second


def test_what_a_killed_replica_had_logged_is_not_applied_again(made: Servers) -> None:
    """CREATE USER is in the log before the position says so; here the position is put back, as such a death does."""
    first, second = pair(made)
    with second.mysqld.session() as session:
        before = session.rows("SELECT @@GLOBAL.gtid_slave_pos")[0][0]
    accounts.put_user(first, PutUser(term=0, username="ann", password="secret"))
    wait_for(lambda: equal(second, first))
    with second.mysqld.session() as session:
        session.run("STOP SLAVE")
        session.run("SET GLOBAL gtid_strict_mode=0")
        session.run("SET GLOBAL gtid_slave_pos=%s", before)
        session.run("SET GLOBAL gtid_strict_mode=1")
    attach(second, first)
    sql(first, "CREATE TABLE app.t (i INT PRIMARY KEY)")
    wait_for(lambda: equal(second, first))


def sql(node: Node, *statements: str, username: str = "joe", password: str = "secret", database: str = "app") -> object:
    """Run statements as a tenant; return the rows of the last."""
    with tenant(node, username, password, database) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        connection.commit()
        return cursor.fetchall()


def kill(node: Node) -> int:
    pid = node.mysqld.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


# The data directory and the process


@pytest.mark.parametrize("memory_mib", [256, 512, 4096])
def test_starts_in_every_size_read_only(made: Servers, memory_mib: int) -> None:
    node = made.ready(1, memory_mib)
    seen = facts(node)
    assert (seen.data, seen.server, server(node).read_only) == (Data.READY, Server.RUNNING, True)
    assert server(node).executed == ""
    assert not (node.layout.root / "data.incoming").exists()


def test_initialise_twice_is_once(made: Servers) -> None:
    node = made.ready(1)
    pid = node.mysqld.pid()
    replication.open_writes(node, Open(term=0, wait=False))
    accounts.create_database(node, Database(term=0, name="app"))
    data.initialise(node, setup(node))
    assert node.mysqld.pid() == pid
    assert accounts.databases(node).databases == ("app",)


def test_foreign_files_are_never_touched(made: Servers) -> None:
    node = made.make(1)
    node.layout.data.mkdir()
    (node.layout.data / "precious").write_text("mine")
    for verb in (data.initialise, data.start, data.restart):
        with pytest.raises(Conflict):
            verb(node, setup(node))
    assert facts(node).data is Data.FOREIGN
    assert [file.name for file in node.layout.data.iterdir()] == ["precious"]
    assert node.mysqld.pid() is None


def test_there_is_nothing_to_start_on_an_empty_node(made: Servers) -> None:
    node = made.make(1)
    with pytest.raises(Conflict):
        data.start(node, setup(node))
    assert (facts(node).data, facts(node).server) == (Data.EMPTY, Server.STOPPED)


def test_two_agents_make_one_template(made: Servers, tmp_path: Path) -> None:
    made.template = tmp_path / "fresh"
    nodes = [made.make(number) for number in (1, 2)]
    threads = [threading.Thread(target=data.initialise, args=(node, setup(node))) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [facts(node).server for node in nodes] == [Server.RUNNING] * 2
    assert [file.name for file in tmp_path.iterdir()] == ["fresh"]


def test_making_a_template_spares_the_temporary_tables_of_others(
    made: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that starts takes what lies in its tmpdir for its own of an earlier life."""
    (tmp_path / "tmp").mkdir()
    others = [tmp_path / "tmp" / f"#sql-temptable-1-1-1.{kind}" for kind in ("MAI", "MAD", "frm")]
    for file in others:
        file.touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    made.template = tmp_path / "fresh"
    node = made.make(1)
    data.initialise(node, setup(node))
    assert all(file.exists() for file in others)


def test_what_keeps_it_from_starting_is_told(made: Servers) -> None:
    node = made.make(1)
    with pytest.raises(MysqlError, match="no_such_thing"):
        data.initialise(node, Setup(term=0, my_cnf=my_cnf(1, options={"no_such_thing": "1"})))
    assert node.mysqld.pid() is None
    data.watch(node)  # a server that never came up is not tried again unasked
    assert node.state.read().restarts == 0
    data.initialise(node, setup(node))
    assert facts(node).server is Server.RUNNING


def test_a_later_agent_finds_the_server_again(made: Servers) -> None:
    node = made.ready(1)
    later = made.reborn(node.layout, 1)
    assert later.mysqld.pid() == node.mysqld.pid()
    node.layout.pid_file.unlink()  # the agent died before it could note it
    assert made.reborn(node.layout, 1).mysqld.pid() is not None
    data.stop(later, Order(term=0))
    assert later.mysqld.pid() is None


def test_a_note_of_another_process_is_not_believed(made: Servers) -> None:
    node = made.ready(1)
    note = node.layout.pid_file.read_text()
    data.stop(node, Order(term=0))
    node.layout.pid_file.write_text(note.replace(note.split('"pid": ')[1].split(",")[0], str(os.getpid())))
    assert node.mysqld.pid() is None
    data.stop(node, Order(term=0))


def test_the_dead_are_started_again_and_counted(made: Servers) -> None:
    node = made.ready(1)
    replication.open_writes(node, Open(term=0, wait=False))
    dead = kill(node)
    wait_for(lambda: node.mysqld.pid() is None)
    assert facts(node).server is Server.STOPPED
    later = made.reborn(node.layout, 1)
    data.watch(later)
    seen = facts(later)
    assert (seen.server, seen.restarts) == (Server.RUNNING, 1)
    assert later.mysqld.pid() != dead
    assert server(later).read_only


def test_the_stopped_stay_stopped(made: Servers) -> None:
    node = made.ready(1)
    data.stop(node, Order(term=0))
    data.stop(node, Order(term=0))
    later = made.reborn(node.layout, 1)
    data.watch(later)
    assert facts(later).server is Server.STOPPED
    data.start(later, setup(later))
    assert facts(later).server is Server.RUNNING


def test_one_that_dies_again_and_again_is_tried_less_often(made: Servers) -> None:
    node = made.ready(1)
    for _ in range(3):
        if node.mysqld.pid() is not None:
            kill(node)
            wait_for(lambda: node.mysqld.pid() is None)
        data.watch(node)
    assert node.state.read().restarts == 1
    node.state.change(tried_at=node.state.read().tried_at - 1.1)
    data.watch(node)
    assert node.state.read().restarts == 2
    assert [data.delay_s(failures) for failures in (0, 1, 2, 3, 40)] == [0.0, 1.0, 2.0, 4.0, 60.0]


def test_a_frozen_server_is_silent_and_can_be_stopped(made: Servers) -> None:
    node = made.ready(1)
    pid = node.mysqld.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    assert facts(node).server is Server.SILENT
    assert time.monotonic() - begun < 1.9
    node.mysqld.stop(0.1)
    assert node.mysqld.pid() is None


def test_facts_are_quick(made: Servers) -> None:
    node = made.ready(1)
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        facts(node)
        times.append(time.perf_counter() - begun)
    assert sorted(times)[10] < 0.015  # 3 ms on an idle machine


def test_counters_are_of_tenants_alone(made: Servers) -> None:
    node = primary(made)
    accounts.create_database(node, Database(term=0, name="app"))
    accounts.put_user(node, PutUser(term=0, username="joe", password="secret"))
    for _ in range(3):  # looking is not using
        idle = server(node).counters
        assert (idle.statements, idle.bytes_in, idle.bytes_out) == (0, 0, 0)
    sql(node, "CREATE TABLE t (a INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    with tenant(node, "joe", "secret", "app") as connection, pytest.raises(MySQLdb.Error):
        assert server(node).connections == 1
        connection.cursor().execute("SELECT nothing")
    seen = server(node).counters
    assert seen.statements >= 3
    assert seen.errors == 1
    assert seen.busy_s > 0
    assert 0 < seen.bytes_in < 2000
    sql(node, "SELECT REPEAT('x', 100000)")
    assert 100_000 < server(node).counters.bytes_out - seen.bytes_out < 102_000


# Terms


def test_an_older_term_is_refused_by_every_order(made: Servers) -> None:
    node = primary(made)
    replication.open_writes(node, Open(term=5, wait=False))
    later = made.reborn(node.layout, 1)
    account = replication.account(node)
    orders: list[Callable[[], object]] = [
        lambda: data.initialise(later, setup(later, 4)),
        lambda: data.start(later, setup(later, 4)),
        lambda: data.restart(later, setup(later, 4)),
        lambda: data.stop(later, Order(term=4)),
        lambda: replication.follow(later, Follow(term=4, source=replace(peer(later), node=2), acknowledge=True)),
        lambda: replication.open_writes(later, Open(term=4, wait=True)),
        lambda: replication.close_writes(later, Close(term=4, timeout_s=1.0)),
        lambda: replication.semi_sync(later, SemiSync(term=4, wait=True, acknowledge=True)),
        lambda: replication.grant(later, Grant(term=4, account=account)),
        lambda: replication.revoke(later, Revoke(term=4, name=account.name)),
        lambda: accounts.put_user(later, PutUser(term=4, username="joe", password="secret")),
        lambda: accounts.drop_user(later, DropUser(term=4, username="joe")),
        lambda: accounts.set_password(later, SetPassword(term=4, username="joe", password="secret")),
        lambda: accounts.create_database(later, Database(term=4, name="app")),
        lambda: accounts.drop_database(later, Database(term=4, name="app")),
        lambda: accounts.set_options(later, SetOptions(term=4, options={})),
    ]
    for order in orders:
        with pytest.raises(StaleTerm):
            order()
    assert not server(later).read_only


# Replication


def test_a_replica_follows_and_confirms(made: Servers) -> None:
    first, second = pair(made, wait=True)
    sql(first, "CREATE TABLE t (a INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    wait_for(lambda: equal(first, second))
    assert sql(second, "SELECT a FROM t") == ((1,),)
    seen, source = server(second), server(first)
    assert seen.replica is not None
    assert (seen.replica.receiving, seen.replica.applying, seen.replica.error) == (True, True, "")
    assert seen.replica.source.host == first.layout.address
    assert gtid.contains(seen.replica.received, source.executed)
    assert (seen.acknowledging, source.waiting, source.acknowledgers) == (True, True, 1)
    assert source.replica is None


def test_orders_repeated_change_nothing(made: Servers) -> None:
    first, second = pair(made, wait=True)
    before = server(first).executed
    replication.grant(first, Grant(term=0, account=replication.account(second)))
    accounts.create_database(first, Database(term=0, name="app"))
    receiver = "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND='Slave_IO'"
    with second.mysqld.session() as session:
        thread = session.rows(receiver)
        replication.follow(second, Follow(term=0, source=peer(first), acknowledge=True))
        replication.semi_sync(second, SemiSync(term=0, wait=False, acknowledge=True))
        assert session.rows(receiver) == thread
    replication.open_writes(first, Open(term=0, wait=True))
    assert server(first).executed == before


def test_who_confirms_can_be_changed(made: Servers) -> None:
    first, second = pair(made)
    assert not server(second).acknowledging
    replication.semi_sync(second, SemiSync(term=0, wait=False, acknowledge=True))
    wait_for(lambda: server(second).acknowledging and server(first).acknowledgers == 1)
    replication.semi_sync(second, SemiSync(term=0, wait=False, acknowledge=False))
    wait_for(lambda: server(second).replica is not None and server(second).replica.receiving)
    wait_for(lambda: server(first).acknowledgers == 0)


def test_switchover_there_and_back_loses_nothing(made: Servers) -> None:
    first, second = pair(made, wait=True)
    sql(first, "CREATE TABLE t (a INT PRIMARY KEY)")
    written: list[int] = []
    where, done = [first], threading.Event()

    def write() -> None:
        for number in range(1_000_000):
            if done.is_set():
                return
            try:
                sql(where[0], f"INSERT INTO t VALUES ({number})")
                written.append(number)
            except MySQLdb.Error:
                continue

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for term, (old, new) in enumerate([(first, second), (second, first)], start=1):
            count = len(written)
            wait_for(lambda before=count: len(written) > before + 20)
            closed = replication.close_writes(old, Close(term=term, timeout_s=2.0)).executed
            wait_for(lambda node=new, all_of=closed: gtid.contains(server(node).executed, all_of))
            opened = replication.open_writes(new, Open(term=term, wait=True)).executed
            assert opened == closed
            where[0] = new
            replication.follow(old, Follow(term=term, source=peer(new), acknowledge=True))
        count = len(written)
        wait_for(lambda: len(written) > count + 20)
    finally:
        done.set()
        writer.join()
    wait_for(lambda: equal(first, second))
    for node in (first, second):
        found = {row[0] for row in sql(node, "SELECT a FROM t")}  # type: ignore[attr-defined]
        assert set(written) <= found
    assert server(first).executed.count("-") == 2  # one domain


def test_the_executed_position_is_right_in_every_role(made: Servers) -> None:
    first, second = pair(made)
    assert server(second).executed == server(first).executed
    replication.close_writes(first, Close(term=1, timeout_s=1.0))
    replication.open_writes(second, Open(term=1, wait=False))
    sql(second, "CREATE TABLE u (a INT PRIMARY KEY)")
    number = int(server(first).executed.split("-")[2])
    assert server(second).executed == f"0-2-{number + 1}"
    for node in (first, second):
        before = server(node).executed
        data.restart(node, setup(node, 1))
        assert server(node).executed == before


def test_what_was_received_is_applied_before_opening(made: Servers) -> None:
    first, second = pair(made)
    sql(first, "CREATE TABLE t (a INT PRIMARY KEY)")
    wait_for(lambda: equal(first, second))
    with second.mysqld.session() as session:
        session.run("STOP SLAVE SQL_THREAD")
    for number in range(50):
        sql(first, f"INSERT INTO t VALUES ({number})")
    wait_for(lambda: server(second).replica.received == server(first).executed)  # type: ignore[union-attr]
    last = server(first).executed
    kill(first)
    assert replication.open_writes(second, Open(term=1, wait=False)).executed == last
    assert sql(second, "SELECT COUNT(*) FROM t") == ((50,),)


def test_a_replica_that_cannot_apply_is_not_opened(made: Servers) -> None:
    first, second = pair(made)
    sql(first, "CREATE TABLE t (a INT PRIMARY KEY)")
    wait_for(lambda: equal(first, second))
    with second.mysqld.session() as session:
        session.run("SET sql_log_bin=0")
        session.run("INSERT INTO app.t VALUES (1)")
    sql(first, "INSERT INTO t VALUES (1)")
    wait_for(lambda: server(second).replica.error)  # type: ignore[union-attr]
    with pytest.raises(MysqlError, match="Duplicate"):
        replication.open_writes(second, Open(term=1, wait=False))
    assert server(second).read_only


def test_a_replica_that_was_killed_can_be_opened(made: Servers) -> None:
    first, second = pair(made)
    kill(second)
    wait_for(lambda: second.mysqld.pid() is None)
    data.watch(second)
    seen = server(second)
    assert seen.read_only
    assert seen.replica is not None
    assert not seen.replica.receiving  # it waits for the manager's word
    assert replication.open_writes(second, Open(term=1, wait=False)).executed == server(first).executed


def test_an_old_primary_never_confirms_what_nobody_else_has(made: Servers) -> None:
    first, second = pair(made, wait=True)
    sql(first, "CREATE TABLE t (a INT PRIMARY KEY)")
    replication.semi_sync(second, SemiSync(term=0, wait=False, acknowledge=False))
    wait_for(lambda: server(first).acknowledgers == 0)
    ends: list[str] = []

    def write() -> None:
        try:
            sql(first, "INSERT INTO t VALUES (1)")
            ends.append("confirmed")
        except MySQLdb.Error:
            ends.append("cut")

    writer = threading.Thread(target=write)
    writer.start()
    waiting = "SHOW STATUS LIKE 'Rpl_semi_sync_master_wait_sessions'"
    with first.mysqld.session() as session:
        wait_for(lambda: session.rows(waiting)[0][1] == "1")
    with pytest.raises(Conflict):
        replication.close_writes(first, Close(term=1, timeout_s=1.0))
    assert not server(first).read_only
    replication.follow(first, Follow(term=1, source=peer(second), acknowledge=True))
    writer.join()
    assert ends == ["cut"]
    assert server(first).read_only


def test_without_copies_nothing_hangs(made: Servers) -> None:
    """A new primary waits for confirmations before its first replica can connect."""
    first, second = primary(made, wait=True), made.ready(2)
    assert server(first).waiting
    with pytest.raises(Unavailable):
        accounts.create_database(first, Database(term=0, name="app"))
    attach(second, first, acknowledge=True)
    wait_for(lambda: server(first).acknowledgers == 1)
    accounts.create_database(first, Database(term=0, name="app"))


def test_facts_are_seen_while_an_account_waits_for_confirmation(made: Servers) -> None:
    first = primary(made, wait=True)

    def stuck() -> None:
        with pytest.raises(MysqlError), first.mysqld.change(read_timeout_s=1.0) as session:
            session.run("CREATE USER x")

    thread = threading.Thread(target=stuck)
    thread.start()
    with first.mysqld.session() as session:
        wait_for(lambda: session.rows("SHOW STATUS LIKE 'Rpl_semi_sync_master_wait_sessions'")[0][1] == "1")
    assert facts(first).server is Server.RUNNING
    thread.join()
    with first.mysqld.session() as session:
        wait_for(lambda: session.rows("SHOW STATUS LIKE 'Rpl_semi_sync_master_wait_sessions'")[0][1] == "0")


def test_close_cuts_tenants_and_keeps_replicas(made: Servers) -> None:
    first, second = pair(made)
    with tenant(first, "joe", "secret", "app") as connection:
        replication.close_writes(first, Close(term=1, timeout_s=1.0))
        with pytest.raises(MySQLdb.Error):
            connection.cursor().execute("SELECT 1")
    with pytest.raises(MySQLdb.Error):
        sql(first, "CREATE TABLE t (a INT)")
    assert server(second).replica.receiving  # type: ignore[union-attr]


def test_close_that_cannot_finish_leaves_the_node_open(made: Servers) -> None:
    first = primary(made)
    accounts.create_database(first, Database(term=0, name="app"))
    accounts.put_user(first, PutUser(term=0, username="joe", password="secret"))
    sql(first, "CREATE TABLE t (a INT PRIMARY KEY)")
    writer = threading.Thread(target=sql, args=(first, "INSERT INTO t VALUES (1 + SLEEP(2))"))
    writer.start()
    wait_for(lambda: server(first).connections == 1)
    wait_for(lambda: running(first))
    with pytest.raises(Conflict):
        replication.close_writes(first, Close(term=0, timeout_s=1.0))
    assert not server(first).read_only
    writer.join()
    sql(first, "INSERT INTO t VALUES (2)")


def running(node: Node) -> bool:
    with node.mysqld.session() as session:
        return bool(session.rows("SELECT 1 FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT%'"))


def test_a_replica_account_wants_certificate_and_password(made: Servers) -> None:
    first, second = pair(made)
    password = second.state.read().account_password
    name = replication.account(second).name
    files = {kind: str(second.layout.tls / file) for kind, file in (("ca", "ca.pem"), ("cert", "node.pem"))}
    files["key"] = str(second.layout.tls / "node.key")
    other = {kind: file.replace("/n2/", "/n1/") for kind, file in files.items()}

    def login(word: str, ssl: dict[str, str]) -> MySQLdb.connections.Connection:
        return MySQLdb.connect(
            host=first.layout.address, user=name, password=word, connect_timeout=2, ssl=ssl, ssl_mode="REQUIRED"
        )

    for word, ssl in ((password, other), ("wrong", files), (password, {"ca": files["ca"]})):
        with pytest.raises(MySQLdb.Error):
            login(word, ssl)
    connection = login(password, files)
    with pytest.raises(MySQLdb.Error):
        connection.cursor().execute("SELECT * FROM mysql.global_priv")
    connection.close()
    replication.revoke(first, Revoke(term=0, name=name))
    replication.revoke(first, Revoke(term=0, name=name))
    with pytest.raises(MySQLdb.Error):
        login(password, files)
    for wrong in ("root", "conpaassql_tenant", "conpaassql_repl_1' OR '1"):
        with pytest.raises(Invalid):
            replication.revoke(first, Revoke(term=0, name=wrong))


# Users, databases, options

GOOD_NAMES = [
    "x; rm -rf /",
    "--help",
    "a`b",
    "a``b",
    'a"b',
    "50%",
    "%s",
    "a_b",
    "müller",
    "пользователь",
    "名前",
    "a" * 80,
]
BAD_NAMES = ["", "a" * 81, "a'b", "a\\b", "a\0b", "a\nb", " a", "a ", "😀", "'; DROP USER root@localhost; --"]


def test_evil_user_names_work_or_are_refused_also_on_a_replica(made: Servers) -> None:
    first, second = pair(made)
    password = "p'w\"\\%s`😀"
    for name in GOOD_NAMES:
        accounts.put_user(first, PutUser(term=0, username=name, password=password))
    for name in BAD_NAMES:
        with pytest.raises(Invalid):
            accounts.put_user(first, PutUser(term=0, username=name, password=password))
    wait_for(lambda: equal(first, second))
    for node in (first, second):
        assert {user.username for user in accounts.users(node).users} == {"joe", *GOOD_NAMES}
        for name in GOOD_NAMES:
            sql(node, "SELECT 1", username=name, password=password)
    for name in GOOD_NAMES:
        accounts.set_password(first, SetPassword(term=0, username=name, password="new"))
        sql(first, "SELECT 1", username=name, password="new")
        accounts.drop_user(first, DropUser(term=0, username=name))
    wait_for(lambda: equal(first, second))
    assert [user.username for user in accounts.users(second).users] == ["joe"]


def test_evil_database_names_work_or_are_refused_also_on_a_replica(made: Servers) -> None:
    first, second = pair(made)
    names = [name[:64].rstrip() for name in GOOD_NAMES] + ["a'b", "a.b", "a/b", "../../x", "a\\b", "a\\_b"]
    for name in names:
        accounts.create_database(first, Database(term=0, name=name))
        sql(first, "CREATE TABLE t (a INT PRIMARY KEY)", database=name)
        accounts.put_user(first, PutUser(term=0, username="only", password="secret", databases=(name,)))
        sql(first, "INSERT INTO t VALUES (1)", username="only", database=name)
        assert accounts.users(first).users[-1].databases == (name,)
    for name in ["", "a" * 65, "a\0b", " a", "😀", "#mysql50#../../etc"]:
        with pytest.raises(Invalid):
            accounts.create_database(first, Database(term=0, name=name))
    wait_for(lambda: equal(first, second))
    assert set(accounts.databases(second).databases) == {"app", *names}
    for name in names:
        accounts.drop_database(first, Database(term=0, name=name))
    wait_for(lambda: equal(first, second))
    assert accounts.databases(second).databases == ("app",)
    assert {user.username: user.databases for user in accounts.users(second).users} == {"joe": (), "only": ()}


def test_a_name_in_a_grant_is_no_pattern(made: Servers) -> None:
    first = primary(made)
    for name in ("a_b", "axb", "a%", "abc"):
        accounts.create_database(first, Database(term=0, name=name))
    accounts.put_user(first, PutUser(term=0, username="joe", password="secret", databases=("a_b", "a%")))
    assert sql(first, "SHOW DATABASES", database="a_b") == (("a%",), ("a_b",), ("information_schema",))


def test_rights_are_exactly_those_asked_for(made: Servers) -> None:
    first = primary(made)
    for name in ("one", "two"):
        accounts.create_database(first, Database(term=0, name=name))

    def put(*names: str) -> None:
        accounts.put_user(first, PutUser(term=0, username="joe", password="secret", databases=names))

    put("one")
    with pytest.raises(MySQLdb.Error):
        sql(first, "SELECT 1", database="two")
    put("two")
    with pytest.raises(MySQLdb.Error):
        sql(first, "SELECT 1", database="one")
    put()
    for name in ("one", "two"):
        sql(first, "SELECT 1", database=name)
    accounts.create_database(first, Database(term=0, name="three"))
    sql(first, "CREATE TABLE t (a INT)", database="three")
    put("one")
    with pytest.raises(MySQLdb.Error):
        sql(first, "SELECT 1", database="three")
    with pytest.raises(NotFound):
        put("four")


def test_no_tenant_gets_out_of_the_databases(made: Servers) -> None:
    first = primary(made)
    accounts.create_database(first, Database(term=0, name="app"))
    accounts.put_user(first, PutUser(term=0, username="joe", password="secret"))
    for statement in (
        "SELECT * FROM mysql.global_priv",
        "SELECT 'x' INTO OUTFILE '/tmp/conpaassql_out'",
        "SELECT LOAD_FILE('/etc/passwd') INTO @x; SELECT 1/@x",
        "SET GLOBAL read_only=0",
        "SET GLOBAL max_connections=1",
        "SET SESSION sql_log_bin=0",
        "CREATE USER x",
        "GRANT SELECT ON app.* TO root@localhost",
        "CREATE DATABASE other",
        "KILL 1",
        "SHUTDOWN",
        "STOP SLAVE",
        "CREATE DEFINER=root@localhost PROCEDURE p() SELECT 1",
        "INSTALL SONAME 'auth_pam'",
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t",
    ):
        with pytest.raises(MySQLdb.Error):
            sql(first, statement)


@pytest.mark.parametrize(
    "name", ["root", "ROOT", "mysql", "mariadb.sys", "conpaassql_repl_1", "conpaassql_x", "PUBLIC"]
)
def test_own_accounts_are_protected(made: Servers, name: str) -> None:
    first = primary(made)
    for order in (
        lambda: accounts.put_user(first, PutUser(term=0, username=name, password="x")),
        lambda: accounts.drop_user(first, DropUser(term=0, username=name)),
        lambda: accounts.set_password(first, SetPassword(term=0, username=name, password="x")),
    ):
        with pytest.raises(Forbidden):
            order()


def test_own_databases_are_protected(made: Servers) -> None:
    first = primary(made)
    for name in ("mysql", "sys", "MySQL", "information_schema", "performance_schema"):
        for verb in (accounts.create_database, accounts.drop_database):
            with pytest.raises(Forbidden):
                verb(first, Database(term=0, name=name))
        with pytest.raises(Forbidden):
            accounts.put_user(first, PutUser(term=0, username="joe", password="x", databases=(name,)))
    assert accounts.databases(first).databases == ()
    assert accounts.users(first).users == ()


def test_other_wrong_requests_are_refused(made: Servers) -> None:
    first = primary(made)
    with pytest.raises(Invalid):
        accounts.put_user(first, PutUser(term=0, username="joe", password=""))
    for host in ("", "a b", "'%'", "x" * 256, "a;b"):
        with pytest.raises(Invalid):
            accounts.put_user(first, PutUser(term=0, username="joe", password="x", host=host))
    with pytest.raises(NotFound):
        accounts.set_password(first, SetPassword(term=0, username="joe", password="x"))
    with pytest.raises(NotFound):
        accounts.drop_user(first, DropUser(term=0, username="joe"))
    with pytest.raises(NotFound):
        accounts.drop_database(first, Database(term=0, name="app"))


def test_nobody_logs_in_in_clear(made: Servers) -> None:
    first = primary(made)
    accounts.put_user(first, PutUser(term=0, username="joe", password="secret"))
    with tenant(first, "joe", "secret"):
        pass
    with pytest.raises(MySQLdb.Error), tenant(first, "joe", "secret", tls="DISABLED"):
        pass


def test_those_who_watch_survive_a_disk_that_takes_nothing(made: Servers) -> None:
    node = made.ready(1)
    folder = node.layout.state_file.parent
    kill(node)
    wait_for(lambda: node.mysqld.pid() is None)
    gone = folder.with_name("gone")
    folder.rename(gone)  # the nearest to a full disk that needs no mount
    try:
        stop = threading.Event()
        watcher = threading.Thread(target=agent_cli._watch, args=(node, stop))
        watcher.start()
        watcher.join(1.2)
        assert watcher.is_alive()
        with pytest.raises(AgentError):
            node.state.change(says="x")
        stop.set()
        watcher.join(10)
    finally:
        gone.rename(folder)
    assert node.state.read().says == ""
    data.watch(node)
    assert facts(node).server is Server.RUNNING


def test_a_replica_takes_no_changes(made: Servers) -> None:
    node = made.ready(1)
    for order in (
        lambda: accounts.put_user(node, PutUser(term=0, username="joe", password="x")),
        lambda: accounts.drop_user(node, DropUser(term=0, username="joe")),
        lambda: accounts.create_database(node, Database(term=0, name="app")),
        lambda: accounts.drop_database(node, Database(term=0, name="app")),
        lambda: replication.grant(node, Grant(term=0, account=replication.account(node))),
    ):
        with pytest.raises(Conflict):
            order()
    assert server(node).executed == ""


def test_options_are_changed_all_or_none(made: Servers) -> None:
    node = made.ready(1)

    def set_(**options: str) -> None:
        accounts.set_options(node, SetOptions(term=0, options=options))

    def value(name: str) -> object:
        with node.mysqld.session() as session:
            return session.rows(f"SELECT @@GLOBAL.{name}")[0][0]

    set_(max_connections="77", sql_mode="ANSI_QUOTES", long_query_time="0.5")
    assert (value("max_connections"), value("sql_mode"), value("long_query_time")) == (77, "ANSI_QUOTES", 0.5)
    with pytest.raises(Invalid):
        set_(max_connections="88", character_set_server="klingon")
    assert value("max_connections") == 77
    for name in ("no_such_thing", "innodb_log_file_buffering; DROP DATABASE mysql", "port", "timestamp", "1=1"):
        with pytest.raises(Invalid):
            set_(**{name: "1"})
    for name in (
        "read_only",
        "READ_ONLY",
        "gtid_strict_mode",
        "rpl_semi_sync_master_enabled",
        "secure_file_priv",
        "general_log_file",
        "slow_query_log_file",
        "init_connect",
        "log_bin",
        "server_id",
        "plugin_maturity",
        "innodb_flush_log_at_trx_commit",
        "sync_binlog",
        "datadir",
        "local_infile",
        "userstat",
    ):
        with pytest.raises(Forbidden):
            set_(**{name: "1"})


# Smaller things


def test_a_password_is_kept_as_the_server_keeps_it(made: Servers) -> None:
    node = made.ready(1)
    for password in ("x", "p'w\"\\%s`😀"):
        with node.mysqld.session() as session:
            assert session.rows("SELECT PASSWORD(%s)", password)[0][0] == native_hash(password)


def test_a_login_that_is_refused_is_an_error(made: Servers) -> None:
    node = made.ready(1)
    stranger = Mysqld(node.layout, "stranger", "secret")
    with pytest.raises(MysqlError), stranger.session():
        pass


def test_private_files_are_private(made: Servers) -> None:
    node = made.ready(1)
    for path in (node.layout.my_cnf, node.layout.state_file, node.layout.pid_file):
        assert path.stat().st_mode & 0o777 == 0o600
    assert "@" not in node.layout.my_cnf.read_text()


def test_an_order_that_was_held_up_is_refused(made: Servers) -> None:
    """Within a term the higher number wins; tenants' orders carry none and are never late."""
    node = made.ready(1)
    replication.open_writes(node, Open(term=2, number=7, wait=False))
    with pytest.raises(StaleTerm):
        replication.close_writes(node, Close(term=2, number=6, timeout_s=1))
    assert not server(node).read_only
    accounts.create_database(node, Database(term=2, name="still_open"))
    replication.close_writes(node, Close(term=3, number=1, timeout_s=1))
    assert server(node).read_only


@pytest.mark.parametrize("statement", ["CREATE TABLE passed_over.t (i INT)", "CREATE USER passed_over"])
def test_a_commit_that_was_passed_over_is_released(made: Servers, statement: str) -> None:
    """A replica received it before it was told to confirm; nobody writes after it; the nudge covers it."""
    one, two = primary(made), made.ready(2)
    attach(two, one)
    with one.mysqld.session() as session:
        session.run("CREATE DATABASE passed_over")
    replication.semi_sync(one, SemiSync(term=1, wait=True, acknowledge=False))

    def commit() -> None:
        with one.mysqld.session(read_timeout_s=30) as session:
            session.run(statement)

    writer = threading.Thread(target=commit)
    writer.start()
    wait_for(lambda: status(one, "WAIT_SESSIONS") == 1)
    wait_for(lambda: equal(two, one))
    replication.semi_sync(two, SemiSync(term=1, wait=False, acknowledge=True))
    wait_for(lambda: server(one).acknowledgers == 1)
    nudge = Nudge()
    nudge.look(one)
    writer.join(0.5)
    assert writer.is_alive(), "it would have been released anyway"
    with one.state.alone():
        others_look(nudge, one)
    writer.join(0.5)
    assert writer.is_alive(), "it wrote in the middle of an order"
    nudge.look(one)
    writer.join(10)
    assert not writer.is_alive()
    assert status(one, "WAIT_SESSIONS") == 0
    wait_for(lambda: equal(two, one))


def others_look(nudge: Nudge, node: Node) -> None:
    """Look from another thread, as the lock on orders is the holder's to take again."""
    thread = threading.Thread(target=nudge.look, args=(node,))
    thread.start()
    thread.join(10)


def status(node: Node, name: str) -> int:
    """Return one of the counters of commits that wait."""
    with node.mysqld.session() as session:
        return int(session.rows(f"SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_{name}'")[0][1])
