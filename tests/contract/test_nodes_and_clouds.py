"""What a cloud does to nodes: it refuses them, loses them, makes them late, and shows what they are."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness
from conpaassql.errors import IaasBusy, IaasDenied, IaasFull, IaasQuota
from conpaassql.model import Flavor, Vm, VmSpec
from harness import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with harness.running(tmp_path) as rig:
        yield rig


def refused(_spec: VmSpec) -> str:
    raise IaasQuota("The limit of 3 VMs is reached; ask for more.")


def test_a_refusal_for_good_ends_the_job_with_the_cloud_s_words(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.grow(1)
    monkeypatch.setattr(rig.cloud, "create", refused)
    rig.result("add_nodes", {"count": 2})
    job = rig.ended(rig.result("list_jobs")["jobs"][-1]["id"])
    assert job["state"] == "failed"
    assert (job["code"], job["says"]) == ("iaas-quota", "The limit of 3 VMs is reached; ask for more.")
    rig.eventually(lambda: rig.result("list_nodes")["serviceNode"] == [1])
    monkeypatch.undo()
    rig.order("add_nodes")
    assert len(rig.cloud.list()) == 2


def test_a_refusal_that_may_pass_is_shown_and_asked_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_spec: VmSpec) -> str:
        raise IaasFull("No address is left; add some.")

    monkeypatch.setattr(rig.cloud, "create", full)
    node = rig.result("add_nodes")["serviceNode"]["id"]
    shown = rig.eventually(lambda: rig.result("get_node_info", {"serviceNodeId": node})["serviceNode"]["says"])
    assert shown == "No address is left; add some."
    job = rig.result("list_jobs")["jobs"][-1]
    assert (job["state"], job["says"]) == ("running", f"node {node} is unseen (No address is left; add some)")
    monkeypatch.undo()
    rig.eventually(lambda: rig.result("list_jobs")["jobs"][-1]["state"] == "done")
    assert rig.result("get_node_info", {"serviceNodeId": node})["serviceNode"]["says"] == ""
    assert rig.result("list_jobs")["jobs"][-1]["says"] == ""


def test_a_refusal_is_written_down_when_it_changes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each node's by itself: the cloud answers now one, now the other."""
    asked: list[str] = []

    def full(spec: VmSpec) -> str:
        asked.append(spec.name)
        raise IaasFull("No address is left." if len(asked) <= 20 else "No host is left.")

    monkeypatch.setattr(rig.cloud, "create", full)
    rig.result("add_nodes", {"count": 2})
    rig.eventually(lambda: len(asked) > 30, 30.0)
    logged = [record.getMessage() for record in caplog.records if "CreateVm" in record.getMessage()]
    assert sorted(logged) == [
        f"cluster default: CreateVm(node={node}): No {what} is left." for node in (1, 2) for what in ("address", "host")
    ]
    told = rig.result("getLog", {"lines": 1000})["log"]
    assert (told.count("No address is left."), told.count("No host is left.")) == (2, 2)


def test_a_cluster_that_is_deleted_is_not_told_of_a_beginning(rig: Rig) -> None:
    rig.result("create_cluster", {"name": "brief"})
    rig.order("add_nodes", {"cluster": "brief"})
    rig.order("delete_cluster", {"cluster": "brief", "force": True})
    told = rig.result("getLog", {"cluster": "brief", "lines": 1000})["log"]
    assert "The cluster is being deleted" in told
    assert told.count("no-database") == 1  # when it was made


def test_a_vm_that_comes_about_after_its_node_was_removed_goes_too(rig: Rig) -> None:
    """The answer of a creation was lost, the node was removed, and only then the cloud lists the VM."""
    rig.grow(2)
    (late,) = (vm for vm in rig.cloud.list() if vm.tags["node"] == "2")
    rig.order("remove_nodes", {"id": 2})
    assert [vm.tags["node"] for vm in rig.cloud.list()] == ["1"]
    rig.cloud.boots = False
    again = spec_of(late)
    rig.cloud.create(again)
    rig.cloud.create(replace(again, name="another", tags={**late.tags, "group": "of-somebody-else"}))
    rig.eventually(lambda: sorted(vm.name for vm in rig.cloud.list()) == sorted(["another", name(rig, 1)]))


def test_a_vm_that_nobody_knows_of_is_left_alone(rig: Rig) -> None:
    """It may be a node of a store that was lost, and be taken over."""
    rig.grow(1)
    rig.cloud.create(VmSpec(**{**spec_fields(), "tags": {"node": "77", "group": "unknown"}}))
    rig.order("add_nodes", {"cluster": "default"})  # many looks
    assert "x-77" in [vm.name for vm in rig.cloud.list()]


def test_the_cloud_shows_who_is_primary(rig: Rig) -> None:
    rig.grow(2)
    rig.eventually(lambda: shown(rig) == {"1": "primary", "2": "replica"})
    rig.result("set_up_replica_master", {"id": 2})
    rig.eventually(lambda: shown(rig) == {"1": "replica", "2": "primary"})
    assert all(vm.labels and vm.labels["cluster"] == "default" for vm in rig.cloud.list())


def test_words_that_the_cloud_does_not_take_are_not_pressed_on_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VM may be locked for hours; the cluster is looked after meanwhile, and the cloud is not asked without pause."""
    asked: list[float] = []

    def locked(_vm_id: str, _labels: Mapping[str, str]) -> None:
        asked.append(time.monotonic())
        raise IaasBusy("VM is locked.")

    monkeypatch.setattr(rig.cloud, "label", locked)
    rig.order("add_nodes")
    rig.eventually(lambda: len(asked) > 8)
    assert asked[8] - asked[7] > 0.05
    monkeypatch.undo()
    rig.eventually(lambda: shown(rig) == {"1": "primary"})


def shown(rig: Rig) -> dict[str, str]:
    return {vm.tags["node"]: (vm.labels or {}).get("role", "") for vm in rig.cloud.list()}


def test_a_cloud_that_lets_nobody_in_is_said_everywhere(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster goes on; the sentence with the cure is in its diagnosis, its events, the node and the job."""

    def denied() -> Sequence[Vm]:
        raise IaasDenied("Nobody is let in. Look at the password.")

    rig.grow(1)
    monkeypatch.setattr(rig.cloud, "list", denied)
    rig.eventually(lambda: rig.result("get_service_info")["cluster"]["diagnosis"])
    shown = rig.result("get_service_info")["cluster"]
    (found,) = shown["diagnosis"]
    assert (shown["state"], found["code"]) == ("RUNNING", "cloud-silent")
    assert found["says"] == "Provider default does not list its VMs: Nobody is let in. Look at the password."
    node = rig.result("add_nodes")["serviceNode"]["id"]
    rig.eventually(lambda: rig.result("get_node_info", {"serviceNodeId": node})["serviceNode"]["state"] == "UNKNOWN")
    info = rig.result("get_node_info", {"serviceNodeId": node})["serviceNode"]
    assert info["says"] == found["says"]
    assert info["stage"] == f"blind ({found['says'][:-1]})"
    monkeypatch.undo()
    rig.eventually(lambda: not rig.result("get_service_info")["cluster"]["diagnosis"])
    log = rig.result("getLog", {"lines": 1000})["log"]
    assert log.count(found["says"]) == 1
    assert log.count("The cloud lists its VMs again.") == 1


def name(rig: Rig, node: int) -> str:
    return next(vm.name for vm in rig.cloud.list() if vm.tags["node"] == str(node))


def spec_of(vm: Vm) -> VmSpec:
    return VmSpec(**{**spec_fields(), "name": vm.name, "tags": vm.tags})


def spec_fields() -> dict[str, Any]:
    return {"name": "x-77", "flavor": Flavor(), "context": {}, "template": ""}
