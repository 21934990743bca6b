"""Data in motion: replicas built under load and cut in the middle, dumps of any size."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
import requests
from installation import Installation, eventually
from processes import agent_pid, mysqld_pid, resident_mib
from writers import Writers, missing, prepare

pytestmark = pytest.mark.real

Install = Callable[..., Installation]
PASSWORD = "data-Pass-1"
MEBI = 1 << 20


def test_a_replica_is_built_under_load_without_blocking_writes(install: Install) -> None:
    """Writers go on all the time; both ends of the build die once, and it still ends equal."""
    home = install(network="127.53.0.0/18")
    (first,) = home.add()
    prepare(home, PASSWORD)
    fill(home, first, 200)
    with Writers(home, 4, PASSWORD) as load:
        eventually(lambda: load.total > 100)
        second = home.call("add_nodes")["serviceNode"]["id"]
        home.wait_state(second, "RUNNING")
        home.idle()
        eventually(lambda so_far=load.total: load.total > so_far + 100)
        assert load.longest_gap_s < 1.0, "the build of a replica held writes up"

        third = home.call("add_nodes")["serviceNode"]["id"]
        copying(home, third)
        os.kill(agent_pid(home, third), signal.SIGKILL)
        copying(home, third)
        os.kill(agent_pid(home, home.roles()[1]), signal.SIGKILL)  # the donor: a replica is preferred
        home.wait_state(third, "RUNNING")
        home.idle()
    assert home.job("add_nodes")["state"] == "done"
    for node in (first, second, third):
        eventually(lambda n=node: not missing(home, load, n, PASSWORD), says=f"node {node} has every write")
    for node in (second, third):
        eventually(lambda n=node: home.node(n)["compared"] == "equal")
    leftovers = [path for path in home.vms.glob("*/*/disk/*") if path.name in ("data.incoming",)]
    assert leftovers == []


def test_dumps_of_200_mb_go_in_and_out_in_flat_memory(install: Install, short_folder: Path) -> None:
    """Neither manager nor agent grows with the size of a dump."""
    home = install(network="127.53.64.0/18")
    (node,) = home.add()
    big = short_folder / "big.sql"
    write_dump(big, 200)
    assert home.process is not None
    manager = home.process.pid
    agent = agent_pid(home, node)
    before = resident_mib(manager), resident_mib(agent)
    with big.open("rb") as file:
        status, answer = upload(home, file)
    assert (status, answer["error"]) == (200, None), answer
    out = short_folder / "out.sql"
    url = f"http://127.0.0.1:{home.port}/?method=sqldump&id=1"
    with home.session.get(url, auth=("admin", home.token), stream=True, timeout=60) as response, out.open("wb") as file:
        assert response.status_code == 200
        for chunk in response.iter_content(MEBI):
            file.write(chunk)
    assert out.stat().st_size > 200 * MEBI
    grown = resident_mib(manager) - before[0], resident_mib(agent) - before[1]
    assert max(grown) < 40, f"manager and agent grew by {grown} MiB"

    home.call("delete_database", name="big")
    with out.open("rb") as file:
        status, answer = upload(home, file)
    assert answer["error"] is None
    home.call("configure_user", username="reader", password=PASSWORD)
    connection = home.sql(node, "reader", PASSWORD)
    cursor = connection.cursor()
    cursor.execute("SELECT COUNT(*), SUM(LENGTH(v)) FROM big.t")
    assert cursor.fetchall() == ((200 * 16, 200 * 16 * 65536),)
    connection.close()


def test_an_upload_that_breaks_off_is_an_error_and_leaves_nothing_running(install: Install) -> None:
    """The client goes away in the middle: what had come is in, the server serves on."""
    home = install(network="127.53.128.0/18")
    (node,) = home.add()

    def half() -> Iterator[bytes]:
        yield form_head("x")
        yield b"CREATE DATABASE half;\nUSE half;\nCREATE TABLE t (i INT);\n"
        raise ConnectionAbortedError

    with pytest.raises(requests.ConnectionError):
        home.session.post(
            f"http://127.0.0.1:{home.port}/",
            data=half(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
            auth=("admin", home.token),
        )
    home.session.close()
    eventually(lambda: not clients_of(home, node), says="the mariadb client of the load is gone")
    assert home.node(node)["state"] == "RUNNING"
    assert "half" not in home.call("list_databases")["databases"] or home.call("delete_database", name="half")


def copying(home: Installation, node: int) -> None:
    """Wait until a node's copy is on its way."""
    disk = next(iter(eventually(lambda: list(home.vms.glob(f"*/*-{node}"))))) / "disk"
    eventually(lambda: (disk / "data.incoming").exists() and any((disk / "data.incoming").iterdir()))


def fill(home: Installation, node: int, megabytes: int) -> None:
    """Write some data, so that a copy takes a moment."""
    connection = home.sql(node, "loader", PASSWORD, database="load_test")
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE load_test.ballast (id INT PRIMARY KEY, v VARBINARY(1000))")
    for number in range(megabytes):
        cursor.execute(
            "INSERT INTO load_test.ballast SELECT seq, RANDOM_BYTES(1000) FROM seq_%s_to_%s",
            (number * 1000 + 1, number * 1000 + 1000),
        )
    connection.close()


def write_dump(file: Path, megabytes: int) -> None:
    """Write a dump as mariadb-dump would: 16 rows of 64 KiB make a megabyte."""
    with file.open("w") as out:
        out.write("CREATE DATABASE `big`;\nUSE `big`;\nCREATE TABLE `t` (`id` INT PRIMARY KEY, `v` MEDIUMTEXT);\n")
        text = "x" * 65536
        for number in range(megabytes):
            rows = ",".join(f"({number * 16 + row},'{text}')" for row in range(16))
            out.write(f"INSERT INTO `t` VALUES {rows};\n")


def form_head(boundary: str) -> bytes:
    """Return the start of a form that carries a dump."""
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="method"\r\n\r\nload_dump\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="mysqldump_file"; filename="d.sql"\r\n\r\n'
    ).encode()


def upload(home: Installation, file: IO[bytes]) -> tuple[int, dict[str, object]]:
    """Send a dump as a form, piece by piece."""

    def form() -> Iterator[bytes]:
        yield form_head("x")
        while piece := file.read(MEBI):
            yield piece
        yield b"\r\n--x--\r\n"

    began = time.monotonic()
    response = home.session.post(
        f"http://127.0.0.1:{home.port}/",
        data=form(),
        headers={"Content-Type": "multipart/form-data; boundary=x"},
        auth=("admin", home.token),
        timeout=120,
    )
    assert time.monotonic() - began < 100
    return response.status_code, response.json()


def clients_of(home: Installation, node: int) -> list[int]:
    """Return the pids of command-line clients that a node's agent runs."""
    server = mysqld_pid(home, node)
    session = os.getsid(server)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text().strip()
            if name == "mariadb" and os.getsid(int(process.name)) == session:
                found.append(int(process.name))
        except OSError:
            continue
    return found
