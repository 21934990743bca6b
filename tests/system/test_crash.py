"""The manager is killed at every step of adding and removing; started again it goes on where it was."""

import itertools
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from installation import Installation, eventually, on_each_provider

pytestmark = [pytest.mark.real, on_each_provider]

Install = Callable[..., Installation]
MORTAL = str(Path(__file__).with_name("mortal.py"))


def deaths(home: Installation, act: Callable[[], object], *names: str) -> Iterator[str]:
    """Run ``act`` under a manager that dies before, and then under one that dies after, each step.

    The steps are named one by one, so that no order of events on a busy machine lets one slip
    through.  Yields after each rebirth; the caller waits for the wish to be fulfilled.
    """
    for place in (f"{when}:{name}" for name in names for when in ("before", "after")):
        home.stop()
        home.start(MORTAL, place)
        with suppress(requests.RequestException):  # it may die before its answer is out: the wish is written by then
            act()
        assert home.process is not None
        assert home.wait_dead() == -signal.SIGKILL, place
        home.start()
        yield place


def settled(home: Installation) -> bool:
    """Whether all is done, the comparison of new replicas included."""
    try:
        names = [cluster["name"] for cluster in home.call("list_clusters")["clusters"]]
        for name in names:
            found = home.cluster(name)
            if (
                found["state"] in ("PROLOGUE", "ADAPTING")
                or found["jobs"]
                or (found["diagnosis"] and found["diagnosis"][0]["code"] != "no-database")
            ):
                return False
            for node in found["nodes"]:
                info = home.node(node, name)
                if info["role"] == "replica" and info["compared"] != "equal":
                    return False
    except OSError:  # it died, or has not begun to answer
        return False
    return True


def test_killed_at_every_step_of_a_first_node(install: Install) -> None:
    """Each death has a cluster of its own; afterwards no other step than those named has been taken."""
    home = install(network="127.50.64.0/18")
    names = (f"c{number}" for number in itertools.count())
    current = [""]

    def begin() -> None:
        current[0] = next(names)
        home.call("create_cluster", name=current[0])
        home.call("add_nodes", cluster=current[0])

    steps = ("CreateVm", "NamePrimary", "Initialise", "OpenWrites")
    for place in deaths(home, begin, *steps):
        eventually(lambda: settled(home), says=f"it goes on after {place}")
        found = home.cluster(current[0])
        assert len(found["nodes"]) == 1, place
        assert found["state"] == "RUNNING", place
        assert home.job("add_nodes", current[0])["state"] == "done", place
        check_cloud(home)
        assert taken(home, current[0]) <= set(steps)


def test_killed_at_every_step_of_adding_and_removing_a_replica(install: Install) -> None:
    """No VM is lost, none is made twice, and the cluster is whole each time."""
    home = install(network="127.50.128.0/18")
    first = home.add()[0]
    eventually(lambda: settled(home))
    before = taken(home)
    adding = ("CreateVm", "Clone", "Follow", "NameAcknowledgers", "SetSemiSync", "Verify")
    removing = ("SetSemiSync", "DeleteVm", "Forget")
    for place in deaths(home, lambda: home.call("add_nodes"), *adding):
        eventually(lambda: settled(home), says=f"it goes on after {place}")
        nodes = home.call("list_nodes")["serviceNode"]
        assert len(nodes) == 2, place
        assert home.job("add_nodes")["state"] == "done", place
        check_cloud(home)
        home.call("remove_nodes", id=nodes[-1])
        eventually(lambda: home.call("list_nodes")["serviceNode"] == [first] and settled(home))
        check_cloud(home)
    add_and_settle(home)
    for place in deaths(home, lambda: home.call("remove_nodes", count=1), *removing):
        eventually(lambda: settled(home), says=f"it goes on after {place}")
        assert home.call("list_nodes")["serviceNode"] == [first], place
        assert home.job("remove_nodes")["state"] == "done", place
        check_cloud(home)
        add_and_settle(home)
    assert taken(home) - before <= {*adding, *removing}


def test_killed_at_every_step_of_removing_the_primary(install: Install) -> None:
    """Its role is moved first; whatever the moment of death, one copy stays, and it is the primary."""
    home = install(network="127.50.192.0/18")
    home.add(2)
    eventually(lambda: settled(home))

    def remove_primary() -> None:
        home.call("remove_nodes", id=home.cluster()["primary"], force=True)

    for place in deaths(home, remove_primary, "CloseWrites", "NamePrimary", "OpenWrites", "DeleteVm", "Forget"):
        eventually(lambda: settled(home), says=f"it goes on after {place}")
        (left,) = home.call("list_nodes")["serviceNode"]
        assert home.cluster()["primary"] == left, place
        assert home.job("remove_nodes")["state"] == "done", place
        check_cloud(home)
        add_and_settle(home)


def add_and_settle(home: Installation) -> None:
    """Add a node and wait until no step is left to take, at which a manager could die before it is asked."""
    home.add()
    eventually(lambda: settled(home))


def taken(home: Installation, cluster: str = "default") -> set[str]:
    """Return the steps that the event log tells of."""
    log = home.call("getLog", cluster=cluster, lines=10000)["log"]
    return set(re.findall(r" ([A-Z][a-z]+[A-Za-z]+): ", log))


def check_cloud(home: Installation) -> None:
    """There is exactly one VM for each node on record."""
    names = [cluster["name"] for cluster in home.call("list_clusters")["clusters"]]
    on_record = sorted(str(node) for name in names for node in home.cluster(name)["nodes"])
    assert sorted(home.cloud()) == on_record
    assert set(home.cloud().values()) <= {"running"}
