"""Clone, dump, load and comparison on real servers, over real TLS between agents."""

import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from servers import CLUSTER, Servers, equip, my_cnf, peer, servers, tenant, wait_for
from starlette.applications import Starlette
from starlette.routing import Route

from conpaassql import httpd
from conpaassql.agent import accounts, copy, data, digest, dump, logs, peers, programs, replication, server
from conpaassql.agent.node import Node
from conpaassql.errors import Conflict, Forbidden, Invalid, MysqlError, NotFound, SqlError, Unsupported
from conpaassql.gtid import contains
from conpaassql.httpd import Stream
from conpaassql.pki import Identity
from conpaassql.protocol import (
    AGENT_PORT,
    Clone,
    Close,
    Database,
    Dump,
    Empty,
    Follow,
    Grant,
    Lines,
    Open,
    Order,
    Peer,
    PutUser,
    Revoke,
    Setup,
    Task,
    TaskState,
    Verify,
)

pytestmark = pytest.mark.real
PREFIX = "127.41.7"
PRIMARIES: dict[Path, Node] = {}  # the primary of each test's servers


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("template") / "data"


@pytest.fixture
def made(template) -> Iterator[Servers]:
    with servers(PREFIX, template) as made:
        yield made


@contextmanager
def serving(node: Node, app: Starlette | None = None) -> Iterator[None]:
    """Answer the calls of other agents for ``node``."""
    tls = node.layout.tls
    files = httpd.Tls(certificate=tls / "node.pem", key=tls / "node.key", client_ca=tls / "ca.pem")
    bound = httpd.listen(node.layout.address, AGENT_PORT)
    listening = httpd.HttpServer(app or server.app(node, CLUSTER), bound, files)
    thread = threading.Thread(target=listening.run)
    thread.start()
    try:
        yield
    finally:
        listening.stop()
        thread.join(20)
        assert not thread.is_alive()


def disturbed(node: Node, after_bytes: int) -> Starlette:
    """Serve a copy that fails in the middle, as when mariadb-backup dies."""

    def broken() -> Iterator[bytes]:
        sent = 0
        with closing(copy.copy(node, Empty())) as stream:
            for piece in stream:
                sent += len(piece)
                yield piece
                if sent > after_bytes:
                    raise MysqlError("the donor's disk is on fire")

    return Starlette(routes=[Route("/v1/copy", lambda _: Stream(broken()))])


def children_named(word: str) -> list[int]:
    """Return living children of this process whose command has ``word``."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            if word in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(int(pid))
    return found


@dataclass
class Writer:
    """Writes rows as fast as it can, in its own thread; ``stalls_s`` is the longest wait for one."""

    node: Node
    rows: int = 0
    longest_s: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with self.node.mysqld.session() as session:
            while not self._stop.is_set():
                began = time.monotonic()
                session.run("INSERT INTO shop.orders (what) VALUES (%s)", f"order {self.rows}")
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.rows += 1

    def __enter__(self) -> "Writer":
        self._thread = threading.Thread(target=self.run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)


def shop(node: Node) -> None:
    """Make a writable primary with a small database."""
    with node.mysqld.session() as session:
        session.run("SET GLOBAL read_only=0")
        session.run("CREATE DATABASE shop")
        session.run("USE shop")
        session.run("CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, what VARCHAR(200))")
        session.run("INSERT INTO shop.orders (what) SELECT MD5(seq) FROM seq_1_to_20000")


def let_in(node: Node, source: Node) -> None:
    """Have the primary make the account of ``node``, and wait until ``source`` knows it."""
    if source.mysqld.pid() is None:
        return
    with source.mysqld.session() as session:
        writable = not session.rows("SELECT @@GLOBAL.read_only")[0][0]
    primary = source if writable else PRIMARIES.get(node.layout.root.parent)
    if primary is None:  # nobody writes: as its own primary for a moment
        open_for_a_moment(source, node)
        return
    PRIMARIES[node.layout.root.parent] = primary
    replication.grant(primary, Grant(term=1, account=replication.account(node)))
    granted = executed(primary)
    wait_for(lambda: contains(executed(source), granted))


def open_for_a_moment(source: Node, node: Node) -> None:
    with source.mysqld.session() as session:
        session.run("SET GLOBAL read_only=0")
        replication.grant(source, Grant(term=1, account=replication.account(node)))
        session.run("SET GLOBAL read_only=1")


def follow(node: Node, source: Node) -> None:
    """Follow with the product's own verbs."""
    let_in(node, source)
    replication.follow(node, Follow(term=1, source=peer(source), acknowledge=False))


def executed(node: Node) -> str:
    with node.mysqld.session() as session:
        return str(session.rows("SELECT @@gtid_current_pos")[0][0])


def caught_up(node: Node, source: Node) -> None:
    position = executed(source)
    with node.mysqld.session(read_timeout_s=40) as session:
        assert session.rows("SELECT MASTER_GTID_WAIT(%s, 30)", position) == [(0,)]
        status = session.records("SHOW SLAVE STATUS")[0]
    assert (status["Last_Error"], status["Last_IO_Error"]) == ("", "")


def orders(node: Node) -> list[tuple]:
    with node.mysqld.session() as session:
        return session.rows("SELECT COUNT(*), MAX(id) FROM shop.orders") + session.rows("CHECKSUM TABLE shop.orders")


def cloned(node: Node, source: Node) -> Task:
    let_in(node, source)
    copy.clone(node, Clone(term=1, my_cnf=my_cnf(node.id), source=peer(source)))
    task = node.tasks.join(60)
    assert task is not None
    return task


def test_a_clone_of_a_primary_and_a_clone_of_a_replica_follow_without_a_gap(made: Servers) -> None:
    one = made.ready(1)
    shop(one)
    with Writer(one) as writer:
        for number, donor in ((2, one), (3, None), (4, None)):
            source = donor or made.nodes[-1]
            new = made.make(number)
            with serving(source):
                task = cloned(new, source)
            assert task.state is TaskState.DONE, task.says
            assert task.done_bytes > 0
            if number == 3:  # it dies before it was told where it stands, and so does its agent
                os.kill(new.mysqld.pid() or 0, signal.SIGKILL)
                new = made.reborn(new.layout, number)
                data.start(new, Setup(term=1, my_cnf=my_cnf(number)))
            follow(new, one)
            wait_for(lambda before=writer.rows: writer.rows > before + 50)
    print(f"longest stall of a write: {writer.longest_s * 1000:.0f} ms, rows {writer.rows}")
    for node in made.nodes[1:]:
        caught_up(node, one)
        assert orders(node) == orders(one)
        assert not node.layout.incoming.exists()


def test_a_clone_that_breaks_off_leaves_nothing_and_can_be_ordered_again(made: Servers) -> None:
    one, two = made.ready(1), made.make(2)
    shop(one)
    with serving(one, disturbed(one, 5 << 20)):
        task = cloned(two, one)
    assert task.state is TaskState.FAILED
    assert "broke off" in task.says
    assert not two.layout.incoming.exists()
    assert not two.layout.data.exists()
    assert children_named("mariadb-backup") == children_named("mbstream") == []
    (two.layout.incoming / "half").mkdir(parents=True)  # as an agent leaves it that dies in the middle
    with serving(one):
        assert cloned(two, one).state is TaskState.DONE
        assert cloned(two, one).state is TaskState.DONE  # nothing to do
    assert orders(two) == orders(one)


def test_the_donor_cleans_up_when_the_receiver_goes_away(made: Servers) -> None:
    one, two = made.ready(1), made.make(2)
    let_in(two, one)
    with serving(one):
        with peers.download(two.layout.tls, peer(one), "copy") as stream:
            assert stream.readinto(memoryview(bytearray(1000))) == 1000
            assert children_named("mariadb-backup")
        wait_for(lambda: not children_named("mariadb-backup"), 15)


def test_an_agent_that_ends_takes_its_clone_with_it(made: Servers) -> None:
    one, two = made.ready(1), made.make(2)
    copy.clone(two, Clone(term=1, my_cnf=my_cnf(2), source=Peer(node=1, host=one.layout.address)))
    two.tasks.stop(10)
    task = two.tasks.current()
    assert task is not None
    assert task.state is TaskState.FAILED  # nobody serves: refused, or stopped before that
    assert not two.layout.incoming.exists()


def test_a_copy_that_never_followed_knows_its_position_when_it_is_opened(made: Servers) -> None:
    one, two = made.ready(1), made.make(2)
    shop(one)
    with serving(one):
        assert cloned(two, one).state is TaskState.DONE
    assert two.state.read().position
    opened = replication.open_writes(two, Open(term=1, wait=False)).executed
    assert contains(opened, executed(one))
    assert two.state.read().position == ""
    with two.mysqld.session() as session:
        session.run("CREATE DATABASE after_it")
    assert int(executed(two).split("-")[2]) == int(opened.split("-")[2]) + 1


def test_orders_keep_off_a_copy_that_is_on_its_way(made: Servers) -> None:
    """An empty database is not made into its place, and while it is put there no server is started on it."""
    one, two = made.ready(1), made.make(2)
    shop(one)
    order = Setup(term=1, my_cnf=my_cnf(2))
    let_in(two, one)
    with serving(one):
        with two.state.alone():
            copy.clone(two, Clone(term=1, my_cnf=my_cnf(2), source=peer(one)))
            wait_for(lambda: phase(two) == "syncing", 30)
            with pytest.raises(Conflict):
                data.initialise(two, order)
            assert two.tasks.join(0.3) is not None
            assert two.layout.incoming.exists()
            assert not two.layout.data.exists()
        task = two.tasks.join(60)
    assert task is not None
    assert task.state is TaskState.DONE, task.says
    assert orders(two) == orders(one)


def phase(node: Node) -> str:
    task = node.tasks.current()
    return task.phase if task else ""


def test_files_of_others_are_never_cloned_over(made: Servers) -> None:
    one, two = made.ready(1), made.make(2)
    two.layout.data.mkdir()
    (two.layout.data / "precious").write_text("mine")
    with pytest.raises(Conflict):
        copy.clone(two, Clone(term=1, my_cnf=my_cnf(2), source=peer(one)))
    assert (two.layout.data / "precious").read_text() == "mine"


def test_copying_from_a_node_without_a_server_is_refused_with_a_sentence(made: Servers) -> None:
    one, two = made.make(1), made.make(2)
    with serving(one):
        task = cloned(two, one)
    assert task.state is TaskState.FAILED
    assert "database server says" in task.says


def refused(node: Node, source: Node, verb: str) -> None:
    with pytest.raises(Forbidden), peers.download(node.layout.tls, peer(source), verb):
        pass


def test_only_nodes_that_the_manager_let_in_may_read(made: Servers) -> None:
    """By the replica's account: it may arrive a moment later, and when it goes, the certificate is worth nothing."""
    one, two = made.ready(1), made.make(2)
    shop(one)
    account = replication.account(two)
    with serving(one):
        for verb in ("copy", "digest"):
            refused(two, one, verb)
        later = threading.Timer(0.5, replication.grant, (one, Grant(term=1, account=account)))
        later.start()
        with peers.download(two.layout.tls, peer(one), "digest") as stream:
            assert b"executed" in next(stream.lines())
        later.join()
        replication.revoke(one, Revoke(term=1, name=account.name))
        refused(two, one, "copy")
        stranger = made.make(3)
        replication.grant(one, Grant(term=1, account=replication.account(stranger)))
        shutil.rmtree(stranger.layout.tls)
        equip(stranger.layout, made.authority, Identity(cluster="other", node=3))
        refused(stranger, one, "copy")


SCHEMA = """
CREATE DATABASE `odd -- name`;
USE `odd -- name`;
CREATE TABLE t (id INT PRIMARY KEY, b BLOB, s VARCHAR(100) CHARACTER SET utf8mb4);
INSERT INTO t VALUES (1, x'00ff0a0d27', 'line\\nbreak ; \\\\ \\'quoted\\' \U0001f600'), (2, NULL, '');
CREATE VIEW v AS SELECT id, s FROM t;
CREATE SEQUENCE q;
DELIMITER //
CREATE DEFINER=`root`@`localhost` PROCEDURE p() BEGIN SELECT COUNT(*) FROM v; END//
CREATE DEFINER=`root`@`localhost` FUNCTION f() RETURNS INT RETURN (SELECT MAX(id) FROM t)//
CREATE DEFINER=`root`@`localhost` TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.s = CONCAT(NEW.s, '!')//
CREATE DEFINER=`root`@`localhost` EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM t WHERE id < 0//
DELIMITER ;
"""


def load(node: Node, text: str) -> None:
    dump.load(node, Order(term=1), [text.encode()])


def test_a_dump_comes_back_as_it_was(made: Servers) -> None:
    one, two = made.ready(1), made.ready(2)
    for node in (one, two):
        with node.mysqld.session() as session:
            session.run("SET GLOBAL read_only=0")
    load(one, SCHEMA)
    text = b"".join(dump.dump(one, Dump()))
    assert b"DROP DATABASE" not in text
    assert b"mysql" not in [line.split(b"`")[1] for line in text.splitlines() if line.startswith(b"USE ")]
    dump.load(two, Order(term=1), [text[at : at + 100] for at in range(0, len(text), 100)])
    for node in (one, two):
        assert accounts.databases(node).databases == ("odd -- name",)
        accounts.put_user(node, PutUser(term=1, username="ann", password="secret-of-ann"))
        with tenant(node, "ann", "secret-of-ann", "odd -- name") as connection, connection.cursor() as cursor:
            cursor.execute("CALL p()")
            assert cursor.fetchall() == ((2,),)
            cursor.nextset()
            cursor.execute("SELECT f(), (SELECT s FROM t WHERE id=1), (SELECT b FROM t WHERE id=1), NEXTVAL(q)")
            said = cursor.fetchall()[0]
            assert said[:3] == (2, "line\nbreak ; \\ 'quoted' \U0001f600", b"\x00\xff\n\r'")
            cursor.execute("INSERT INTO t VALUES (3, NULL, 'x')")
            cursor.execute("SELECT s FROM t WHERE id=3")
            assert cursor.fetchall() == (("x!",),)
        with node.mysqld.session() as session:
            definers = session.rows("SELECT DISTINCT definer FROM mysql.proc WHERE db='odd -- name'")
            assert definers == [(f"{dump.LOADER}@localhost",)]
    with pytest.raises(NotFound):
        dump.dump(one, Dump(databases=("mysql",)))
    assert b"`t`" in b"".join(dump.dump(one, Dump(databases=("odd -- name",))))


@pytest.mark.parametrize(
    "attack",
    [
        "DROP USER root@localhost;",
        "UPDATE mysql.global_priv SET Priv='{}';",
        "USE mysql;\nCREATE TABLE here (id INT);",
        "CREATE DATABASE sys;",
        "create  database /* x */ mysql;",
        "DROP DATABASE mysql;",
        "SET GLOBAL max_connections=10;",
        "SET SESSION sql_log_bin=0;",
        "SELECT * FROM shop.orders INTO OUTFILE '@FILES@/out';",
        "LOAD DATA INFILE '@FILES@/in' INTO TABLE shop.orders;",
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE shop.orders;",
        "CREATE USER mallory;",
        "GRANT ALL ON *.* TO conpaassql_tenant;",
        "GRANT SELECT ON shop.* TO PUBLIC;",
        "INSTALL SONAME 'ha_spider';",
        "CREATE FUNCTION sys_exec RETURNS STRING SONAME 'evil.so';",
        "SELECT 1;CREATE DEFINER=root@localhost PROCEDURE shop.p() DROP USER root@localhost;",
        "SELECT 1; /*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 VIEW shop.v AS SELECT 1 */;",
        "SHUTDOWN;",
        "STOP SLAVE;",
        "RESET MASTER;",
        "\\! touch @FILES@/owned",
        "system touch @FILES@/owned",
        "source /etc/passwd",
        "tee @FILES@/owned",
    ],
)
def test_a_dump_cannot_do_more_than_its_tenant(shared: Node, attack: str) -> None:
    files = shared.layout.root / "files"
    (files / "in").write_text("1\tx\n")
    load(shared, "SELECT 1;")
    with shared.mysqld.session() as session:
        accounts_before = session.rows("SELECT COUNT(*) FROM mysql.global_priv")[0][0]
    with pytest.raises((SqlError, Forbidden)) as refused:
        load(shared, attack.replace("@FILES@", str(files)) + "\nSELECT 1;\n")
    print(refused.value.says)
    assert [path.name for path in files.iterdir()] == ["in"]
    with shared.mysqld.session() as session:
        assert session.rows("SELECT COUNT(*) FROM mysql.global_priv WHERE User='root'") == [(1,)]
        assert session.rows("SELECT COUNT(*) FROM shop.orders") == [(20000,)]
        assert session.rows("SELECT COUNT(*) FROM mysql.global_priv") == [(accounts_before,)]


@pytest.fixture(scope="module")
def shared(template) -> Iterator[Node]:
    with servers("127.41.8", template) as made:
        node = made.ready(1)
        shop(node)
        yield node


def test_a_database_of_a_name_that_cannot_be_gets_no_grant(shared: Node) -> None:
    with pytest.raises(Invalid):
        load(shared, "CREATE DATABASE `#mysql50#x`;\n")
    with shared.mysqld.session() as session:
        assert session.rows("SELECT Db FROM mysql.db WHERE Db LIKE '%mysql50%'") == []


@pytest.mark.parametrize(
    ("errno", "kind"),
    [(1064, SqlError), (1290, SqlError), (4025, SqlError), (1205, MysqlError), (1927, MysqlError), (2013, MysqlError)],
)
def test_a_statements_fault_is_told_from_the_servers(errno: int, kind: type[Exception]) -> None:
    found = dump._located(MysqlError("it failed"), f"ERROR {errno} (42000) at line 7 in file: 'x': no")
    assert type(found) is kind
    assert found.details == {"line": 7, "errno": errno}


def running_lock(node: Node) -> bool:
    """Whether the loading client has done its INSERT (it sleeps, and is in the locked table's database)."""
    with node.mysqld.session() as session:
        return bool(
            session.rows(
                "SELECT 1 FROM information_schema.PROCESSLIST WHERE USER=%s AND COMMAND='Sleep' AND DB='first'",
                replication.LOADER,
            )
        )


def test_a_load_that_a_switchover_overtakes_ends_and_leaves_nothing_after_the_closing(made: Servers) -> None:
    """Its client sits in the middle of a locked table, and its next line would need a grant."""
    one = made.ready(1)
    shop(one)
    locked, closed = threading.Event(), threading.Event()
    positions: list[str] = []

    def chunks() -> Iterator[bytes]:
        yield b"CREATE DATABASE first;\nUSE first;\nCREATE TABLE t (i INT);\nLOCK TABLES t WRITE;\n"
        yield b"INSERT INTO t VALUES (1);\n"
        wait_for(lambda: running_lock(one))
        locked.set()
        assert closed.wait(10)
        yield b"CREATE DATABASE second;\n"

    def close() -> None:
        assert locked.wait(10)
        positions.append(replication.close_writes(one, Close(term=2, number=1, timeout_s=1.0)).executed)
        closed.set()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(Conflict):
        dump.load(one, Order(term=1), chunks())
    closer.join()
    assert executed(one) == positions[0]
    with one.mysqld.session() as session:
        assert session.rows("SELECT Db FROM mysql.db WHERE Db='second'") == []
    with pytest.raises(Conflict):
        dump.load(one, Order(term=2), [b"SELECT 1;"])


def test_an_error_in_a_dump_names_its_line_and_keeps_what_came_before(shared: Node) -> None:
    with pytest.raises(SqlError) as failed:
        load(shared, "CREATE DATABASE before_it;\n\nSELEKT 1;\nCREATE DATABASE after_it;\n")
    assert (failed.value.details["line"], failed.value.details["errno"]) == (3, 1064)
    assert "SELEKT" in failed.value.says
    assert {"before_it"} == set(accounts.databases(shared).databases) & {"before_it", "after_it"}
    accounts.drop_database(shared, Database(term=1, name="before_it"))


def test_a_sender_that_breaks_off_leaves_no_client(shared: Node) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"USE shop;\nCREATE TABLE half (id INT);\nINSERT INTO half VALUES (1),"
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        dump.load(shared, Order(term=1), chunks())
    assert children_named("mariadb") == [shared.mysqld.pid()]
    with shared.mysqld.session() as session:
        session.run("DROP TABLE IF EXISTS shop.half")


def test_a_dump_is_not_loaded_on_a_replica(made: Servers) -> None:
    with pytest.raises(Conflict):
        load(made.ready(1), "SELECT 1;")


def test_a_large_dump_in_and_out_needs_no_memory(shared: Node) -> None:
    with shared.mysqld.session(60) as session:
        session.run("CREATE DATABASE big")
        session.run("USE big")
        session.run("CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(1100))")
        session.run("INSERT INTO t SELECT seq, REPEAT(MD5(seq), 32) FROM seq_1_to_200000")
        before = session.rows("CHECKSUM TABLE t")
    size = 0

    def through() -> Iterator[bytes]:
        nonlocal size
        for piece in dump.dump(shared, Dump(databases=("big",))):
            size += len(piece)
            yield piece.replace(b"`big`", b"`copy`")

    peak, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    dump.load(shared, Order(term=1), through())
    took_s = time.monotonic() - began
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    print(f"{size / 1e6:.0f} MB out and in: {took_s:.1f} s, {size / took_s / 1e6:.0f} MB/s, grown by {grown_kib} KiB")
    with shared.mysqld.session(60) as session:
        assert session.rows("CHECKSUM TABLE copy.t")[0][1] == before[0][1]
        session.run("DROP DATABASE big")
        session.run("DROP DATABASE copy")
    assert size > 200e6
    assert grown_kib < 40_000


def verified(node: Node, source: Node) -> tuple[str, Task]:
    digest.verify(node, Verify(term=1, source=peer(source)))
    task = node.tasks.join(60)
    assert task is not None
    return node.state.read().verified, task


def test_a_replica_is_compared_while_writes_go_on(made: Servers) -> None:
    one, two = made.ready(1), made.make(2)
    shop(one)
    load(one, SCHEMA)
    with one.mysqld.session() as session:
        session.run("CREATE TABLE shop.memory (id INT) ENGINE=MEMORY")
    with serving(one), Writer(one) as writer:
        assert cloned(two, one).state is TaskState.DONE
        follow(two, one)
        for _ in range(5):
            result, task = verified(two, one)
            assert task.state is TaskState.DONE, task.says
            assert result == "equal", task.says
        assert "shop.memory (engine MEMORY)" in task.says
        with two.mysqld.session() as session:
            session.run("SET SESSION sql_log_bin=0")
            session.run("UPDATE shop.orders SET what='forged' WHERE id=7")
        result, task = verified(two, one)
        assert (result, task.state) == ("different", TaskState.DONE)
        assert "shop.orders differ" in task.says
        with two.mysqld.session() as session:
            assert session.records("SHOW SLAVE STATUS")[0]["Slave_SQL_Running"] == "Yes"
    print(task.says, f"longest stall of a write: {writer.longest_s * 1000:.0f} ms")
    caught_up(two, one)


def test_a_comparison_that_fails_leaves_the_applier_running(made: Servers) -> None:
    one, two = made.ready(1), made.make(2)
    shop(one)
    with serving(one):
        assert cloned(two, one).state is TaskState.DONE
    follow(two, one)
    _, task = verified(two, one)  # nobody answers any more
    assert task.state is TaskState.FAILED
    with two.mysqld.session() as session:
        assert session.records("SHOW SLAVE STATUS")[0]["Slave_SQL_Running"] == "Yes"
    with pytest.raises(Conflict):
        digest.verify(one, Verify(term=1, source=peer(two)))


def test_the_end_of_the_logs(made: Servers) -> None:
    one = made.make(1)
    one.layout.logs.mkdir()
    assert logs.log(one, Lines(lines=5)).text == "==> mysqld.log <==\n\n==> agent.log <==\n"
    (one.layout.logs / "mysqld.log").write_text("".join(f"line {number}\n" for number in range(200_000)))
    (one.layout.logs / "agent.log").write_bytes(b"\xff no end")
    text = logs.log(one, Lines(lines=3)).text
    assert text == "==> mysqld.log <==\nline 199997\nline 199998\nline 199999\n\n==> agent.log <==\n\ufffd no end\n"
    assert len(logs.log(one, Lines(lines=10**9)).text.splitlines()) == 10_000 + 4
    assert logs.log(one, Lines(lines=-1)).text == "==> mysqld.log <==\n\n==> agent.log <==\n"


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        list(programs.output(["no-such-program"], tmp_path, 1.0))


def test_a_program_that_says_nothing_is_given_up_and_one_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(MysqlError, match=r"did nothing for 0\.1 s"):
        list(programs.output(["sleep", "60"], tmp_path, 0.1))
    with pytest.raises(MysqlError, match="such file"):
        list(programs.output(["cat", "/no/such/file"], tmp_path, 5.0))
    assert children_named("sleep") == []
    assert list(tmp_path.iterdir()) == []
