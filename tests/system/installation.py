"""A manager of its own, on LOCAL or on a simulated OpenNebula, with real servers: what the system tests work with."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import MySQLdb
import pytest
import requests

from cloud_sim import Simulated, simulated
from conpaassql import iaas

ROOT = Path(__file__).parents[2]
LOCAL, OPENNEBULA = "LOCAL", "OPENNEBULA_XMLRPC"
DEADLINE_S = 120.0  # nobody waits that long but on a disk that others are filling
Found = TypeVar("Found")

on_each_provider = pytest.mark.parametrize("provider", [LOCAL, OPENNEBULA], indirect=True)


def eventually(what: Callable[[], Found], within_s: float = DEADLINE_S, says: str = "") -> Found:
    """Return the first true value of ``what``; fail at the deadline with what was seen last."""
    deadline = time.monotonic() + within_s
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {within_s} s: {says or what} (last: {found!r})"
        time.sleep(0.02)


class Refused(Exception):
    """The manager answered with an error."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["error"])
        self.code = answer["code"]
        self.answer = answer


class Installation:
    """One manager process with its state below ``folder``; VMs outlive the process, not the test.

    ``iaas_options`` say where the VMs come from; their directories are below ``vms``.  Of the
    ``options`` those in capitals are of [onevm_agent_template], the others of [manager].
    """

    def __init__(self, folder: Path, vms: Path, iaas_options: dict[str, str], **options: object) -> None:
        self.folder = folder
        self.port = free_port()
        self.state = folder / "s"
        self.vms = vms
        self.iaas_options = iaas_options
        self.config = folder / "manager.ini"
        section = "".join(f"{key} = {value}\n" for key, value in iaas_options.items())
        of_vms = {key: value for key, value in options.items() if key.isupper()}
        of_manager = {"port": self.port, "state_dir": self.state, **options}
        lines = "".join(f"{key} = {value}\n" for key, value in of_manager.items() if key not in of_vms)
        template = "".join(f"{key} = {value}\n" for key, value in of_vms.items())
        self.config.write_text(f"[iaas]\n{section}[manager]\n{lines}[onevm_agent_template]\n{template}")
        self.process: subprocess.Popen[bytes] | None = None
        self.session = requests.Session()
        self.session.trust_env = False
        self.log = folder / "manager.log"
        self.answers: list[str] = []
        self.sim: Simulated | None = None  # with OPENNEBULA: where things can be made to go wrong

    def start(self, *program: str) -> None:
        """Start the manager (or another program in its place) and wait until it answers."""
        command = [sys.executable, *(program or ("-m", "conpaassql.cli")), "-c", str(self.config)]
        environment = {**os.environ, "HOME": str(self.folder)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        eventually(self._answers, says=f"the manager answers; {self.log.read_text()[-2000:]}")

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            return True  # it died at once, as some tests want it to
        try:
            return self.session.get(f"http://127.0.0.1:{self.port}/health", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the manager and return its exit status."""
        assert self.process is not None
        self.process.send_signal(how)
        status = self.process.wait(20)
        self.process = None
        return status

    def wait_dead(self) -> int:
        """Wait for the manager's own end."""
        assert self.process is not None
        status = self.process.wait(DEADLINE_S)
        self.process = None
        return status

    @property
    def token(self) -> str:
        """The admin token."""
        return (self.state / "admin.token").read_text().strip()

    def call(self, method: str, **params: Any) -> Any:
        """Call by POST and return the result; raises Refused for an error."""
        answer = self.post({"method": method, "params": params, "id": 1})
        if answer["error"] is not None:
            raise Refused(answer)
        return answer["result"]

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Post a request and return the whole envelope."""
        response = self.session.post(
            f"http://127.0.0.1:{self.port}/", json=body, auth=("admin", self.token), timeout=60
        )
        self.answers.append(response.text)
        found = response.json()
        assert isinstance(found, dict)
        return found

    def add(self, count: int = 1, cluster: str = "default") -> list[int]:
        """Add nodes and wait until they are ready."""
        result = self.call("add_nodes", count=count, cluster=cluster)
        ids = [node["id"] for node in result.get("serviceNodes", [result["serviceNode"]])]
        for node in ids:
            self.wait_state(node, "RUNNING", cluster)
        self.idle(cluster)
        return ids

    def node(self, node: int, cluster: str = "default") -> dict[str, Any]:
        """Return what get_node_info says."""
        found = self.call("get_node_info", serviceNodeId=node, cluster=cluster)["serviceNode"]
        assert isinstance(found, dict)
        return found

    def wait_state(self, node: int, state: str, cluster: str = "default") -> dict[str, Any]:
        """Wait until a node is in a state."""

        def there() -> dict[str, Any] | None:
            found = self.node(node, cluster)
            return found if found["state"] == state else None

        return eventually(there, says=f"node {node} is {state}") or {}

    def idle(self, cluster: str = "default") -> None:
        """Wait until no job runs; each has gone well or the test has its own opinion."""
        eventually(lambda: not self.cluster(cluster)["jobs"], says="no job runs")

    def cluster(self, cluster: str = "default") -> dict[str, Any]:
        """Return what get_service_info says of a cluster."""
        found = self.call("get_service_info", cluster=cluster)["cluster"]
        assert isinstance(found, dict)
        return found

    def roles(self) -> tuple[int, ...]:
        """Return the ids of the default cluster's nodes, the primary first."""
        primary = self.cluster()["primary"]
        return tuple(sorted(self.call("list_nodes")["serviceNode"], key=lambda node: (node != primary, node)))

    def job(self, kind: str, cluster: str = "default") -> dict[str, Any]:
        """Return the newest job of a kind."""
        found = [job for job in self.call("list_jobs", cluster=cluster)["jobs"] if job["kind"] == kind][-1]
        assert isinstance(found, dict)
        return found

    def sql(self, node: int, user: str, password: str, cluster: str = "default", **options: Any) -> Any:
        """Connect to a node's server as a tenant, over TLS with a checked certificate."""
        return connect(self.node(node, cluster)["ip"], user, password, self.state / "ca.pem", **options)

    def cloud(self) -> dict[str, str]:
        """Return the VMs that really are there, by node id."""
        return {vm.tags["node"]: vm.state for vm in self.driver().list()}

    def driver(self) -> iaas.Driver:
        """Return the driver that the manager uses."""
        options = {key: value for key, value in self.iaas_options.items() if key != "DRIVER"}
        return iaas.load(self.iaas_options["DRIVER"], options, "conpaassql")

    def place(self, node: int) -> Path:
        """Return the directory of a node's VM, whatever the provider calls it."""
        vm = next(vm for vm in self.driver().list() if vm.tags["node"] == str(node))
        return next(path for name in (vm.name, f"one-{vm.id}") for path in self.vms.glob(f"*/{name}"))

    def destroy(self) -> None:
        """End the manager and every VM."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for vm in self.driver().list():
            self.driver().delete(vm.id)
        self.session.close()


def connect(host: str, user: str, password: str, ca: Path, **options: Any) -> Any:
    """Connect as a tenant would."""
    return MySQLdb.connect(
        host=host,
        user=user,
        password=password,
        ssl_mode="VERIFY_IDENTITY",
        ssl={"ca": str(ca)},
        connect_timeout=5,
        autocommit=True,
        **options,
    )


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def installation(
    folder: Path, network: str, template: Path, provider: str = LOCAL, **options: object
) -> Iterator[Installation]:
    """An installation that is running, and gone at the end.  ``network`` is where its VMs have their addresses."""
    with ExitStack() as stack:
        vms = folder / "one" if provider == OPENNEBULA else folder / "v"
        vms.mkdir(parents=True)
        if template.exists():
            (vms / "template").symlink_to(template)
        sim = stack.enter_context(simulated(folder, network=network)) if provider == OPENNEBULA else None
        here = {"DRIVER": LOCAL, "LOCAL_ROOT": str(vms), "LOCAL_NETWORK": network}
        found = Installation(folder, vms, {"DRIVER": OPENNEBULA, **sim.options} if sim else here, **options)
        found.sim = sim
        stack.callback(found.destroy)
        found.start()
        yield found
