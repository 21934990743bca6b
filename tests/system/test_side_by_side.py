"""Two managers on one machine, and a manager that lost its store."""

from collections.abc import Callable

import pytest
from installation import Installation, Refused, eventually
from writers import prepare, present

pytestmark = pytest.mark.real

Install = Callable[..., Installation]
PASSWORD = "side-Pass-1"


def test_two_managers_do_not_meet(install: Install) -> None:
    """Same name, same network, at the same time: other addresses, other VMs, other authorities."""
    homes = [install(name, network="127.52.0.0/18") for name in ("a", "b")]
    for home in homes:
        home.call("add_nodes", count=2)
    for home in homes:
        for node in home.call("list_nodes")["serviceNode"]:
            home.wait_state(node, "RUNNING")
        home.idle()
    addresses = [{home.node(node)["ip"] for node in home.call("list_nodes")["serviceNode"]} for home in homes]
    assert not addresses[0] & addresses[1]
    homes[0].call("remove_nodes", count=1)
    eventually(lambda: len(homes[0].call("list_nodes")["serviceNode"]) == 1)
    assert [len(home.cloud()) for home in homes] == [1, 2]
    assert homes[1].cluster()["state"] == "RUNNING"


def test_existing_agents_are_found(install: Install) -> None:
    """The store is lost: with find_existing_agents the cluster is taken over as it is, and goes on."""
    home = install(network="127.52.64.0/18", find_existing_agents="true")
    nodes = home.add(2)
    prepare(home, PASSWORD)
    before = {node: home.node(node)["server_id"] for node in nodes}
    primary = home.cluster()["primary"]
    lose_store(home)
    assert home.call("list_nodes") == {"serviceNode": nodes}
    eventually(lambda: home.cluster()["state"] == "RUNNING" and home.cluster()["primary"] == primary)
    for node in nodes:
        assert home.wait_state(node, "RUNNING")["server_id"] == before[node]
    (third,) = home.add(1)
    assert third not in nodes
    eventually(lambda: present(home, third, PASSWORD) == set())
    home.call("remove_nodes", id=third)
    eventually(lambda: home.call("list_nodes") == {"serviceNode": nodes})


def test_a_stopped_cluster_is_found_and_one_after_a_power_cut(install: Install) -> None:
    """Nobody answers at first: nothing is opened, initialised or given away until every node has been heard."""
    home = install(network="127.52.128.0/18", find_existing_agents="true")
    home.add(2)
    prepare(home, PASSWORD)
    primary, replica = home.roles()
    home.call("shutdown")
    eventually(lambda: home.cluster()["state"] == "STOPPED")
    lose_store(home)
    eventually(lambda: home.cluster()["state"] == "RUNNING" and home.cluster()["primary"] == primary)
    home.wait_state(replica, "RUNNING")

    for vm in home.driver().list():
        home.driver().power_off(vm.id)
    lose_store(home)
    for node in (primary, replica):
        with pytest.raises(Refused) as refused:
            home.call("remove_nodes", id=node)
            home.call("remove_nodes", id=node)
        assert refused.value.code == "unsafe"
    eventually(lambda: home.cluster()["state"] == "RUNNING" and home.cluster()["primary"] == primary)
    home.wait_state(replica, "RUNNING")
    assert present(home, replica, PASSWORD) == set()


def lose_store(home: Installation) -> None:
    """End the manager, remove its store, start it again."""
    home.stop()
    for file in home.state.glob("store.sqlite*"):
        file.unlink()
    home.start()
