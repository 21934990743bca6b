"""The dialect of 2012 on the wire: the document's own requests byte for byte, and every spelling that clients use."""

import json
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harness
from conpaassql.web.operations import BY_NAME, OPERATIONS, Effect
from harness import HOST, TOKEN, Rig, basic

ADD_BODY = b'{"params": {"function": "agent"}, "method": "add_nodes", "id": "1"}'
REMOVE_BODY = b'{"params": {"serviceName": "12"}, "method": "remove_nodes", "id": "1"}'
OK = {"result": "OK"}
MIB = 1 << 20


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A manager without nodes, and without logins, as the requests of 2012 carry none."""
    with harness.running(tmp_path, guarded=False) as rig:
        yield rig


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A manager with a primary (node 1), two replicas and a database."""
    with harness.running(tmp_path_factory.mktemp("full"), guarded=False) as rig:
        rig.grow(3)
        rig.result("create_database", {"name": "shop"})
        yield rig


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A manager with nodes, in which nothing moves by itself."""
    with harness.running(tmp_path_factory.mktemp("frozen"), guarded=False) as rig:
        rig.grow(2)
        rig.freeze()
        yield rig


def seed_post(body: bytes) -> bytes:
    """A POST as the document prints it: these headers, in this order, and no others but the length."""
    return (
        b"POST / HTTP/1.1\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: %d\r\nHost: %s\r\n\r\n%s"
        % (len(body), HOST.encode(), body)
    )


def seed_get(query: bytes) -> bytes:
    """A GET as the document prints it."""
    head = b"GET /?%s HTTP/1.1\r\nAccept: */*\r\nContent-Type: application/json\r\nHost: %s\r\n\r\n"
    return head % (query, HOST.encode())


def masked(body: bytes) -> str:
    """Replace what differs from run to run: addresses."""
    return re.sub(r'"10\.1\.0\.\d+"', '"IP"', body.decode())


# --- the document's requests, byte for byte


def test_add_nodes_as_printed(rig: Rig) -> None:
    assert len(ADD_BODY) == 67
    answer = rig.raw(seed_post(ADD_BODY))
    node = '{"ip":null,"state":"PENDING","id":1,"name":"conpaassql-agent-1"}'
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert masked(answer.body) == '{"result":{"serviceNode":' + node + '},"error":null,"id":"1"}'


def test_list_nodes_as_printed(rig: Rig) -> None:
    answer = rig.raw(seed_get(b"method=list_nodes&id=1"))
    assert (answer.status, answer.body) == (200, b'{"result":{"serviceNode":[]},"error":null,"id":"1"}')


def test_get_node_info_as_printed(full: Rig) -> None:
    answer = full.raw(seed_get(b"params=%7B%22serviceNameId%22%3A+%221%22%7D&method=get_node_info&id=1"))
    assert answer.status == 200
    begins = '{"result":{"serviceNode":{"id":1,"ip":"IP","isRunningMySQL":true,"name":"conpaassql-agent-1",'
    assert masked(answer.body).startswith(begins)
    assert masked(answer.body).endswith('}},"error":null,"id":"1"}')


def test_get_service_info_as_printed(full: Rig) -> None:
    answer = full.raw(seed_get(b"method=get_service_info&id=1"))
    assert answer.body.startswith(b'{"result":{"service":{"state":"RUNNING"},"state":"RUNNING","type":"mysql",')


def test_get_service_performance_as_printed(full: Rig) -> None:
    answer = full.raw(seed_get(b"method=get_service_performance&id=1")).json
    names = ["request_rate", "error_rate", "throughput", "response_time"]
    assert list(answer["result"])[:4] == names
    assert all(isinstance(answer["result"][name], int | float) for name in names)


def test_remove_nodes_as_printed_of_a_node_that_is_not_there(full: Rig) -> None:
    answer = full.raw(seed_post(REMOVE_BODY))
    assert answer.status == 200
    assert answer.json["code"] == "not-found"
    assert answer.json["id"] == "1"
    assert answer.json["result"] is None


def test_the_transcript_of_section_5(rig: Rig) -> None:
    rig.order("add_nodes")  # the document begins with one node
    assert rig.result("list_nodes") == {"serviceNode": [1]}
    added = rig.order("add_node", {"function": "agent"})
    assert added == {"serviceNode": {"ip": None, "state": "PENDING", "id": 2, "name": "conpaassql-agent-2"}}
    assert rig.result("list_nodes") == {"serviceNode": [1, 2]}
    assert rig.order("delete_nodes", {"serviceNodeId": "2"}) == OK
    assert rig.result("list_nodes") == {"serviceNode": [1]}


def test_the_ok_of_remove_nodes_is_nested(rig: Rig) -> None:
    rig.grow(2)
    body = json.dumps({"method": "remove_nodes", "params": {"serviceNodeId": 2}, "id": "1"}).encode()
    assert rig.raw(seed_post(body)).body == b'{"result":{"result":"OK"},"error":null,"id":"1"}'


def test_old_http_without_a_host(rig: Rig) -> None:
    answer = rig.raw(b"GET /?method=list_nodes&id=1 HTTP/1.0\r\nAccept: */*\r\n\r\n")
    assert answer.json["result"] == {"serviceNode": []}


# --- spellings


@pytest.mark.parametrize("method", ["add_nodes", "add_node"])
def test_spellings_of_add(rig: Rig, method: str) -> None:
    assert rig.result(method)["serviceNode"]["state"] == "PENDING"


@pytest.mark.parametrize("method", ["remove_nodes", "remove_node", "delete_nodes", "delete_node"])
@pytest.mark.parametrize("name", ["serviceNodeId", "serviceName", "serviceNameId", "id", "node"])
def test_spellings_of_remove(full: Rig, method: str, name: str) -> None:
    answer = full.call(method, {name: "1"})
    assert answer["code"] == "unsafe"  # understood: node 1 is the primary


@pytest.mark.parametrize("name", ["serviceNodeId", "serviceName", "serviceNameId", "id", "node"])
@pytest.mark.parametrize("value", [1, "1", " 1 "])
def test_spellings_of_a_node(full: Rig, name: str, value: object) -> None:
    assert full.result("get_node_info", {name: value})["serviceNode"]["id"] == 1


def test_two_spellings_at_once_are_a_clash(full: Rig) -> None:
    answer = full.call("get_node_info", {"serviceNodeId": 1, "id": 1})
    assert answer["code"] == "invalid"
    assert "serviceNodeId and id" in answer["error"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json-rpc",
        "application/jsonrequest",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
    ],
)
def test_content_types(full: Rig, content_type: str) -> None:
    assert full.post(b'{"method": "list_nodes", "id": 1}', content_type).json["error"] is None


def test_params_as_json_text(full: Rig) -> None:
    answer = full.post(b'{"method": "get_node_info", "params": "{\\"id\\": 1}", "id": 1}').json
    assert answer["result"]["serviceNode"]["id"] == 1
    assert full.post(b'{"method": "list_nodes", "params": "", "id": 1}').json["error"] is None


@pytest.mark.parametrize("id_", ["1", 1, 0, -7, 1.5, "", "ünï", None, 2**53])
def test_the_id_comes_back_unchanged(full: Rig, id_: object) -> None:
    answer = full.call("list_nodes", id=id_)
    assert answer["id"] == id_
    assert type(answer["id"]) is type(id_)


def test_a_missing_id_is_null(full: Rig) -> None:
    assert full.post(b'{"method": "list_nodes"}').json["id"] is None
    assert full.request("GET", "/?method=list_nodes").json["id"] is None


def test_a_repeated_key_keeps_its_last_value(full: Rig) -> None:
    answer = full.raw(seed_get(b"method=add_nodes&method=list_nodes&id=1&id=2")).json
    assert answer == {"result": {"serviceNode": [1, 2, 3]}, "error": None, "id": "2"}


@pytest.mark.parametrize("old", ["service_id", "cloud"])
def test_parameters_of_later_years_mean_nothing(full: Rig, old: str) -> None:
    assert full.result("list_nodes", {old: 1}) == {"serviceNode": [1, 2, 3]}


def test_get_service_info_ignores_a_node(full: Rig) -> None:
    assert full.result("get_service_info", {"serviceNameId": 99})["state"] == "RUNNING"


def test_reads_may_be_posted(full: Rig) -> None:
    for operation in OPERATIONS:
        if operation.effect in (Effect.LOOK, Effect.READ) and not any(param.required for param in operation.params):
            posted = full.call(operation.name)
            assert posted["error"] is None, posted


@pytest.mark.parametrize("login", [basic(TOKEN), {"Authorization": f"Bearer {TOKEN}"}])
def test_both_logins(tmp_path: Path, login: dict[str, str]) -> None:
    with harness.running(tmp_path) as rig:
        rig.login = login
        assert rig.result("list_nodes") == {"serviceNode": []}


# --- calls of 2012's later months


def test_add_and_remove_by_count(rig: Rig) -> None:
    rig.order("add_nodes", {"slaves": 1})
    added = rig.order("add_nodes", {"count": "2"})
    assert [node["id"] for node in added["serviceNodes"]] == [2, 3]
    assert added["serviceNode"] == added["serviceNodes"][0]
    assert rig.order("remove_nodes", {"count": 2}) == OK
    assert rig.result("list_nodes") == {"serviceNode": [1]}
    assert rig.call("remove_nodes", {"count": 2})["error"].startswith("Cannot remove so many nodes")


def test_both_replica_methods(rig: Rig) -> None:
    rig.grow(2)
    old_form = {
        "id": 2,
        "master_host": rig.address(1),
        "master_log_file": "x",
        "master_log_pos": 4,
        "slave_server_id": 2,
    }
    assert rig.order("set_up_replica_slave", old_form)["serviceNode"]["id"] == 2
    assert rig.order("set_up_replica_slave", {"id": 2})["serviceNode"]["role"] == "replica"
    assert rig.order("set_up_replica_master", {"id": "2"})["serviceNode"]["id"] == 2
    assert rig.result("get_service_info")["cluster"]["primary"] == 2


def test_users_and_databases(full: Rig) -> None:
    for node in ("all", 1, "1"):
        params = {"serviceNodeId": node, "username": "ann", "password": "secret-1"}
        assert full.result("configure_user", params) == OK
    assert full.result("get_users") == {
        "users": [{"username": "ann", "location": "%", "databases": [], "all_databases": True}]
    }
    assert full.get("get_all_users").json["result"] == full.result("get_users")
    assert full.result("set_password", {"user": "ann", "password": "secret-2"}) == {}
    assert full.result("delete_user", {"serviceNodeId": "all", "username": "ann"}) == OK
    assert full.result("get_users") == {"users": []}
    assert "secret" not in full.result("getLog")["log"]


def test_get_log(full: Rig) -> None:
    log = full.get("getLog").json["result"]["log"]
    assert re.search(r"(?m)^\d{4}-\d\d-\d\dT[0-9:.]+Z default node 1 joined: ", log)
    assert full.get("getLog", {"lines": 2}).json["result"]["log"].count("\n") == 2


def test_shutdown_and_startup(rig: Rig) -> None:
    assert rig.order("startup") == {"state": "PROLOGUE"}  # an empty service gets its first node
    assert rig.order("shutdown", {"id": "7"}) == {"state": "EPILOGUE"}
    assert rig.result("get_service_info")["state"] == "STOPPED"
    assert rig.call("shutdown")["error"].startswith("Service in wrong state")
    assert rig.order("startup", {"cloud": "iaas"}) == {"state": "PROLOGUE"}
    rig.settled()
    assert rig.call("startup")["error"].startswith("Service in wrong state")


# --- dumps


def form(fields: dict[str, str], file_field: str, pieces: Iterator[bytes], size: int) -> tuple[str, list[bytes], int]:
    """Return content type, the form before and after the file, and its length."""
    parts = [f'--XX\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = "".join(parts) + f'--XX\r\nContent-Disposition: form-data; name="{file_field}"; filename="d.sql"\r\n\r\n'
    tail = b"\r\n--XX--\r\n"
    return "multipart/form-data; boundary=XX", [head.encode(), tail], len(head) + size + len(tail)


def upload(rig: Rig, fields: dict[str, str], file_field: str, pieces: Iterator[bytes], size: int) -> harness.Response:
    content_type, (head, tail), length = form(fields, file_field, pieces, size)

    def body() -> Iterator[bytes]:
        yield head
        yield from pieces
        yield tail

    return rig.request("POST", "/", body(), {"Content-Type": content_type, "Content-Length": str(length)})


@pytest.mark.parametrize(
    ("method", "file_field"),
    [("send_mysqldump", "mysqldump"), ("load_dump", "mysqldump_file"), ("create_with_MySQLdump", "mysqldump")],
)
def test_loads_a_dump(full: Rig, method: str, file_field: str) -> None:
    sql = f"CREATE DATABASE `{method}`;\n".encode()
    fields = {"method": method, "serviceNodeId": "all"}
    answer = upload(full, fields, file_field, iter([sql]), len(sql))
    assert answer.json == {"result": OK, "error": None, "id": 1}
    assert method in full.result("list_databases")["databases"]


def test_a_large_dump_is_streamed(full: Rig) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    primary = full.agents.agent(full.address(1))
    had = primary.content.loaded_bytes
    piece = b"-- 64 characters of comment, which a server reads and forgets...\n" * 1000
    count = 50 * MIB // len(piece)
    answer = upload(full, {"method": "load_dump"}, "mysqldump_file", (piece for _ in range(count)), count * len(piece))
    assert answer.json["error"] is None
    assert primary.content.loaded_bytes - had == count * len(piece)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 16 * 1024


def test_a_refused_dump_gets_its_answer_though_it_is_still_being_sent(full: Rig) -> None:
    piece = b"-" * MIB
    fields = {"method": "load_dump", "serviceNodeId": "77"}
    answer = upload(full, fields, "mysqldump_file", (piece for _ in range(20)), 20 * MIB)
    assert answer.json["code"] == "not-found"


def test_downloads_a_dump(full: Rig) -> None:
    answer = full.get("sqldump", {"databases": ["shop"]})
    assert answer.body == b"CREATE DATABASE `shop`;\n"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.headers["content-disposition"] == 'attachment; filename="default.sql"'
    assert full.post(b'{"method": "sqldump", "id": 1}').body.startswith(b"CREATE DATABASE `")


# --- GET never changes state


def params_of(name: str) -> dict[str, Any]:
    """Parameters with which a method would do something."""
    useful = {
        "node": 2,
        "name": "other",
        "cluster": "default",
        "username": "u",
        "password": "p",
        "options": {"wait_timeout": 5},
        "force": True,
    }
    return {param.name: useful[param.name] for param in BY_NAME[name].params if param.name in useful}


@pytest.mark.parametrize("method", sorted(name for name, operation in BY_NAME.items() if operation.changes))
def test_get_never_changes_anything(frozen: Rig, method: str) -> None:
    before = frozen.world()
    answer = frozen.get(method, params_of(method))
    assert answer.status == 404
    assert answer.json["code"] == "unknown-method"
    assert answer.json["error"].startswith("method not found")
    assert frozen.world() == before
