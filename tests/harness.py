"""A whole manager in this process: real store, loop, enrolment and HTTP server; pretended cloud and agents."""

import hashlib
import http.client
import json
import queue
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import create_engine, text

from agent_fake import PretendAgents
from conpaassql import errors, httpd, iaas, pki, settings
from conpaassql.httpd import HttpServer
from conpaassql.iaas import VmSpec, dummy
from conpaassql.manager import enrolment
from conpaassql.manager.context import Manager, order_numbers
from conpaassql.manager.looks import Looks
from conpaassql.manager.loop import Loop
from conpaassql.manager.provider import Defaults, Provider
from conpaassql.manager.providers import Load, Providers
from conpaassql.manager.provision import Provision
from conpaassql.manager.store import open_store
from conpaassql.pki import Identity
from conpaassql.vault import open_vault
from conpaassql.web import app as web
from conpaassql.web.auth import Guard

HOST = "127.44.0.1"
TOKEN = "admin-token-of-the-tests"
PATIENCE_S = 10.0
TABLES = (
    "clusters",
    "nodes",
    "jobs",
    "events",
    "providers",
    "machines",
    "machine_jobs",
)  # not leases: the loop renews them all the time

REFUSAL = {"result", "error", "id", "code", "retry", "details"}  # the members of an error of 2012

Shown = dict[str, Any]


class Cloud(dummy.Driver):
    """DUMMY, whose nodes' VMs boot: each gets an agent that enrols with a key of its own, as in a real VM.

    While ``boots`` is False VMs come up dead.
    """

    def __init__(self, agents: PretendAgents) -> None:
        super().__init__({}, "conpaassql")
        self._agents = agents
        self._new: queue.SimpleQueue[VmSpec | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.boots = True

    def create(self, spec: VmSpec) -> str:
        """See ``iaas.Driver``."""
        vm_id = super().create(spec)
        if "CONPAASSQL_NODE" in spec.context:
            self._new.put(spec)
        return vm_id

    def delete(self, vm_id: str) -> None:
        """See ``iaas.Driver``."""
        for vm in self.list():
            if vm.id == vm_id and vm.address:
                self._agents.remove(vm.address)
        super().delete(vm_id)

    def start(self, manager: Manager) -> None:
        """Begin to boot VMs."""
        self._thread = threading.Thread(target=self._run, args=(manager,), name="cloud")
        self._thread.start()

    def stop(self) -> None:
        """Boot no more."""
        self._new.put(None)
        if self._thread:
            self._thread.join(PATIENCE_S)

    def _run(self, manager: Manager) -> None:
        while spec := self._new.get():
            vm = next((vm for vm in self.list() if vm.name == spec.name), None)
            if vm and vm.address and self.boots:
                join(manager, self._agents, spec.context, vm.address)


def join(manager: Manager, agents: PretendAgents, context: Mapping[str, str], address: str) -> None:
    """Do what a new VM does: make a key, enrol with the token of the context, answer from then on."""
    node, cluster = int(context["CONPAASSQL_NODE"]), context["CONPAASSQL_CLUSTER"]
    request = pki.signing_request(pki.new_key(), Identity(cluster=cluster, node=node)).decode()
    enrolment.enrol(manager, node=node, token=context["CONPAASSQL_JOIN_TOKEN"], request=request)
    agents.boot(address, node, cluster)
    manager.wake(manager.store.records()[cluster].cluster.id)


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which has to be JSON."""
        return json.loads(self.body)


@dataclass(slots=True, kw_only=True)
class Rig:
    """A running manager, and the ways to talk to it."""

    manager: Manager
    agents: PretendAgents
    cloud: Cloud
    loop: Loop
    port: int
    login: dict[str, str] = field(default_factory=lambda: basic(TOKEN))
    _store_file: Path

    def call(self, method: str, params: Shown | None = None, **more: Any) -> Shown:
        """POST a request in the dialect of 2012 and return the envelope."""
        request = {"method": method, "params": params or {}, "id": "1", **more}
        answer: Shown = self.post(json.dumps(request).encode()).json
        return answer

    def result(self, method: str, params: Shown | None = None) -> Any:
        """Return the result of a call that has to succeed."""
        answer = self.call(method, params)
        assert answer["error"] is None, answer
        return answer["result"]

    def get(self, method: str, params: Shown | None = None, **more: str) -> Response:
        """GET as the clients of 2012 did."""
        query = {"method": method, "id": "1", **({"params": json.dumps(params)} if params is not None else {}), **more}
        return self.request("GET", f"/?{urlencode(query)}")

    def post(self, body: bytes, content_type: str = "application/json") -> Response:
        """POST a body to the face."""
        return self.request("POST", "/", body, {"Content-Type": content_type})

    def request(
        self, verb: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, login: bool = True
    ) -> Response:
        """Send one request on a connection of its own; ``headers`` win over the login."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_S)
        try:
            given = {**(self.login if login else {}), **(headers or {})}
            connection.request(verb, path, body, given)
            found = connection.getresponse()
            return Response(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        finally:
            connection.close()

    @contextmanager
    def wire(self) -> Iterator[socket.socket]:
        """A bare connection."""
        with socket.create_connection((HOST, self.port), timeout=PATIENCE_S) as wire:
            yield wire

    def raw(self, *pieces: bytes) -> Response:
        """Send bytes as they are, and read the answer until the other side closes or all of it is there."""
        with self.wire() as wire:
            for piece in pieces:
                wire.sendall(piece)
            found = http.client.HTTPResponse(wire)
            found.begin()
            return Response(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())

    def eventually(self, holds: Callable[[], Any], within_s: float = PATIENCE_S) -> Any:
        """Return what ``holds`` returns as soon as that is true."""
        deadline = time.monotonic() + within_s
        while not (found := holds()):
            assert time.monotonic() < deadline, "it did not come to hold"
            threading.Event().wait(0.01)
        return found

    def ended(self, job: int) -> Shown:
        """Return a job when it has ended."""

        def look() -> Shown | None:
            found: Shown = self.result("get_job", {"job": job})["job"]
            return found if found["state"] != "running" else None

        found: Shown = self.eventually(look)
        return found

    def order(self, method: str, params: Shown | None = None) -> Shown:
        """Make a call that begins a job, wait for its good end, and return the call's result."""
        request = json.dumps({"method": method, "params": params or {}, "id": 1}).encode()
        response = self.post(request)
        assert response.json["error"] is None, response.json
        if job := response.headers.get("conpaassql-job"):
            ended = self.ended(int(job))
            assert ended["state"] == "done", ended
        found: Shown = response.json["result"]
        return found

    def grow(self, count: int) -> None:
        """Make node 1 the primary, and the others replicas.

        Of nodes that are wished for together, the first whose VM is up becomes the primary.
        """
        self.order("add_nodes")
        if count > 1:
            self.order("add_nodes", {"count": count - 1})
        self.settled()

    def address(self, node: int) -> str:
        """Return where a node is."""
        found: str = self.result("get_node_info", {"id": node})["serviceNode"]["ip"]
        return found

    def settled(self, cluster: str = "default") -> None:
        """Wait until the cluster runs and the diagnosis has nothing to say."""

        def look() -> bool:
            info = self.result("get_service_info", {"cluster": cluster})
            return info["state"] == "RUNNING" and not info["cluster"]["diagnosis"] and not info["cluster"]["jobs"]

        self.eventually(look)

    def freeze(self) -> None:
        """End the loop: from now on nothing changes but by requests."""
        self.loop.stop()

    def dump(self) -> Mapping[str, list[tuple[Any, ...]]]:
        """Return every row of every table that requests or the loop write to."""
        engine = create_engine(f"sqlite:///{self._store_file}")
        try:
            with engine.connect() as connection:
                return {
                    table: [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY 1"))]
                    for table in TABLES
                }
        finally:
            engine.dispose()

    def world(self) -> tuple[object, str]:
        """Return store and agents as they are, for comparison."""
        return self.dump(), self.agents.state()


def refused(response: Response, code: str, status: int, id_: object = None) -> None:
    """Hold a refusal against what every refusal promises."""
    answer = response.json
    assert set(answer) == REFUSAL
    assert response.headers["content-type"] == httpd.JSON_TYPE
    assert (answer["code"], response.status, answer["id"]) == (code, status, id_), answer
    assert answer["code"] in errors.tree()
    assert answer["result"] is None
    says(answer["error"])


def says(sentence: str) -> None:
    """Hold a text against what a sentence for people is."""
    assert len(sentence) > 15
    assert "Traceback" not in sentence
    assert ".py" not in sentence
    assert sentence.rstrip()[-1] in ".;)"


def basic(token: str, name: str = "admin") -> dict[str, str]:
    """Return the header of a login by HTTP Basic."""
    return {"Authorization": f"Basic {b64encode(f'{name}:{token}'.encode()).decode()}"}


@contextmanager
def running(folder: Path, *, guarded: bool = True, load: Load = iaas.load, **options: str) -> Iterator[Rig]:
    """Run a manager with its files in ``folder``; ``options`` are of ``[manager]``.

    ``load`` makes the drivers of registered providers.
    """
    chosen = {"state_dir": str(folder), "address": HOST, "poll_agents_timer": "0.05", **options}
    lines = "\n".join(f"{key} = {value}" for key, value in chosen.items())
    found = settings.parse_manager(f"[iaas]\nDRIVER = DUMMY\n[manager]\n{lines}\n")
    agents = PretendAgents()
    cloud = Cloud(agents)
    with ExitStack() as stack:
        loop, provision = Loop(), Provision(patience_s=0.3, settle_s=0.1)
        store = open_store(folder / "store.sqlite")
        vault = open_vault(folder)
        providers = Providers(
            Provider(cloud, time.monotonic, defaults=Defaults(image="any")),
            store,
            vault,
            found.manager.name,
            clock=time.monotonic,
            fixed={"LOCAL_ROOT": str(folder / "local")},
            load=load,
        )
        manager = Manager(
            settings=found,
            store=store,
            looks=Looks(),
            agents=agents,
            providers=providers,
            provision=provision,
            vault=vault,
            authority=pki.new_authority(found.manager.name),
            join_key=b"j" * 32,
            numbers=order_numbers(1),
            now=lambda: datetime.now(UTC),
            wake=loop.wake,
        )
        stack.callback(manager.store.close)
        stack.callback(providers.close)
        bound = httpd.listen(HOST, 0)
        guard = Guard(hashlib.sha256(TOKEN.encode()).digest() if guarded else None)
        server = HttpServer(web.app(manager, guard), bound, None)
        port = bound.getsockname()[1]
        loop.start(manager)
        stack.callback(loop.stop)
        provision.start(manager)
        stack.callback(provision.stop)
        cloud.start(manager)
        stack.callback(cloud.stop)
        thread = threading.Thread(target=server.run, name="http")
        thread.start()
        stack.callback(thread.join, PATIENCE_S)
        stack.callback(server.stop)
        yield Rig(
            manager=manager,
            agents=agents,
            cloud=cloud,
            loop=loop,
            port=port,
            _store_file=folder / "store.sqlite",
        )
