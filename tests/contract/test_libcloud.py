"""OPENSTACK on a pretended OpenStack and EC2 on moto: what these drivers promise besides what every driver does."""

import base64
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

import fake_nova
import moto_ec2
from conpaassql import iaas, pki
from conpaassql.errors import (
    ConfigError,
    Error,
    IaasBusy,
    IaasDenied,
    IaasError,
    IaasFull,
    IaasMissing,
    IaasQuota,
    IaasRefused,
    Unsupported,
)
from conpaassql.iaas import (
    Catalog,
    Checks,
    Labels,
    Power,
    PublicAddresses,
    Resizing,
    Snapshots,
    Vm,
    VmSpec,
    VmState,
    ec2,
    openstack,
)
from conpaassql.model import Flavor
from conpaassql.offers import BlockDevice, Extras, Nic, SnapshotState

ABILITIES = (Power, Catalog, Snapshots, Resizing, PublicAddresses, Labels, Checks)
ODD = {"node": "1", "odd": "a'b\"c\n$X `id` é \\ {{ x }} ]", "": "", "Ä ö": "ü", "long": "x" * 1000}
CONTEXT = {"CONPAASSQL_NODE": "7", "CONPAASSQL_JOIN_TOKEN": "the-join-token"}


def spec(name: str = "a-1", extras: Extras | None = None, **more: object) -> VmSpec:
    given: dict[str, object] = {"name": name, "flavor": Flavor(), "tags": {}, "context": CONTEXT, "template": ""}
    return VmSpec(**(given | more), extras=extras or Extras())  # type: ignore[arg-type]


def only(driver: iaas.Driver) -> Vm:
    (vm,) = driver.list()
    return vm


@pytest.fixture
def nova() -> Iterator[fake_nova.Cloud]:
    with fake_nova.running() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def moto() -> Iterator[moto_ec2.Ec2]:
    with moto_ec2.running() as cloud:
        yield cloud


@pytest.fixture
def amazon(moto: moto_ec2.Ec2) -> moto_ec2.Ec2:
    moto.reset()
    return moto


@pytest.fixture(params=["openstack", "ec2"])
def options(request: pytest.FixtureRequest) -> Mapping[str, str]:
    if request.param == "openstack":
        return request.getfixturevalue("nova").options
    return request.getfixturevalue("amazon").options()


Say = Callable[[http.server.BaseHTTPRequestHandler], None]
Cloud = openstack.Driver | ec2.Driver


def made(options: Mapping[str, str], owner: str = "m") -> Cloud:
    return (openstack if "OPENSTACK_URL" in options else ec2).Driver(options, owner)


@pytest.fixture
def driver(options: Mapping[str, str]) -> Cloud:
    return made(options)


class TestBoth:
    def test_abilities(self, driver: Cloud) -> None:
        assert all(isinstance(driver, ability) for ability in ABILITIES)

    def test_a_life(self, driver: Cloud) -> None:
        vm_id = driver.create(spec(tags=ODD))
        vm = only(driver)
        assert (vm.id, vm.name, vm.state, vm.tags) == (vm_id, "a-1", VmState.RUNNING, ODD)
        assert vm.address
        assert driver.create(spec()) == vm_id
        driver.power_off(vm_id)
        assert only(driver).state is VmState.STOPPED
        driver.power_on(vm_id)
        assert only(driver).state is VmState.RUNNING
        driver.delete(vm_id)
        driver.delete(vm_id)
        assert driver.list() == []

    def test_owners_are_kept_apart(self, options: Mapping[str, str]) -> None:
        one, two = made(options, "one"), made(options, "two")
        vm_id = one.create(spec())
        snapshot = one.snapshot(vm_id, "s")
        assert list(two.list()) == list(two.snapshots()) == []
        two.delete(vm_id)
        two.delete_snapshot(snapshot)
        for order in (two.power_off, two.power_on, two.release):
            with pytest.raises(IaasMissing):
                order(vm_id)
        with pytest.raises(IaasMissing):
            two.snapshot(vm_id, "t")
        assert only(one).state is VmState.RUNNING
        assert [found.id for found in one.snapshots()] == [snapshot]

    def test_one_name_at_once_from_many_threads(self, driver: Cloud) -> None:
        with ThreadPoolExecutor(6) as pool:
            ids = set(pool.map(lambda number: driver.create(spec(f"a-{number % 2}")), range(6)))
        assert len(ids) == 2
        assert {vm.id for vm in driver.list()} == ids

    def test_ids_that_are_none(self, driver: Cloud) -> None:
        driver.create(spec())
        for vm_id in ("", "..", "a/b", "4711", "../servers", "i-zz", "x" * 36):
            driver.delete(vm_id)
            driver.delete_snapshot(vm_id)
            with pytest.raises(IaasError):
                driver.power_off(vm_id)
        assert len(driver.list()) == 1

    def test_meta_stands_beside_tags(self, driver: Cloud) -> None:
        driver.create(spec(extras=Extras(meta={"team": "blue"}), tags={"node": "1"}))
        assert only(driver).tags == {"node": "1"}
        with pytest.raises(IaasRefused):
            driver.create(spec("a-2", Extras(meta={"conpaassql_owner": "somebody"})))
        assert len(driver.list()) == 1

    def test_labels(self, driver: Cloud) -> None:
        vm_id = driver.create(spec(tags=ODD))
        driver.label(vm_id, {"role": "replica", "cluster": "shop é"})
        assert only(driver).labels == {"role": "replica", "cluster": "shop é"}
        driver.label(vm_id, {"role": "primary"})
        assert only(driver).labels == {"role": "primary"}
        driver.label(vm_id, {})
        assert (only(driver).labels, only(driver).tags) == ({}, ODD)

    def test_snapshots(self, driver: Cloud) -> None:
        vm_id = driver.create(spec())
        first = driver.snapshot(vm_id, "before the change")
        assert driver.snapshot(vm_id, "before the change") == first
        second = driver.snapshot(vm_id, "after")
        driver.delete(vm_id)
        found = {snapshot.name: snapshot for snapshot in driver.snapshots()}
        assert {name: (one.id, one.vm) for name, one in found.items()} == {
            "before the change": (first, "a-1"),
            "after": (second, "a-1"),
        }
        assert all(one.state is SnapshotState.READY and one.created_at for one in found.values())
        driver.create(spec("a-2", image=first))
        for _ in range(2):
            driver.delete_snapshot(first)
        assert [one.id for one in driver.snapshots()] == [second]

    def test_public_addresses_go_with_their_vm(self, driver: Cloud) -> None:
        vm_id = driver.create(spec())
        only(driver)
        address = driver.assign(vm_id, "")
        assert driver.assign(vm_id, "") == address
        assert only(driver).public_address == address
        driver.release(vm_id)
        driver.release(vm_id)
        other = driver.assign(vm_id, "")
        assert only(driver).public_address == other
        driver.delete(vm_id)
        assert driver.list() == []

    def test_what_is_offered_can_be_used(self, driver: Cloud) -> None:
        image = driver.images()[0]
        flavor = min(driver.flavors(), key=lambda one: one.ram_mib)
        network = driver.networks()[0]
        assert flavor.vcpus >= 1
        driver.create(spec(image=image.id, flavor_id=flavor.id, network=network.id))
        driver.create(spec("a-2", image=image.name, flavor_id=flavor.name, network=network.name))
        assert len(driver.list()) == 2

    def test_what_is_not_offered(self, driver: Cloud) -> None:
        wrongs = [{"image": "none"}, {"network": "none"}]
        if isinstance(driver, openstack.Driver):
            wrongs.append({"flavor_id": "none"})  # moto makes instances of any type
        for wrong in wrongs:
            with pytest.raises(IaasRefused):
                driver.create(spec(**wrong))
        assert driver.list() == []

    def test_unsupported_extras_change_nothing(self, driver: Cloud) -> None:
        with pytest.raises(Unsupported, match="data_disk_mib"):
            driver.create(spec(extras=Extras(data_disk_mib=10, apart="x")))
        assert driver.list() == []

    def test_resize(self, driver: Cloud) -> None:
        vm_id = driver.create(spec())
        driver.list()
        driver.resize(vm_id, Flavor(cpu=1, memory_mib=2000))
        for _ in range(3):
            assert only(driver).id == vm_id
        assert only(driver).state is VmState.RUNNING
        driver.resize(vm_id, Flavor(cpu=1, memory_mib=2000))
        with pytest.raises(IaasMissing):
            driver.resize(vm_id, Flavor(cpu=10000))

    def test_a_check_finds_all_well_and_changes_nothing(self, driver: Cloud) -> None:
        findings = list(driver.check(spec(extras=Extras(apart="x"))))
        assert [finding for finding in findings if not finding.ok] == []
        assert findings
        assert driver.list() == []

    def test_a_check_finds_what_is_wrong(self, options: Mapping[str, str]) -> None:
        prefix = "OPENSTACK" if "OPENSTACK_URL" in options else "EC2"
        wrong = made({**options, f"{prefix}_IMAGE_ID": "none", f"{prefix}_KEY_NAME": "none"})
        failed = {finding.code: finding for finding in wrong.check(spec()) if not finding.ok}
        assert {"image", "image-and-flavor"} & set(failed)
        assert "key" in failed
        assert all(finding.cure and finding.says for finding in failed.values())

    def test_nobody_there(self, options: Mapping[str, str]) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
            key = "OPENSTACK_URL" if "OPENSTACK_URL" in options else "EC2_URL"
            driver = made({**options, key: url})
            with pytest.raises(IaasError, match="cannot be reached"):
                driver.list()
            (finding,) = driver.check(spec())
            assert finding.fatal

    def test_somebody_who_never_answers(self, options: Mapping[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            began = time.monotonic()
            with pytest.raises(IaasError, match=r"did not answer within 0\.3 s"):
                self._at(options, silent.getsockname()[1]).list()
            assert time.monotonic() - began < 3

    def test_somebody_who_trickles(self, options: Mapping[str, str]) -> None:
        with answering(trickle) as port:
            began = time.monotonic()
            with pytest.raises(IaasError, match=r"did not answer within 0\.3 s"):
                self._at(options, port).list()
            assert time.monotonic() - began < 3

    @pytest.mark.parametrize("text", [b"<html>a router</html>", b"{}", b"", b"<p>"])
    def test_somebody_else(self, options: Mapping[str, str], text: bytes) -> None:
        with answering(lambda handler: page(handler, 200, text)) as port, pytest.raises(IaasError):
            self._at(options, port).list()

    def test_a_redirect_is_not_followed(self, options: Mapping[str, str]) -> None:
        asked: list[str] = []

        def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
            asked.append(handler.path)
            page(handler, 302, b"", Location="http://127.0.0.1:1/elsewhere")

        with answering(elsewhere) as port, pytest.raises(IaasError, match="302"):
            self._at(options, port).list()
        assert len(asked) == 1

    def test_proxies_of_the_environment_are_not_asked(
        self, options: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for key in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(key, "http://127.0.0.1:1")
        monkeypatch.delenv("no_proxy", raising=False)
        assert made(options).list() == []

    @pytest.mark.parametrize("url", ["ftp://x", "x", "http://", "http://u:p@x", "http://x:port", "http://[::1]:1"])
    def test_an_address_that_is_none(self, options: Mapping[str, str], url: str) -> None:
        key = "OPENSTACK_URL" if "OPENSTACK_URL" in options else "EC2_URL"
        with pytest.raises(ConfigError, match=key):
            made({**options, key: url})

    def test_what_is_missing_and_what_is_no_number(self, options: Mapping[str, str]) -> None:
        prefix = "OPENSTACK" if "OPENSTACK_URL" in options else "EC2"
        for key in (f"{prefix}_USER", f"{prefix}_PASSWORD"):
            with pytest.raises(ConfigError, match=key):
                made({**options, key: ""})
        for seconds in ("soon", "0", "-1", "nan"):
            with pytest.raises(ConfigError, match="TIMEOUT_S"):
                made({**options, f"{prefix}_TIMEOUT_S": seconds})
        with pytest.raises(ConfigError, match="CA_FILE"):
            made({**options, f"{prefix}_CA_FILE": "/nowhere/ca.pem"})
        with pytest.raises(ConfigError, match="no such option"):
            iaas.load(prefix, {**options, f"{prefix}_COLOUR": "red"}, "m")
        assert iaas.load(prefix.lower(), options, "m").list() == []

    def _at(self, options: Mapping[str, str], port: int) -> Cloud:
        prefix = "OPENSTACK" if "OPENSTACK_URL" in options else "EC2"
        return made({**options, f"{prefix}_URL": f"http://127.0.0.1:{port}", f"{prefix}_TIMEOUT_S": "0.3"})


def trickle(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Answer a byte at a time, each well before its own deadline."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    with socket.socket() as never:  # a wait that nothing ends
        never.bind(("127.0.0.1", 0))
        never.listen()
        never.settimeout(0.05)
        for _ in range(200):
            try:
                handler.wfile.write(b" ")
                never.accept()
            except TimeoutError:
                continue
            except OSError:
                return


def page(handler: http.server.BaseHTTPRequestHandler, status: int, text: bytes, **headers: str) -> None:
    handler.send_response(status)
    for key, value in {"Content-Type": "text/html", "Content-Length": str(len(text)), **headers}.items():
        handler.send_header(key, value)
    handler.end_headers()
    handler.wfile.write(text)


@contextmanager
def answering(answer: Say, context: ssl.SSLContext | None = None, *, reads: bool = True) -> Iterator[int]:
    """Serve one kind of answer to everything, on a port of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if reads:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer(self)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class TestOpenStack:
    def test_a_list_is_one_call_per_page(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        for number in range(5):
            driver.create(spec(f"a-{number}"))
        nova.calls.clear()
        assert len(driver.list()) == 5
        assert nova.calls == ["GET /compute/v2.1/servers/detail"]
        nova.page = 2
        nova.calls.clear()
        assert len(driver.list()) == 5
        assert len(nova.calls) == 3

    def test_states_on_the_way(self, nova: fake_nova.Cloud) -> None:
        nova.looks = 3
        driver = openstack.Driver(nova.options, "m")
        driver.create(spec())
        states = [only(driver).state for _ in range(4)]
        assert states[0] is VmState.BOOTING
        assert states[-1] is VmState.RUNNING

    def test_a_failed_server_says_why(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        vm_id = driver.create(spec())
        nova.servers[vm_id] |= {"status": "ERROR", "fault": {"message": "No valid host was found."}}
        assert (only(driver).state, only(driver).message) == (VmState.FAILED, "No valid host was found.")
        driver.delete(vm_id)
        assert nova.servers == {}

    def test_a_lost_answer_makes_no_second_server(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        nova.lose("POST .*/servers$")
        with pytest.raises(IaasError, match="cannot be reached"):
            driver.create(spec())
        assert driver.create(spec()) == only(driver).id
        assert len(nova.orders) == 1

    def test_of_two_managers_that_make_the_same_vm_the_older_one_stays(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        nova.lose("POST .*/servers$")
        with pytest.raises(IaasError):
            driver.create(spec())
        first = only(driver).id
        hidden = dict(nova.servers[first])
        del nova.servers[first]  # the other manager's, made after this one has looked
        nova.fail("GET .*/flavors/detail", 503)
        with pytest.raises(IaasError):
            driver.create(spec())

        class Late(dict):
            """Shows the other server only once this one has been asked for."""

            def __setitem__(self, key: str, value: object) -> None:
                super().__setitem__(key, value)
                super().setdefault(first, hidden)

        nova.servers = Late(nova.servers)
        assert driver.create(spec()) == first
        assert only(driver).id == first

    def test_the_order(self, nova: fake_nova.Cloud) -> None:
        extras = Extras(
            availability_zone="az2",
            key_name="known",
            security_groups=("default",),
            nics=(Nic(network="private", address="10.9.0.99"),),
            public_nics=(Nic(network=fake_nova.PUBLIC),),
            swap_mib=128,
            block_devices=(BlockDevice(device="vdb", size_gib=3),),
            hints={"different_host": "x"},
            files={"/etc/motd": "hello"},
        )
        openstack.Driver(nova.options, "m").create(spec(extras=extras, flavor_id="m1.small"))
        (order,) = nova.orders
        server = order["server"]
        assert (server["flavorRef"], server["imageRef"]) == ("2", fake_nova.IMAGE)
        assert server["networks"] == [
            {"uuid": fake_nova.NETWORK, "fixed_ip": "10.9.0.99"},
            {"uuid": fake_nova.PUBLIC},
        ]
        assert (server["availability_zone"], server["key_name"]) == ("az2", "known")
        assert len(server["block_device_mapping_v2"]) == 3
        told = base64.b64decode(server["user_data"]).decode()
        assert "multipart" in told
        assert "cloud-boothook" in told

    def test_without_a_flavor_the_smallest_that_is_large_enough(self, nova: fake_nova.Cloud) -> None:
        openstack.Driver(nova.options, "m").create(spec(flavor=Flavor(memory_mib=600)))
        assert nova.orders[0]["server"]["flavorRef"] == "2"

    def test_vms_that_stand_apart_share_a_group_while_there_are_any(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        ids = [driver.create(spec(f"a-{number}", Extras(apart="shop"))) for number in range(2)]
        (group,) = nova.groups.values()
        assert (group["policies"], group["members"]) == (["soft-anti-affinity"], ids)
        driver.delete(ids[0])
        assert len(nova.groups) == 1
        driver.delete(ids[1])
        assert nova.groups == {}

    def test_no_group_to_be_had_is_no_reason_not_to_be(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        nova.fail("POST .*/os-server-groups", 403, "Quota exceeded, too many server groups.")
        driver.create(spec(extras=Extras(apart="shop")))
        assert only(driver).state is VmState.RUNNING

    @pytest.mark.parametrize(
        ("status", "text", "kind"),
        [
            (403, "Quota exceeded for instances", IaasQuota),
            (403, "Policy doesn't allow this", IaasDenied),
            (413, "This request was rate-limited.", IaasBusy),
            (429, "Too many requests", IaasBusy),
            (400, "Invalid key_name provided.", IaasMissing),
            (500, "No valid host was found.", IaasFull),
            (503, "no", IaasError),
        ],
    )
    def test_refusals(self, nova: fake_nova.Cloud, status: int, text: str, kind: type[Error]) -> None:
        nova.fail("POST .*/servers$", status, text)
        with pytest.raises(kind, match=text) as caught:
            openstack.Driver(nova.options, "m").create(spec())
        assert type(caught.value) is kind

    def test_a_rate_limit_with_a_date(self, nova: fake_nova.Cloud) -> None:
        nova.fail("GET .*/servers/detail", 429, "slow down", **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
        with pytest.raises(IaasBusy):
            openstack.Driver(nova.options, "m").list()

    def test_the_cloud_repeats_user_data_and_we_do_not(self, nova: fake_nova.Cloud) -> None:
        nova.fail(
            "POST .*/servers$", 400, "Invalid input for field/attribute user_data. Value: dGhlLWpvaW4tdG9rZW4=. x"
        )
        with pytest.raises(IaasRefused) as caught:
            openstack.Driver(nova.options, "m").create(spec())
        exc: BaseException | None = caught.value
        while exc:
            assert "dGhlLWpvaW4" not in str(exc) + repr(exc)
            exc = exc.__cause__

    def test_a_wrong_password_is_said_and_not_shown(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver({**nova.options, "OPENSTACK_PASSWORD": "hunter22"}, "m")
        with pytest.raises(IaasDenied) as caught:
            driver.list()
        assert "hunter22" not in repr(caught.value) + str(caught.value.__cause__) + repr(driver)
        (finding,) = driver.check(spec())
        assert (finding.ok, finding.fatal) == (False, True)

    def test_a_token_that_was_taken_back_is_replaced(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        driver.create(spec())
        nova.tokens.clear()
        assert len(driver.list()) == 1

    def test_a_region_has_to_be_named_where_there_are_several(self, nova: fake_nova.Cloud) -> None:
        assert openstack.Driver({**nova.options, "OPENSTACK_REGION": "Somewhere"}, "m").list() == []
        with pytest.raises(IaasRefused, match="OPENSTACK_REGION"):
            openstack.Driver({**nova.options, "OPENSTACK_REGION": "Elsewhere"}, "m").list()

    @pytest.mark.parametrize("end", ["/v3", "/v3/", "/"])
    def test_keystone_with_its_version_or_without(self, nova: fake_nova.Cloud, end: str) -> None:
        assert openstack.Driver({**nova.options, "OPENSTACK_URL": nova.url + end}, "m").list() == []

    def test_a_delete_after_a_resize_that_fails_once(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        vm_id = driver.create(spec())
        nova.fail("DELETE .*/servers/", 500, "Unexpected API Error.")
        driver.delete(vm_id)
        assert nova.servers == {}
        vm_id = driver.create(spec())
        nova.fail("DELETE .*/servers/", 500, "Unexpected API Error.", times=2)
        with pytest.raises(IaasError):
            driver.delete(vm_id)

    def test_a_resize_is_confirmed_by_the_next_looks(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        vm_id = driver.create(spec())
        driver.list()
        driver.resize(vm_id, Flavor(cpu=2, memory_mib=4096))
        for _ in range(2):
            driver.list()
        assert (nova.servers[vm_id]["status"], nova.servers[vm_id]["flavor"]) == ("ACTIVE", {"id": "3"})

    def test_a_size_that_cannot_be_confirmed_now_is_no_reason_not_to_list(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        vm_id = driver.create(spec())
        nova.servers[vm_id]["status"] = "VERIFY_RESIZE"
        nova.fail("POST .*/action", 409, "Cannot confirm_resize")
        assert only(driver).state is VmState.RUNNING
        driver.list()
        assert nova.servers[vm_id]["status"] == "ACTIVE"

    def test_sleepers_are_woken_as_they_sleep(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        vm_id = driver.create(spec())
        driver.list()
        for status in ("SHUTOFF", "SUSPENDED", "PAUSED", "SHELVED_OFFLOADED"):
            nova.servers[vm_id]["status"] = status
            assert only(driver).state is VmState.STOPPED
            driver.power_on(vm_id)
            assert only(driver).state is VmState.RUNNING

    def test_no_public_address_is_left_behind(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        nova.looks = 2
        vm_id = driver.create(spec())
        with pytest.raises(IaasBusy):
            driver.assign(vm_id, "public")  # it has no port yet
        driver.list()
        nova.lose("POST .*/floatingips")
        with pytest.raises(IaasError):
            driver.assign(vm_id, "public")
        driver.assign(vm_id, "public")
        assert len(nova.floating) == 1
        del nova.servers[vm_id]  # by somebody else
        driver.delete(vm_id)
        assert nova.floating == {}

    def test_an_address_without_a_vm_is_used_up_first(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        vm_id = driver.create(spec())
        driver.list()
        address = driver.assign(vm_id, "public")
        for entry in nova.floating.values():
            entry["port_id"] = None
        assert driver.assign(vm_id, "public") == address
        assert len(nova.floating) == 1

    def test_no_public_address_is_left_to_give(self, nova: fake_nova.Cloud) -> None:
        nova.free_addresses = 0
        driver = openstack.Driver(nova.options, "m")
        vm_id = driver.create(spec())
        driver.list()
        with pytest.raises(IaasFull):
            driver.assign(vm_id, "public")
        with pytest.raises(IaasMissing):
            driver.assign(vm_id, "nowhere")
        with pytest.raises(IaasMissing):
            driver.create(spec("a-2", Extras(public_network="nowhere")))

    def test_a_quota_that_is_used_up_is_found(self, nova: fake_nova.Cloud) -> None:
        nova.instances = 0
        failed = [found.code for found in openstack.Driver(nova.options, "m").check(spec()) if not found.ok]
        assert failed == ["quota"]

    def test_several_images_of_one_name(self, nova: fake_nova.Cloud) -> None:
        other = nova.add_image("debian-12")
        with pytest.raises(IaasRefused, match=other):
            openstack.Driver(nova.options, "m").create(spec())

    def test_answers_come_in_time_for_a_thousand(self, nova: fake_nova.Cloud) -> None:
        driver = openstack.Driver(nova.options, "m")
        driver.create(spec(tags=ODD))
        (server,) = nova.servers.values()
        for number in range(1, 1000):
            other = f"00000000-0000-4000-8000-{number:012d}"
            nova.servers[other] = {**server, "id": other}
        began = time.monotonic()
        assert len(driver.list()) == 1000
        assert time.monotonic() - began < 3


class TestEc2:
    def test_addresses_and_volumes_below_images_leave_nothing_behind(self, amazon: moto_ec2.Ec2) -> None:
        driver = ec2.Driver(amazon.options(), "m")
        vm_id = driver.create(spec())
        before = len(self._ask(driver, "DescribeSnapshots", "snapshotSet"))
        snapshot = driver.snapshot(vm_id, "s")
        assert len(self._ask(driver, "DescribeSnapshots", "snapshotSet")) > before
        driver.assign(vm_id, "amazon")
        with pytest.raises(IaasMissing, match="no pool"):
            driver.assign(vm_id, "elsewhere")
        driver.delete_snapshot(snapshot)
        driver.delete(vm_id)
        assert len(self._ask(driver, "DescribeSnapshots", "snapshotSet")) == before
        assert self._ask(driver, "DescribeAddresses", "addressesSet") == []

    def test_an_address_that_was_taken_in_vain_is_used_up_first(self, amazon: moto_ec2.Ec2) -> None:
        driver = ec2.Driver(amazon.options(), "m")
        vm_id = driver.create(spec())
        address = driver.assign(vm_id, "")
        (held,) = self._ask(driver, "DescribeAddresses", "addressesSet")
        driver._ec2.call("DisassociateAddress", {"AssociationId": held["associationId"]})
        assert driver.assign(vm_id, "") == address

    def test_the_2012_names(self, amazon: moto_ec2.Ec2) -> None:
        plain = ec2.Driver(amazon.options(), "m")
        plain._ec2.call("CreateSecurityGroup", {"GroupName": "mysql", "GroupDescription": "x"})
        plain._ec2.call("CreateKeyPair", {"KeyName": "admin"})
        named = {"EC2_SECURITY_GROUP_NAME": "mysql", "EC2_KEY_NAME": "admin", "EC2_SIZE_ID": "t2.small"}
        driver = ec2.Driver({**amazon.options(), **named}, "m")
        driver.create(spec())
        (instance,) = driver._instances()
        assert (instance["keyName"], instance["instanceType"]) == ("admin", "t2.small")
        assert [group["groupName"] for group in instance["groupSet"]] == ["mysql"]
        subnet = driver.networks()[0]
        driver.create(spec("a-2", network=subnet.id))  # with a subnet, EC2 wants the group's id
        second = next(found for found in driver._instances() if found["subnetId"] == subnet.id and found != instance)
        assert [group["groupName"] for group in second["groupSet"]] == ["mysql"]

    def test_unknown_things(self, amazon: moto_ec2.Ec2) -> None:
        driver = ec2.Driver(amazon.options(), "m")
        with pytest.raises(IaasMissing):
            driver.create(spec(extras=Extras(security_groups=("none",)), network=driver.networks()[0].id))
        with pytest.raises(IaasMissing):
            driver.create(spec(image="ami-00000000"))
        assert driver.list() == []

    def test_what_a_vm_is_told_is_not_in_an_address(self, amazon: moto_ec2.Ec2) -> None:
        asked: list[str] = []

        def note(handler: http.server.BaseHTTPRequestHandler) -> None:
            asked.append(handler.command + handler.path)
            page(handler, 503, b"")

        with answering(note) as port:
            driver = ec2.Driver({**amazon.options(), "EC2_URL": f"http://127.0.0.1:{port}/services/Cloud"}, "m")
            with pytest.raises(IaasError):
                driver.create(spec())
        assert asked == ["POST/services/Cloud"]

    def test_a_refusal_is_known_by_its_word(self, amazon: moto_ec2.Ec2) -> None:
        text = b"""<?xml version="1.0"?><Response><Errors><Error><Code>InsufficientInstanceCapacity</Code>
            <Message>no room</Message></Error></Errors><RequestID>1</RequestID></Response>"""
        with answering(lambda handler: page(handler, 500, text)) as port:
            driver = ec2.Driver({**amazon.options(), "EC2_URL": f"http://127.0.0.1:{port}"}, "m")
            with pytest.raises(IaasFull, match="no room"):
                driver.list()

    def test_a_page_is_no_answer(self, amazon: moto_ec2.Ec2) -> None:
        text = b"<html><body>a router</body></html>"
        with answering(lambda handler: page(handler, 200, text)) as port:
            driver = ec2.Driver({**amazon.options(), "EC2_URL": f"http://127.0.0.1:{port}"}, "m")
            with pytest.raises(IaasError, match="TerminateInstances"):
                driver._ec2.call("TerminateInstances", {"InstanceId.1": "i-0123456789abcdef0"})

    def test_a_name_that_ec2_still_remembers_gets_a_new_token(self, amazon: moto_ec2.Ec2) -> None:
        terminated = b"""<Response><Errors><Error><Code>IdempotentInstanceTerminated</Code>
            <Message>x</Message></Error></Errors></Response>"""
        made_one = b"""<RunInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><instancesSet><item>
            <instanceId>i-0123456789abcdef0</instanceId></item></instancesSet></RunInstancesResponse>"""
        answers = iter([(400, terminated), (400, terminated), (200, made_one)])
        with answering(lambda handler: page(handler, *next(answers))) as port:
            driver = ec2.Driver({**amazon.options(), "EC2_URL": f"http://127.0.0.1:{port}"}, "m")
            assert driver._run(spec(), {"ImageId": "ami-1"}) == "i-0123456789abcdef0"

    def test_a_lost_answer_makes_no_second_instance(self, amazon: moto_ec2.Ec2) -> None:
        lost: list[str] = []

        def forward(handler: http.server.BaseHTTPRequestHandler) -> None:
            body = handler.rfile.read(int(handler.headers["Content-Length"]))
            answer = requests.post(amazon.url, data=body, headers=dict(handler.headers), timeout=10)
            if b"RunInstances" in body and not lost:
                lost.append("RunInstances")
                handler.close_connection = True
                return
            page(handler, answer.status_code, answer.content)

        with answering(forward, reads=False) as port:
            driver = ec2.Driver({**amazon.options(), "EC2_URL": f"http://127.0.0.1:{port}"}, "m")
            with pytest.raises(IaasError, match="cannot be reached"):
                driver.create(spec(tags=ODD))
            vm_id = driver.create(spec())
            assert (only(driver).id, only(driver).tags) == (vm_id, ODD)

    def test_a_region_that_is_none(self, amazon: moto_ec2.Ec2) -> None:
        with pytest.raises(ConfigError, match="EC2_REGION"):
            ec2.Driver({**amazon.options(), "EC2_REGION": "evil.example.org/"}, "m")

    def _ask(self, driver: ec2.Driver, action: str, key: str) -> list[object]:
        return list(driver._ec2.pages(action, key, {"Owner.1": "self"} if action == "DescribeSnapshots" else {}))


class TestCertificates:
    def test_they_are_checked(self, tmp_path: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority = self._certificate(tmp_path)
        context.load_cert_chain(tmp_path / "server.pem")
        text = b"<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>"
        with answering(lambda handler: page(handler, 200, text), context) as port:
            options = {"EC2_URL": f"https://127.0.0.1:{port}", "EC2_USER": "a", "EC2_PASSWORD": "b"}
            with pytest.raises(IaasError, match="EC2_CA_FILE"):
                ec2.Driver(options, "m").list()
            assert ec2.Driver({**options, "EC2_CA_FILE": str(authority)}, "m").list() == []

    def _certificate(self, folder: Path) -> Path:
        """Write a server's certificate and key into one file, and return that of the authority."""
        authority = pki.new_authority("test")
        key = pki.new_key()
        signed = authority.sign(pki.signing_request(key, pki.MANAGER), pki.MANAGER, ("127.0.0.1",))
        (folder / "server.pem").write_bytes(key + signed)
        (folder / "authority.pem").write_bytes(authority.certificate_pem)
        return folder / "authority.pem"
