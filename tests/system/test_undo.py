"""All or nothing: a group of nodes that cannot be completed is undone, and data in use are not."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from installation import Installation, eventually, on_each_provider
from processes import agent_pid

pytestmark = [pytest.mark.real, on_each_provider]

Install = Callable[..., Installation]
PASSWORD = "undo-Pass-1"


def test_a_group_that_misses_its_deadline_is_undone(install: Install) -> None:
    """One of two new replicas never joins: both go, their VMs too, and the cluster is as it was."""
    home = install(network="127.54.0.0/18", add_nodes_deadline_s=6)
    (first,) = home.add()
    asked = [node["id"] for node in home.call("add_nodes", count=2)["serviceNodes"]]
    with held(home, asked[1]):
        home.wait_state(asked[0], "RUNNING")
        eventually(lambda: home.call("list_nodes")["serviceNode"] == [first], says="the group is gone")
    job = home.job("add_nodes")
    assert (job["state"], job["code"]) == ("failed", "unavailable")
    assert f"node {asked[1]} is booting" in job["says"]
    assert sorted(home.cloud()) == [str(first)]
    eventually(lambda: home.cluster()["state"] == "RUNNING" and not home.cluster()["diagnosis"])
    home.add()


def test_a_first_group_that_fails_leaves_an_empty_cluster_or_the_data(install: Install) -> None:
    """A primary that nobody has used goes with its group; one that holds a database stays and says so."""
    home = install(network="127.54.64.0/18", add_nodes_deadline_s=6)
    for used in (False, True):
        asked = [node["id"] for node in home.call("add_nodes", count=2)["serviceNodes"]]
        with held(home, asked[1]):
            home.wait_state(asked[0], "RUNNING")
            if used:
                home.call("create_database", name="precious")
            left = [asked[0]] if used else []
            eventually(lambda n=left: home.call("list_nodes")["serviceNode"] == n, says=f"{left} are left")
        assert home.job("add_nodes")["state"] == "failed"
        assert sorted(home.cloud()) == [str(node) for node in left]
    eventually(lambda: home.cluster()["state"] == "RUNNING")
    assert home.call("list_databases") == {"databases": ["precious"]}
    assert "holds databases" in home.call("getLog", lines=1000)["log"]
    home.call("configure_user", username="anna", password=PASSWORD)
    home.sql(asked[0], "anna", PASSWORD).close()


@contextmanager
def held(home: Installation, node: int) -> Iterator[None]:
    """Stop a node's agent before it can join."""
    pid = eventually(lambda: _maybe(home, node), says=f"the agent of node {node} is there")
    os.kill(pid, signal.SIGSTOP)
    assert not home.node(node)["isRunningMySQL"]
    yield


def _maybe(home: Installation, node: int) -> int | None:
    try:
        return agent_pid(home, node)
    except (AssertionError, StopIteration):
        return None
