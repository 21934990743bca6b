"""Who gets in."""

import hashlib
from base64 import b64encode
from pathlib import Path

import pytest
from starlette.requests import Request

from conpaassql.errors import Forbidden, Unauthorized
from conpaassql.web import auth
from conpaassql.web.auth import Guard

TOKEN = "the-token"
GUARD = Guard(hashlib.sha256(TOKEN.encode()).digest())
OPEN = Guard(None)


def request(*headers: tuple[str, str]) -> Request:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": "GET", "headers": raw})


def basic(text: str) -> tuple[str, str]:
    return "authorization", f"Basic {b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    "header",
    [
        basic(f"admin:{TOKEN}"),
        basic(f":{TOKEN}"),
        ("authorization", f"Bearer {TOKEN}"),
        ("authorization", f"bearer  {TOKEN} "),
        ("authorization", "BASIC " + basic(f"x:{TOKEN}")[1].split()[1]),
    ],
)
def test_lets_the_token_in(header: tuple[str, str]) -> None:
    GUARD.check(request(header))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (basic("admin:wrong"),),
        (basic(TOKEN),),
        (basic(f"{TOKEN}:"),),
        (basic(f"admin:{TOKEN}:"),),
        (basic(f"a:b:{TOKEN}"),),
        (("authorization", TOKEN),),
        (("authorization", "Basic \xe9"),),
        (("authorization", "Basic YQ"),),
        (("authorization", "Bearer"),),
        (basic(f"admin:{TOKEN}"), ("authorization", "Bearer other")),
        (basic(f"admin:{TOKEN}"), basic(f"admin:{TOKEN}")),
    ],
)
def test_keeps_everything_else_out(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Unauthorized):
        GUARD.check(request(*headers))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9:5", "localhost", "LocalHost:50000", "[::1]", "[::1]:5", ""])
def test_without_logins_local_names_are_let_in(host: str) -> None:
    OPEN.check(request(("host", host)))


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "evil.example:80", "localhost.evil", "127.0.0.1.evil", "[::2]:5", "[", "a:b:c"]
)
def test_without_logins_other_names_are_not(host: str) -> None:
    with pytest.raises(Forbidden):
        OPEN.check(request(("host", host)))


@pytest.mark.parametrize("guard", [GUARD, OPEN])
@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost:51000", "localhost:50000", "://"])
def test_foreign_pages_are_kept_out_with_and_without_logins(guard: Guard, origin: str) -> None:
    with pytest.raises(Forbidden):
        guard.check(request(("host", "localhost:50000"), ("origin", origin), basic(f"admin:{TOKEN}")))


def test_own_pages_are_let_in() -> None:
    for guard in (GUARD, OPEN):
        guard.check(request(("host", "localhost:5"), ("origin", "http://localhost:5"), basic(f"a:{TOKEN}")))


def test_the_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    token = auth.open_token(tmp_path)
    assert auth.open_token(tmp_path) == token
    assert len(token) >= 43
    assert (tmp_path / "admin.token").stat().st_mode & 0o777 == 0o600


def test_the_token_is_not_shown() -> None:
    with pytest.raises(Unauthorized) as caught:
        GUARD.check(request(basic("admin:guess-of-mine")))
    assert "guess-of-mine" not in caught.value.says + str(caught.value.details)
    assert TOKEN not in caught.value.says + repr(GUARD)
