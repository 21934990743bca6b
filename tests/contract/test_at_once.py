"""Requests that meet: two wishes at once, a slow caller, a transaction that takes its time."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import harness
from conpaassql import httpd
from conpaassql.errors import Error
from conpaassql.manager import queries, tenant, wishes
from conpaassql.manager.wishes import Accepted
from conpaassql.model import ClusterGoal, Goal
from conpaassql.web import app
from harness import PATIENCE_S, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A primary (node 1) and two replicas, in which nothing moves by itself."""
    with harness.running(tmp_path) as rig:
        rig.grow(3)
        rig.freeze()
        yield rig


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Rig]:
    """A manager without nodes, in which nothing moves by itself."""
    with harness.running(tmp_path) as rig:
        rig.freeze()
        yield rig


def at_once(acts: Sequence[Callable[[], Any]]) -> list[object]:
    """Do all of them in threads that begin together; return what each returned or raised."""
    barrier = threading.Barrier(len(acts))
    found: list[object] = [None] * len(acts)

    def run(number: int) -> None:
        barrier.wait(PATIENCE_S)
        try:
            found[number] = acts[number]()
        except Error as exc:
            found[number] = exc

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return found


def checked_together(monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    """Let ``count`` callers of a check meet behind it, as long as nothing keeps them apart."""
    real = getattr(wishes, name)
    barrier = threading.Barrier(count)

    def meet(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        try:
            barrier.wait(0.3)
        except threading.BrokenBarrierError:
            return found
        return found

    monkeypatch.setattr(wishes, name, meet)


# --- wishes that meet


def test_two_removals_leave_a_copy(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = rig.manager
    cluster_id = queries.record(manager, "default").cluster.id
    manager.store.nodes.set_goal((3,), Goal.ABSENT)
    manager.store.clusters.change(cluster_id, primary_node=3)
    checked_together(monkeypatch, "_check_removal", 2)

    def remove(node: int) -> Callable[[], Accepted]:
        return lambda: wishes.remove_nodes(manager, cluster="default", node=node, count=None, force=False)

    found = at_once([remove(1), remove(2)])
    assert sorted(type(one).__name__ for one in found) == ["Accepted", "Unsafe"]
    assert [node.goal for node in queries.record(manager, "default").nodes].count(Goal.PRESENT) == 1


def test_two_switchovers_are_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    checked_together(monkeypatch, "_check_target", 2)
    found = at_once([lambda: wishes.switch_over(rig.manager, cluster="default", node=2)] * 2)
    assert sorted(type(one).__name__ for one in found) == ["Accepted", "Conflict"]


def test_the_present_primary_is_no_target_while_its_role_moves(rig: Rig) -> None:
    job = wishes.switch_over(rig.manager, cluster="default", node=2).job
    answer = rig.call("set_up_replica_master", {"id": 1})
    assert (answer["code"], answer["details"]) == ("conflict", {"job": job})


@pytest.mark.parametrize(
    ("method", "params"),
    [("add_nodes", {}), ("remove_nodes", {"id": 3}), ("set_up_replica_master", {"id": 2})],
)
def test_no_shutdown_while_a_job_needs_the_servers(rig: Rig, method: str, params: dict[str, Any]) -> None:
    rig.result(method, params)
    before = rig.dump()
    answer = rig.call("shutdown")
    assert answer["code"] == "conflict"
    assert str(answer["details"]["job"]) in answer["error"]
    assert rig.dump() == before


# --- what may hold data


def test_without_a_primary_no_copy_goes_unforced(rig: Rig) -> None:
    cluster_id = queries.record(rig.manager, "default").cluster.id
    for initialised in (True, False):
        rig.manager.store.clusters.change(cluster_id, primary_node=None, initialised=initialised)
        for params in ({"id": 1}, {"id": 2}, {"count": 1}):
            assert rig.call("remove_nodes", params)["code"] == "unsafe"
    assert rig.call("remove_nodes", {"id": 2, "force": True})["error"] is None


def test_nodes_that_nobody_joined_go_freely(empty: Rig) -> None:
    empty.manager.store.nodes.add(1, wishes.NewNode(name_stem="x", group="g"), empty.manager.now())
    assert empty.call("remove_nodes", {"id": 1})["error"] is None


# --- starting


def test_a_cluster_that_is_being_deleted_does_not_start(empty: Rig) -> None:
    empty.result("create_cluster", {"name": "one"})
    cluster_id = queries.record(empty.manager, "one").cluster.id
    empty.manager.store.clusters.change(cluster_id, goal=ClusterGoal.ABSENT)
    for method in ("startup", "add_nodes", "create_replica", "shutdown"):
        answer = empty.call(method, {"cluster": "one"})
        assert answer["code"] == "conflict"
        assert "is being deleted" in answer["error"]


def test_a_stopped_cluster_without_nodes_runs_with_its_first(empty: Rig) -> None:
    cluster_id = queries.record(empty.manager, "default").cluster.id
    empty.manager.store.clusters.change(cluster_id, goal=ClusterGoal.STOPPED)
    empty.result("startup")
    found = queries.record(empty.manager, "default")
    assert (found.cluster.goal, len(found.nodes)) == (ClusterGoal.RUNNING, 1)


# --- methods of 2012


def test_create_replica_adds_one(rig: Rig) -> None:
    assert rig.result("create_replica", {"master_id": "1"})["serviceNode"]["state"] == "PENDING"
    assert rig.result("list_nodes")["serviceNode"] == [1, 2, 3, 4]
    assert rig.call("create_replica", {"master_id": "shop"})["code"] == "invalid"
    assert rig.call("create_replica", {"id": 9})["code"] == "not-found"


@pytest.mark.parametrize("node", [{"a": 1}, "shop", [], 0, True])
def test_an_ignored_node_has_to_be_one(rig: Rig, node: object) -> None:
    before = rig.world()
    for method in ("shutdown", "get_service_info"):
        assert rig.call(method, {"serviceNodeId": node})["code"] == "invalid"
    assert rig.world() == before
    for right in (None, "all", 1, "1", 99):
        assert rig.call("get_service_info", {"serviceNodeId": right, "cloud": {"a": 1}})["error"] is None


def test_the_log_outlives_its_cluster(empty: Rig) -> None:
    empty.result("create_cluster", {"name": "one"})
    empty.manager.store.clusters.remove(queries.record(empty.manager, "one").cluster.id)
    assert "one create-cluster" in empty.result("getLog", {"cluster": "one"})["log"]
    assert empty.call("getLog", {"cluster": "two"})["code"] == "not-found"


# --- slow ones


def test_looks_are_answered_while_a_transaction_is_open(rig: Rig) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with rig.manager.store.transaction():
            rig.manager.store.clusters.change(1, term=99)
            entered.set()
            leave.wait(2)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert entered.wait(PATIENCE_S)
        for _ in range(5):
            began = time.monotonic()
            assert rig.result("list_nodes")["serviceNode"] == [1, 2, 3]
            assert rig.request("GET", "/health").status == 200
            assert time.monotonic() - began < 0.1
    finally:
        leave.set()
        holder.join(PATIENCE_S)


def test_who_has_added_sees_it_at_once(rig: Rig) -> None:
    for number in range(4, 9):
        rig.result("add_nodes")
        assert rig.result("list_nodes")["serviceNode"] == list(range(1, number + 1))


def test_half_sent_requests_to_join_take_no_thread(empty: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "ENROL_WITHIN_S", 1.5)
    head = b"POST /enrol HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    wires = [socket.create_connection((harness.HOST, empty.port), timeout=PATIENCE_S) for _ in range(60)]
    try:
        for wire in wires:
            wire.sendall(head)
        began = time.monotonic()
        assert empty.result("getLog") is not None  # needs a thread
        assert time.monotonic() - began < 1
        assert wires[0].recv(100).startswith(b"HTTP/1.1 400")
    finally:
        for wire in wires:
            wire.close()


def test_dumps_that_nobody_reads_harm_nobody(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpd, "SEND_PATIENCE_S", 1.0)
    closed = threading.Semaphore(0)

    def endless(*_given: object) -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.release()

    monkeypatch.setattr(rig.agents, "download", endless)
    body = json.dumps({"method": "sqldump", "id": 1}).encode()
    login = f"Authorization: {rig.login['Authorization']}\r\n"
    head = f"POST / HTTP/1.1\r\nHost: h\r\n{login}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    wires = [socket.create_connection((harness.HOST, rig.port), timeout=PATIENCE_S) for _ in range(8)]
    try:
        for wire in wires:
            wire.sendall(head.encode() + body)
            assert wire.recv(12) == b"HTTP/1.1 200"
        assert rig.result("list_databases") is not None
        assert all(closed.acquire(timeout=PATIENCE_S) for _ in wires)
        rig.eventually(lambda: tenant._streams._value == tenant.STREAMS_AT_ONCE)  # type: ignore[attr-defined]
    finally:
        for wire in wires:
            wire.close()
