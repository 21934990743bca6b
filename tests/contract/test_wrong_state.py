"""Requests at the wrong time: refused with what the state is, or what has to come first; nothing changes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

import harness
from conpaassql.web.operations import OPERATIONS
from harness import Rig, refused

USER = {"username": "ann", "password": "secret"}
NAME = {"name": "shop"}
LOGIN = {"username": "ann", "password": "secret", "url": "http://127.0.0.1/", "provider_type": "DUMMY"}
UUID = "9f3d9729-f220-11e3-adbb-b86b23dc9477"
OPTIONS = {"options": {"wait_timeout": 5}}
ON_THE_PRIMARY = [
    ("configure_user", USER),
    ("delete_user", {"username": "ann"}),
    ("set_password", USER),
    ("create_database", NAME),
    ("delete_database", NAME),
    ("get_users", {}),
    ("list_databases", {}),
    ("sqldump", {}),
]

# What nobody may do while there is nothing.
EMPTY = [
    *((method, params, "conflict") for method, params in ON_THE_PRIMARY),
    ("set_server_configuration", OPTIONS, "conflict"),
    ("remove_nodes", {"id": 1}, "not-found"),
    ("remove_nodes", {"count": 1}, "conflict"),
    ("remove_nodes", {}, "invalid"),
    ("set_up_replica_master", {"id": 1}, "not-found"),
    ("set_up_replica_slave", {"id": 1}, "not-found"),
    ("create_replica", {"master_id": 1}, "not-found"),
    ("register_node", {}, "unsupported"),
    ("register_node", {"id": 1}, "unsupported"),
    ("shutdown", {}, "conflict"),
    ("delete_cluster", {"cluster": "default"}, "conflict"),
    ("create_cluster", {"name": "default"}, "conflict"),
    ("add_nodes", {"function": "manager"}, "invalid"),
    ("add_nodes", {"function": "router"}, "invalid"),
    ("add_nodes", {"function": "nonsense"}, "invalid"),
    ("add_nodes", {"count": 101}, "invalid"),
    ("get_node_log", {"id": 1}, "not-found"),
    ("provider_register", {"provider_id": "default", **LOGIN}, "provider"),
    ("provider_register", {"provider_id": "new", **LOGIN, "provider_type": "NONE"}, "provider"),
    ("provider_register", {"provider_id": "new", **LOGIN, "extra": "color=red"}, "invalid"),
    ("provider_update", {"provider_id": "default", "password": "x"}, "provider"),
    ("provider_update", {"provider_id": "absent", "password": "x"}, "unknown-provider"),
    ("provider_unregister", {"provider_id": "default"}, "provider"),
    ("provider_unregister", {"provider_id": "absent"}, "unknown-provider"),
    ("machine_create", {"provider_id": "absent"}, "unknown-provider"),
    ("machine_create", {"provider_id": "default", "number_machines": 101}, "invalid"),
    ("machine_destroy", {"provider_id": "default", "machine_uuid": UUID}, "unknown-machine"),
    ("snapshot_create", {"provider_id": "default", "machine_uuid": UUID}, "unknown-machine"),
    ("snapshot_destroy", {"provider_id": "default", "machine_uuid": UUID}, "unknown-machine"),
    ("create_cluster", {"name": "other", "provider": "absent"}, "unknown-provider"),
]

# While servers are stopped by the user's wish.
STOPPED = [
    *((method, params, "conflict") for method, params in ON_THE_PRIMARY),
    ("set_server_configuration", OPTIONS, "conflict"),
    ("add_nodes", {}, "conflict"),
    ("create_replica", {"master_id": 1}, "conflict"),
    ("set_up_replica_master", {"id": 2}, "conflict"),
    ("set_up_replica_slave", {"id": 2}, "conflict"),
    ("shutdown", {}, "conflict"),
    ("remove_nodes", {"id": 1}, "unsafe"),
]

# While all is well.
RUNNING = [
    ("startup", {}, "conflict"),
    ("remove_nodes", {"id": 1}, "unsafe"),
    ("remove_nodes", {"count": 3}, "conflict"),
    ("set_up_replica_slave", {"id": 1}, "conflict"),
    ("set_up_replica_slave", {"id": 2, "master_host": "10.9.9.9"}, "invalid"),
    ("set_password", {"username": "nobody", "password": "x"}, "not-found"),
    ("configure_user", {**USER, "databases": ["absent"]}, "not-found"),
    ("configure_user", {**USER, "username": "root"}, "forbidden"),
    ("configure_user", {**USER, "password": ""}, "invalid"),
    ("sqldump", {"databases": ["absent"]}, "not-found"),
]

# While the primary's machine cannot be reached and the last look did not show it yet.
CUT = [
    *((method, params, "agent") for method, params in ON_THE_PRIMARY),
    ("set_server_configuration", OPTIONS, "agent"),
    ("get_node_log", {"id": 1}, "agent"),
]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with harness.running(tmp_path_factory.mktemp("empty")) as rig:
        rig.freeze()
        yield rig


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with harness.running(tmp_path_factory.mktemp("stopped")) as rig:
        rig.grow(2)
        rig.order("shutdown")
        rig.freeze()
        yield rig


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with harness.running(tmp_path_factory.mktemp("grown")) as rig:
        rig.grow(2)
        rig.freeze()
        yield rig


def wrong_time(rig: Rig, method: str, params: dict[str, Any], code: str) -> None:
    before = rig.world()
    body = json.dumps({"method": method, "params": params, "id": 7}).encode()
    response = rig.post(body)
    refused(response, code, 200, 7)
    assert response.json["retry"] is (code == "agent")
    assert "conpaassql-job" not in response.headers
    assert rig.world() == before


@pytest.mark.parametrize(("method", "params", "code"), EMPTY)
def test_empty(empty: Rig, method: str, params: dict[str, Any], code: str) -> None:
    wrong_time(empty, method, params, code)


@pytest.mark.parametrize(("method", "params", "code"), STOPPED)
def test_stopped(stopped: Rig, method: str, params: dict[str, Any], code: str) -> None:
    wrong_time(stopped, method, params, code)


@pytest.mark.parametrize(("method", "params", "code"), RUNNING)
def test_running(grown: Rig, method: str, params: dict[str, Any], code: str) -> None:
    wrong_time(grown, method, params, code)


@pytest.mark.parametrize(("method", "params", "code"), CUT)
def test_cut_off(grown: Rig, method: str, params: dict[str, Any], code: str) -> None:
    host = grown.address(1)
    grown.agents.cut.add(host)
    try:
        wrong_time(grown, method, params, code)
    finally:
        grown.agents.cut.remove(host)


def test_every_change_has_a_wrong_time_here() -> None:
    tried = {method for table in (EMPTY, STOPPED, RUNNING, CUT) for method, _, _ in table}
    uploads = {"load_dump"}  # see test_forms
    assert {operation.name for operation in OPERATIONS if operation.changes} == (tried | uploads) & {
        operation.name for operation in OPERATIONS if operation.changes
    }


def test_the_last_copy_goes_by_force_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    with harness.running(tmp_path_factory.mktemp("last")) as rig:
        rig.grow(1)
        wrong_time(rig, "remove_nodes", {"id": 1}, "unsafe")
        assert rig.call("remove_nodes", {"id": 1})["error"].startswith("This is the last copy of the data")
        assert rig.order("remove_nodes", {"id": 1, "force": True}) == {"result": "OK"}
        rig.eventually(lambda: rig.result("get_service_info")["state"] == "INIT")


def test_a_cluster_with_data_goes_by_force_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    with harness.running(tmp_path_factory.mktemp("other")) as rig:
        rig.result("create_cluster", {"name": "other"})
        rig.order("add_nodes", {"cluster": "other"})
        rig.settled("other")
        refused(rig.post(b'{"method": "delete_cluster", "params": {"cluster": "other"}, "id": 7}'), "unsafe", 200, 7)
        rig.order("delete_cluster", {"cluster": "other", "force": True})
        # A job is told ended when that is written, a cluster gone when it is on the disk.
        rig.eventually(lambda: [one["name"] for one in rig.result("list_clusters")["clusters"]] == ["default"])


def test_a_second_switchover_waits_for_the_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    with harness.running(tmp_path_factory.mktemp("twice")) as rig:
        rig.grow(3)
        rig.freeze()
        assert rig.call("set_up_replica_master", {"id": 2})["error"] is None
        refused(rig.post(b'{"method": "set_up_replica_master", "params": {"id": 3}, "id": 7}'), "conflict", 200, 7)
