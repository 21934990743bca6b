"""Providers, machines and snapshots over the API: what MySQL Fabric's tests fixed, and what they left out.

The suite runs over every cloud that this machine can offer (``clouds.CLOUDS``): a new cloud is one
row there.  What a test does behind the API goes to the cloud's own driver.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import clouds
import pytest
from clouds import CLOUDS, Cloud

import harness
from cloud_sim import simulated
from conpaassql.iaas import Driver, PublicAddresses, Snapshots
from harness import Response, Rig

OWNER = "conpaassql"
PATIENCE_S = 60.0
ABSENT = "9f3d9729-f220-11e3-adbb-b86b23dc9477"
Shown = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A manager with the provider ``p``, which is the cloud under test, and that cloud's own driver."""

    rig: Rig
    cloud: Cloud
    driver: Driver

    def ask(self, method: str, **given: Any) -> Response:
        """Ask about the provider ``p`` unless another is named."""
        return self.rig.post(json.dumps({"method": method, "params": {"provider_id": "p", **given}, "id": 7}).encode())

    def result(self, method: str, **given: Any) -> Shown:
        """Return the result of a call that has to succeed."""
        answer = self.ask(method, **given).json
        assert answer["error"] is None, answer
        found: Shown = answer["result"]
        return found

    def refused(self, method: str, code: str, **given: Any) -> Shown:
        """Return the answer of a call that has to fail."""
        response = self.ask(method, **given)
        harness.refused(response, code, 200, 7)
        found: Shown = response.json
        return found

    def create(self, **given: Any) -> list[Shown]:
        """Make machines and return them; when the call does not wait long enough, the job is waited for."""
        return self.ended(self.result("machine_create", **{**self.chosen(), **given}))

    def ended(self, answer: Shown) -> list[Shown]:
        """Wait for the good end of a job, and return its machines."""
        job = self.rig.eventually(lambda: self._over(answer["job"]["id"]), PATIENCE_S)
        assert job["state"] == "done", job
        machines: list[Shown] = job["machines"]
        return machines

    def _over(self, number: int) -> Shown | None:
        found: Shown = self.rig.result("get_job", {"job": number})["job"]
        return found if found["state"] != "running" else None

    def chosen(self) -> Shown:
        """Filters that this cloud has one image and one flavor for."""
        image = self.result("image_list")["images"][0]
        flavors = self.result("flavor_list")["flavors"]
        flavor = [f"id={flavors[0]['id']}"] if flavors else ["vcpus=0.5", "ram=256"]
        return {"image": [f"id={image['id']}"], "flavor": flavor}

    def listed(self, **given: Any) -> list[Shown]:
        """Return the machines of the provider."""
        found: list[Shown] = self.result("machine_list", **given)["machines"]
        return found

    def gone(self) -> None:
        """Wait until the cloud has nothing of ours."""
        self.rig.eventually(lambda: not self.driver.list(), PATIENCE_S)


@pytest.fixture(scope="module", params=CLOUDS)
def opened(request: pytest.FixtureRequest) -> Iterator[clouds.Open]:
    # A short path: LOCAL has sockets below the machines' long names.
    with TemporaryDirectory(prefix="c-") as folder, CLOUDS[request.param].site(Path(folder)) as opened:
        yield opened


@pytest.fixture
def cloud(opened: clouds.Open) -> Iterator[Cloud]:
    with opened() as cloud:
        yield cloud


@pytest.fixture
def site(cloud: Cloud, tmp_path: Path) -> Iterator[Site]:
    driver = cloud.make(OWNER)
    with running(tmp_path, lambda: driver) as rig:
        yield Site(rig=rig, cloud=cloud, driver=driver)


class running(ExitStack):  # noqa: N801 - used like a function
    """A manager whose provider ``p`` has the driver that is given."""

    def __init__(self, folder: Path, make: Callable[[], Driver], **options: str) -> None:
        super().__init__()
        self._folder = folder
        self._make = make
        self._options = options

    def __enter__(self) -> Rig:  # type: ignore[override]
        def load(_name: str, _options: Mapping[str, str], owner: str) -> Driver:
            assert owner == OWNER
            return self._make()

        rig = self.enter_context(harness.running(self._folder, load=load, **self._options))
        rig.result("provider_register", login("p"))
        return rig


def login(name: str, **more: Any) -> Shown:
    """Return what a registration takes."""
    given = {"username": "ann", "password": "s3cret", "url": "http://127.0.0.1/", "provider_type": "DUMMY"}
    return {"provider_id": name, **given, **more}


class TestMachines:
    """On every cloud."""

    def test_create_list_and_destroy_agree(self, site: Site) -> None:
        (made,) = site.create()
        (listed,) = site.listed()
        (vm,) = site.driver.list()
        assert made["uuid"] == listed["uuid"] == vm.tags["machine"]
        assert made["av_zone"] == listed["av_zone"] == vm.zone
        assert (vm.name, made["state"], made["addresses"]) == (f"machine-{made['uuid']}", "RUNNING", [vm.address])
        site.ended(site.result("machine_destroy", machine_uuid=made["uuid"]))
        assert site.listed() == []
        site.gone()
        site.refused("machine_destroy", "unknown-machine", machine_uuid=made["uuid"])

    def test_several_are_made_together(self, site: Site) -> None:
        made = site.create(number_machines=3, meta=["team=a b", "cost=7"])
        assert len({machine["uuid"] for machine in made}) == 3
        assert {vm.tags["machine"] for vm in site.driver.list()} == {machine["uuid"] for machine in made}
        assert len({vm.tags["group"] for vm in site.driver.list()}) == 1
        assert len(site.listed(meta_filters=["cost=7"])) == 3
        assert site.listed(meta_filters=["cost=7", "team=other"]) == []
        assert [m["uuid"] for m in site.listed(generic_filters=[f"UUID={made[1]['uuid']}"])] == [made[1]["uuid"]]

    def test_a_machine_without_a_record(self, site: Site) -> None:
        (made,) = site.create(skip_store=True)
        assert site.listed() == []
        assert [machine["uuid"] for machine in site.listed(skip_store=True)] == [made["uuid"]]
        site.refused("machine_destroy", "unknown-machine", machine_uuid=made["uuid"])
        site.ended(site.result("machine_destroy", machine_uuid=made["uuid"], skip_store=True))
        site.gone()
        site.refused("machine_destroy", "unknown-machine", machine_uuid=made["uuid"], skip_store=True)

    def test_snapshots_go_with_their_machine(self, site: Site) -> None:
        if not isinstance(site.driver, Snapshots):
            pytest.skip("this cloud makes no snapshots")
        (made,) = site.create()
        for _ in range(2):
            site.ended(site.result("snapshot_create", machine_uuid=made["uuid"]))
        names = {snapshot.name for snapshot in site.driver.snapshots()}
        assert len(names) == 2
        assert all(name.startswith(f"snapshot-{made['uuid']}-") for name in names)
        site.ended(site.result("machine_destroy", machine_uuid=made["uuid"]))
        assert list(site.driver.snapshots()) == []

    def test_snapshots_are_destroyed_all_together(self, site: Site) -> None:
        if not isinstance(site.driver, Snapshots):
            pytest.skip("this cloud makes no snapshots")
        one, other = site.create(number_machines=2)
        for machine in (one, one, other):
            site.ended(site.result("snapshot_create", machine_uuid=machine["uuid"]))
        site.ended(site.result("snapshot_destroy", machine_uuid=one["uuid"]))
        assert [snapshot.vm for snapshot in site.driver.snapshots()] == [other["name"]]
        site.ended(site.result("snapshot_destroy", machine_uuid=one["uuid"]))

    def test_snapshots_of_a_machine_without_a_record(self, site: Site) -> None:
        if not isinstance(site.driver, Snapshots):
            pytest.skip("this cloud makes no snapshots")
        (made,) = site.create(skip_store=True)
        for method in ("snapshot_create", "snapshot_destroy"):
            site.refused(method, "unknown-machine", machine_uuid=made["uuid"])
            site.refused(method, "unknown-machine", machine_uuid=ABSENT, skip_store=True)
        quick = site.result("snapshot_create", machine_uuid=made["uuid"], skip_store=True, wait_spawning=False)
        site.ended(quick)
        assert len(site.driver.snapshots()) == 1
        site.ended(site.result("snapshot_destroy", machine_uuid=made["uuid"], skip_store=True))
        assert list(site.driver.snapshots()) == []

    def test_a_snapshot_is_an_image(self, site: Site) -> None:
        if not isinstance(site.driver, Snapshots):
            pytest.skip("this cloud makes no snapshots")
        (made,) = site.create()
        (taken,) = site.ended(site.result("snapshot_create", machine_uuid=made["uuid"]))
        (copy,) = site.create(image=f"id={taken['snapshot_id']}")
        assert copy["state"] == "RUNNING"

    def test_a_public_address_comes_and_goes(self, site: Site) -> None:
        if not isinstance(site.driver, PublicAddresses):
            pytest.skip("this cloud gives no public addresses")
        (made,) = site.create(public_network=site.cloud.pool, wait_spawning=False)
        assert made["public_address"]
        assert site.listed()[0]["public_address"] == made["public_address"]
        site.ended(site.result("machine_destroy", machine_uuid=made["uuid"]))
        site.gone()

    def test_nothing_waits_that_need_not(self, site: Site) -> None:
        answer = site.result("machine_create", **site.chosen(), synchronous=False)
        assert answer["job"]["state"] == "running"
        (made,) = answer["machines"]
        assert made["state"] == "PENDING"
        (ended,) = site.ended(answer)
        assert ended["uuid"] == made["uuid"]
        assert answer["job"]["id"] in [job["id"] for job in site.result("list_jobs")["jobs"]]

    def test_an_image_or_flavor_that_is_not_there(self, site: Site) -> None:
        chosen = site.chosen()
        answer = site.refused("machine_create", "machine", **{**chosen, "image": ["name=no-such-image"]})
        assert "no-such-image" in answer["error"]
        site.refused("machine_create", "machine", **{**chosen, "flavor": ["name=no-such-flavor"]})
        site.refused("machine_create", "machine", image=chosen["image"])
        site.refused("machine_create", "machine", flavor=chosen["flavor"])
        assert site.listed() == []
        assert list(site.driver.list()) == []

    def test_a_record_outlives_its_vm_until_force(self, site: Site) -> None:
        (made,) = site.create()
        for vm in site.driver.list():
            site.cloud.end(site.driver, vm.id)
        site.refused("machine_destroy", "unknown-machine", machine_uuid=made["uuid"])
        assert [machine["uuid"] for machine in site.listed()] == [made["uuid"]]
        site.ended(site.result("machine_destroy", machine_uuid=made["uuid"], force=True))
        assert site.listed() == []

    def test_a_lost_answer_makes_no_second_machine(self, site: Site) -> None:
        if site.cloud.losing is None:
            pytest.skip("this cloud cannot be made to lose an answer")
        site.rig.manager.providers.get("p").driver = site.cloud.losing(OWNER)
        site.create()
        assert len(site.driver.list()) == 1


class TestRequests:
    """What is wrong whatever the cloud; nothing may change."""

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[clouds.Open]:
        with clouds.dummy_site(tmp_path) as opened:
            yield opened

    @pytest.mark.parametrize(
        ("given", "code"),
        [
            ({"image": ["ubuntu"]}, "invalid"),
            ({"image": ["color=red"]}, "invalid"),
            ({"flavor": "small"}, "invalid"),
            ({"flavor": ["ram=much"]}, "invalid"),
            ({"number_machines": -1}, "invalid"),
            ({"number_machines": 0}, "invalid"),
            ({"number_machines": "two"}, "invalid"),
            ({"scheduler_hints": ["same_host"]}, "invalid"),
            ({"meta": ["alone"]}, "invalid"),
            ({"meta": ["mysql-fabric-uuid=1"]}, "invalid"),
            ({"meta": {"ConPaaSSQL": "1"}}, "invalid"),
            ({"private_network": "private", "private_nics": ["net-id=1"]}, "invalid"),
            ({"public_network": "public", "public_nics": ["net-id=3"]}, "invalid"),
            ({"private_nics": ["net-id=1,port-id=2"]}, "invalid"),
            ({"swap": "big"}, "invalid"),
            ({"files": ["etc/motd=hello"]}, "invalid"),
            ({"provider_id": "absent"}, "unknown-provider"),
        ],
        ids=str,
    )
    def test_wrong_parameters(self, site: Site, given: Shown, code: str) -> None:
        site.rig.freeze()
        before = site.rig.world()
        site.refused("machine_create", code, **{"image": ["name=debian-12"], "flavor": ["name=small"], **given})
        assert site.rig.world() == before

    def test_user_data_is_text_and_never_a_path(self, site: Site, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("the server's own")
        site.create(userdata=str(secret))
        (vm,) = site.driver.list()
        assert vm.state == "running"
        with_all = {
            "availability_zone": "z1",
            "key_name": "ann",
            "security_groups": "default, high-security",
            "private_network": "private",
            "public_network": "public",
            "userdata": "#!/bin/sh\n",
            "swap": "512",
            "block_device": "vdb=:blank:5",
            "scheduler_hints": ["same_host=a", "group=b"],
            "meta": {"team": "a"},
            "files": {"/etc/motd": "hello"},
        }
        assert len(site.create(number_machines="2", **with_all)) == 2

    def test_an_ambiguous_match_lists_the_candidates(self, site: Site) -> None:
        image = site.chosen()["image"]
        answer = site.refused("machine_create", "machine", image=image, flavor=["VCPUS=2", "ram=2048"])
        assert "medium (id 2), medium-fast (id 3)" in answer["error"]
        (made,) = site.create(flavor=["vcpus=2", "ram=2048", "name=medium-fast"])
        assert made["state"] == "RUNNING"

    def test_defaults_are_names_or_ids(self, site: Site) -> None:
        flavor = {"default_flavor": "medium"}
        image = site.result("image_list")["images"][0]
        for name, word in (("by-name", image["name"]), ("by-id", image["id"])):
            site.rig.result("provider_register", login(name, default_image=word, **flavor))
            assert site.create(provider_id=name, image=[], flavor=[])
        site.rig.result("provider_register", login("wrong", default_image="absent", **flavor))
        site.refused("machine_create", "machine", provider_id="wrong")

    def test_a_machine_belongs_to_its_provider(self, site: Site) -> None:
        (made,) = site.create()
        site.rig.result("provider_register", login("other"))
        for method in ("machine_destroy", "snapshot_create", "snapshot_destroy"):
            for skip_store in (False, True):
                given = {"provider_id": "other", "machine_uuid": made["uuid"], "skip_store": skip_store}
                assert "belongs to provider p" in site.refused(method, "machine", **given)["error"]
                site.refused(method, "unknown-provider", **{**given, "provider_id": "absent"})
        assert len(site.listed()) == 1

    def test_server_is_another_word_for_machine(self, site: Site) -> None:
        (made,) = site.ended(site.result("server_create", **site.chosen()))
        assert len(site.result("server_list")["machines"]) == 1
        site.ended(site.result("server_destroy", machine_uuid=made["uuid"]))

    def test_what_happens_is_written_down(self, site: Site) -> None:
        (made,) = site.create(userdata="#!/bin/sh\necho hidden-word\n")
        site.ended(site.result("machine_destroy", machine_uuid=made["uuid"]))
        events = site.rig.manager.store.events.list("", 100, "p")
        codes = [event.code for event in events]
        assert codes == [
            *("provider-register", "job-machine_create", "machine-create", "job-done"),
            *("job-machine_destroy", "machine-delete", "job-done"),
        ]
        assert [event.actor for event in events if event.code.startswith("job-machine")] == ["admin", "admin"]
        log = site.rig.result("getLog", {"provider_id": "p"})["log"]
        assert made["uuid"] in log
        assert "hidden-word" not in log

    def test_a_secret_is_not_in_the_store(self, site: Site, tmp_path: Path) -> None:
        script = "#!/bin/sh\necho hidden-word\n"
        site.create(userdata=script, files={"/etc/key": "other-word"})
        stored = b"".join(file.read_bytes() for file in tmp_path.glob("store.sqlite*"))
        for word in (b"hidden-word", b"other-word", b"s3cret"):
            assert word not in stored
        (job,) = site.rig.manager.store.machine_jobs.list("p")
        assert job.sealed == b""  # when it has ended nobody needs them, sealed or not


class TestProviders:
    """Registering and forgetting, without machines."""

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        with harness.running(tmp_path) as rig:
            yield rig

    def test_a_life(self, rig: Rig) -> None:
        rig.result("provider_register", login("one.example", tenant="t", extra=["delay_s=0.01"]))
        assert rig.call("provider_register", login("one.example"))["code"] == "provider"
        (shown,) = rig.result("provider_list", {"provider_id": "one.example"})["providers"]
        assert shown == {
            "provider_id": "one.example",
            "provider_type": "DUMMY",
            "username": "ann",
            "url": "http://127.0.0.1/",
            "tenant": "t",
            "default_image": "",
            "default_flavor": "",
            "extra": {"delay_s": "0.01"},
            "says": "",
        }
        names = [found["provider_id"] for found in rig.result("provider_list")["providers"]]
        assert names == ["default", "one.example"]
        assert rig.call("provider_list", {"provider_id": "absent"})["code"] == "unknown-provider"
        rig.result("provider_unregister", {"provider_id": "one.example"})
        assert rig.call("provider_unregister", {"provider_id": "one.example"})["code"] == "unknown-provider"
        assert len(rig.result("provider_list")["providers"]) == 1

    def test_the_password_is_shown_nowhere(self, rig: Rig, tmp_path: Path) -> None:
        rig.result("provider_register", login("p", extra={"DUMMY_STATE": str(tmp_path / "c"), "delay_s": "0"}))
        rig.call("provider_register", login("q", provider_type="NONE"))
        rig.call("provider_register", login("q", extra="color=red"))
        shown = json.dumps(rig.result("provider_list")) + rig.result("getLog", {"provider_id": "p"})["log"]
        assert "s3cret" not in shown + json.dumps(rig.dump(), default=str)
        assert all(b"s3cret" not in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())

    def test_options_reach_the_driver(self, rig: Rig) -> None:
        assert rig.call("provider_register", login("p", extra=["DUMMY_DELAY_S=soon"]))["code"] == "config"
        assert rig.call("provider_register", login("p", extra=["delay_s=1", "DUMMY_DELAY_S=1"]))["code"] == "invalid"
        rig.result("provider_register", login("p", extra=["FAIL=*"], default_image="debian-12"))
        given = {"provider_id": "p", "image": "id=1", "flavor": "id=1"}
        assert "DUMMY_FAIL" in rig.call("machine_create", given)["error"]

    def test_the_section_iaas_is_the_provider_default(self, rig: Rig) -> None:
        (shown,) = rig.result("provider_list", {"provider_id": "default"})["providers"]
        assert shown["provider_type"] == "DUMMY"
        assert rig.result("check_provider", {"provider_id": "default"})["ok"]
        assert rig.result("network_list", {"provider_id": "default"})["networks"]
        (made,) = rig.result("machine_create", {"provider_id": "default", "image": "id=1", "flavor": "id=1"})[
            "machines"
        ]
        assert made["state"] == "RUNNING"

    def test_a_cluster_lives_at_a_provider(self, rig: Rig) -> None:
        rig.result("provider_register", login("p"))
        rig.result("create_cluster", {"name": "far", "provider": "p"})
        assert rig.result("get_service_info", {"cluster": "far"})["cluster"]["provider"] == "p"
        assert rig.result("get_service_info")["cluster"]["provider"] == "default"
        rig.result("add_nodes", {"cluster": "far"})
        rig.eventually(lambda: rig.manager.providers.get("p").driver.list())
        assert list(rig.cloud.list()) == []
        answer = rig.call("provider_unregister", {"provider_id": "p"})
        assert (answer["code"], "cluster far" in answer["error"]) == ("provider", True)
        rig.order("delete_cluster", {"cluster": "far", "force": True})
        rig.result("provider_unregister", {"provider_id": "p"})

    def test_a_provider_with_a_machine_stays(self, rig: Rig) -> None:
        rig.result("provider_register", login("p"))
        given = {"provider_id": "p", "image": "id=1", "flavor": "id=1"}
        (made,) = rig.result("machine_create", given)["machines"]
        assert "1 machines" in rig.call("provider_unregister", {"provider_id": "p"})["error"]
        rig.result("machine_destroy", {"provider_id": "p", "machine_uuid": made["uuid"]})
        rig.result("provider_unregister", {"provider_id": "p"})

    def test_a_lost_key_is_told(self, rig: Rig, tmp_path: Path) -> None:
        rig.result("provider_register", login("p"))
        blob = rig.manager.store.providers.get("p").sealed
        assert rig.manager.vault.open(blob, "provider p")
        rig.freeze()
        (tmp_path / "again").mkdir()
        (tmp_path / "again" / "store.sqlite").write_bytes((tmp_path / "store.sqlite").read_bytes())
        wal = tmp_path / "store.sqlite-wal"
        (tmp_path / "again" / "store.sqlite-wal").write_bytes(wal.read_bytes() if wal.exists() else b"")
        with harness.running(tmp_path / "again") as other:
            (shown,) = other.result("provider_list", {"provider_id": "p"})["providers"]
            assert "master.key" in shown["says"]
            assert other.call("image_list", {"provider_id": "p"})["code"] == "provider"
            other.result("provider_unregister", {"provider_id": "p"})


class TestRegistered:
    """A real registration, with nothing in the way: the options go to the driver, the driver to the cloud."""

    def test_opennebula(self, tmp_path: Path) -> None:
        with TemporaryDirectory(prefix="c-") as folder, ExitStack() as stack:
            options = {"network": "127.74.0.0/16", "hypervisor": "none", "scale": 0.01}
            one = stack.enter_context(simulated(Path(folder), **options))
            rig = stack.enter_context(harness.running(tmp_path))
            user = {"username": one.user, "password": one.password, "url": one.url, "provider_type": "opennebula"}
            defaults = {"default_image": "conpaassql", "default_flavor": "vcpus=0.5,ram=256"}
            extra = {"extra": [f"NETWORK_ID={one.network}"]}
            rig.result("provider_register", {"provider_id": "one", **user, **defaults, **extra})
            assert rig.result("check_provider", {"provider_id": "one"})["ok"]
            (made,) = rig.result("machine_create", {"provider_id": "one"})["machines"]
            assert made["addresses"][0].startswith("127.74.")
            rig.result("create_cluster", {"name": "far", "provider": "one"})
            rig.result("add_nodes", {"cluster": "far"})
            driver = rig.manager.providers.get("one").driver
            rig.eventually(lambda: "node" in {key for vm in driver.list() for key in vm.tags})
            rig.result("machine_destroy", {"provider_id": "one", "machine_uuid": made["uuid"]})
            rig.order("delete_cluster", {"cluster": "far", "force": True})
            assert list(driver.list()) == []

    def test_a_wrong_password_is_found_by_the_check(self, tmp_path: Path) -> None:
        with TemporaryDirectory(prefix="c-") as folder, ExitStack() as stack:
            one = stack.enter_context(simulated(Path(folder), hypervisor="none"))
            rig = stack.enter_context(harness.running(tmp_path))
            user = {"username": one.user, "password": "not-the-word", "url": one.url, "provider_type": "OPENNEBULA"}
            rig.result("provider_register", {"provider_id": "one", **user})
            found = rig.result("check_provider", {"provider_id": "one"})
            assert not found["ok"]
            assert any(finding["cure"] for finding in found["findings"] if not finding["ok"])
            assert rig.call("image_list", {"provider_id": "one"})["code"] == "iaas-denied"
            assert "not-the-word" not in json.dumps(found)


class TestHanging:
    """A cloud that does not answer."""

    def test_it_keeps_only_its_own(self, tmp_path: Path) -> None:
        with clouds.dummy_site(tmp_path) as opened, opened() as cloud:
            hangs, may_go = threading.Event(), threading.Event()
            driver = Hanging(cloud.make(OWNER), hangs, may_go)
            try:
                with running(tmp_path, lambda: driver) as rig:
                    given = {"image": "id=1", "flavor": "id=1"}
                    slow = rig.result("machine_create", {"provider_id": "p", "synchronous": False, **given})
                    assert hangs.wait(harness.PATIENCE_S)
                    rig.result("machine_create", {"provider_id": "default", **given})
                    rig.order("add_nodes")
                    assert rig.result("get_job", {"job": slow["job"]["id"]})["job"]["state"] == "running"
                    may_go.set()
                    rig.eventually(lambda: rig.ended(slow["job"]["id"])["state"] == "done")
            finally:
                may_go.set()


class Hanging:
    """A driver whose creations hang until they may go on."""

    def __init__(self, driver: Driver, hangs: threading.Event, may_go: threading.Event) -> None:
        self._driver = driver
        self._hangs = hangs
        self._may_go = may_go
        self.list = driver.list
        self.delete = driver.delete

    def create(self, spec: Any) -> str:
        """Hang, then ask the driver."""
        self._hangs.set()
        assert self._may_go.wait(PATIENCE_S)
        return self._driver.create(spec)
