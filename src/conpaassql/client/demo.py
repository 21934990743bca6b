"""A replicated database on this machine, made before your eyes: ``scripts/demo [--once]``."""

import argparse
import json
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from conpaassql.client import demo_cloud, demo_place, demo_sql, ends, jobs, state
from conpaassql.client.demo_place import Place
from conpaassql.client.wire import Server
from conpaassql.errors import ConfigError, Unauthorized, Unavailable

PROGRAM = "demo"
ADDRESS = "127.0.0.1"
START_TIMEOUT_S = 30.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.  ``port`` 0: 50000, or another if that is taken."""

    once: bool
    nodes: int
    place: Path
    port: int
    provider: str
    network: str
    project: Path

    @property
    def scripts(self) -> Path:
        """Where the commands are that the demo proposes."""
        return self.project / "scripts"


@dataclass(frozen=True, slots=True)
class Clock:
    """How long each part took, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Note how long the body takes, also when it fails."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - began, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The addresses of what was made."""

    primary: str
    replicas: tuple[tuple[int, str], ...]  # number and address


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return an exit status."""
    given = _parser().parse_args(arguments)
    options = Options(
        once=given.once,
        nodes=given.nodes,
        place=given.dir or given.project / ".demo",
        port=given.port,
        provider=given.provider,
        network=given.network,
        project=given.project,
    )
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    clock = Clock({"install": given.install_s})
    status = ends.guarded(PROGRAM, lambda: _perform(options, clock))
    if options.once:
        clock.seconds["total"] = round(given.install_s + time.monotonic() - clock.began, 2)
        print(json.dumps({"demo": "conpaassql", "ok": status == 0, "seconds": clock.seconds}))
    return status and 1 if options.once else status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Make a replicated database on this machine, show it, and remove it at Ctrl-C."
    )
    parser.add_argument("--once", action="store_true", help="end by itself; the last line is JSON with the times")
    parser.add_argument("--nodes", type=_count, default=3, help="how many database nodes (3)")
    parser.add_argument("--dir", type=Path, help="where to keep everything meanwhile (.demo in the project)")
    parser.add_argument("--port", type=int, default=0, help="the manager's port (50000 if that is free)")
    says = f"the cloud: this machine itself, or a simulated OpenNebula on it ({demo_cloud.LOCAL})"
    parser.add_argument("--provider", choices=demo_cloud.PROVIDERS, default=demo_cloud.LOCAL, help=says)
    parser.add_argument("--network", default="127.0.0.0/8", help="addresses for the nodes (127.0.0.0/8)")
    parser.add_argument("--project", type=Path, default=Path.cwd(), help=argparse.SUPPRESS)
    parser.add_argument("--install-s", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError("use 1 to 100")
    return int(text)


def _interrupt(_number: int, _frame: object) -> None:
    """Begin the end; from now on signals are not heard, so that it runs through."""
    _deafen()
    raise KeyboardInterrupt


def _deafen() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _perform(options: Options, clock: Clock) -> ends.End:
    with ExitStack() as stack:
        place = stack.enter_context(demo_place.taken(options.place))
        try:
            manager = _show(options, place, clock, stack)
            if not options.once:
                _stay(manager)
        finally:
            _deafen()
            print("Stopping ...")
            with clock.part("stop"):
                stack.close()
    return ends.End.DONE


def _show(options: Options, place: Place, clock: Clock, stack: ExitStack) -> "subprocess.Popen[bytes]":
    """Make everything and tell about it."""
    print(f"The demo keeps everything in {place.root} and removes it at the end.")
    stack.callback(demo_place.remove, place)
    with clock.part("manager"):
        port, manager, server = _manager(options, place, stack)
    print(f"The manager answers at http://{ADDRESS}:{port}/ ({clock.seconds['manager']} s).")
    with clock.part("cluster"):
        cluster = _build(server, options.nodes)
    print(f"{options.nodes} nodes are ready ({clock.seconds['cluster']} s).")
    with clock.part("write_and_read"):
        _use(server, place, cluster)
    print(f"A row written on the primary is on every replica ({clock.seconds['write_and_read']} s).")
    _explain(options, place, port, cluster)
    return manager


def _manager(options: Options, place: Place, stack: ExitStack) -> tuple[int, "subprocess.Popen[bytes]", Server]:
    """Start a cloud and a manager; when somebody else was faster at the usual port, on another."""
    simulator = options.project / "contrib" / "onesim"
    cloud = stack.enter_context(demo_cloud.cloud(options.provider, place, options.network, simulator))
    for port in (options.port,) if options.port else (_free_port(50000), _free_port(0)):
        _configure(cloud, place, port)
        manager = _started(place)
        stack.callback(demo_cloud.stop, manager)
        try:
            return port, manager, stack.enter_context(_reached(place, port, manager))
        except Unavailable:
            if manager.poll() is None or port == options.port or port != 50000:
                raise
    raise Unavailable(f"No port of {ADDRESS} is free.")


def _configure(cloud: Mapping[str, str], place: Place, port: int) -> None:
    iaas = "".join(f"{key} = {value}\n" for key, value in cloud.items())
    place.config.touch(mode=0o600)  # a cloud may have a password
    place.config.write_text(
        f"[iaas]\n{iaas}"
        f"[manager]\nname = {demo_place.OWNER}\naddress = {ADDRESS}\nport = {port}\nstate_dir = {place.state}\n"
        f"[onevm_agent_template]\nNAME = {demo_place.STEM}\n",
        encoding="utf-8",
    )


def _free_port(wished: int) -> int:
    for port in (wished, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unavailable(f"No port of {ADDRESS} is free.")


def _started(place: Place) -> "subprocess.Popen[bytes]":
    """Start the manager, out of reach of the terminal's Ctrl-C and with an end when we end."""
    with place.log.open("wb") as log:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "conpaassql.cli", "-c", str(place.config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@contextmanager
def _reached(place: Place, port: int, manager: "subprocess.Popen[bytes]") -> Iterator[Server]:
    """Yield the manager when it answers.

    Raises:
        Unavailable: it does not, or it has ended.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with Server(state.door(ADDRESS, port, {"CONPAASSQL_TOKEN_FILE": str(place.token)})) as server:
                server.call("list_clusters").value()
                yield server
                return
        except (ConfigError, Unavailable, Unauthorized) as exc:
            # It has not made its token yet, or does not listen yet; or another manager listens there.
            if manager.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"The manager did not start; it says: {_last_words(place)}") from exc
        time.sleep(0.05)


def _last_words(place: Place) -> str:
    lines = place.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(lines[-3:]) or "nothing"


def _build(server: Server, count: int) -> Cluster:
    """Make the nodes and show how far each is."""
    answer = server.call("add_nodes", {"count": count})
    first = answer.value()
    nodes = [node["id"] for node in first.get("serviceNodes", [first["serviceNode"]])]
    if answer.job is None:
        raise Unavailable("The manager began no job; is it another version?")
    last: dict[str, Any] = {}
    with _board(nodes) as board:
        for look in jobs.looks(server, answer.job):
            last = look
            for node in nodes:
                _update(board, server, node)
    if last["state"] != "done":
        raise Unavailable(f"The nodes were not made: {last['says']}")
    return _described(server, nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Board:
    """Where progress is shown: bars on a terminal, else a line for each new stage."""

    bars: Progress
    tasks: dict[int, TaskID]
    told: dict[int, str]


@contextmanager
def _board(nodes: Sequence[int]) -> Iterator[_Board]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    terminal = sys.stdout.isatty()
    with Progress(*columns, TimeElapsedColumn(), console=Console(), disable=not terminal) as bars:
        yield _Board(bars=bars, tasks={node: bars.add_task(f"node {node}", total=1.0) for node in nodes}, told={})


def _update(board: _Board, server: Server, node: int) -> None:
    answer = server.call("get_node_info", {"node": node})
    if answer.error:  # the job was undone and the node is gone; the job says why
        return
    info = answer.result["serviceNode"]
    board.bars.update(board.tasks[node], completed=info["progress"], description=f"node {node}: {info['stage']:<40.40}")
    if board.bars.disable and board.told.get(node) != info["stage"]:
        board.told[node] = info["stage"]
        print(f"  node {node}: {info['progress']:4.0%}  {info['stage']}")


def _described(server: Server, nodes: Sequence[int]) -> Cluster:
    primary = server.call("get_service_info").value()["cluster"]["primary"]
    address = {node: server.call("get_node_info", {"node": node}).value()["serviceNode"]["ip"] for node in nodes}
    return Cluster(primary=address[primary], replicas=tuple((n, address[n]) for n in nodes if n != primary))


def _use(server: Server, place: Place, cluster: Cluster) -> None:
    """Write on the primary and read on every replica."""
    password = secrets.token_urlsafe(18)
    server.call("create_database", {"name": "demo"}).value()
    server.call("configure_user", {"username": "demo", "password": password, "databases": ["demo"]}).value()
    demo_sql.write_login(place.login, "demo", password, place.state / "ca.pem")
    demo_sql.write(place.login, cluster.primary)
    for _, address in cluster.replicas:
        demo_sql.await_row(place.login, address)


def _explain(options: Options, place: Place, port: int, cluster: Cluster) -> None:
    client = f"{options.scripts}/run-manager-client.sh {ADDRESS} {port}"
    curl = f'curl -u "admin:$(cat {place.token})"'
    print(f"\n  primary  {cluster.primary}:3306")
    for _, address in cluster.replicas:
        print(f"  replica  {address}:3306")
    print(f"  user demo, database demo, password in {place.login}\n\nTry:")
    query = "SELECT * FROM greeting"
    print(f"  mariadb --defaults-file={place.login} -h {cluster.primary} demo -e '{query}'")
    print(f"  {curl} 'http://{ADDRESS}:{port}/?method=list_nodes&id=1'")
    body = '{"method": "get_service_info", "params": {}, "id": 1}'
    print(f"  {curl} -H 'Content-Type: application/json' -d '{body}' http://{ADDRESS}:{port}/")
    print(f"  {client} get_service_info")
    if cluster.replicas:
        print(f"  {client} set_up_replica_master {cluster.replicas[0][0]} --wait")
    print(f"  {client} --help\n")


def _stay(manager: "subprocess.Popen[bytes]") -> None:
    """Stay until a signal.

    Raises:
        Unavailable: the manager ended before.
    """
    try:
        print("Ctrl-C ends the demo and removes everything.")
        status = manager.wait()
    except KeyboardInterrupt:
        return
    raise Unavailable(f"The manager ended by itself, with status {status}.")


if __name__ == "__main__":
    sys.exit(main())
