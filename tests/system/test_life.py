"""The life of a cluster on real servers, as its users see it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import MySQLdb
import pytest
from installation import Installation, Refused, eventually, on_each_provider

pytestmark = [pytest.mark.real, on_each_provider]

Install = Callable[..., Installation]
PASSWORD = "correct horse 'battery\" staple"


def test_the_life_of_a_cluster(install: Install) -> None:
    """Grow, use, switch over, shrink, stop, start; at the end no secret is to be found anywhere."""
    home = install(network="127.50.0.0/18")
    assert home.cluster()["state"] == "INIT"
    first = home.add()[0]
    assert home.cluster()["primary"] == first
    home.call("create_database", name="shop")
    home.call("configure_user", serviceNodeId="all", username="anna", password=PASSWORD)
    write(home, first, "CREATE TABLE shop.t (id INT PRIMARY KEY, v TEXT)", "INSERT INTO shop.t VALUES (1, 'one')")

    second, third = home.add(2)
    for replica in (second, third):
        eventually(lambda node=replica: rows(home, node) == [(1, "one")], says="the copy holds what was there before")
        info = home.node(replica)
        assert info["role"] == "replica"
        assert info["confirms_commits"]
        eventually(lambda node=replica: home.node(node)["compared"] == "equal", says="both ends were compared")
        with pytest.raises(MySQLdb.OperationalError, match="read-only"):
            write(home, replica, "INSERT INTO shop.t VALUES (9, 'no')")

    home.call("set_up_replica_master", id=third)
    eventually(lambda: home.cluster()["primary"] == third and home.cluster()["state"] == "RUNNING")
    assert home.job("switchover")["state"] == "done"
    write(home, third, "INSERT INTO shop.t VALUES (2, 'two')")
    for replica in (first, second):
        eventually(lambda node=replica: rows(home, node) == [(1, "one"), (2, "two")])

    with pytest.raises(Refused) as refused:
        home.call("remove_nodes", serviceNodeId=third)
    assert refused.value.code == "unsafe"
    assert home.call("remove_nodes", serviceNodeId=second) == {"result": "OK"}
    eventually(lambda: home.call("list_nodes") == {"serviceNode": [first, third]})
    assert sorted(home.cloud()) == sorted(map(str, (first, third)))

    figures = performance_under_load(home, third)
    assert figures["request_rate"] > 10
    assert 0 < figures["response_time"] < 1
    assert figures["error_rate"] > 1
    assert figures["throughput"] > 1000

    assert home.call("shutdown") == {"state": "EPILOGUE"}
    eventually(lambda: home.cluster()["state"] == "STOPPED")
    assert not any(home.node(node)["isRunningMySQL"] for node in (first, third))
    with pytest.raises(Refused) as refused:
        home.call("add_nodes")
    assert refused.value.code == "conflict"
    assert home.call("startup") == {"state": "PROLOGUE"}
    eventually(lambda: home.cluster()["state"] == "RUNNING")
    home.wait_state(first, "RUNNING")
    assert rows(home, third) == [(1, "one"), (2, "two")]
    write(home, third, "INSERT INTO shop.t VALUES (3, 'three')")
    eventually(lambda: len(rows(home, first)) == 3)
    no_secret_is_left_lying_about(home, (PASSWORD, home.token, *join_tokens(home), *agent_secrets(home)))


def write(home: Installation, node: int, *statements: str) -> None:
    """Run statements as the tenant."""
    connection = home.sql(node, "anna", PASSWORD)
    try:
        for statement in statements:
            connection.cursor().execute(statement)
    finally:
        connection.close()


def rows(home: Installation, node: int) -> list[tuple[object, ...]]:
    """Return the table as a node has it; None while it has not."""
    connection = home.sql(node, "anna", PASSWORD)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT id, v FROM shop.t ORDER BY id")
        return list(cursor.fetchall())
    except MySQLdb.Error:
        return []
    finally:
        connection.close()


def performance_under_load(home: Installation, node: int) -> dict[str, float]:
    """Return the figures after some seconds of statements, some of them wrong."""
    connection = home.sql(node, "anna", PASSWORD)
    cursor = connection.cursor()

    def seen() -> dict[str, float] | None:
        for number in range(50):
            cursor.execute("SELECT %s", (number,))
            cursor.fetchall()
            if number % 10 == 0:
                with pytest.raises(MySQLdb.Error):
                    cursor.execute("SELECT nonsense FROM nowhere")
        found = home.call("get_service_performance")
        return found if found["request_rate"] > 10 and found["error_rate"] > 1 else None

    try:
        return eventually(seen) or {}
    finally:
        connection.close()


def join_tokens(home: Installation) -> list[str]:
    """Return the join tokens that the VMs were given."""
    found = []
    for context in home.vms.glob("*/*/context.sh"):
        for line in context.read_text().splitlines():
            if line.startswith("CONPAASSQL_JOIN_TOKEN="):
                found.append(line.partition("=")[2].strip("'"))
    assert found
    return found


def agent_secrets(home: Installation) -> list[str]:
    """Return what only one process may know: passwords of replica accounts, private keys, the join key."""
    accounts = [json.loads(file.read_text())["account_password"] for file in home.vms.glob("*/*/disk/agent.json")]
    keys = [*home.state.glob("*.key"), *home.vms.glob("*/*/disk/tls/*.key")]
    bodies = [text.splitlines()[1].decode() for file in keys if (text := file.read_bytes()).startswith(b"-----BEGIN")]
    assert accounts
    assert len(bodies) >= 4
    return [*accounts, *bodies]


def no_secret_is_left_lying_about(home: Installation, secrets: tuple[str, ...]) -> None:
    """Look for secrets in argument lists, logs, answers, and files that others may read."""
    home.call("getLog", lines=10000)
    for node in home.call("list_nodes")["serviceNode"]:
        home.call("get_node_log", id=node, lines=10000)
    home.call("list_jobs")
    answers = "".join(home.answers)
    assert len(home.answers) > 50
    for secret in secrets:
        assert secret not in answers
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if int(process.name) != os.getpid():
            assert not [secret for secret in secrets if secret.encode() in line], process
    for file in home.folder.rglob("*"):
        if file.is_symlink() or not file.is_file():
            continue
        content = file.read_bytes()
        found = [secret for secret in secrets if secret.encode() in content]
        if file.suffix == ".log" or "log" in file.parts:
            assert not found, file
        if found:
            assert is_private(file, home.folder), file


def is_private(file: Path, top: Path) -> bool:
    """Whether others are kept out by the file's own mode or by a folder's between ``top`` and it."""
    inside = [file, *(folder for folder in file.parents if folder.is_relative_to(top) and folder != top)]
    return any(path.stat().st_mode & 0o077 == 0 for path in inside)
