"""What a new VM is told, and that it is safe on its way through a cloud."""

import base64
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from conpaassql import packages
from conpaassql.manager import bootstrap
from conpaassql.manager.bootstrap import Invitation, Offer

SCRIPT = packages.script(packages.INSTALL_SCRIPT)
INVITATION = Invitation(
    node=7,
    cluster="shop",
    manager_url="https://10.0.0.1:50000",
    join_token="one-time-token",
    authority_pem=b"-----BEGIN CERTIFICATE-----\n",
)
OFFER = Offer(package_url="https://10.0.0.1:50000/install/x.whl", package_sha256="ab" * 32, install_script=SCRIPT)


def test_an_invitation_alone() -> None:
    assert bootstrap.context(INVITATION, None, "no") == {
        "CONPAASSQL_NODE": "7",
        "CONPAASSQL_CLUSTER": "shop",
        "CONPAASSQL_MANAGER_URL": "https://10.0.0.1:50000",
        "CONPAASSQL_JOIN_TOKEN": "one-time-token",
        "CONPAASSQL_CA_BASE64": base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode(),
    }


def test_an_offer_says_what_and_how() -> None:
    found = bootstrap.context(INVITATION, OFFER, "no")
    assert found["CONPAASSQL_PACKAGE"] == "https://10.0.0.1:50000/install/x.whl"
    assert found["CONPAASSQL_PACKAGE_SHA256"] == "ab" * 32
    assert base64.b64decode(found["START_SCRIPT_BASE64"]) == bootstrap.start_script(SCRIPT, "agent")


@pytest.mark.parametrize("given", ['START_SCRIPT="x"', 'a=1, start_script_base64 = "eA=="'])
def test_an_own_start_script_stays_alone(given: str) -> None:
    found = bootstrap.context(INVITATION, OFFER, "no", given)
    assert "START_SCRIPT_BASE64" not in found
    assert "CONPAASSQL_PACKAGE" in found


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("no", {}),
        ("agent", {"TOKEN": "YES", "REPORT_READY": "NO"}),
        ("image", {"TOKEN": "YES", "REPORT_READY": "YES"}),
    ],
)
def test_who_reports_to_onegate(option: str, expected: dict[str, str]) -> None:
    plain = bootstrap.context(INVITATION, OFFER, "no")
    found = bootstrap.context(INVITATION, OFFER, option)
    assert {key: found[key] for key in found if key not in plain} == expected


def test_no_cloud_finds_anything_to_expand_or_to_break() -> None:
    found = bootstrap.context(INVITATION, OFFER, "agent")
    assert not re.search(r'[$"\\\n\[\]]', "".join(found.values()))
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", key) for key in found)


def test_it_fits_into_the_user_data_of_every_cloud() -> None:
    """EC2 takes 16 KiB, into which the context goes in base64."""
    found = bootstrap.context(replace(INVITATION, authority_pem=b"x" * 800), OFFER, "agent")
    assert sum(len(key) + len(value) + 4 for key, value in found.items()) * 4 / 3 < 16 * 1024


def test_the_token_is_not_shown() -> None:
    assert "one-time-token" not in repr(INVITATION)


def test_the_start_script_runs_what_was_packed(tmp_path: Path) -> None:
    start = tmp_path / "start"
    start.write_bytes(bootstrap.start_script(b'echo "role $1 of $#"; exit 3\n', "agent"))
    done = subprocess.run(["sh", start], capture_output=True, text=True, check=False, env={"TMPDIR": str(tmp_path)})
    assert (done.stdout, done.returncode) == ("role agent of 1\n", 3)
    assert list(tmp_path.iterdir()) == [start]
    assert bootstrap.start_script(SCRIPT, "agent") == bootstrap.start_script(SCRIPT, "agent")


@pytest.mark.parametrize("script", ["conpaassql-install.sh", "init.sh"])
def test_the_scripts_are_plain_sh(script: str) -> None:
    path = Path(__file__).parents[2] / "templates" / "vm" / script
    assert path.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", path], check=True)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, "-s", "sh", path], check=True)
