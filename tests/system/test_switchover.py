"""The primary's role moves while clients write: every acknowledged write is there afterwards."""

import getpass
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import MySQLdb
import pytest
from installation import Installation, Refused, eventually, on_each_provider
from processes import agent_pid, mysqld_pid
from writers import Writers, missing, prepare

pytestmark = [pytest.mark.real, on_each_provider]

Install = Callable[..., Installation]
PASSWORD = "load-Pass-1"


def test_no_acknowledged_write_is_lost(install: Install) -> None:
    """Six switchovers among three nodes under the load of eight writers."""
    home = install(network="127.51.0.0/18")
    nodes = home.add(3)
    prepare(home, PASSWORD)
    with Writers(home, 8, PASSWORD) as load:
        for turn in range(6):
            eventually(lambda so_far=load.total: load.total > so_far + 200, says="the writers write")
            target = next(node for node in nodes if node != home.cluster()["primary"])
            home.wait_state(target, "RUNNING")
            home.call("set_up_replica_master", id=target)
            eventually(lambda node=target: home.cluster()["primary"] == node, says=f"turn {turn} is over")
            home.idle()
            assert home.job("switchover")["state"] == "done"
        eventually(lambda so_far=load.total: load.total > so_far + 200, says="the writers still write")
    assert load.longest_gap_s < 3.0
    for node in nodes:
        eventually(lambda n=node: not missing(home, load, n, PASSWORD), says=f"node {node} has all {load.total} writes")
    for log in home.vms.glob("*/*/disk/log/mysqld.log"):
        denied = [line for line in log.read_text().splitlines() if "Access denied for user 'conpaassql_repl" in line]
        assert not denied, "an old primary was turned away by its successor"


def test_a_switchover_that_cannot_finish_is_taken_back(install: Install) -> None:
    """The target's applier is held up after the primary was closed: at the deadline the old primary writes on."""
    home = install(network="127.51.64.0/18", switchover_deadline_s=3)
    home.add(2)
    first, second = home.roles()
    prepare(home, PASSWORD)
    with Writers(home, 2, PASSWORD) as load:
        eventually(lambda: load.total > 50)
        with applier_held_up(home, second):
            home.call("set_up_replica_master", id=second)
            eventually(lambda: not home.cluster()["jobs"], within_s=15, says="the job ends")
            assert home.job("switchover")["state"] == "failed"
            assert "CloseWrites" in home.call("getLog", lines=1000)["log"], "it never came as far as closing"
            assert home.cluster()["primary"] == first
            eventually(lambda so_far=load.total: load.total > so_far + 50, says="writes go on")
    assert load.longest_gap_s < 3 + 2
    for node in (first, second):
        eventually(lambda n=node: not missing(home, load, n, PASSWORD))


@contextmanager
def applier_held_up(home: Installation, node: int) -> Iterator[None]:
    """Lock the tables of a replica, as its own administrator can."""
    socket = home.place(node) / "disk" / "run" / "mysqld.sock"
    connection = MySQLdb.connect(unix_socket=str(socket), user=getpass.getuser(), connect_timeout=5)
    try:
        connection.cursor().execute("FLUSH TABLES WITH READ LOCK")
        yield
    finally:
        connection.close()


def test_what_cannot_be_switched_to_is_refused(install: Install) -> None:
    """No replica that follows, no node, no cluster: an error each, and nothing changes."""
    home = install(network="127.51.128.0/18")
    (first,) = home.add(1)
    assert home.call("set_up_replica_master", id=first)["serviceNode"]["role"] == "primary"
    second = home.call("add_nodes")["serviceNode"]["id"]
    for wrong, code in ((second, "conflict"), (99, "not-found")):
        with pytest.raises(Refused) as refused:
            home.call("set_up_replica_master", id=wrong)
        assert refused.value.code == code
    home.wait_state(second, "RUNNING")
    with pytest.raises(Refused) as refused:
        home.call("set_up_replica_slave", id=first)
    assert refused.value.code == "conflict"
    five = {"master_host": home.node(first)["ip"], "master_log_file": "b.1", "master_log_pos": 4, "slave_server_id": 2}
    assert home.call("set_up_replica_slave", id=second, **five)["serviceNode"]["id"] == second
    home.idle()
    assert home.job("follow")["state"] == "done"


def test_a_server_that_dies_comes_back(install: Install) -> None:
    """kill -9 of the primary's mysqld, then of its agent: both return, and every acknowledged write is there."""
    home = install(network="127.51.192.0/18")
    home.add(2)
    nodes = home.roles()
    prepare(home, PASSWORD)
    with Writers(home, 4, PASSWORD) as load:
        eventually(lambda: load.total > 100)
        os.kill(mysqld_pid(home, nodes[0]), signal.SIGKILL)
        began = time.monotonic()
        eventually(lambda so_far=load.total: load.total > so_far + 100, says="writes go on after mysqld's death")
        assert time.monotonic() - began < 20
        server = mysqld_pid(home, nodes[0])
        os.kill(agent_pid(home, nodes[0]), signal.SIGKILL)
        eventually(lambda so_far=load.total: load.total > so_far + 300, says="writes go on after the agent's death")
        home.wait_state(nodes[0], "RUNNING")
        assert mysqld_pid(home, nodes[0]) == server
    for node in nodes:
        eventually(lambda n=node: not missing(home, load, n, PASSWORD))
    assert home.node(nodes[0])["server_restarts"] == 1
