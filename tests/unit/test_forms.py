"""Uploads: forms read piece by piece, whatever the pieces; and streams that end early."""

import http.client
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import harness
from conpaassql.errors import Invalid, TooLarge
from conpaassql.web import forms
from harness import Rig, refused

KIND = "multipart/form-data; boundary=XX"
FIELD = b'--XX\r\nContent-Disposition: form-data; name="method"\r\n\r\nload_dump\r\n'
FILE = b'--XX\r\nContent-Disposition: form-data; name="mysqldump"; filename="d.sql"\r\nContent-Type: x/y\r\n\r\n'
END = b"\r\n--XX--\r\n"
SQL = b"SELECT 1;\r\n--X\r\n--XY\r\n\r\n-"
FORM = FIELD + FILE + SQL + END


def pieces(raw: bytes, size: int) -> Iterator[bytes]:
    return (raw[start : start + size] for start in range(0, len(raw), size))


def fields(**more: bytes) -> bytes:
    return b"".join(
        b'--XX\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in more.items()
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_any_pieces_make_the_same_form(size: int) -> None:
    upload = forms.Upload(KIND, pieces(FORM, size))
    assert upload.fields == {"method": "load_dump"}
    assert upload.file_field == "mysqldump"
    assert b"".join(upload.chunks()) == SQL


def test_fields_are_there_before_the_file_is_read() -> None:
    def body() -> Iterator[bytes]:
        yield FIELD + FILE
        raise AssertionError("read too far")

    assert forms.Upload(KIND, body()).fields == {"method": "load_dump"}


def test_an_empty_file() -> None:
    assert b"".join(forms.Upload(KIND, iter([FIELD + FILE + END])).chunks()) == b""


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("multipart/form-data", FORM),
        ("multipart/form-data; boundary=", FORM),
        ("text/plain; boundary=XX", FORM),
        ("multipart/form-data; boundary=YY", FORM),
        (KIND, b""),
        (KIND, b"hello"),
        (KIND, FIELD),
        (KIND, FIELD + b"--XX--\r\n"),
        (KIND, fields(method=b"load_dump", mysqldump=b"a value") + b"--XX--\r\n"),
        (KIND, b"--XX\r\nContent-Dis\x00position: form-data\r\n\r\n"),
    ],
)
def test_what_is_no_upload(kind: str, raw: bytes) -> None:
    with pytest.raises(Invalid):
        forms.Upload(kind, iter([raw]))


def test_a_file_that_breaks_off() -> None:
    upload = forms.Upload(KIND, iter([FIELD + FILE + SQL]))
    with pytest.raises(Invalid, match="broke off"):
        b"".join(upload.chunks())


def test_fields_after_the_file() -> None:
    raw = FIELD + FILE + SQL + b"\r\n" + fields(late=b"1") + b"--XX--\r\n"
    for size in (10, len(raw)):
        with pytest.raises(Invalid, match="last part"):
            b"".join(forms.Upload(KIND, pieces(raw, size)).chunks())


def test_a_file_over_the_limit() -> None:
    assert b"".join(forms.Upload(KIND, iter([FORM])).chunks(len(SQL))) == SQL
    with pytest.raises(TooLarge):
        b"".join(forms.Upload(KIND, pieces(FORM, 5)).chunks(len(SQL) - 1))


@pytest.mark.parametrize(
    "raw",
    [
        fields(method=b"x" * 70_000),
        fields(**{f"f{number}": b"" for number in range(60)}),
        b"--XX\r\nX-Header: " + b"x" * 70_000 + b"\r\n\r\n",
        b"--XX\r\n" + b"X-Header: y\r\n" * 10_000 + b"\r\n",
        fields(**{"n" * 70_000: b"1"}),
    ],
    ids=["value", "fields", "header", "headers", "name"],
)
def test_forms_that_would_fill_the_memory(raw: bytes) -> None:
    with pytest.raises(Invalid):
        forms.Upload(KIND, pieces(raw + FILE + SQL + END, 1000))


@pytest.mark.parametrize(
    ("given", "request_"),
    [
        ({}, {"method": None, "id": 1, "params": {}}),
        ({"method": "m", "id": "7", "node": "all"}, {"method": "m", "id": "7", "params": {"node": "all"}}),
    ],
)
def test_what_a_form_asks_for(given: Mapping[str, str], request_: Mapping[str, object]) -> None:
    assert forms.as_request(given) == request_


# --- through the manager


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with harness.running(tmp_path_factory.mktemp("forms"), max_dump_mib="1") as rig:
        rig.grow(1)
        rig.freeze()
        yield rig


@pytest.mark.parametrize(
    ("raw", "code", "status", "id_"),
    [
        (fields(method=b"load_dump"), "invalid", 400, None),
        (fields(method=b"load_dump", nonsense=b"1") + FILE + END, "invalid", 200, 1),
        (fields(method=b"load_dump", serviceNodeId=b"9") + FILE + END, "not-found", 200, 1),
        (fields(method=b"load_dump", serviceNodeId=b"1", id=b"1") + FILE + b"x", "invalid", 200, "1"),
        (fields(method=b"load_dump", cluster=b"absent") + FILE + END, "not-found", 200, 1),
        (fields(method=b"load_dump") + FILE.replace(b"mysqldump", b"other") + END, "invalid", 200, 1),
        (fields(method=b"list_nodes") + FILE + END, "invalid", 200, 1),
        (fields(method=b"shutdown", id=b"x") + FILE + END, "invalid", 200, "x"),
        (fields(method=b"nothing") + FILE + END, "unknown-method", 404, 1),
        (fields(method=b"\xff\0") + FILE + END, "unknown-method", 404, 1),
        (FILE + END, "invalid", 400, 1),
        (fields(method=b"load_dump") + FILE + b"-" * (1 << 20) + b"-" + END, "too-large", 200, 1),
        (b"hello", "invalid", 400, None),
    ],
)
def test_wrong_uploads(rig: Rig, raw: bytes, code: str, status: int, id_: object) -> None:
    before = rig.world()
    refused(rig.post(raw, KIND), code, status, id_)
    assert rig.world() == before


def test_an_upload_without_a_primary(tmp_path: Path) -> None:
    with harness.running(tmp_path) as rig:
        refused(rig.post(FORM, KIND), "conflict", 200, 1)


def test_many_broken_streams_use_up_nothing(rig: Rig) -> None:
    """More than there are places for calls to agents: each has to give its place back."""
    head = f"POST / HTTP/1.1\r\nHost: h\r\nAuthorization: {rig.login['Authorization']}\r\nContent-Length: 1000000\r\n"
    rig.agents.padding_mib = 50
    for _ in range(20):
        with rig.wire() as wire:
            wire.sendall(f"{head}Content-Type: {KIND}\r\n\r\n".encode() + FIELD + FILE + b"half")
        with rig.wire() as wire:
            ask = f"GET /?method=sqldump HTTP/1.1\r\nHost: h\r\nAuthorization: {rig.login['Authorization']}\r\n\r\n"
            wire.sendall(ask.encode())
            assert wire.recv(1000).startswith(b"HTTP/1.1 200")
    rig.agents.padding_mib = 0
    assert rig.result("list_databases") == {"databases": []}
    assert rig.post(FIELD + FILE + b"-- whole" + END, KIND).json["error"] is None


def test_a_dump_that_breaks_off_is_seen_to(rig: Rig) -> None:
    for name in ("one", "two"):
        rig.result("create_database", {"name": name})
    rig.agents.breaks_after = 1
    with pytest.raises(http.client.IncompleteRead):
        rig.get("sqldump")
    rig.agents.breaks_after = 0
    refused(rig.get("sqldump"), "agent", 200, "1")
    rig.agents.breaks_after = None
    assert rig.get("sqldump").body == b"CREATE DATABASE `one`;\nCREATE DATABASE `two`;\n"
