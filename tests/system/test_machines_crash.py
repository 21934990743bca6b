"""The manager's process is killed while machines are made and removed; the cloud outlives it, and so does the wish."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from installation import Installation, eventually

from conpaassql.iaas import dummy

MORTAL = str(Path(__file__).with_name("mortal_machines.py"))
CHOICE = {"provider_id": "default", "image": "id=1", "flavor": "name=small"}


def end(home: Installation, kind: str) -> dict[str, Any]:
    """Return the last job of a kind when it has ended."""

    def over() -> dict[str, Any] | None:
        jobs = home.call("list_jobs", provider_id="default")["jobs"]
        found = [job for job in jobs if job["kind"] == kind]
        return found[-1] if found and found[-1]["state"] != "running" else None

    return eventually(over) or {}


def killed(home: Installation, at: int, method: str, **params: Any) -> None:
    """Ask for something of a manager that dies at one change, and start it again."""
    home.start(MORTAL, str(at))
    with suppress(requests.RequestException):  # it may die before its answer is out: the wish is written by then
        home.call(method, **params)
    assert home.wait_dead() == -signal.SIGKILL
    home.start()


@pytest.mark.parametrize("fails", [False, True])
def test_machines_are_made_all_or_none_whatever_happens(short_folder: Path, fails: bool) -> None:
    """Made, they are all there and nothing else; not made, nothing is left."""
    state = short_folder / "cloud.json"
    cloud = {"DRIVER": "DUMMY", "DUMMY_STATE": str(state), **({"DUMMY_DELAY_S": "3600"} if fails else {})}
    options = {"add_nodes_deadline_s": "3"} if fails else {}
    home = Installation(short_folder, short_folder, cloud, **options)
    driver = dummy.Driver({"DUMMY_STATE": str(state)}, "conpaassql")
    for at in (1, 3, 4) if not fails else (3, 8):
        before = {vm.name for vm in driver.list()}
        killed(home, at, "machine_create", number_machines=2, **CHOICE)
        job = end(home, "machine_create")
        made = {vm.name for vm in driver.list()} - before
        assert job["state"] == ("failed" if fails else "done"), at
        assert len(made) == (0 if fails else 2), at
        listed = home.call("machine_list", provider_id="default")["machines"]
        assert {machine["name"] for machine in listed} == before | made
        home.stop()


def test_a_machine_is_gone_whatever_happens(short_folder: Path) -> None:
    """With its snapshot, and without a record."""
    state = short_folder / "cloud.json"
    home = Installation(short_folder, short_folder, {"DRIVER": "DUMMY", "DUMMY_STATE": str(state)})
    driver = dummy.Driver({"DUMMY_STATE": str(state)}, "conpaassql")
    for at in (1, 3, 4):
        home.start()
        (made,) = home.call("machine_create", **CHOICE)["machines"]
        home.call("snapshot_create", provider_id="default", machine_uuid=made["uuid"])
        home.stop()
        killed(home, at, "machine_destroy", provider_id="default", machine_uuid=made["uuid"])
        assert end(home, "machine_destroy")["state"] == "done", at
        assert (list(driver.list()), list(driver.snapshots())) == ([], []), at
        assert home.call("machine_list", provider_id="default")["machines"] == []
        home.stop()
