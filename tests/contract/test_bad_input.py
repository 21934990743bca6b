"""Wrong requests: each gets an answer in JSON with a stable code and a sentence, and changes nothing."""

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import harness
from conpaassql import params, params_cloud
from conpaassql.params import Param
from conpaassql.web.operations import OPERATIONS, Operation
from harness import REFUSAL, Response, Rig, refused

TOO_LONG = "x" * 4097
WRONG_TEXT = [1, 1.5, True, [], {}, ["a"], "a\0b", TOO_LONG]
WRONG_NUMBER = [0, -1, 1.5, True, [], {}, "x", "", "1.0", "-1", "1e3", "٣", "9" * 30, 2**63, 10**40]
WRONG_CLUSTER = [1, True, [], {}, "", "A", "-a", "a-", "a b", "a\n", "ünï", "a\0", "x" * 64]

WRONG_PAIRS = [1, True, "a", ["a"], ["=1"], ["a=1", "a=2"], {"a": []}, {"a": None}, [1], [None], "a\0=1"]
WRONG_NICS = [1, True, "a", "color=red", "net-id=", "net-id=a,port-id=b", {"net-id": 1}, {}, [["net-id=a"]]]

# By how a parameter is read, or by its name where its reader is its own.
WRONG: Mapping[object, list[object]] = {
    params.text: WRONG_TEXT,
    params.cluster_name: WRONG_CLUSTER,
    params.node_id: WRONG_NUMBER,
    params.node_or_all: [*WRONG_NUMBER, "ALL", "none"],
    params.flag: ["maybe", "", 2, 1.5, [], {}],
    params.names: [1, True, {}, [1], [["a"]], [None], ["a\0"], "a\0", ["x"] * 1001],
    params.mapping: ["", 1, [], {}, {"a": []}, {"a": {}}, {"a": None}, {"\0": "1"}, {"a": "\0"}, {TOO_LONG: 1}],
    "count": [*WRONG_NUMBER, 10001],
    "lines": [*WRONG_NUMBER, 10001],
    "durability": ["", "none", 1, [], {}],
    params_cloud.provider_name: [1, True, [], {}, "", "a b", "a\n", "ünï", "a\0", "a/b", "x" * 129],
    params_cloud.machine_uuid: [1, True, [], {}, "", "x", "9f3d9729", "9f3d9729-f220-11e3-adbb-b86b23dc947g"],
    params_cloud.long_text: [1, True, [], {}, "a\0", "x" * 65536],
    params_cloud.pairs: WRONG_PAIRS,
    params_cloud.files: [*WRONG_PAIRS, "relative=1", {"relative": "1"}, {"/a": "x" * 65536}],
    params_cloud.meta: [*WRONG_PAIRS, "conpaassql=1", {"CONPAASSQL-x": "1"}, ["a=1", "MySQL-Fabric-uuid=1"]],
    params_cloud.IMAGE_FILTERS: [*WRONG_PAIRS, "color=red", "minram=x", "mindisk=-1", ["name=a", "NAME=b"], "ram=1"],
    params_cloud.FLAVOR_FILTERS: [*WRONG_PAIRS, "color=red", "vcpus=x", "ram=", "ram=1e3", "minram=1"],
    "generic_filters": [*WRONG_PAIRS, "color=red"],
    params_cloud.private_nics: [*WRONG_NICS, "net-id=a,v4-fixed-ip=x", "port-id=a,v4-fixed-ip=10.0.0.1"],
    params_cloud.public_nics: [*WRONG_NICS, "net-id=a,v4-fixed-ip=10.0.0.1"],
    params_cloud.block_devices: [
        *(1, True, "", "vdb", "vdb=", "=1", "vdb=:volume:1", "vdb=1:blank:1", "vdb=1:tape", "vdb=1::x"),
        *("vdb=1:::maybe", "vdb=1::::", ["vdb=1", 1], {"vdb": None}, ["vdb=1"] * 1001),
    ],
    "number_machines": [*WRONG_NUMBER, 10001],
    "swap": [*(wrong for wrong in WRONG_NUMBER if wrong != 0), (1 << 24) + 1],
}

RIGHT: Mapping[str, Any] = {
    "cluster": "default",
    "node": 2,
    "username": "nobody",
    "password": "secret",
    "options": {"wait_timeout": 5},
    "job": 1,
    "provider_type": "DUMMY",
    "url": "http://127.0.0.1/",
    "machine_uuid": "9f3d9729-f220-11e3-adbb-b86b23dc9477",
}

EXPECTED = ("invalid", "not-found", "conflict", "forbidden", "unsafe", "provider", "unknown-provider")

HOSTILE = (
    "a'b",
    "x; rm -rf /",
    "--help",
    "x" * 300,
    "日本語",
    "имя",
    "a\nb",
    "a\tb\x7f",
    "\x1b[31m",
    'a"b`c\\',
    "\ufeffx\u202e",
    "😀",
    "../../etc/passwd",
    "%00%n",
    "{{ 7 * 7 }}",
    "' OR '1'='1",
    " ",
    "root",
    "mysql",
)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A primary (node 1) and a replica, in which nothing moves by itself."""
    with harness.running(tmp_path_factory.mktemp("bad")) as rig:
        rig.grow(2)
        rig.freeze()
        yield rig


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing in this file may surprise the manager."""
    with caplog.at_level(logging.ERROR):
        yield
    assert not [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]


def ask(rig: Rig, method: object, given: object, id_: object = 7) -> Response:
    return rig.post(json.dumps({"method": method, "params": given, "id": id_}).encode())


def right(operation: Operation) -> dict[str, Any]:
    """Parameters that suit an operation."""
    name = "hostile" if operation.name in ("create_cluster", "provider_register") else "absent"
    known = {**RIGHT, "name": name, "provider_id": name}
    given = {param.name: known[param.name] for param in operation.params if param.name in known}
    if "cluster" in given:
        given.pop("provider_id", None)  # where both may stand, a cluster is meant
    return given


def wrong_values(param: Param) -> list[object]:
    return WRONG[param.name] if param.name in WRONG else WRONG[param.read]


PARAMS = [(operation, param) for operation in OPERATIONS for param in operation.params]


def about(value: object) -> str:
    return value.name if isinstance(value, Operation | Param) else str(value)


# --- methods and parameters


@pytest.mark.parametrize(("operation", "param"), PARAMS, ids=about)
def test_wrong_kinds(rig: Rig, operation: Operation, param: Param) -> None:
    before = rig.world()
    for value in wrong_values(param):
        refused(ask(rig, operation.name, {**right(operation), param.name: value}), "invalid", 200, 7)
    assert rig.world() == before


@pytest.mark.parametrize("operation", OPERATIONS, ids=about)
def test_missing_and_extra(rig: Rig, operation: Operation) -> None:
    before = rig.world()
    good = right(operation)
    refused(ask(rig, operation.name, {**good, "nonsense": 1, "x" * 5000: 2}), "invalid", 200, 7)
    for param in operation.params:
        if param.required:
            rest = {name: value for name, value in good.items() if name != param.name}
            for given in (rest, {**rest, param.name: None}):
                response = ask(rig, operation.name, given)
                refused(response, "invalid", 200, 7)
                assert response.json["error"].startswith(f"Missing argument: {param.spellings[0]}")
    assert rig.world() == before


@pytest.mark.parametrize("given", [1, "text", "[]", "[1]", "{", True, [1], [], '"x"', "{}{}"])
def test_params_that_are_no_object(rig: Rig, given: object) -> None:
    refused(ask(rig, "list_nodes", given), "invalid", 200, 7)


@pytest.mark.parametrize(
    "operation", [op for op in OPERATIONS if any(p.name == "cluster" for p in op.params)], ids=about
)
def test_no_such_cluster(rig: Rig, operation: Operation) -> None:
    if operation.files:
        return  # a stream has no place in an envelope; see the uploads
    before = rig.world()
    refused(ask(rig, operation.name, {**right(operation), "cluster": "absent"}), "not-found", 200, 7)
    assert rig.world() == before


@pytest.mark.parametrize("operation", [op for op in OPERATIONS if any(p.name == "node" for p in op.params)], ids=about)
@pytest.mark.parametrize("node", [3, 2**63 - 1, "4"])
def test_no_such_node(rig: Rig, operation: Operation, node: object) -> None:
    if operation.files:
        return
    before = rig.world()
    refused(ask(rig, operation.name, {**right(operation), "node": node}), "not-found", 200, 7)
    assert rig.world() == before


def test_no_such_job(rig: Rig) -> None:
    refused(ask(rig, "get_job", {"job": 2**63 - 1}), "not-found", 200, 7)


@pytest.mark.parametrize("method", ["nothing", "", "LIST_NODES", "list_nodes ", "nodes", "__init__", "x" * 9999, "é\n"])
def test_unknown_method(rig: Rig, method: str) -> None:
    refused(ask(rig, method, {}), "unknown-method", 404, 7)
    refused(rig.get(method), "unknown-method", 404, "1")


@pytest.mark.parametrize("method", [None, 1, True, [], {}])
def test_no_method(rig: Rig, method: object) -> None:
    refused(ask(rig, method, {}), "invalid", 400, 7)


def test_no_method_at_all(rig: Rig) -> None:
    refused(rig.post(b'{"id": 7}'), "invalid", 400, 7)
    refused(rig.request("GET", "/"), "invalid", 400)
    assert rig.request("GET", "/?id=1").json["error"].startswith("Did not specify method")


@pytest.mark.parametrize("id_", [{}, [], [1], True, {"a": 1}])
def test_what_is_no_id_is_not_echoed(rig: Rig, id_: object) -> None:
    assert ask(rig, "list_nodes", {}, id_).json["id"] is None


# --- hostile text


TEXTS = [(op, p) for op, p in PARAMS if p.read in (params.text, params.cluster_name, params.names, params.mapping)]


@pytest.mark.parametrize(("operation", "param"), TEXTS, ids=about)
def test_hostile_text(rig: Rig, operation: Operation, param: Param) -> None:
    for text in HOSTILE:
        before = rig.world()
        value: object = {text: text} if param.read is params.mapping else [text] if param.read is params.names else text
        response = ask(rig, operation.name, {**right(operation), param.name: value})
        if response.headers["content-type"] == "application/sql":
            continue
        answer = response.json
        assert response.status == 200
        assert set(answer) in (REFUSAL, {"result", "error", "id"})
        if answer["error"] is not None:
            refused(response, answer["code"], 200, 7)
            assert answer["code"] in EXPECTED
            assert rig.world() == before


def test_hostile_names_are_kept_as_they_are(rig: Rig) -> None:
    names = ["a'b", "x; rm -rf /", "--help", "日本語"]
    for name in names:
        rig.result("create_database", {"name": name})
    assert set(names) <= set(rig.result("list_databases")["databases"])
    answer = rig.get("sqldump", {"databases": names})
    assert answer.body.decode().count("\n") == len(names)


@pytest.mark.parametrize("text", [rb"\ud800", rb"\udc00x", rb"\ud800\ud800", b"\xed\xa0\x80", b"\xff", b"\xc0\x80"])
def test_text_that_is_no_unicode(rig: Rig, text: bytes) -> None:
    before = rig.world()
    refused(rig.post(b'{"method": "delete_user", "params": {"username": "%s"}, "id": 7}' % text), "invalid", 400)
    assert rig.world() == before


@pytest.mark.parametrize("text", ["%ED%A0%80", "%FF", "%00", "%C0%80"])
def test_queries_that_are_no_unicode(rig: Rig, text: str) -> None:
    refused(rig.request("GET", f"/?method={text}&id=1"), "unknown-method", 404, "1")
    assert rig.request("GET", f"/?method=list_nodes&id={text}").json["error"] is None
    cluster = f"/?method=list_nodes&id=1&params=%7B%22cluster%22:%22{text}%22%7D"
    refused(rig.request("GET", cluster), "invalid", 200, "1")
