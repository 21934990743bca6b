"""Wrong bodies, logins and HTTP: each gets an answer in JSON, and changes nothing."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from starlette.requests import Request

import harness
from conpaassql import httpd
from conpaassql.errors import Invalid
from conpaassql.web.operations import OPERATIONS, Operation
from harness import TOKEN, Rig, basic, refused, says

JSON_TYPE = {"Content-Type": "application/json"}
LIST = b'{"method": "list_nodes", "id": 1}'


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A manager in which nothing moves by itself; bodies of at most 1 MiB."""
    with harness.running(tmp_path_factory.mktemp("http"), max_body_mib="1") as rig:
        rig.freeze()
        yield rig


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A manager without logins."""
    with harness.running(tmp_path_factory.mktemp("open"), guarded=False) as rig:
        yield rig


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing in this file may surprise the manager."""
    with caplog.at_level(logging.ERROR):
        yield
    assert not [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]


# --- bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"{",
        b"{}{}",
        b"\0",
        b"NaN",
        b'{"method": "list_nodes", "id": 1e999}',
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"method": "list_nodes", "id": 1',
        b"\xef\xbb\xbf{}",
        b"<?xml version='1.0'?>",
    ],
    ids=lambda body: body[:16].decode("latin-1"),
)
def test_not_json(rig: Rig, body: bytes) -> None:
    refused(rig.post(body), "invalid", 400)


@pytest.mark.parametrize("body", [b"null", b"1", b'"text"', b"true"])
def test_json_that_is_no_request(rig: Rig, body: bytes) -> None:
    refused(rig.post(body), "invalid", 400)


def test_deep_nesting(rig: Rig) -> None:
    deep = "[" * 900 + "]" * 900
    refused(
        rig.post(f'{{"method": "list_nodes", "params": {{"cluster": {deep}}}, "id": 7}}'.encode()), "invalid", 200, 7
    )
    inside = json.dumps({"method": "list_nodes", "params": "[" * 50_000, "id": 7}).encode()
    refused(rig.post(inside), "invalid", 200, 7)


def test_a_body_that_is_too_large(rig: Rig) -> None:
    large = b" " * (1 << 20) + LIST
    refused(rig.post(large), "too-large", 413)
    chunked = rig.request("POST", "/", iter([large[:70000]] * 20), JSON_TYPE)
    refused(chunked, "too-large", 413)
    assert rig.post(b" " * ((1 << 20) - len(LIST)) + LIST).json["error"] is None


def test_a_declared_length_is_believed_before_the_body_comes(rig: Rig) -> None:
    head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n"
    login = f"Authorization: {rig.login['Authorization']}\r\n\r\n"
    refused(rig.raw((head + login).encode()), "too-large", 413)


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/xml", "application/x-www-form-urlencoded", "application", "multipart/mixed"]
)
def test_wrong_content_type(rig: Rig, kind: str) -> None:
    refused(rig.post(LIST, kind), "unsupported-type", 415)


def test_no_content_type(rig: Rig) -> None:
    refused(rig.request("POST", "/", LIST), "unsupported-type", 415)


# --- logins


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic \u00e9",
        "Basic YWRtaW4=",
        "Basic /w==",
        basic("wrong")["Authorization"],
        basic("")["Authorization"],
        basic(TOKEN + " ")["Authorization"],
        "Bearer",
        "Bearer wrong",
        "Bearer \u00e9",
        f"Digest {TOKEN}",
        TOKEN,
        "x" * 5000,
    ],
)
def test_wrong_login(rig: Rig, header: str) -> None:
    response = rig.request("POST", "/", LIST, {**JSON_TYPE, "Authorization": header})
    refused(response, "unauthorized", 401)
    assert response.headers["www-authenticate"].startswith("Basic ")
    assert TOKEN not in response.body.decode()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_method_wants_a_login(rig: Rig, operation: Operation) -> None:
    before = rig.world()
    body = json.dumps({"method": operation.name, "params": {}, "id": 1}).encode()
    refused(rig.request("POST", "/", body, JSON_TYPE, login=False), "unauthorized", 401)
    refused(rig.request("GET", f"/?method={operation.name}&id=1", login=False), "unauthorized", 401)
    assert rig.world() == before


@pytest.mark.parametrize("first", [basic(TOKEN)["Authorization"], "Bearer wrong"])
def test_two_logins_at_once_are_none(rig: Rig, first: str) -> None:
    logins = f"Authorization: {first}\r\nAuthorization: Bearer {TOKEN}\r\n"
    head = f"GET /?method=list_nodes HTTP/1.1\r\nHost: h\r\n{logins}\r\n"
    refused(rig.raw(head.encode()), "unauthorized", 401)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"http://{harness.HOST}:1", "http://"])
def test_foreign_pages_are_refused(rig: Rig, origin: str) -> None:
    refused(rig.request("POST", "/", LIST, {**JSON_TYPE, "Origin": origin}), "forbidden", 403)


def test_own_pages_are_not(rig: Rig) -> None:
    origin = {"Origin": f"http://{harness.HOST}:{rig.port}"}
    assert rig.request("POST", "/", LIST, {**JSON_TYPE, **origin}).json["error"] is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:50000", "10.0.0.1", "localhost.evil.example", "[::2]:1"]
)
def test_without_logins_only_local_names_are_answered(unguarded: Rig, host: str) -> None:
    refused(unguarded.request("GET", "/?method=list_nodes", headers={"Host": host}), "forbidden", 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5", "127.0.0.1:50000", "[::1]:50000"])
def test_without_logins_local_names_are_answered(unguarded: Rig, host: str) -> None:
    assert unguarded.request("GET", "/?method=list_nodes", headers={"Host": host}).json["error"] is None


# --- HTTP


@pytest.mark.parametrize("path", ["/nothing", "//", "/..", "/%00", "/index.html", "/enrol/", "/" + "x" * 3000])
def test_wrong_path(rig: Rig, path: str) -> None:
    refused(rig.request("GET", path), "unknown-method", 404)
    refused(rig.request("POST", path, LIST, JSON_TYPE), "unknown-method", 404)


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"])
def test_wrong_verb(rig: Rig, verb: str) -> None:
    refused(rig.request(verb, "/?method=shutdown&id=1", LIST, JSON_TYPE), "invalid", 405)


@pytest.mark.parametrize(
    "raw",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000,
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    ],
    ids=lambda raw: raw[:60].decode("latin-1"),
)
def test_what_is_not_http(rig: Rig, raw: bytes) -> None:
    response = rig.raw(raw)
    assert response.status == 400
    assert response.json["code"] == "invalid"
    says(response.json["says"])


def test_a_body_that_breaks_off_harms_nobody(rig: Rig) -> None:
    before = rig.world()
    head = f"POST / HTTP/1.1\r\nHost: h\r\nAuthorization: {rig.login['Authorization']}\r\nContent-Length: 1000\r\n"
    for kind in ("application/json", "multipart/form-data; boundary=XX"):
        for rest in (b"", b'{"method": "shutdown"', b"--XX\r\nContent-Disposition: form-data; name="):
            with rig.wire() as wire:
                wire.sendall(f"{head}Content-Type: {kind}\r\n\r\n".encode() + rest)
    assert rig.post(LIST).json["error"] is None
    assert rig.world() == before


def test_a_body_that_does_not_come_is_given_up() -> None:
    async def receive() -> Any:
        await anyio.sleep_forever()

    async def read() -> None:
        request = Request({"type": "http", "method": "POST", "headers": []}, receive)
        await httpd.whole_body(request, 1000, within_s=0.02)

    with pytest.raises(Invalid, match="not all there within"):
        anyio.run(read)


# --- joining


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"", "invalid", 400),
        (b"[]", "invalid", 400),
        (b"{}", "invalid", 400),
        (b'{"node": "1", "token": "t", "request": "r"}', "invalid", 400),
        (b'{"node": 1, "token": "t", "request": "r", "more": 1}', "invalid", 400),
        (b'{"node": 1, "token": "\xff", "request": "r"}', "invalid", 400),
        (b"[" * 10_000, "invalid", 400),
        (b" " * 70_000, "too-large", 413),
        (b'{"node": 1, "token": "t", "request": "r"}', "unauthorized", 401),
        ('{"node": 1, "token": "\u00e9", "request": "r"}'.encode(), "unauthorized", 401),
        (b'{"node": 99999999999999999999, "token": "t", "request": "r"}', "unauthorized", 401),
    ],
)
def test_wrong_requests_to_join(unguarded: Rig, body: bytes, code: str, status: int) -> None:
    if not unguarded.result("list_nodes")["serviceNode"]:
        unguarded.cloud.boots = False
        unguarded.result("add_nodes")
    response = unguarded.request("POST", "/enrol", body, JSON_TYPE)
    assert (response.json["code"], response.status) == (code, status)
    says(response.json["says"])
