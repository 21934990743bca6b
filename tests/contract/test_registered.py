"""Registered providers where clusters meet them: what a node is there, and what a registration may say."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness
from conpaassql import render, settings
from conpaassql.errors import IaasDenied
from conpaassql.iaas import Driver, Vm, VmSpec, dummy
from conpaassql.manager import clouds
from conpaassql.model_cloud import ProviderRecord
from conpaassql.offers import Finding
from harness import Rig

LOGIN = {"username": "u", "password": "x", "url": "http://far/", "provider_type": "DUMMY"}


def register(rig: Rig, flavor: str) -> None:
    rig.result("provider_register", {"provider_id": "far", "default_flavor": flavor, **LOGIN})


def test_a_node_s_server_uses_the_memory_of_its_flavor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a registered provider it is the default flavor's, which has only a name; the section's words say 512 MiB."""
    clouds_of_all: list[harness.Cloud] = []
    with harness.running(tmp_path, load=lambda *_: clouds_of_all[0]) as rig:
        clouds_of_all.append(rig.cloud)
        found: list[str] = []
        call = rig.agents.call

        def noted(host: str, verb: str, request: Any) -> Any:
            found.extend([request.my_cnf] if verb == "initialise" else [])
            return call(host, verb, request)

        monkeypatch.setattr(rig.agents, "call", noted)
        register(rig, "medium")
        rig.result("create_cluster", {"name": "c", "provider": "far"})
        rig.order("add_nodes", {"cluster": "c"})
        cluster = rig.manager.store.records()["c"].cluster.id
        assert found == [render.my_cnf(2048, 1, cluster, {})]


def test_a_check_looks_at_what_a_node_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the provider's default flavor, the disk and the hosts that the section wants."""
    clouds_of_all: list[harness.Cloud] = []
    with harness.running(tmp_path, load=lambda *_: clouds_of_all[0]) as rig:
        clouds_of_all.append(rig.cloud)
        seen: list[VmSpec] = []

        def check(spec: VmSpec) -> Iterator[Finding]:
            seen.append(spec)
            yield Finding(code="size", ok=True, says="It is large enough.")

        monkeypatch.setattr(rig.cloud, "check", check)
        register(rig, "vcpus=8,ram=4096")
        template = replace(rig.manager.settings.template, data_disk_size=1024, different_hosts=True)
        manager = replace(rig.manager, settings=replace(rig.manager.settings, template=template))
        assert clouds.check(manager, provider_id="far")["ok"]
        (found,) = seen
        assert (found.flavor.cpu, found.flavor.memory_mib, found.extras.data_disk_mib) == (8, 4096, 1024)
        assert found.extras.apart == "check"  # the driver knows the owner, and adds it by itself


@pytest.mark.parametrize("url", ["http://u:s3cret@far/", "u:s3cret@far:2633", "HTTPS://s3cret@far"])
def test_a_url_with_a_login_in_it_is_refused(tmp_path: Path, url: str) -> None:
    """Urls are shown; and the answer does not repeat it."""
    with harness.running(tmp_path) as rig:
        answer = rig.call("provider_register", {"provider_id": "far", **LOGIN, "url": url})
        assert answer["code"] == "invalid"
        assert "s3cret" not in str(answer)
        assert len(rig.result("provider_list")["providers"]) == 1
        rig.result("provider_register", {"provider_id": "far", **LOGIN, "url": "http://far/@a?b@c"})


class Guarded:
    """A cloud that lets in whoever has one of the passwords that hold at the moment."""

    def __init__(self, cloud: dummy.Driver, options: Mapping[str, str], holding: set[str]) -> None:
        self._cloud = cloud
        self._password = options["OPENNEBULA_PASSWORD"]
        self._holding = holding

    def _let_in(self) -> dummy.Driver:
        if self._password not in self._holding:
            raise IaasDenied("Nobody is let in. A token may have expired.")
        return self._cloud

    def create(self, spec: VmSpec) -> str:
        """Make a VM."""
        return self._let_in().create(spec)

    def list(self) -> Sequence[Vm]:
        """List the VMs."""
        return self._let_in().list()

    def delete(self, vm_id: str) -> None:
        """Remove a VM."""
        self._let_in().delete(vm_id)


class TestUpdate:
    """A registration is changed under the clusters that use it."""

    @pytest.fixture
    def holding(self) -> set[str]:
        return {"first"}

    @pytest.fixture
    def rig(self, tmp_path: Path, holding: set[str]) -> Iterator[Rig]:
        found: list[harness.Cloud] = []

        def load(_name: str, options: Mapping[str, str], _owner: str) -> Driver:
            return Guarded(found[0], options, holding)

        with harness.running(tmp_path, load=load) as rig:
            found.append(rig.cloud)
            login = {"username": "u", "password": "first", "url": "http://far:2633/", "provider_type": "OPENNEBULA"}
            extra = {"extra": ["network_id=7", "timeout_s=5"]}
            rig.result("provider_register", {"provider_id": "far", "tenant": "t", **login, **extra})
            yield rig

    def update(self, rig: Rig, **given: Any) -> dict[str, Any]:
        found: dict[str, Any] = rig.result("provider_update", {"provider_id": "far", **given})["provider"]
        return found

    def test_a_token_that_has_expired(self, rig: Rig, holding: set[str]) -> None:
        rig.result("create_cluster", {"name": "c", "provider": "far"})
        rig.order("add_nodes", {"cluster": "c"})
        holding.clear()
        rig.eventually(lambda: self.codes(rig) == ["cloud-silent"])
        holding.add("second")
        self.update(rig, password="second")
        rig.eventually(lambda: self.codes(rig) == [])
        rig.order("add_nodes", {"cluster": "c"})
        told = rig.result("getLog", {"provider_id": "far"})["log"]
        assert "provider-update: Of provider far was changed: password." in told
        assert "second" not in told + str(rig.dump()) + str(rig.result("provider_list"))

    def codes(self, rig: Rig) -> list[str]:
        return [found["code"] for found in rig.result("get_service_info", {"cluster": "c"})["cluster"]["diagnosis"]]

    def test_only_what_is_given_changes(self, rig: Rig) -> None:
        (before,) = rig.result("provider_list", {"provider_id": "far"})["providers"]
        shown = self.update(rig, tenant="", extra=["OPENNEBULA_NETWORK_ID=8", "timeout_s="], default_image="debian")
        assert shown == {**before, "tenant": "", "default_image": "debian", "extra": {"OPENNEBULA_NETWORK_ID": "8"}}
        assert rig.result("provider_list", {"provider_id": "far"})["providers"] == [shown]
        record = rig.manager.store.providers.get("far")
        assert rig.manager.providers.secrets(record).password == "first"
        assert rig.manager.providers.get("far").defaults.image == "debian"
        assert self.update(rig, username="anna", url="https://far/RPC2")["username"] == "anna"

    def test_what_is_wrong_changes_nothing(self, rig: Rig) -> None:
        before = rig.manager.store.providers.get("far")
        built = rig.manager.providers.get("far")
        for given in ({}, {"extra": ["color=red"]}, {"url": "http://u:p@far/"}, {"default_flavor": "vcpus=many"}):
            assert rig.call("provider_update", {"provider_id": "far", **given})["code"] == "invalid"
        answer = rig.call("provider_update", {"provider_id": "far", "provider_type": "EC2"})
        assert "Unexpected arguments" in answer["error"]
        assert "[iaas]" in rig.call("provider_update", {"provider_id": "default", "password": "x"})["error"]
        assert rig.manager.store.providers.get("far") == before
        assert rig.manager.providers.get("far") is built

    def test_options_that_the_driver_does_not_take(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        with harness.running(tmp_path / "real") as rig:
            rig.result("provider_register", {"provider_id": "far", **LOGIN})
            assert rig.call("provider_update", {"provider_id": "far", "extra": ["delay_s=soon"]})["code"] == "config"
            assert rig.result("provider_list", {"provider_id": "far"})["providers"][0]["extra"] == {}

    def test_of_two_at_once_none_is_lost(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        try_out = rig.manager.providers.try_out

        def meanwhile(record: ProviderRecord) -> None:
            monkeypatch.setattr(rig.manager.providers, "try_out", try_out)
            self.update(rig, password="second")
            try_out(record)

        monkeypatch.setattr(rig.manager.providers, "try_out", meanwhile)
        assert rig.call("provider_update", {"provider_id": "far", "username": "anna"})["code"] == "provider"
        record = rig.manager.store.providers.get("far")
        assert (record.username, rig.manager.providers.secrets(record).password) == ("u", "second")


class Hanging(dummy.Driver):
    """A cloud that lists its VMs, but answers no order before it is let go."""

    def __init__(self) -> None:
        super().__init__({}, "conpaassql")
        self.go = threading.Event()
        self.hung = threading.Event()

    def create(self, spec: VmSpec) -> str:
        """Hang."""
        self.hung.set()
        self.go.wait(harness.PATIENCE_S * 3)
        return super().create(spec)


@pytest.mark.parametrize(("clusters", "nodes"), [(1, 40), (20, 1)])
def test_a_cloud_that_hangs_keeps_no_cluster_of_another(tmp_path: Path, clusters: int, nodes: int) -> None:
    """Neither many orders of one cluster there, nor many clusters take the threads of all."""
    driver = Hanging()
    with harness.running(tmp_path, load=lambda *_: driver) as rig:
        try:
            register(rig, "small")
            for number in range(clusters):
                rig.result("create_cluster", {"name": f"c{number}", "provider": "far"})
                rig.result("add_nodes", {"cluster": f"c{number}", "count": nodes})
            assert driver.hung.wait(harness.PATIENCE_S)
            threading.Event().wait(0.5)  # for all the others to hang as well
            began = time.monotonic()
            rig.order("add_nodes")
            assert time.monotonic() - began < 4
        finally:
            driver.go.set()


class Slow(harness.Cloud):
    """The cloud of the section, which answers no creation before it is let go."""

    go: threading.Event | None = None

    def create(self, spec: VmSpec) -> str:
        """Hang, when that is wished."""
        if self.go:
            self.go.wait(harness.PATIENCE_S * 3)
        return super().create(spec)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(harness, "Cloud", Slow)
    with harness.running(tmp_path) as rig:
        assert isinstance(rig.cloud, Slow)
        rig.grow(2)
        rig.cloud.go = threading.Event()
        try:
            yield rig
        finally:
            rig.cloud.go.set()


def test_a_role_moves_while_the_cloud_hangs(slow: Rig) -> None:
    """So does a failover: whether the cloud answers an order is not waited for."""
    job = slow.result("add_nodes")
    began = time.monotonic()
    slow.order("set_up_replica_master", {"id": 2})
    assert time.monotonic() - began < 8
    assert isinstance(slow.cloud, Slow)
    assert slow.cloud.go
    slow.cloud.go.set()
    slow.settled()
    assert len(slow.cloud.list()) == 3
    assert job["serviceNode"]["id"] == 3


def test_a_node_is_not_forgotten_while_its_vm_is_being_made(slow: Rig) -> None:
    """Else its VM would come about for nobody."""
    slow.result("add_nodes")
    slow.eventually(lambda: "3" in {str(node) for node in slow.result("list_nodes")["serviceNode"]})
    slow.result("remove_nodes", {"id": 3, "force": True})
    threading.Event().wait(1)  # many looks
    assert 3 in [node.id for node in slow.manager.store.records()["default"].nodes]
    assert isinstance(slow.cloud, Slow)
    assert slow.cloud.go
    slow.cloud.boots = False
    slow.cloud.go.set()
    slow.eventually(lambda: 3 not in [node.id for node in slow.manager.store.records()["default"].nodes])
    assert sorted(vm.tags["node"] for vm in slow.cloud.list()) == ["1", "2"]


def test_the_section_s_provider_shows_what_its_driver_uses(tmp_path: Path) -> None:
    """The section may hold options of several drivers, of which each has a user."""
    with harness.running(tmp_path) as rig:
        iaas = settings.parse_manager(
            "[iaas]\nDRIVER = OPENNEBULA\nOPENNEBULA_USER = ann\nOPENNEBULA_URL = http://one:2633/\nEC2_USER = AKIA\n"
        ).iaas
        manager = replace(rig.manager, settings=replace(rig.manager.settings, iaas=iaas))
        (shown,) = clouds.providers(manager, provider_id="default")["providers"]
        assert (shown["username"], shown["url"]) == ("ann", "http://one:2633/")
        assert set(shown["extra"]) & {"LOCAL_ROOT", "EC2_USER"} == set()
