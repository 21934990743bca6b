"""A replica of a large data set: the copy over TLS, beside the bare pipe and beside a dump.

MB/s are megabytes of the data set by seconds of the copy, for all three.
"""

import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from installation import Installation, eventually, installation

from bench import floor
from bench.floor import Bare
from bench.report import Figure, at_least, say

NETWORK = "127.72.0.0/16"
PASSWORD = "bench-Pass-1"
ROW_BYTES = 4096


def run(*, quick: bool) -> list[Figure]:
    """Fill a primary, then copy it in turns: bare pipe, product, bare pipe ...; the dump once."""
    megabytes, runs = (200, 2) if quick else (1000, 5)
    folder = Path(tempfile.mkdtemp(prefix="cpb-"))
    try:
        with installation(folder / "i", NETWORK, folder / "none") as home:
            (primary,) = home.add()
            _fill(home, primary, megabytes)
            disk = next(home.vms.glob(f"*/*-{primary}")) / "disk"
            bare, product, whole, bare_whole = [], [], [], []
            for _ in range(runs):
                seconds, all_seconds = _bare(disk, folder / "copy")
                bare.append(megabytes / seconds)
                bare_whole.append(all_seconds)
                seconds, all_seconds = _product(home)
                product.append(megabytes / seconds)
                whole.append(all_seconds)
                say(
                    f"bare pipe {bare[-1]:.0f} MB/s, over TLS {product[-1]:.0f} MB/s, follows after {all_seconds:.2f} s"
                )
            dump = megabytes / _dump(disk, home, folder)
            say(f"dump pipe {dump:.1f} MB/s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rate = statistics.median(product)
    until_ready = statistics.median(whole)
    return [
        at_least("copy over TLS, median", rate, "MB/s", 0.8, statistics.median(bare)),
        at_least("copy over TLS beside a dump", rate, "MB/s", 15, dump),
        Figure("POST to ready, median", round(until_ready, 3), "s", round(statistics.median(bare_whole), 3)),
    ]


def _fill(home: Installation, primary: int, megabytes: int) -> None:
    say(f"filling {megabytes} MB")
    home.call("create_database", name="bench")
    home.call("configure_user", username="bench", password=PASSWORD)
    connection = home.sql(primary, "bench", PASSWORD, database="bench")
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE bench.t (id INT PRIMARY KEY, a VARBINARY(4000))")
    per_round = 8192
    rounds = megabytes * 1_000_000 // (per_round * ROW_BYTES)
    for number in range(rounds):
        cursor.execute(
            "INSERT INTO bench.t SELECT seq, CONCAT(RANDOM_BYTES(1000), RANDOM_BYTES(1000), RANDOM_BYTES(1000), "
            "RANDOM_BYTES(950)) FROM seq_%s_to_%s",
            (number * per_round + 1, (number + 1) * per_round),
        )
    connection.close()


def _bare(disk: Path, target: Path) -> tuple[float, float]:
    began = time.monotonic()
    floor.pipe(disk / "my.cnf", disk / "run" / "mysqld.sock", target)
    piped = time.monotonic() - began
    floor.prepare(target)
    whole = time.monotonic() - began
    shutil.rmtree(target)
    return piped, whole


def _product(home: Installation) -> tuple[float, float]:
    began = time.monotonic()
    node = home.call("add_nodes")["serviceNode"]["id"]
    says = ""
    while (info := home.node(node))["state"] != "RUNNING":
        if info["task"] and info["task"]["kind"] == "clone" and info["task"]["state"] == "done":
            says = info["task"]["says"]
        time.sleep(0.01)
    whole = time.monotonic() - began
    found = re.search(r" bytes in ([0-9.]+) s", says or _log(home, node))
    assert found, says
    eventually(lambda: home.node(node)["compared"] == "equal", within_s=120)
    home.call("remove_nodes", id=node)
    eventually(lambda: len(home.call("list_nodes")["serviceNode"]) == 1)
    return float(found.group(1)), whole


def _log(home: Installation, node: int) -> str:
    text = home.call("get_node_log", id=node, lines=1000)["log"]
    assert isinstance(text, str)
    return text


def _dump(disk: Path, home: Installation, folder: Path) -> float:
    target = Bare(folder / "d", "127.73.0.1", 99)
    target.configure()
    try:
        floor.copy_template(home.vms / "template", target.data)
        target.start()
        target.sql("SET GLOBAL read_only = 0", "CREATE DATABASE bench")
        began = time.monotonic()
        dump = subprocess.Popen(
            ["mariadb-dump", f"--socket={disk}/run/mysqld.sock", "-uroot", "--single-transaction", "--quick", "bench"],
            stdout=subprocess.PIPE,
        )
        subprocess.run(["mariadb", f"--socket={target.socket}", "-uroot", "bench"], stdin=dump.stdout, check=True)
        assert dump.stdout is not None
        dump.stdout.close()
        if dump.wait():
            raise RuntimeError("mariadb-dump failed")
        return time.monotonic() - began
    finally:
        target.stop()
