"""The guide for OpenNebula, walked by its own templates and lines, on a simulated OpenNebula and a real manager."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pyone
import pytest
from installation import ROOT, Installation, eventually

from cloud_sim import Simulated, simulated

pytestmark = pytest.mark.real

GUIDE = (ROOT / "docs" / "opennebula.md").read_text()
OURS = ("conpaassql", "run-manager-client.sh")
DATABLOCK = 2
SECRET = "guide-Pass-1"
YEAR_S = 31536000


@pytest.fixture
def one(short_folder: Path) -> Iterator[Simulated]:
    folder = short_folder / "c"
    folder.mkdir()
    with simulated(folder, network="127.77.0.0/17") as found:
        yield found


def section(first: str, last: str) -> str:
    """Return the guide from one heading to another."""
    return GUIDE[GUIDE.index(f"\n{first}\n") : GUIDE.index(f"\n{last}\n")]


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def lines() -> list[list[str]]:
    """Return the guide's lines for our programs, from registering a cloud to forgetting it."""
    text = section("### Several clouds, one manager", "## What you see in OpenNebula")
    found = [shlex.split(line) for block in blocks(text, "sh") for line in block.replace("\\\n", "").splitlines()]
    return [words for words in found if words[0] in OURS]


def prepared(cloud: Simulated) -> str:
    """Do what the guide has the administrator do; return the user's token."""
    admin = pyone.OneServer(cloud.url, session=f"{cloud.admin}:{cloud.admin_password}")
    image = admin.image.allocate('NAME = "debian12"\nTYPE = "OS"\nPATH = "/none"', 1)
    (network,) = blocks(section("## 3. A network", "## 4. Quotas"), "one")
    databases = admin.vn.allocate(network.replace("10.30.1.", "127.77.200."), -1)
    for kind, number in ((admin.image, image), (admin.vn, databases)):
        kind.chmod(number, 1, 1, -1, 0, 0, 0, 1, 0, 0)  # 604
    (quota,) = blocks(section("## 4. Quotas", "## 5. A manager"), "one")
    (user,) = [found.ID for found in admin.userpool.info().USER if cloud.user == found.NAME]
    admin.user.quota(user, quota)
    own = pyone.OneServer(cloud.url, session=f"{cloud.user}:{cloud.password}")
    return str(own.user.login(cloud.user, "", YEAR_S, -1))


def test_the_guide_can_be_walked(install: Callable[..., Installation], one: Simulated) -> None:
    """Every line does what it says, from the empty cloud to the forgotten provider; nothing is left in the cloud."""
    secrets = {"provider": prepared(one), "configure_user": SECRET}
    home = install()

    def walk(words: list[str]) -> str:
        here = {"http://one.example:2633/RPC2": one.url, "10.30.1.20": "127.0.0.1", "50000": str(home.port)}
        told = [here.get(word, word) for word in words]
        done = subprocess.run(
            [str(ROOT / "scripts" / told[0]), *told[1:]],
            input=next((f"{secret}\n" for word, secret in secrets.items() if word in words and "-" in words), ""),
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "HOME": str(home.folder), "CONPAASSQL_URL": f"http://127.0.0.1:{home.port}"},
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    said = {" ".join(words[1:]): walk(words) for words in lines()}
    assert "one.example" in said["provider list"]
    assert "Network" in said["check provider one.example"]
    assert "WRONG" not in said["check provider one.example"]
    assert '"nodes": [1, 2, 3]' in said["10.30.1.20 50000 get_service_info cluster=shop"]
    assert [row["name"] for row in home.call("list_clusters")["clusters"]] == ["default"]
    user = pyone.OneServer(one.url, session=f"{one.user}:{one.password}")
    eventually(lambda: not user.vmpool.info(-3, -1, -1, -1).VM, says="no VM is left")
    assert not [image for image in user.imagepool.info(-3, -1, -1).IMAGE if image.TYPE == DATABLOCK]
