"""Rates from counters, as looks come and go."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from conpaassql import protocol
from conpaassql.cluster.facts import Facts, Seen, Sight
from conpaassql.manager.looks import Looks, Rates
from conpaassql.model import Cluster, Node
from conpaassql.protocol import AgentFacts, Counters, Data, Server

START = datetime(2024, 1, 1, tzinfo=UTC)
ZERO = Counters(statements=0, errors=0, busy_s=0.0, bytes_in=0, bytes_out=0, uptime_s=0.0)


def after(counters: Counters, seconds: float) -> Counters:
    """Ten statements of 1 ms a second, one of them wrong, 100 bytes in and 200 out each."""
    count = int(10 * seconds)
    return Counters(
        statements=counters.statements + count,
        errors=counters.errors + count // 10,
        busy_s=counters.busy_s + count / 1000,
        bytes_in=counters.bytes_in + 100 * count,
        bytes_out=counters.bytes_out + 200 * count,
        uptime_s=counters.uptime_s + seconds,
    )


def server(counters: Counters) -> protocol.ServerFacts:
    return protocol.ServerFacts(
        version="",
        server_id=1,
        read_only=False,
        executed="",
        replica=None,
        acknowledging=False,
        waiting=False,
        acknowledgers=0,
        connections=0,
        counters=counters,
    )


def facts(at_s: float, nodes: Mapping[int, Counters | None]) -> Facts:
    def sight(node: int, counters: Counters | None) -> Sight:
        agent = AgentFacts(
            node=node,
            version="",
            term=0,
            data=Data.READY,
            server=Server.RUNNING if counters else Server.STOPPED,
            mysqld=server(counters) if counters else None,
            task=None,
            account=None,
            disk_total_bytes=0,
            disk_free_bytes=0,
            restarts=0,
        )
        made = Node(id=node, cluster_id=1, name=f"n-{node}", server_id=node, group="g", created_at=START)
        return Sight(node=made, joined=True, seen=Seen.ALIVE, agent=agent)

    return Facts(
        cluster=Cluster(id=1, name="default"),
        initialised=True,
        nodes=tuple(sight(node, counters) for node, counters in nodes.items()),
        jobs=(),
        at=START + timedelta(seconds=at_s),
    )


def test_nothing_is_known_before_the_second_look() -> None:
    looks = Looks()
    assert looks.get(1) is None
    looks.put(facts(0, {1: ZERO}))
    assert looks.rates(1) == looks.rates(99) == Rates()


def test_rates() -> None:
    looks = Looks()
    for second in range(5):
        looks.put(facts(second, {1: after(ZERO, second)}))
    found = looks.rates(1)
    assert (found.request_rate, found.error_rate, found.throughput_bytes) == (10.0, 1.0, 3000.0)
    assert found.response_time_s == pytest.approx(0.001)


def test_a_quiet_server_has_no_response_time() -> None:
    looks = Looks()
    looks.put(facts(0, {1: ZERO}))
    looks.put(facts(1, {1: replace(ZERO, uptime_s=1.0)}))
    assert looks.rates(1) == Rates()


def test_only_the_last_seconds_count() -> None:
    looks = Looks()
    looks.put(facts(0, {1: ZERO}))
    busy = replace(ZERO, statements=1_000_000, uptime_s=1.0)
    for second in range(1, 60):
        looks.put(facts(second, {1: replace(busy, uptime_s=float(second))}))
    assert looks.rates(1).request_rate == 0


@pytest.mark.parametrize("uptime_s", [1.0, 500.0])
def test_a_restart_begins_anew(uptime_s: float) -> None:
    """Also when the server has run for longer than when it was seen last."""
    looks = Looks()
    looks.put(facts(0, {1: replace(after(ZERO, 100), uptime_s=100)}))
    looks.put(facts(1, {1: replace(after(ZERO, 101), uptime_s=101)}))
    looks.put(facts(600, {1: replace(after(ZERO, 1), uptime_s=uptime_s)}))
    assert looks.rates(1) == Rates()
    looks.put(facts(601, {1: replace(after(ZERO, 2), uptime_s=uptime_s + 1)}))
    assert looks.rates(1).request_rate == 10


@pytest.mark.parametrize("later", [{1: None}, {}])
def test_a_server_that_is_down_or_removed_does_nothing(later: Mapping[int, Counters | None]) -> None:
    looks = Looks()
    looks.put(facts(0, {1: ZERO}))
    looks.put(facts(1, {1: after(ZERO, 1)}))
    assert looks.rates(1).request_rate == 10
    looks.put(facts(2, later))
    assert looks.rates(1) == Rates()


def test_a_forgotten_cluster() -> None:
    looks = Looks()
    looks.put(facts(0, {1: ZERO}))
    assert looks.get(1) is not None
    looks.drop(1)
    assert looks.get(1) is None
    looks.drop(1)
