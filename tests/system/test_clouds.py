"""What a cloud does to the VMs of a cluster, and how the cluster comes through."""

from collections.abc import Callable

import MySQLdb
import pyone
import pytest
from installation import OPENNEBULA, Installation, eventually, on_each_provider

from cloud_sim import OWNER
from conpaassql.iaas import VmState, local

pytestmark = pytest.mark.real

Install = Callable[..., Installation]
PASSWORD = "cloud-Pass-1"


@on_each_provider
def test_a_lost_vm_comes_back_with_its_data(install: Install) -> None:
    """A replica's VM vanishes, then the primary's: each returns on its disk, without a copy, and nothing is missing."""
    home = install(network="127.54.0.0/18", DATA_DISK_SIZE=512)
    home.add()
    home.add()
    primary, replica = home.roles()
    write(home, "CREATE TABLE shop.t (i INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (1)")
    for victim, row in ((replica, 2), (primary, 3)):
        lose(home, victim)
        eventually(lambda lost=victim: is_back(home, lost), says=f"node {victim} is back")
        home.idle()
        write(home, f"INSERT INTO shop.t VALUES ({row})")
        for node in (primary, replica):
            eventually(lambda n=node, last=row: rows(home, n)[-1:] == [last], says=f"node {node} has row {row}")
    assert rows(home, primary) == rows(home, replica) == [1, 2, 3]
    assert home.cluster()["primary"] == primary
    log = home.call("getLog", lines=1000)["log"]
    assert (log.count("RecreateVm:"), log.count("Clone:")) == (2, 1)
    home.call("remove_nodes", id=replica)
    eventually(lambda: home.call("list_nodes")["serviceNode"] == [primary])
    home.call("remove_nodes", id=primary, force=True)
    eventually(lambda: home.call("list_nodes")["serviceNode"] == [])
    assert not list(home.vms.rglob("agent.json")), "a removed node leaves its disk behind"


def lose(home: Installation, node: int) -> None:
    """Remove a node's VM behind the manager's back."""
    driver = home.driver()
    vm = next(vm for vm in driver.list() if vm.tags["node"] == str(node))
    driver.delete(vm.id)
    eventually(lambda: vm.id not in [left.id for left in driver.list()], says="the VM is gone")


def is_back(home: Installation, node: int) -> bool:
    log = home.call("getLog", lines=1000)["log"]
    found = home.node(node)
    return "RecreateVm:" in log and found["state"] == "RUNNING" and str(node) in home.cloud()


def write(home: Installation, *statements: str) -> None:
    if "shop" not in home.call("list_databases")["databases"]:
        home.call("create_database", name="shop")
        home.call("configure_user", username="u", password=PASSWORD)
    connection = eventually(lambda: home.sql(home.cluster()["primary"], "u", PASSWORD))
    try:
        for statement in statements:
            connection.cursor().execute(statement)
    finally:
        connection.close()


def rows(home: Installation, node: int) -> list[int]:
    """What a node holds; nothing while it does not know the user, or that he may look."""
    try:
        connection = home.sql(node, "u", PASSWORD)
    except MySQLdb.Error:
        return []
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT i FROM shop.t ORDER BY i")
        return [row[0] for row in cursor.fetchall()]
    except MySQLdb.Error:
        return []
    finally:
        connection.close()


# --- what only OpenNebula does

on_opennebula = pytest.mark.parametrize("provider", [OPENNEBULA], indirect=True)


@on_opennebula
def test_what_keeps_a_vm_pending_is_shown(install: Install) -> None:
    """The scheduler's message is the job's answer to "what are we waiting for", and its end's reason."""
    home = install(network="127.54.64.0/18", add_nodes_deadline_s=6)
    faults(home, pending_forever="*")
    home.call("add_nodes")
    shown = eventually(lambda: home.call("get_node_info", id=1)["serviceNode"]["says"])
    assert "Not enough CPU on hosts" in shown
    eventually(lambda: home.job("add_nodes")["state"] == "failed")
    assert "Not enough CPU on hosts" in home.job("add_nodes")["says"]
    eventually(lambda: not home.driver().list(), says="the group is undone")


@on_opennebula
def test_a_guest_that_switches_itself_off_is_powered_on_again(install: Install) -> None:
    """POWEROFF keeps address and disk, so the node comes back as it was; and a host out of sight costs no VM."""
    home = install(network="127.78.0.0/18")
    home.add(2)
    _, replica = home.roles()
    before = {vm.id: vm.address for vm in home.driver().list()}
    switch_off(home, replica)
    eventually(lambda: home.call("getLog", lines=1000)["log"].count("PowerOnVm:") == 1)
    home.wait_state(replica, "RUNNING")

    faults(home, unknown="*")
    eventually(lambda: {vm.state for vm in home.driver().list()} == {VmState.UNKNOWN})
    switch_off(home, replica)  # unseen by OpenNebula
    home.wait_state(replica, "SILENT")
    assert {vm.id: vm.address for vm in home.driver().list()} == before
    faults(home, unknown="")
    home.wait_state(replica, "RUNNING")
    assert {vm.id: vm.address for vm in home.driver().list()} == before
    assert home.call("getLog", lines=1000)["log"].count("CreateVm:") == 2


def switch_off(home: Installation, node: int) -> None:
    """End a guest from inside."""
    assert home.sim is not None
    guests = local.Driver({"LOCAL_ROOT": str(home.sim.root)}, OWNER)
    address = home.node(node)["ip"]
    guests.power_off(next(vm.id for vm in guests.list() if vm.address == address))


@on_opennebula
def test_a_login_that_is_refused_is_said(install: Install) -> None:
    """Somebody changed the password: the cluster serves on, and its diagnosis says what to do."""
    home = install(network="127.78.64.0/18")
    home.add()
    sim = home.sim
    assert sim is not None
    admin = pyone.OneServer(sim.url, session=f"{sim.admin}:{sim.admin_password}")
    number = {user.NAME: user.ID for user in admin.userpool.info().USER}[sim.user]
    admin.user.passwd(number, "of-somebody-else")
    try:
        (found,) = eventually(lambda: home.cluster()["diagnosis"])
        assert found["code"] == "cloud-silent"
        assert "OPENNEBULA_PASSWORD" in found["says"]
        assert home.cluster()["state"] == "RUNNING"
    finally:
        admin.user.passwd(number, sim.password)
    eventually(lambda: not home.cluster()["diagnosis"])
    assert not [text for text in (*home.answers, home.log.read_text()) if sim.password in text]


@on_opennebula
def test_a_vm_that_cannot_boot_is_undone(install: Install) -> None:
    """BOOT_FAILURE is no state that a VM leaves by itself: the job fails at once with OpenNebula's reason."""
    home = install(network="127.54.128.0/18")
    home.add()
    faults(home, boot_failure="*")
    home.call("add_nodes", count=2)
    eventually(lambda: home.job("add_nodes")["state"] == "failed")
    assert "could not bring up the VM" in home.job("add_nodes")["says"]
    eventually(lambda: len(home.cloud()) == 1, says="both are gone")
    assert home.cluster()["state"] == "RUNNING"


@on_opennebula
def test_a_shutdown_that_comes_to_nothing_is_asked_for_again(install: Install) -> None:
    """Terminate is refused, then silently comes to nothing; the node is removed all the same."""
    home = install(network="127.54.192.0/18")
    home.add()
    home.add()
    faults(home, refuse_terminate=2, shutdown_returns_to_running=1)
    home.call("remove_nodes", count=1)
    eventually(lambda: home.job("remove_nodes")["state"] == "done")
    assert len(home.cloud()) == 1


@on_opennebula
def test_an_answer_that_is_lost_costs_no_vm(install: Install) -> None:
    """Allocating works and its answer never comes: the next look finds the VM."""
    home = install(network="127.53.0.0/18")
    faults(home, lose_reply="one.vm.allocate", lost_replies=2)
    home.add(2)
    assert len(home.cloud()) == 2


def faults(home: Installation, **wish: object) -> None:
    assert home.sim is not None
    home.sim.control(**wish)
