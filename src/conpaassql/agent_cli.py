"""Composition root of the agent: the only place that builds its objects and wires them."""

import argparse
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conpaassql import VERSION, httpd, settings
from conpaassql.agent import data, enrol, onegate, server
from conpaassql.agent.enrol import Invitation
from conpaassql.agent.layout import Layout
from conpaassql.agent.mysqld import Mysqld
from conpaassql.agent.node import Node
from conpaassql.agent.nudge import Nudge, look_quietly
from conpaassql.agent.state import StateFile
from conpaassql.agent.tasks import Tasks
from conpaassql.errors import Error, Invalid, Unauthorized
from conpaassql.httpd import HttpServer, Tls
from conpaassql.pki import Identity
from conpaassql.settings import AgentSettings

EX_CONFIG = 78  # sysexits.h: starting again will not help
WATCH_PERIOD_S = 0.5
STOP_TASKS_S = 10.0
log = logging.getLogger("conpaassql.agent")


def main(arguments: list[str] | None = None) -> int:
    """Run the agent until SIGTERM or SIGINT; mysqld goes on without it.  Return an exit status."""
    parser = argparse.ArgumentParser(prog="conpaassql-agent", description="The agent of conpaassql.")
    parser.add_argument("-c", "--config", type=Path, required=True, help="INI file, written by the VM's context")
    parser.add_argument("--version", action="version", version=f"conpaassql {VERSION}")
    given = parser.parse_args(arguments)
    try:
        found = settings.load_agent(given.config)
        run(found)
    except (Invalid, Unauthorized) as exc:
        print(f"conpaassql-agent: {exc.says}", file=sys.stderr)
        return EX_CONFIG
    except Error as exc:
        print(f"conpaassql-agent: {exc.says}", file=sys.stderr)
        return 1
    return 0


def run(found: AgentSettings) -> None:
    """Join if needed, then serve until a signal.

    Raises:
        Error: it cannot start: its files, its port, or its join token.
    """
    os.umask(0o077)
    layout = Layout(root=found.root, address=found.address, template=found.template)
    for folder in (layout.root, layout.logs, layout.run):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _set_up_logging(layout.logs / "agent.log")
    for note in found.notes:
        log.warning("%s", note)
    bound = httpd.listen(found.address, found.port)
    try:
        stop = threading.Event()
        httpd.stop_on_signals(stop)
        if not enrol.ensure_certificate(layout, _invitation(found), stop):
            return
        with _node(found, layout) as node, onegate.announced(_gate(found)):
            tls = Tls(certificate=layout.tls / "node.pem", key=layout.tls / "node.key", client_ca=layout.tls / "ca.pem")
            log.info("the agent of node %d listens on %s:%d", found.node, found.address, found.port)
            HttpServer(server.app(node, found.cluster), bound, tls).run()
    finally:
        bound.close()


@contextmanager
def _node(found: AgentSettings, layout: Layout) -> Iterator[Node]:
    """Build the node and watch over its mysqld; long work is ended at the end, mysqld is not."""
    node = Node(
        id=found.node,
        layout=layout,
        mysqld=Mysqld(layout, root_user=found.superuser if found.superuser != "root" else ""),
        state=StateFile(layout.state_file, found.node),
        tasks=Tasks(),
    )
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(node, stop), name="watch")
    watcher.start()
    try:
        yield node
    finally:
        stop.set()
        watcher.join()
        node.tasks.stop(STOP_TASKS_S)


def _watch(node: Node, stop: threading.Event) -> None:
    waiting = Nudge()
    while not stop.wait(WATCH_PERIOD_S):
        look_quietly(waiting, node)
        try:
            data.watch(node)
        except Error as exc:
            log.error("mysqld could not be started again: %s", exc.says)


def _invitation(found: AgentSettings) -> Invitation:
    return Invitation(
        manager_url=found.manager_url,
        ca_file=found.ca_file or found.root / "authority.pem",
        token_file=found.join_token_file or found.root / "join.token",
        identity=Identity(cluster=found.cluster, node=found.node),
    )


def _gate(found: AgentSettings) -> onegate.Gate | None:
    """Return where to report this VM ready; None: nobody wants to know."""
    if not found.onegate_url or not found.onegate_token_file:
        return None
    return onegate.Gate(url=found.onegate_url, vm_id=found.vm_id, token_file=found.onegate_token_file)


def _set_up_logging(file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    logging.basicConfig(
        level=logging.INFO,
        handlers=[logging.StreamHandler(os.fdopen(descriptor, "a", encoding="utf-8"))],
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


if __name__ == "__main__":
    sys.exit(main())
