"""init.sh by itself, as in VMs of OpenNebula: what it takes from the context, and what it leaves alone."""

import base64
import os
import subprocess
from pathlib import Path

import pytest

from conpaassql import settings
from conpaassql.iaas import local

SCRIPT = Path(__file__).parents[2] / "scripts" / "init.sh"
AGENT = {
    "CONPAASSQL_NODE": "7",
    "CONPAASSQL_CLUSTER": "c",
    "CONPAASSQL_MANAGER_URL": "https://10.0.0.1:50000",
    "CONPAASSQL_JOIN_TOKEN": "once",
    "CONPAASSQL_CA_BASE64": "aGFsbG8=",
    "ETH0_IP": "10.0.0.7",
}
MANAGER = {
    "CONPAASSQL_ROLE": "manager",
    "ONE_URL": "http://10.30.1.1:2633/RPC2",
    "ONE_USERNAME": "owner",
    "ONE_PASSWORD": 'to$ken # "with" everything\\',
    "AGENT_IMAGE_ID": "193",
    "AGENT_NETWORK_ID": "205",
    "ETH0_IP": "10.0.0.2",
}


def run(tmp_path: Path, role: str, task: str, context: dict[str, str] | None, **more: str) -> tuple[int, str]:
    """Run a task with a context (None: there is none) and return status and last words."""
    file = tmp_path / "context.sh"
    file.unlink(missing_ok=True)
    own = {"CONPAASSQL_ROOT": str(tmp_path / "node"), "CONPAASSQL_CONFIG": str(tmp_path / "etc" / "manager.ini")}
    if context is not None:
        file.write_text(local.shell({**own, **context}))
    environment = {"PATH": os.environ["PATH"], "CONPAASSQL_CONTEXT": str(file), **own, **more}
    done = subprocess.run(
        [SCRIPT, role, task], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert not {"once", "to$ken"} & set(done.stderr.split())
    return done.returncode, done.stderr


def agent(tmp_path: Path) -> settings.AgentSettings:
    return settings.load_agent(tmp_path / "node" / "agent.ini")


class TestAgent:
    def test_prepared_it_does_not_run(self, tmp_path: Path) -> None:
        assert run(tmp_path, "agent", "prepare", AGENT) == (0, "")
        found = agent(tmp_path)
        assert (found.node, found.root, found.onegate_url) == (7, tmp_path / "node", "")
        for path in (tmp_path / "node").iterdir():
            assert path.stat().st_mode & 0o777 == 0o600, path

    def test_without_a_context_it_goes_on_as_before(self, tmp_path: Path) -> None:
        run(tmp_path, "agent", "prepare", AGENT)
        before = (tmp_path / "node" / "agent.ini").read_text()
        status, says = run(tmp_path, "agent", "prepare", None)
        assert (status, "as at the last boot" in says) == (0, True)
        assert (tmp_path / "node" / "agent.ini").read_text() == before

    @pytest.mark.parametrize("missing", ["CONPAASSQL_NODE", "CONPAASSQL_MANAGER_URL", "ETH0_IP"])
    def test_a_context_that_lacks_something_is_explained(self, tmp_path: Path, missing: str) -> None:
        status, says = run(tmp_path, "agent", "prepare", {k: v for k, v in AGENT.items() if k != missing})
        assert (status, missing in says) == (78, True)

    def test_the_context_may_be_in_the_environment_alone(self, tmp_path: Path) -> None:
        assert run(tmp_path, "agent", "prepare", None, **AGENT)[0] == 0
        assert agent(tmp_path).node == 7

    def test_onegate_is_told_with_a_token(self, tmp_path: Path) -> None:
        gate = {"ONEGATE_ENDPOINT": "http://10.0.0.1:5030", "VMID": "42", "REPORT_READY": "NO"}
        assert run(tmp_path, "agent", "prepare", {**AGENT, **gate, "TOKENTXT": "dG9rZW4="}) == (0, "")
        found = agent(tmp_path)
        assert (found.onegate_url, found.vm_id) == ("http://10.0.0.1:5030", "42")
        assert found.onegate_token_file and found.onegate_token_file.read_text() == "dG9rZW4="
        assert found.onegate_token_file.stat().st_mode & 0o777 == 0o600

    def test_the_token_lies_beside_the_context(self, tmp_path: Path) -> None:
        (tmp_path / "token.txt").write_text("YmVzaWRl")
        run(tmp_path, "agent", "prepare", {**AGENT, "ONEGATE_ENDPOINT": "http://10.0.0.1:5030"})
        assert (tmp_path / "node" / "onegate.token").read_text() == "YmVzaWRl"

    @pytest.mark.parametrize(
        "gate",
        [
            {"ONEGATE_ENDPOINT": "http://10.0.0.1:5030", "VMID": "42"},  # no token
            {"ONEGATE_ENDPOINT": "http://10.0.0.1:5030", "TOKENTXT": "x", "REPORT_READY": "YES"},  # the image does it
            {"TOKENTXT": "x"},
        ],
    )
    def test_onegate_is_not_told(self, tmp_path: Path, gate: dict[str, str]) -> None:
        assert run(tmp_path, "agent", "prepare", {**AGENT, **gate})[0] == 0
        assert agent(tmp_path).onegate_url == ""

    def test_on_a_disk_that_outlives_vms_only_the_certificate_is_renewed(self, tmp_path: Path) -> None:
        context = {**AGENT, "CONPAASSQL_DATA_DIR": str(tmp_path / "kept")}
        run(tmp_path, "agent", "prepare", context)
        tls = tmp_path / "kept" / "tls"
        tls.mkdir()
        for name in ("node.pem", "node.key"):
            (tls / name).write_text(name)
        run(tmp_path, "agent", "prepare", context)
        assert (tls / "node.pem").exists()
        assert run(tmp_path, "agent", "prepare", {**context, "ETH0_IP": "10.0.0.8"}) == (0, "")
        assert [path.name for path in tls.iterdir()] == ["node.key"]
        found = settings.load_agent(tmp_path / "kept" / "agent.ini")
        assert (found.address, found.root) == ("10.0.0.8", tmp_path / "kept")

    def test_a_directory_makes_a_device_superfluous(self, tmp_path: Path) -> None:
        data = {"CONPAASSQL_DATA_DIR": str(tmp_path / "kept"), "CONPAASSQL_DATA_DEVICE": "no-such-disk"}
        assert run(tmp_path, "agent", "prepare", {**AGENT, **data}) == (0, "")

    def test_a_vm_of_processes_never_touches_a_disk(self, tmp_path: Path) -> None:
        """It would be one of the machine around it."""
        context = {**AGENT, "CONPAASSQL_DATA_DEVICE": "no-such-disk"}
        status, says = run(tmp_path, "agent", "prepare", context, CONPAASSQL_VM=str(tmp_path))
        assert (status, "cannot have a disk" in says) == (78, True)


class TestManager:
    def test_the_names_of_2012(self, tmp_path: Path) -> None:
        assert run(tmp_path, "manager", "prepare", MANAGER) == (0, "")
        found = settings.load_manager(tmp_path / "etc" / "manager.ini")
        assert found.iaas.driver == "OPENNEBULA_XMLRPC"
        assert found.iaas.options["OPENNEBULA_URL"] == "http://10.30.1.1:2633/RPC2"
        assert found.iaas.options["OPENNEBULA_USER"] == "owner"
        assert found.iaas.options["OPENNEBULA_PASSWORD"] == MANAGER["ONE_PASSWORD"]
        assert (found.template.image_id, found.template.network_id) == ("193", "205")
        assert (found.manager.address, found.manager.port) == ("10.0.0.2", 50000)
        assert found.manager.use_tls
        assert (tmp_path / "etc" / "manager.ini").stat().st_mode & 0o777 == 0o600

    def test_what_is_there_is_the_administrators(self, tmp_path: Path) -> None:
        run(tmp_path, "manager", "prepare", MANAGER)
        (tmp_path / "etc" / "manager.ini").write_text("# mine\n")
        assert run(tmp_path, "manager", "prepare", MANAGER) == (0, "")
        assert (tmp_path / "etc" / "manager.ini").read_text() == "# mine\n"

    def test_a_whole_file(self, tmp_path: Path) -> None:
        text = "[manager]\nname = other\n"
        context = {"CONPAASSQL_CONFIG_BASE64": base64.b64encode(text.encode()).decode()}
        assert run(tmp_path, "manager", "prepare", context) == (0, "")
        assert (tmp_path / "etc" / "manager.ini").read_text() == text

    def test_a_file_that_is_no_base64_leaves_nothing_behind_that_counts(self, tmp_path: Path) -> None:
        assert run(tmp_path, "manager", "prepare", {"CONPAASSQL_CONFIG_BASE64": "%"})[0] == 78
        assert not (tmp_path / "etc" / "manager.ini").exists()

    def test_nothing_to_go_by(self, tmp_path: Path) -> None:
        status, says = run(tmp_path, "manager", "prepare", {})
        assert (status, "ONE_URL" in says) == (78, True)


@pytest.mark.parametrize(
    ("role", "context", "status"),
    [
        ("agent", AGENT, 0),
        ("agent", MANAGER, 1),
        ("agent", None, 1),
        ("manager", MANAGER, 0),
        ("manager", AGENT, 1),
        ("manager", None, 1),
    ],
)
def test_who_is_wanted(tmp_path: Path, role: str, context: dict[str, str] | None, status: int) -> None:
    assert run(tmp_path, role, "wanted", context) == (status, "")


def test_who_was_wanted_once_is_wanted_at_every_boot(tmp_path: Path) -> None:
    for role, context in (("agent", AGENT), ("manager", MANAGER)):
        run(tmp_path, role, "prepare", context)
        assert run(tmp_path, role, "wanted", None) == (0, "")


@pytest.mark.parametrize(("role", "task"), [("router", "run"), ("agent", "fly")])
def test_a_slip_of_the_pen(tmp_path: Path, role: str, task: str) -> None:
    status, says = run(tmp_path, role, task, AGENT)
    assert (status, "usage:" in says) == (64, True)
    assert not (tmp_path / "node").exists()
