"""A plain VM becomes a node by its context alone: package, dependencies and agent come from the manager."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import TEMPLATE
from installation import DEADLINE_S, ROOT, Installation, eventually
from processes import agent_pid
from wheels import wheelhouse

from conpaassql import VERSION
from conpaassql.iaas import Power
from onegate_fake import TOKEN, Pretended, pretending

# What one-context does in a real VM: the start script, then (systemd there) init.sh, both from nothing but the context.
PLAIN_VM = r"""
. "$CONPAASSQL_CONTEXT"
export PIP_CONFIG_FILE=/dev/null PIP_NO_CACHE_DIR=1 CONPAASSQL_PREFIX="$CONPAASSQL_VM/opt"
export http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 # no internet
printf '%s' "$START_SCRIPT_BASE64" | base64 -d >"$CONPAASSQL_VM/start"
sh "$CONPAASSQL_VM/start" || exit
sed '/^CONPAASSQL_PYTHON=/d' "$CONPAASSQL_CONTEXT" >"$CONPAASSQL_VM/context"
{
    echo "CONPAASSQL_PYTHON='$CONPAASSQL_PREFIX/bin/python'"
    [ "$TOKEN" != YES ] || echo "ONEGATE_ENDPOINT='ONEGATE' VMID='42'"
} >>"$CONPAASSQL_VM/context"
printf TOKENTEXT >"$CONPAASSQL_VM/token.txt"
CONPAASSQL_CONTEXT=$CONPAASSQL_VM/context
unset http_proxy https_proxy
. "$CONPAASSQL_PREFIX/vm/init.sh"
"""


class Secured(Installation):
    """An installation that speaks HTTPS, as everywhere but on loopback."""

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            return self._session().get(f"{self.url}/health", timeout=2).status_code == 200
        except (requests.RequestException, OSError):
            return False

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _session(self) -> requests.Session:
        self.session.verify = str(self.state / "ca.pem")
        return self.session

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        found = self._session().post(f"{self.url}/", json=body, auth=("admin", self.token), timeout=60).json()
        assert isinstance(found, dict)
        return found


@pytest.fixture
def gate() -> Iterator[Pretended]:
    with pretending() as found:
        yield found


@pytest.fixture
def home(short_folder: Path, gate: Pretended) -> Iterator[Secured]:
    wheelhouse(ROOT / "templates" / "vm" / "agent-requirements.txt", short_folder / "w")
    script = short_folder / "init.sh"
    script.write_text(PLAIN_VM.replace("'ONEGATE'", f"'{gate.url}'").replace("TOKENTEXT", TOKEN))
    vms = short_folder / "v"
    vms.mkdir()
    if TEMPLATE.exists():
        (vms / "template").symlink_to(TEMPLATE)
    cloud = {"DRIVER": "LOCAL", "LOCAL_ROOT": str(vms), "LOCAL_NETWORK": "127.76.0.0/16", "LOCAL_INIT": str(script)}
    options = {"tls": "on", "packages_dir": short_folder / "w", "report_ready": "agent"}
    (short_folder / "a").mkdir()
    found = Secured(short_folder / "a", vms, cloud, **options)
    try:
        found.start()
        yield found
    finally:
        found.destroy()


def test_a_plain_vm_becomes_a_node_and_boots_again_without_installing(home: Secured, gate: Pretended) -> None:
    (node,) = home.add()
    vm = next(home.vms.glob(f"*/*-{node}"))
    assert list((vm / "opt").glob(f"lib/python3*/site-packages/conpaassql-{VERSION}.dist-info"))
    have = installed(vm / "opt")
    assert {"conpaassql", "mysqlclient", "cryptography"} <= have
    assert not have & {"pyone", "apache-libcloud", "sqlalchemy", "alembic", "requests"}
    assert gate.said.wait(DEADLINE_S)
    assert gate.ready == "YES"

    console = (vm / "log" / "console.log").read_text()
    assert console.count("installed the agent below") == 1
    assert (vm / "disk" / "join.token").exists() is False  # used, and gone
    stamp = (vm / "opt" / ".installed").stat().st_mtime_ns
    agent = agent_pid(home, node)
    driver = home.driver()
    assert isinstance(driver, Power)
    driver.power_off(vm.name)
    driver.power_on(vm.name)
    eventually(lambda: gate.calls[1:], says="the second boot is reported too")
    assert agent_pid(home, node) != agent
    home.wait_state(node, "RUNNING")
    assert (vm / "log" / "console.log").read_text().count("installed the agent below") == 1
    assert (vm / "opt" / ".installed").stat().st_mtime_ns == stamp


def installed(prefix: Path) -> set[str]:
    done = subprocess.run(
        [prefix / "bin" / "python", "-m", "pip", "--isolated", "list", "--format", "json"],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    return {package["name"].lower() for package in json.loads(done.stdout)}
