"""The manager is killed at every step of adding and removing; started again it goes on where it was."""

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from installation import Installation, eventually

pytestmark = pytest.mark.real

Install = Callable[..., Installation]
MORTAL = str(Path(__file__).with_name("mortal.py"))


def deaths(home: Installation, act: Callable[[], object]) -> Iterator[tuple[int, str]]:
    """Run ``act`` under a manager that dies at point 0, 1, 2 ... and yield after each rebirth.

    Ends when the manager got through alive; the caller waits for the wish to be fulfilled each time.
    """
    for point in itertools.count():
        home.stop()
        written = home.log.stat().st_size
        home.start(MORTAL, str(point))
        with suppress(requests.ConnectionError):  # it may die before its answer is out: the wish is written by then
            act()

        def over() -> bool:
            assert home.process is not None
            return home.process.poll() is not None or settled(home)

        eventually(over, says=f"death at point {point} or the end of the work")
        assert home.process is not None
        if home.process.poll() is None:
            return
        home.wait_dead()
        text = home.log.read_bytes()[written:].decode()
        place = (re.findall(r"^killed (.*)$", text, re.MULTILINE) or ["nowhere"])[-1]
        assert place != "nowhere", text
        home.start()
        yield point, place


def settled(home: Installation) -> bool:
    """Whether all is done, the comparison of new replicas included."""
    try:
        names = [cluster["name"] for cluster in home.call("list_clusters")["clusters"]]
        for name in names:
            found = home.cluster(name)
            if found["jobs"] or (found["diagnosis"] and found["diagnosis"][0]["code"] != "no-database"):
                return False
            for node in found["nodes"]:
                info = home.node(node, name)
                if info["role"] == "replica" and info["compared"] != "equal":
                    return False
    except OSError:
        return False
    return True


def test_killed_at_every_step_of_a_first_node(install: Install) -> None:
    """Each death has a cluster of its own, which is removed again under the same threat."""
    home = install(network="127.50.64.0/18")
    names = (f"c{number}" for number in itertools.count())
    current = [""]

    def begin() -> None:
        current[0] = next(names)
        home.call("create_cluster", name=current[0])
        home.call("add_nodes", cluster=current[0])

    places = []
    for _, place in deaths(home, begin):
        places.append(place)
        eventually(lambda: settled(home), says=f"it goes on after {place}")
        found = home.cluster(current[0])
        assert len(found["nodes"]) == 1, place
        assert found["state"] == "RUNNING", place
        assert home.job("add_nodes", current[0])["state"] == "done", place
    check_cloud(home)
    assert {place.split("(")[0].split()[-1] for place in places} >= {
        "CreateVm",
        "NamePrimary",
        "Initialise",
        "OpenWrites",
    }


def test_killed_at_every_step_of_adding_and_removing_a_replica(install: Install) -> None:
    """No VM is lost, none is made twice, and the cluster is whole each time."""
    home = install(network="127.50.128.0/18")
    first = home.add()[0]
    added: list[str] = []
    for _, place in deaths(home, lambda: home.call("add_nodes")):
        added.append(place)
        eventually(lambda: settled(home), says=f"it goes on after {place}")
        nodes = home.call("list_nodes")["serviceNode"]
        assert len(nodes) == 2, place
        assert home.job("add_nodes")["state"] == "done", place
        check_cloud(home)
        home.call("remove_nodes", id=nodes[-1])
        eventually(lambda: home.call("list_nodes")["serviceNode"] == [first] and settled(home))
        check_cloud(home)
    assert kinds(added) >= {"CreateVm", "Clone", "Follow", "NameAcknowledgers", "SetSemiSync", "Verify"}

    removed: list[str] = []

    def remove_newest() -> None:
        home.call("remove_nodes", id=home.call("list_nodes")["serviceNode"][-1])

    for _, place in deaths(home, remove_newest):
        removed.append(place)
        eventually(lambda: settled(home), says=f"it goes on after {place}")
        assert home.call("list_nodes")["serviceNode"] == [first], place
        assert home.job("remove_nodes")["state"] == "done", place
        check_cloud(home)
        home.add()
    assert kinds(removed) >= {"SetSemiSync", "NameAcknowledgers", "DeleteVm", "Forget"}


def kinds(places: list[str]) -> set[str]:
    """Return the steps at which the manager died."""
    return {place.split()[1].split("(")[0] for place in places}


def check_cloud(home: Installation) -> None:
    """There is exactly one VM for each node on record."""
    names = [cluster["name"] for cluster in home.call("list_clusters")["clusters"]]
    on_record = sorted(str(node) for name in names for node in home.cluster(name)["nodes"])
    assert sorted(home.cloud()) == on_record
    assert set(home.cloud().values()) <= {"running"}


def test_killed_at_every_step_of_removing_the_primary(install: Install) -> None:
    """Its role is moved first; whatever the moment of death, one copy stays, and it is the primary."""
    home = install(network="127.50.192.0/18")
    home.add(2)
    places: list[str] = []

    def remove_primary() -> None:
        home.call("remove_nodes", id=home.cluster()["primary"], force=True)

    for _, place in deaths(home, remove_primary):
        places.append(place)
        eventually(lambda: settled(home), says=f"it goes on after {place}")
        (left,) = home.call("list_nodes")["serviceNode"]
        assert home.cluster()["primary"] == left, place
        assert home.job("remove_nodes")["state"] == "done", place
        check_cloud(home)
        home.add()
    assert kinds(places) >= {"CloseWrites", "NamePrimary", "OpenWrites", "DeleteVm", "Forget"}
