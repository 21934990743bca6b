"""Strict JSON-RPC 2.0, for requests that say so.  Source: https://www.jsonrpc.org/specification."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import Response, Rig

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, SERVER_ERROR = -32700, -32600, -32601, -32602, -32000
LIST = {"jsonrpc": "2.0", "method": "list_nodes", "id": 1}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with harness.running(tmp_path_factory.mktemp("strict")) as rig:
        rig.grow(2)
        rig.freeze()
        yield rig


def send(rig: Rig, request: Any) -> Response:
    return rig.post(json.dumps(request).encode())


def code(answer: Any) -> int:
    """Return the number of an error, whose answer has exactly the members that the specification names."""
    assert set(answer) == {"jsonrpc", "error", "id"}
    assert answer["jsonrpc"] == "2.0"
    assert set(answer["error"]) == {"code", "message", "data"}
    assert set(answer["error"]["data"]) == {"code", "retry", "details"}
    number: int = answer["error"]["code"]
    return number


def test_success_has_no_error_member(rig: Rig) -> None:
    response = send(rig, LIST)
    assert response.status == 200
    assert response.json == {"jsonrpc": "2.0", "result": {"serviceNode": [1, 2]}, "id": 1}


@pytest.mark.parametrize("id_", [1, 0, -1, 1.5, "a", "", None])
def test_the_id_comes_back(rig: Rig, id_: object) -> None:
    answer = send(rig, {**LIST, "id": id_}).json
    assert answer["id"] == id_
    assert "result" in answer


@pytest.mark.parametrize(
    ("request_", "number", "id_"),
    [
        ({**LIST, "method": "nothing"}, METHOD_NOT_FOUND, 1),
        ({**LIST, "params": {"nonsense": 1}}, INVALID_PARAMS, 1),
        ({**LIST, "method": "get_node_info"}, INVALID_PARAMS, 1),
        ({**LIST, "method": "get_node_info", "params": {"id": "x"}}, INVALID_PARAMS, 1),
        ({**LIST, "method": "get_node_info", "params": {"id": 99}}, SERVER_ERROR, 1),
        ({**LIST, "method": "remove_nodes", "params": {"id": 1}}, SERVER_ERROR, 1),
        ({**LIST, "params": "list"}, INVALID_REQUEST, 1),
        ({**LIST, "params": 7}, INVALID_REQUEST, 1),
        ({**LIST, "params": True}, INVALID_REQUEST, 1),
        ({**LIST, "method": 1}, INVALID_REQUEST, 1),
        ({**LIST, "method": None}, INVALID_REQUEST, 1),
        ({"jsonrpc": "2.0", "id": "x"}, INVALID_REQUEST, "x"),
        ({"jsonrpc": "2.0"}, INVALID_REQUEST, None),
        ({"jsonrpc": "2.0", "method": 1, "params": "bar"}, INVALID_REQUEST, None),
        ({**LIST, "id": {}}, INVALID_REQUEST, None),
        ({**LIST, "id": [1]}, INVALID_REQUEST, None),
        ({**LIST, "id": True}, INVALID_REQUEST, None),
        ({**LIST, "method": "rpc.discover"}, METHOD_NOT_FOUND, 1),
        ({**LIST, "method": "load_dump"}, INVALID_PARAMS, 1),
    ],
)
def test_codes(rig: Rig, request_: object, number: int, id_: object) -> None:
    before = rig.world()
    response = send(rig, request_)
    assert response.status == 200
    assert code(response.json) == number
    assert response.json["id"] == id_
    assert rig.world() == before


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        b'[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"',
        b'{"jsonrpc": "2.0", "method": "\xff"}',
        b'{"jsonrpc": "2.0", "method": "list_nodes", "id": "\\ud800"}',
    ],
)
def test_what_cannot_be_parsed(rig: Rig, body: bytes) -> None:
    response = rig.post(body)
    assert code(response.json) == PARSE_ERROR
    assert response.json["id"] is None


def test_what_is_not_json_at_all_is_refused_as_in_2012(rig: Rig) -> None:
    response = rig.post(b"hello")
    assert response.status == 400
    assert response.json["id"] is None
    assert response.json["error"].startswith("The body is not JSON")


def test_the_data_of_an_error_are_ours(rig: Rig) -> None:
    error = send(rig, {**LIST, "method": "get_node_info", "params": {"id": 99}}).json["error"]
    assert error["data"] == {"code": "not-found", "retry": False, "details": {"node": 99}}
    assert error["message"].startswith("There is no node 99")


def test_positional_parameters_leave_the_cluster_to_the_end(rig: Rig) -> None:
    ask = {**LIST, "method": "get_node_info"}
    assert send(rig, {**ask, "params": [1]}).json["result"]["serviceNode"]["id"] == 1
    assert send(rig, {**ask, "params": [1, "default"]}).json["result"]["serviceNode"]["id"] == 1
    assert code(send(rig, {**ask, "params": [1, "default", 2]}).json) == INVALID_PARAMS
    assert send(rig, {**LIST, "params": []}).json["result"] == {"serviceNode": [1, 2]}


def test_params_as_json_text_are_not_strict(rig: Rig) -> None:
    assert code(send(rig, {**LIST, "params": "{}"}).json) == INVALID_REQUEST


@pytest.mark.parametrize(
    "notification",
    [
        {"jsonrpc": "2.0", "method": "list_nodes"},
        {"jsonrpc": "2.0", "method": "nothing"},
        {"jsonrpc": "2.0", "method": "get_node_info", "params": {"id": 99}},
        {"jsonrpc": "2.0", "method": "get_node_info", "params": {"wrong": 1}},
    ],
)
def test_notifications_get_no_answer(rig: Rig, notification: object) -> None:
    response = send(rig, notification)
    assert (response.status, response.body) == (204, b"")


def test_a_notification_is_carried_out(rig: Rig) -> None:
    notification = {"jsonrpc": "2.0", "method": "create_database", "params": {"name": "noted"}}
    assert send(rig, notification).status == 204
    assert "noted" in rig.result("list_databases")["databases"]


def test_a_begun_job_is_named_in_a_header(rig: Rig) -> None:
    response = send(rig, {**LIST, "method": "set_up_replica_slave", "params": [2]})
    assert response.json["id"] == 1
    job = int(response.headers["conpaassql-job"])
    assert rig.result("get_job", {"job": job})["job"]["kind"] == "follow"


# --- batches


def test_a_mixed_batch(rig: Rig) -> None:
    """The specification's own example, with our methods."""
    batch = [
        {"jsonrpc": "2.0", "method": "list_nodes", "id": "1"},
        {"jsonrpc": "2.0", "method": "list_clusters"},
        {"jsonrpc": "2.0", "method": "get_node_info", "params": [2], "id": "2"},
        {"foo": "boo"},
        1,
        [],
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "getLog", "id": 9},
        {"jsonrpc": "2.0", "method": "sqldump", "id": 10},
    ]
    answers = send(rig, batch).json
    assert [answer["id"] for answer in answers] == ["1", "2", None, None, None, "5", 9, 10]
    codes = [code(answer) if "error" in answer else 0 for answer in answers]
    refused = [INVALID_REQUEST] * 3
    assert codes == [0, 0, *refused, METHOD_NOT_FOUND, 0, INVALID_PARAMS]


def test_a_batch_of_notifications_gets_no_answer(rig: Rig) -> None:
    response = send(rig, [{"jsonrpc": "2.0", "method": "list_nodes"}] * 3)
    assert (response.status, response.body) == (204, b"")


@pytest.mark.parametrize("batch", [[], [LIST] * 101])
def test_an_empty_or_too_long_batch_is_one_invalid_request(rig: Rig, batch: object) -> None:
    answer = send(rig, batch).json
    assert code(answer) == INVALID_REQUEST
    assert answer["id"] is None


def test_a_long_batch(rig: Rig) -> None:
    batch = [{**LIST, "id": number} for number in range(100)]
    assert [answer["id"] for answer in send(rig, batch).json] == list(range(100))


def test_changes_in_a_batch_come_in_order(tmp_path: Path) -> None:
    with harness.running(tmp_path) as rig:
        make = {"jsonrpc": "2.0", "method": "create_cluster", "params": ["shop"], "id": 1}
        add = {"jsonrpc": "2.0", "method": "add_nodes", "params": {"cluster": "shop"}, "id": 2}
        listed = {"jsonrpc": "2.0", "method": "list_nodes", "params": {"cluster": "shop"}, "id": 3}
        answers = send(rig, [make, make, add, listed]).json
        assert [code(answer) if "error" in answer else 0 for answer in answers] == [0, SERVER_ERROR, 0, 0]
        assert answers[3]["result"] == {"serviceNode": [1]}
