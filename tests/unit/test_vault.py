"""Secrets at rest: what opens them, what does not, and who may read the key."""

import stat
from pathlib import Path

import pytest

from conpaassql import vault
from conpaassql.errors import ConfigError
from conpaassql.vault import KEY_BYTES, KEY_FILE, Vault, open_vault

SECRET = b"s3cret of somebody"


@pytest.fixture
def opened(tmp_path: Path) -> Vault:
    return open_vault(tmp_path)


def test_a_secret_comes_back(opened: Vault, tmp_path: Path) -> None:
    blob = opened.seal(SECRET, "provider p")
    assert opened.open(blob, "provider p") == SECRET
    assert open_vault(tmp_path).open(blob, "provider p") == SECRET
    assert opened.open(opened.seal(b"", "x"), "x") == b""


def test_a_blob_tells_nothing(opened: Vault) -> None:
    one, other = opened.seal(SECRET, "p"), opened.seal(SECRET, "p")
    assert one != other
    assert SECRET not in one


def test_the_key_is_its_owner_s(opened: Vault, tmp_path: Path) -> None:
    file = tmp_path / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes()) == KEY_BYTES
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_vault(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * (KEY_BYTES + 1)])
def test_a_file_that_is_no_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    (tmp_path / KEY_FILE).chmod(0o600)
    with pytest.raises(ConfigError, match="does not hold a master key"):
        open_vault(tmp_path)


def test_another_key_opens_nothing(opened: Vault, tmp_path: Path) -> None:
    blob = opened.seal(SECRET, "p")
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match=r"master\.key") as caught:
        open_vault(tmp_path / "other").open(blob, "p")
    assert "s3cret" not in caught.value.says


def test_another_purpose_opens_nothing(opened: Vault) -> None:
    with pytest.raises(ConfigError, match="provider q"):
        opened.open(opened.seal(SECRET, "provider p"), "provider q")


def test_a_changed_blob_does_not_open(opened: Vault) -> None:
    blob = opened.seal(SECRET, "p")
    for place in range(1, len(blob)):
        changed = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
        with pytest.raises(ConfigError):
            opened.open(changed, "p")
    for length in range(len(blob)):
        with pytest.raises(ConfigError):
            opened.open(blob[:length], "p")


def test_a_later_version_is_told(opened: Vault) -> None:
    with pytest.raises(ConfigError, match="another version"):
        opened.open(b"\x02" + opened.seal(SECRET, "p")[len(vault.VERSION) :], "p")
