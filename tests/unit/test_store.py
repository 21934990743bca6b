"""The store: transactions are whole or absent, readers see what is committed, one manager holds a cluster."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conpaassql.errors import Conflict, Error, NotFound, Unavailable
from conpaassql.manager import store as stores
from conpaassql.manager.rows import Adopted, NewNode
from conpaassql.manager.store import Store
from conpaassql.model import ClusterGoal, Durability, Event, Goal, Job, JobKind, JobState

NOW = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
TTL = timedelta(seconds=15)
NEW = NewNode(name_stem="agent", group="g1")


class Stop(Exception):
    """What a test breaks off with."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = stores.open_store(tmp_path / "store.sqlite")
    yield store
    store.close()


def default(store: Store) -> int:
    return store.clusters.list()[0].id


def job(cluster_id: int, *nodes: int) -> Job:
    return Job(
        id=0, cluster_id=cluster_id, kind=JobKind.ADD_NODES, nodes=nodes, group="g1", created_at=NOW, deadline_at=NOW
    )


# --- opening


def test_a_new_store_has_one_cluster(store: Store, tmp_path: Path) -> None:
    assert [cluster.name for cluster in store.clusters.list()] == ["default"]
    assert (tmp_path / "store.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_store_is_found_again(tmp_path: Path) -> None:
    first = stores.open_store(tmp_path / "store.sqlite")
    node = first.nodes.add(default(first), NEW, NOW)
    first.close()
    second = stores.open_store(tmp_path / "store.sqlite")
    assert second.snapshot(default(second)).nodes == (node,)
    assert len(second.clusters.list()) == 1
    second.close()


@pytest.mark.parametrize("name", ["absent/store.sqlite", "text"])
def test_what_is_no_store(tmp_path: Path, name: str) -> None:
    (tmp_path / "text").write_text("hello, this is not a database, though it is long enough to be one" * 100)
    with pytest.raises(Unavailable):
        stores.open_store(tmp_path / name)


# --- transactions


def test_a_broken_off_transaction_leaves_nothing(store: Store) -> None:
    cluster_id = default(store)
    before = store.records()
    with pytest.raises(Stop), store.transaction():
        node = store.nodes.add(cluster_id, NEW, NOW)
        store.jobs.add(job(cluster_id, node.id))
        store.clusters.change(cluster_id, goal=ClusterGoal.STOPPED)
        raise Stop
    assert store.records() == before
    assert store.jobs.list(cluster_id) == []


def test_a_broken_off_inner_transaction_breaks_the_outer(store: Store) -> None:
    with pytest.raises(Stop), store.transaction():
        store.clusters.add("one", Durability.ASYNC)
        with store.transaction():
            store.clusters.add("two", Durability.ASYNC)
            raise Stop
    assert set(store.records()) == {"default"}


def test_after_a_broken_off_transaction_the_next_works(store: Store) -> None:
    with pytest.raises(Stop), store.transaction():
        raise Stop
    store.clusters.add("one", Durability.ASYNC)
    assert set(store.records()) == {"default", "one"}


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT * FROM nothing", Error),
        ("INSERT INTO clusters (id) VALUES (1)", Error),
        ("PRAGMA query_only=ON; DELETE FROM events", Unavailable),
    ],
)
def test_faults_are_told_from_what_may_pass(store: Store, statement: str, kind: type[Error]) -> None:
    with pytest.raises(Error) as found, store.transaction() as connection:
        for one in statement.split(";"):
            connection.exec_driver_sql(one)
    assert type(found.value) is kind


def test_readers_do_not_wait_for_a_transaction(store: Store) -> None:
    """Also when the records in memory are old and have to be read."""
    cluster_id = default(store)
    store.clusters.add("one", Durability.ASYNC)
    seen: list[set[str]] = []
    jobs: list[object] = []

    def read() -> None:
        seen.append(set(store.records()))
        jobs.append(store.jobs.list(cluster_id))

    reader = threading.Thread(target=read)
    with store.transaction():
        store.clusters.add("two", Durability.ASYNC)
        reader.start()
        reader.join(5)
        assert seen == [{"default", "one"}]
        assert jobs == [[]]
    assert set(store.records()) == {"default", "one", "two"}


def test_a_transaction_sees_what_was_committed_and_is_not_published_yet(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may take long to sync one thread's change; the next writer decides by it all the same."""
    store.records()
    syncing, synced = threading.Event(), threading.Event()

    def slow_sync(_descriptor: int) -> None:
        syncing.set()
        assert synced.wait(5)

    monkeypatch.setattr(stores.os, "fdatasync", slow_sync)
    writer = threading.Thread(target=lambda: store.clusters.add("one", Durability.ASYNC))
    writer.start()
    assert syncing.wait(5)
    assert set(store.records()) == {"default"}  # at once, and only what is sure
    with store.transaction():
        assert set(store.records()) == {"default", "one"}
    synced.set()
    writer.join(5)
    assert set(store.records()) == {"default", "one"}


def test_a_disk_that_does_not_sync_takes_nothing_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(stores.os, "fdatasync", fail)
    store.clusters.add("one", Durability.ASYNC)
    assert set(store.records()) == {"default", "one"}


def test_many_threads_write(store: Store) -> None:
    cluster_id = default(store)
    threads = [
        threading.Thread(target=lambda: [store.nodes.add(cluster_id, NEW, NOW) for _ in range(10)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    nodes = store.snapshot(cluster_id).nodes
    assert len({node.name for node in nodes}) == len({node.server_id for node in nodes}) == 40


# --- the cache of records


def test_records_are_read_anew_only_after_a_change(store: Store) -> None:
    first = store.records()
    assert store.records() is first
    store.events.add(Event(id=0, at=NOW, cluster="default", node=None, code="c", says="s"))
    store.lease(default(store), "me", NOW, TTL)
    assert store.records() is first
    generation = store.generation
    store.clusters.change(default(store), term=7)
    assert store.generation > generation
    assert store.records()["default"].cluster.term == 7


def test_what_is_taken_back_is_not_remembered(store: Store) -> None:
    """Also when somebody looked inside the transaction."""
    with pytest.raises(Stop), store.transaction():
        store.clusters.add("one", Durability.ASYNC)
        assert set(store.records()) == {"default", "one"}
        raise Stop
    assert set(store.records()) == {"default"}


# --- clusters


def test_names_of_clusters_are_unique(store: Store) -> None:
    store.clusters.add("one", Durability.ASYNC)
    with pytest.raises(Conflict):
        store.clusters.add("one", Durability.LOSSLESS)


def test_a_cluster_comes_back_as_it_was_written(store: Store) -> None:
    cluster_id = store.clusters.add("one", Durability.ASYNC)
    store.clusters.change(cluster_id, term=3, primary_node=12, acknowledgers=frozenset({12, 5}), initialised=True)
    snapshot = store.snapshot(cluster_id)
    assert snapshot.initialised
    assert (snapshot.cluster.term, snapshot.cluster.primary) == (3, 12)
    assert snapshot.cluster.acknowledgers == {5, 12}
    assert snapshot.cluster.durability is Durability.ASYNC
    store.clusters.remove(cluster_id)
    with pytest.raises(NotFound):
        store.snapshot(cluster_id)


# --- nodes


def test_numbers_of_nodes_are_never_used_again(store: Store) -> None:
    cluster_id = default(store)
    first = store.nodes.add(cluster_id, NEW, NOW)
    store.nodes.remove(first.id)
    second = store.nodes.add(cluster_id, NEW, NOW)
    assert second.id > first.id
    assert second.server_id > first.server_id
    assert second.name == f"agent-{second.id}"


def test_a_server_id_keeps_clear_of_adopted_nodes(store: Store) -> None:
    cluster_id = default(store)
    store.nodes.adopt(cluster_id, Adopted(id=3, name="old", server_id=90, group="g"), NOW)
    assert store.snapshot(cluster_id).joined == {3}
    new = store.nodes.add(cluster_id, NEW, NOW)
    assert (new.id, new.server_id) == (4, 91)


def test_joining_is_on_record(store: Store) -> None:
    node = store.nodes.add(default(store), NEW, NOW)
    assert store.nodes.key_fingerprint(node.id) is None
    store.nodes.set_joined(node.id, "ab")
    assert store.nodes.key_fingerprint(node.id) == "ab"
    assert store.snapshot(node.cluster_id).joined == {node.id}
    with pytest.raises(NotFound):
        store.nodes.key_fingerprint(99)


def test_goals_of_nodes(store: Store) -> None:
    nodes = [store.nodes.add(default(store), NEW, NOW) for _ in range(3)]
    store.nodes.set_goal((nodes[0].id, nodes[2].id), Goal.ABSENT)
    store.nodes.set_goal((), Goal.ABSENT)
    goals = [node.goal for node in store.snapshot(default(store)).nodes]
    assert goals == [Goal.ABSENT, Goal.PRESENT, Goal.ABSENT]


# --- jobs and events


def test_a_job_comes_back_as_it_was_written(store: Store) -> None:
    added = store.jobs.add(job(default(store), 3, 1, 2))
    assert added.nodes == (3, 1, 2)
    assert (added.created_at, added.ended_at) == (NOW, None)
    assert store.jobs.get(added.id) == added
    store.jobs.end(added.id, JobState.FAILED, "iaas", "No room.", NOW + TTL)
    ended = store.jobs.get(added.id)
    assert (ended.state, ended.code, ended.says, ended.ended_at) == (JobState.FAILED, "iaas", "No room.", NOW + TTL)
    with pytest.raises(NotFound):
        store.jobs.get(99)


def test_running_jobs_are_told_apart(store: Store) -> None:
    jobs = [store.jobs.add(job(default(store), number)) for number in range(4)]
    store.jobs.end(jobs[1].id, JobState.DONE, "", "", NOW)
    assert [found.id for found in store.jobs.list(default(store), running=True)] == [jobs[0].id, jobs[2].id, jobs[3].id]
    assert [found.id for found in store.jobs.list(default(store), most=2)] == [jobs[2].id, jobs[3].id]


def test_the_oldest_is_removed_at_start(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MOST_EVENTS", 2)
    monkeypatch.setattr(stores, "MOST_JOBS", 1)
    jobs = [store.jobs.add(job(default(store), number)) for number in range(4)]
    for ended in jobs[1:]:
        store.jobs.end(ended.id, JobState.DONE, "", "", NOW)
    for number in range(5):
        store.events.add(Event(id=0, at=NOW, cluster="default", node=number, code="c", says="", actor="x"))
    store.start(NOW)
    assert [event.node for event in store.events.list("default", 10)] == [3, 4]
    assert [found.id for found in store.jobs.list(default(store))] == [jobs[0].id, jobs[3].id]
    store.start(NOW)
    assert len(store.jobs.list(default(store))) == 2


def test_events_come_newest_last(store: Store) -> None:
    for number in range(5):
        event = Event(id=0, at=NOW, cluster="default", node=number, code="c", says=f"it's {number}; --", actor="x")
        store.events.add(event)
    store.events.add(Event(id=0, at=NOW, cluster="other", node=None, code="c", says="", actor="x"))
    found = store.events.list("default", 2)
    assert [event.node for event in found] == [3, 4]
    assert (found[1].at, found[1].says, found[1].actor) == (NOW, "it's 4; --", "x")


# --- leases


def test_a_lease_goes_to_one_at_a_time(store: Store) -> None:
    cluster_id = default(store)
    assert store.lease(cluster_id, "one", NOW, TTL)
    assert not store.lease(cluster_id, "two", NOW + TTL / 2, TTL)
    assert store.lease(cluster_id, "one", NOW + TTL / 2, TTL)  # renewed
    assert not store.lease(cluster_id, "two", NOW + TTL, TTL)
    assert store.lease(cluster_id, "two", NOW + TTL * 3 / 2, TTL)  # ran out
    assert not store.lease(cluster_id, "one", NOW + TTL * 2, TTL)


def test_each_cluster_has_a_lease_of_its_own(store: Store) -> None:
    other = store.clusters.add("one", Durability.ASYNC)
    assert store.lease(default(store), "one", NOW, TTL)
    assert store.lease(other, "two", NOW, TTL)


def test_taking_over_counts_up(store: Store) -> None:
    for holder, at in (("one", NOW), ("one", NOW), ("two", NOW + TTL), ("one", NOW + 2 * TTL)):
        assert store.lease(default(store), holder, at, TTL)
    with store.transaction() as connection:
        assert connection.exec_driver_sql("SELECT holder, epoch FROM leases").all() == [("one", 3)]
