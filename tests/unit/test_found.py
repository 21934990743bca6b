"""Which manager the command line asks."""

from pathlib import Path

import pytest

from conpaassql.client import found, state
from conpaassql.errors import Invalid, Unauthorized, Unavailable
from pretended import HOST, ok, pretended


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep away from what this machine's user has."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(state, "SYSTEM", tmp_path / "none")
    return tmp_path


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("https://db.example:50200", "https://db.example:50200"),
        ("http://127.0.0.1:50200/", "http://127.0.0.1:50200/"),
        ("127.0.0.1:50200", "http://127.0.0.1:50200/"),
        ("127.0.0.1", "http://127.0.0.1:50000/"),
        ("192.0.2.1", "https://192.0.2.1:50000/"),
        ("::1", "http://[::1]:50000/"),
        ("[::1]:50200", "http://[::1]:50200/"),
        ("[::1]", "http://[::1]:50000/"),
        ("", "http://127.0.0.1:50000/"),
    ],
)
def test_an_address_of_a_manager(address: str, url: str) -> None:
    assert found.manager(address, {"CONPAASSQL_TOKEN": "t"}).url == url
    assert found.manager("", {"CONPAASSQL_TOKEN": "t", "CONPAASSQL_URL": address}).url == url


@pytest.mark.parametrize(
    "address", ["ftp://x", "http://", "http://[", "x:99999", "http://x:y", "https://admin:s3cret@x/"]
)
def test_no_address_of_a_manager(address: str) -> None:
    with pytest.raises(Invalid) as caught:
        found.manager(address, {"CONPAASSQL_TOKEN": "t"})
    assert "s3cret" not in caught.value.says


def announce(home: Path, name: str) -> None:
    folder = home / ".conpaassql" / name
    folder.mkdir(parents=True)
    (folder / "admin.token").write_text(f"token-of-{name}\n")


def test_the_one_manager_of_this_machine_is_found(home: Path) -> None:
    announce(home, "127.43.0.2_50201")
    (home / ".conpaassql" / "127.43.0.3_50202").symlink_to(home / "gone")
    door = found.manager("", {})
    assert (door.url, door.token) == ("http://127.43.0.2:50201/", "token-of-127.43.0.2_50201")
    assert found.manager("127.43.0.9:1", {"CONPAASSQL_TOKEN": "t"}).url == "http://127.43.0.9:1/"


def test_a_manager_that_listens_everywhere_is_asked_on_loopback(home: Path) -> None:
    announce(home, "0.0.0.0_50201")
    assert found.manager("", {"CONPAASSQL_TOKEN": "t"}).url == "http://127.0.0.1:50201/"


def test_of_several_managers_one_has_to_be_named(home: Path) -> None:
    announce(home, "127.43.0.2_50201")
    announce(home, "127.43.0.3_50202")
    with pytest.raises(Invalid, match=r"127\.43\.0\.2:50201, 127\.43\.0\.3:50202"):
        found.manager("", {})


def test_without_a_token_somebody_has_to_be_there_to_miss_it() -> None:
    with pretended(lambda _seen: ok({})) as server, pytest.raises(Unauthorized):
        found.manager(f"{HOST}:{server.port}", {})
    with pytest.raises(Unavailable):
        found.manager(f"{HOST}:{server.port}", {})
