"""A physical copy of a running database from one node to another.

The donor streams mariadb-backup's output and writes nothing to its own disk; the receiver
unpacks it as it comes.  Writes on the donor go on: mariadb-backup holds commits back only while
it copies the tail of the log (BACKUP STAGE BLOCK_COMMIT), never for the time of the copy.

The copy becomes the node's data by one rename, when it is whole, on disk, and knows its own
replication position.  Before that, all of it lies in ``Layout.incoming`` and is worth nothing.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from conpaassql.agent import data, peers, programs
from conpaassql.agent.layout import Layout
from conpaassql.agent.node import Node
from conpaassql.agent.tasks import Progress
from conpaassql.errors import AgentError, Conflict, MysqlError
from conpaassql.protocol import Clone, Data, Empty

log = logging.getLogger(__name__)

# mariadb-backup waits that long before it says that the log is copied; its own default is a second.
_LOG_COPY_INTERVAL_MS = 50
_THREADS = 2
_IDLE_S = 60.0  # mbstream and mariadb-backup with nothing read or written
_PREPARE_TIMEOUT_S = 6 * 3600.0
_ORDERS_TIMEOUT_S = 120.0  # longer than any order takes
# What the copy does not carry, or not whole.
_NOT_COPIED = re.compile(r"ib_logfile\d+|ibtmp\d+|.*[-.]bin(log)?\.(\d+|index|state)|binlog\..*|aria_log\..*")
_POSITION_FILES = ("mariadb_backup_binlog_info", "xtrabackup_binlog_info")


def copy(node: Node, _request: Empty = Empty()) -> Iterator[bytes]:
    """Return the donor's stream; closing it ends mariadb-backup.

    Raises:
        Conflict: there is nothing to copy, or no server runs on it.
        MysqlError: while streaming; what was sent so far is not a copy.
    """
    _check_donor(node)
    return programs.output(_backup_command(node), node.layout.root / "tmp", _IDLE_S)


def copy_size(node: Node) -> int:
    """Return about how many bytes ``copy`` will send."""
    return sum(_size(Path(folder) / name) for folder, _, names in os.walk(node.layout.data) for name in names)


def clone(node: Node, request: Clone) -> Empty:
    """Begin to copy a database from ``request.source`` into this node (task ``clone``).

    Nothing happens on a node that has its data.

    Raises:
        Conflict: files of others are in the way, or other work is running.
        StaleTerm: see ``StateFile.accept``.
    """
    with node.state.order(request.term):
        kind = data.data_kind(node.layout, node.state.read())
        if kind is Data.FOREIGN:
            raise Conflict(
                f"{node.layout.data} holds files that this agent did not make; they are never overwritten. "
                "Move them away, or use another node."
            )
        if kind is not Data.READY:
            node.tasks.start("clone", lambda progress: _clone(node, request, progress))
    return Empty()


def _check_donor(node: Node) -> None:
    if data.data_kind(node.layout, node.state.read()) is not Data.READY or node.mysqld.pid() is None:
        raise Conflict("This node has no running database to copy from. Choose another source.")


def _backup_command(node: Node) -> list[str]:
    return [
        "mariadb-backup",
        "--no-defaults",
        "--backup",
        "--stream=mbstream",
        f"--parallel={_THREADS}",
        f"--log-copy-interval={_LOG_COPY_INTERVAL_MS}",
        f"--user={node.mysqld.root_user}",
        f"--socket={node.layout.socket}",
        f"--datadir={node.layout.data}",
        f"--tmpdir={node.layout.root / 'tmp'}",
        f"--target-dir={node.layout.root / 'tmp'}",
    ]


def _size(path: Path) -> int:
    if _NOT_COPIED.fullmatch(path.name):
        return 0
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # dropped since it was listed


def _clone(node: Node, request: Clone, progress: Progress) -> str:
    layout = node.layout
    try:
        _discard(layout.incoming)
        layout.incoming.mkdir(mode=0o700)
        received = _receive(layout, request, progress)
        _prepare(layout, progress)
        position = position_of(layout.incoming)
        node.mysqld.write_my_cnf(request.my_cnf)
        progress.phase("syncing")
        data.persist(layout.incoming)
        # No order comes between: one to start would start a second server on the same data.
        with node.state.alone(_ORDERS_TIMEOUT_S):
            progress.check()
            progress.phase("starting")
            _install(node, position)
    except OSError as exc:
        raise AgentError(f"The copy could not be written: {exc.strerror}. Look at the disk of this node.") from exc
    finally:
        _discard(layout.incoming)
    return f"Copied {received} from node {request.source.node} at {position or 'the beginning'}."


def _install(node: Node, position: str) -> None:
    """Make the copy this node's data, and start it."""
    # In this order: an agent that dies in between finds no data, rather than data of unknown origin or position.
    node.state.change(made_data=True, position=position)
    node.layout.incoming.rename(node.layout.data)
    _first_start(node)
    node.state.change(running=True, failures=0, says="")


def _discard(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _receive(layout: Layout, request: Clone, progress: Progress) -> str:
    """Unpack the donor's stream; return its size and how long that took, for people."""
    began_s = time.monotonic()
    progress.phase("copying")
    command = ["mbstream", "-x", "-p", str(_THREADS), "-C", str(layout.incoming)]
    buffer = memoryview(bytearray(programs.CHUNK_BYTES))
    size_bytes = 0
    with (
        peers.download(layout.tls, request.source, "copy") as stream,
        programs.started(command, layout.root / "tmp", reads=True) as unpack,
        progress.broken_by(stream.cut),
    ):
        progress.total(stream.total_bytes)
        while count := stream.readinto(buffer):
            unpack.write(buffer[:count], _IDLE_S)
            progress.add(count)
            size_bytes += count
            progress.check()
        unpack.finish(_IDLE_S)
    return f"{size_bytes} bytes in {time.monotonic() - began_s:.3f} s"


def _prepare(layout: Layout, progress: Progress) -> None:
    """Apply the log that came with the copy: a crash recovery, up to the moment that the stream ended."""
    progress.phase("preparing")
    command = ["mariadb-backup", "--no-defaults", "--prepare", f"--target-dir={layout.incoming}"]
    with programs.started(command, layout.root / "tmp") as prepare, progress.broken_by(prepare.kill):
        prepare.finish(_PREPARE_TIMEOUT_S)


def position_of(folder: Path) -> str:
    """Return the GTID position of a prepared copy as its donor noted it; empty for a database never written to.

    It is the donor's @@gtid_current_pos, read while commits were blocked, so it counts what the
    donor wrote itself as well as what it had applied as a replica.

    Raises:
        AgentError: the copy carries no position.
    """
    for name in _POSITION_FILES:
        if (folder / name).exists():
            fields = (folder / name).read_text().rstrip("\n").split("\t")
            return fields[2] if len(fields) > 2 else ""
    raise AgentError("The copy carries no replication position. Is the binary log on at the source?")


def _first_start(node: Node) -> None:
    """Start a copy for the first time; one that cannot be started is given up and may be made again.

    The log that came with it may end inside commits that began after the noted position.  A server
    with a binary log refuses such prepared transactions, since it misses its own log of them.  They
    are rolled back: the source will send them, as they come after the position.
    """
    layout = node.layout
    try:
        node.mysqld.start(data.START_TIMEOUT_S)
    except MysqlError as exc:
        log.warning("the copy is started once more without its unfinished commits: %s", exc.says)
        try:
            node.mysqld.stop(data.STOP_TIMEOUT_S)
            _roll_back_prepared(layout)
            node.mysqld.start(data.START_TIMEOUT_S)
        except MysqlError:
            node.mysqld.stop(data.STOP_TIMEOUT_S)
            node.state.change(made_data=False, position="")
            layout.data.rename(layout.incoming)
            _discard(layout.incoming)
            raise


def _roll_back_prepared(layout: Layout) -> None:
    """Source: MariaDB's manual, --tc-heuristic-recover; a server in bootstrap mode goes on after it, and ends."""
    command = [
        "mariadbd",
        f"--defaults-file={layout.my_cnf}",
        *(["--user=root"] if os.geteuid() == 0 else []),
        "--bootstrap",
        "--skip-networking",
        "--skip-log-bin",
        "--skip-slave-start",
        "--tc-heuristic-recover=ROLLBACK",
    ]
    with programs.started(command, layout.root / "tmp") as boot:
        boot.finish(data.START_TIMEOUT_S)
