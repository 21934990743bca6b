"""Seconds from POST to ready: a first node, and an added replica, beside the same by hand."""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from installation import Installation, eventually, installation

from bench import floor
from bench.floor import Bare
from bench.report import Figure, at_most, say

NETWORK = "127.70.0.0/16"
POLL_S = 0.003


def run(*, quick: bool) -> list[Figure]:
    """Measure first nodes, then replicas; product and hand in turns, so that both meet the same machine."""
    runs = 3 if quick else 11
    folder = Path(tempfile.mkdtemp(prefix="cpb-"))
    try:
        with installation(folder / "i", NETWORK, folder / "none") as home:
            home.add()  # makes the prepared data directory
            template = home.vms / "template"
            first, bare_first = [], []
            for number in range(runs):
                first.append(_first_node(home, f"c{number}"))
                bare_first.append(_bare_first(folder / "b", template))
                say(f"first node: {first[-1]:.3f} s, by hand {bare_first[-1]:.3f} s")
            replica, bare_replica = [], []
            for _ in range(runs):
                replica.append(_replica(home))
                bare_replica.append(_bare_replica(folder, template))
                say(f"replica: {replica[-1]:.3f} s, by hand {bare_replica[-1]:.3f} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        at_most("first node, median", statistics.median(first), "s", 2, statistics.median(bare_first)),
        at_most("replica, median", statistics.median(replica), "s", 2, statistics.median(bare_replica)),
    ]


def _ready(home: Installation, node: int, cluster: str) -> None:
    while home.node(node, cluster)["state"] != "RUNNING":
        time.sleep(POLL_S)


def _first_node(home: Installation, cluster: str) -> float:
    home.call("create_cluster", name=cluster)
    began = time.monotonic()
    node = home.call("add_nodes", cluster=cluster)["serviceNode"]["id"]
    _ready(home, node, cluster)
    seconds = time.monotonic() - began
    home.call("delete_cluster", cluster=cluster, force=True)
    eventually(lambda: len(home.call("list_clusters")["clusters"]) == 1)
    return seconds


def _replica(home: Installation) -> float:
    began = time.monotonic()
    node = home.call("add_nodes")["serviceNode"]["id"]
    _ready(home, node, "default")
    seconds = time.monotonic() - began
    eventually(lambda: home.node(node)["compared"] == "equal")
    home.call("remove_nodes", id=node)
    eventually(lambda: len(home.call("list_nodes")["serviceNode"]) == 1)
    return seconds


def _bare_first(root: Path, template: Path) -> float:
    bare = Bare(root, "127.71.0.1", 1)
    bare.configure()
    try:
        began = time.monotonic()
        floor.copy_template(template, bare.data)
        bare.start()
        return time.monotonic() - began
    finally:
        bare.stop()


def _bare_replica(folder: Path, template: Path) -> float:
    source, copy = Bare(folder / "s", "127.71.0.2", 2), Bare(folder / "r", "127.71.0.3", 3)
    source.configure()
    copy.configure()
    try:
        floor.copy_template(template, source.data)
        source.start()
        source.sql(
            "SET GLOBAL read_only = 0",
            "CREATE USER 'r'@'%' IDENTIFIED BY 'r'",
            "GRANT REPLICATION SLAVE ON *.* TO 'r'@'%'",
        )
        began = time.monotonic()
        floor.pipe(source.root / "my.cnf", source.socket, copy.data)
        floor.prepare(copy.data)
        copy.start()
        position = _position(copy.data)
        copy.sql(
            f"SET GLOBAL gtid_slave_pos = '{position}'",
            "CHANGE MASTER TO MASTER_HOST='127.71.0.2', MASTER_USER='r', MASTER_PASSWORD='r', "
            "MASTER_USE_GTID=slave_pos, MASTER_SSL=0",
            "START SLAVE",
        )
        while not _attached(copy):
            time.sleep(POLL_S)
        return time.monotonic() - began
    finally:
        copy.stop()
        source.stop()


def _position(data: Path) -> str:
    names = ("mariadb_backup_binlog_info", "xtrabackup_binlog_info")
    file = next(data / name for name in names if (data / name).exists())
    return file.read_text().split()[-1]


def _attached(bare: Bare) -> bool:
    cursor = bare.connect().cursor()
    cursor.execute("SHOW SLAVE STATUS")
    assert cursor.description is not None
    row = dict(zip([column[0] for column in cursor.description], cursor.fetchone() or (), strict=True))
    return row["Slave_IO_Running"] == "Yes" and row["Slave_SQL_Running"] == "Yes"
