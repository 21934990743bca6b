"""The data directory and the server on it: made once, started, stopped, and started again when it dies.

Nothing here overwrites a file that the agent did not make.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conpaassql.agent.layout import Layout
from conpaassql.agent.node import Node
from conpaassql.agent.state import State
from conpaassql.errors import AgentError, Conflict, MysqlError
from conpaassql.protocol import Data, Empty, Order, Setup

START_TIMEOUT_S = 50.0  # below the caller's patience for these verbs
STOP_TIMEOUT_S = 40.0
_PROGRAM_TIMEOUT_S = 120.0
_CALM_S = 60.0  # a server that lived this long was not broken by its last start
_MAX_DELAY_S = 60.0
_SYNC_THREADS = 8


def data_kind(layout: Layout, state: State) -> Data:
    """Say what the data directory holds.

    Never ``COPYING``: a directory in the making is worth something only to a running task.
    """
    if not layout.data.exists():
        return Data.EMPTY
    if state.made_data:
        return Data.READY
    return Data.FOREIGN if not layout.data.is_dir() or any(layout.data.iterdir()) else Data.EMPTY


def initialise(node: Node, request: Setup) -> Empty:
    """Make an empty database and start it, read-only.  One that is there already is only started.

    Raises:
        Conflict: the data directory holds files that are not ours, or a copy is on its way into it.
        AgentError: the disk or a program failed.
        MysqlError: the server did not start.
        StaleTerm: see ``StateFile.accept``.
    """
    with node.state.order(request.term, request.number):
        if _ours(node) is Data.EMPTY:
            _expect_no_clone(node)
            _make(node)
        _start(node, request.my_cnf)
    return Empty()


def start(node: Node, request: Setup) -> Empty:
    """Start the server, read-only.  It runs already: only the option file is renewed, for the next start.

    Raises:
        Conflict: there is no database here, or files that are not ours.
        MysqlError, StaleTerm: as ``initialise``.
    """
    with node.state.order(request.term, request.number):
        _expect_data(node)
        if _missing(node):  # the manager was faster than ``watch``
            node.state.change(restarts=node.state.read().restarts + 1)
        _start(node, request.my_cnf)
    return Empty()


def stop(node: Node, request: Order) -> Empty:
    """Stop the server; it stays stopped until it is told to start, also across the agent's death.

    Raises:
        MysqlError: it does not end even when killed.
        StaleTerm: see ``StateFile.accept``.
    """
    with node.state.order(request.term, request.number):
        node.state.change(running=False)
        node.mysqld.stop(STOP_TIMEOUT_S)
    return Empty()


def restart(node: Node, request: Setup) -> Empty:
    """Stop the server and start it with a new option file.

    Raises:
        Conflict, MysqlError, StaleTerm: as ``start``.
    """
    with node.state.order(request.term, request.number):
        _expect_data(node)
        node.mysqld.stop(STOP_TIMEOUT_S)
        _start(node, request.my_cnf)
    return Empty()


def watch(node: Node) -> None:
    """Start a server again that died unasked; call this every second or so.

    A server that dies again and again is tried less and less often.  Returns at once while an
    order is carried out.  What fails is remembered in ``State.says``.

    Raises:
        AgentError: it cannot be remembered.
    """
    if not _missing(node):
        return
    try:
        with node.state.if_idle() as free:
            if free and _missing(node):  # an order may just have stopped or started it
                _mend(node)
    except (MysqlError, AgentError) as exc:
        node.state.change(says=exc.says)


def persist(folder: Path) -> None:
    """Have every file of a copied database on the disk, since the server believes what it finds in them.

    In several threads, as the file system writes its journal once for all that wait for it: 25 ms
    for an empty database, 50 ms in one thread (measured).  Not ``syncfs``: it also waits for
    whatever others wrote on the same file system.

    Raises:
        AgentError: the disk failed.
    """
    paths = [Path(parent) / name for parent, _, names in os.walk(folder) for name in (".", *names)]
    try:
        with ThreadPoolExecutor(_SYNC_THREADS) as pool:
            for _ in pool.map(_sync, paths):
                pass
    except OSError as exc:
        raise AgentError(f"{folder} could not be written: {exc.strerror}. Look at the disk of this node.") from exc


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def delay_s(failures: int) -> float:
    """Return how long to wait before the next try after so many deaths in quick succession."""
    return 0.0 if failures == 0 else min(_MAX_DELAY_S, 2.0 ** (failures - 1))


def _ours(node: Node) -> Data:
    kind = data_kind(node.layout, node.state.read())
    if kind is Data.FOREIGN:
        raise Conflict(
            f"{node.layout.data} holds files that this agent did not make, and it will not touch them. "
            "Move them away, or use another directory."
        )
    return kind


def _expect_data(node: Node) -> None:
    if _ours(node) is Data.EMPTY:
        raise Conflict("This node has no database yet. Initialise it, or clone one into it.")


def _expect_no_clone(node: Node) -> None:
    if node.tasks.running() == "clone":
        raise Conflict("A database is being copied to this node. Wait for its end.")


def _start(node: Node, my_cnf: str) -> None:
    node.mysqld.write_my_cnf(my_cnf)
    node.mysqld.start(START_TIMEOUT_S)
    # Only a server that came up once is worth starting again unasked.
    node.state.change(running=True, failures=0, says="")


def _missing(node: Node) -> bool:
    return node.state.read().running and node.mysqld.pid() is None


def _mend(node: Node) -> None:
    """Start the server if it is time to, and count it."""
    state, now = node.state.read(), time.time()
    passed_s = now - state.tried_at
    calm = not 0 <= passed_s < _CALM_S  # a clock set back counts as calm too
    failures = 0 if calm else state.failures
    if not calm and passed_s < delay_s(failures):
        return
    node.state.change(restarts=state.restarts + 1, failures=failures + 1, tried_at=now)
    if data_kind(node.layout, state) is not Data.READY:
        raise AgentError(f"{node.layout.data} is gone. Look at the disk, or remove this node.")
    node.mysqld.start(START_TIMEOUT_S)


def _make(node: Node) -> None:
    """Copy the template into place."""
    layout = node.layout
    _ensure_template(layout.template)
    if layout.incoming.exists():  # left by an agent that died in the middle
        shutil.rmtree(layout.incoming)
    _copy(layout.template, layout.incoming)
    persist(layout.incoming)
    # In this order: an agent that dies in between finds no data, rather than data of unknown origin.
    node.state.change(made_data=True)
    layout.incoming.rename(layout.data)


def _ensure_template(template: Path) -> None:
    """Make the template unless it is there.  Several agents may try at once: the first to finish wins."""
    if template.exists():
        return
    template.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{template.name}.", dir=template.parent))
    try:
        _install(work / "full")
        _copy(work / "full", work / "sparse")
        (work / "sparse").rename(template)
    except OSError as exc:
        if not template.exists():  # else another was first
            raise AgentError(f"{template} cannot be made: {exc.strerror}. Look at the disk.") from exc
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _install(folder: Path) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    command = [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={folder}",
        f"--tmpdir={folder.parent}",  # a server that starts removes the temporary tables of others in a shared one
        "--auth-root-authentication-method=socket",
        f"--auth-root-socket-user={user}",
        "--skip-test-db",
        "--skip-name-resolve",
    ]
    if os.geteuid() == 0:
        command.append(f"--user={user}")
    _run(command)


def _copy(source: Path, target: Path) -> None:
    # Sparse: nine tenths of an empty database are zeros.  Resolved: cp -a would copy a link as a link, and two
    # servers would then share one directory.
    _run(["cp", "-a", "--sparse=always", "--reflink=auto", "--", str(source.resolve()), str(target)])


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_PROGRAM_TIMEOUT_S)
    except FileNotFoundError as exc:
        raise AgentError(f"There is no program {command[0]} on this machine. Install it.") from exc
    except subprocess.CalledProcessError as exc:
        says = (exc.stderr or exc.stdout).decode(errors="replace").strip()[-500:]
        raise AgentError(f"{command[0]} failed with {exc.returncode}: {says}") from exc
    except subprocess.TimeoutExpired as exc:
        raise AgentError(f"{command[0]} did not end within {_PROGRAM_TIMEOUT_S:g} s. Look at the disk.") from exc
