"""The registry of clouds, and the memory that each has of its VMs."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conpaassql import iaas
from conpaassql.errors import IaasBusy, IaasError, Invalid, ProviderError, UnknownProvider
from conpaassql.iaas import Vm, dummy
from conpaassql.manager.provider import Limits, Provider
from conpaassql.manager.providers import Providers, Secrets, driver_module, driver_options, merged
from conpaassql.manager.store import Store, open_store
from conpaassql.model import Flavor, VmSpec
from conpaassql.model_cloud import ProviderRecord
from conpaassql.offers import OfferedFlavor
from conpaassql.vault import Vault, open_vault

NOW = datetime(2024, 1, 1, tzinfo=UTC)
SPEC = VmSpec(name="a-1", flavor=Flavor(), tags={}, context={}, template="")


def record(type_: str = "DUMMY", name: str = "p", sealed: bytes = b"") -> ProviderRecord:
    return ProviderRecord(
        name=name, type=type_, username="ann", url="http://one/", tenant="t", sealed=sealed, created_at=NOW
    )


def options(type_: str, **extra: str) -> Mapping[str, str]:
    found = Secrets(password="s3cret", extra=extra)
    return driver_options(driver_module(type_), record(type_), found)


class TestOptions:
    def test_arguments_go_where_the_driver_has_a_place(self) -> None:
        assert options("DUMMY") == {}
        assert options("LOCAL", network="127.1.0.0/16") == {"LOCAL_NETWORK": "127.1.0.0/16"}
        assert options("OPENSTACK", region="west") == {
            "OPENSTACK_URL": "http://one/",
            "OPENSTACK_USER": "ann",
            "OPENSTACK_PASSWORD": "s3cret",
            "OPENSTACK_TENANT": "t",
            "OPENSTACK_REGION": "west",
        }
        one = options("OPENNEBULA_XMLRPC")
        assert one == {
            "OPENNEBULA_URL": "http://one/",
            "OPENNEBULA_USER": "ann",
            "OPENNEBULA_PASSWORD": "s3cret",
        }

    def test_extra_goes_by_either_name_and_wins(self) -> None:
        assert options("DUMMY", DUMMY_DELAY_S="1") == options("DUMMY", delay_s="1") == {"DUMMY_DELAY_S": "1"}
        assert options("OPENSTACK", url="http://two/")["OPENSTACK_URL"] == "http://two/"

    def test_extra_is_replaced_by_either_name(self) -> None:
        present = {"region": "west", "OPENSTACK_CA_FILE": "/ca"}
        module = driver_module("OPENSTACK")
        assert merged(module, present, {"OPENSTACK_REGION": "east"}) == {
            "OPENSTACK_CA_FILE": "/ca",
            "OPENSTACK_REGION": "east",
        }
        assert merged(module, present, {"Ca-File": ""}) == {"region": "west"}
        assert merged(module, present, {}) == present
        with pytest.raises(Invalid, match="color"):
            merged(module, present, {"color": ""})

    def test_what_the_driver_does_not_know_is_refused(self) -> None:
        with pytest.raises(Invalid, match="color"):
            options("DUMMY", color="red")
        with pytest.raises(Invalid, match="twice"):
            options("DUMMY", DUMMY_DELAY_S="1", delay_s="2")

    @pytest.mark.parametrize("name", iaas.names())
    def test_every_driver_s_word_is_a_type(self, name: str) -> None:
        assert name in driver_module(name.lower()).NAMES

    def test_an_unknown_type(self) -> None:
        with pytest.raises(ProviderError, match="NONE"):
            driver_module("NONE")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "store.sqlite")
    yield store
    store.close()


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return open_vault(tmp_path)


@pytest.fixture
def registry(store: Store, vault: Vault) -> Iterator[Providers]:
    default = Provider(dummy.Driver({}, "m"), time.monotonic)
    found = Providers(default, store, vault, "m", clock=time.monotonic)
    yield found
    found.close()


class TestRegistry:
    def test_a_provider_is_built_once_and_let_go(self, registry: Providers, store: Store) -> None:
        with pytest.raises(UnknownProvider):
            registry.get("p")
        sealed = registry.seal("p", Secrets(password="x", extra={"delay_s": "1"}))
        store.providers.add(record(sealed=sealed))
        found = registry.get("p")
        assert registry.get("p") is found
        assert registry.names() == ["default", "p"]
        store.providers.remove("p")
        registry.forget("p")
        with pytest.raises(UnknownProvider):
            registry.get("p")

    def test_a_sealed_login_is_its_provider_s_alone(self, registry: Providers, store: Store) -> None:
        sealed = registry.seal("p", Secrets(password="x", extra={}))
        store.providers.add(record(name="q", sealed=sealed))
        with pytest.raises(ProviderError, match=r"master\.key"):
            registry.get("q")

    def test_who_builds_it_while_it_is_unregistered_leaves_none_behind(
        self, registry: Providers, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of the same name there may be another provider a moment later."""
        store.providers.add(record(sealed=registry.seal("p", Secrets(password="x", extra={}))))
        found = store.providers.get("p")

        def unregister() -> None:
            store.providers.remove("p")
            registry.forget("p")

        other = threading.Thread(target=unregister)

        def read(_name: str) -> ProviderRecord:
            other.start()
            other.join(0.2)  # it is done by then, or has to wait for us
            return found

        with monkeypatch.context() as patched:
            patched.setattr(store.providers, "get", read)
            registry.get("p")
            other.join()
        with pytest.raises(UnknownProvider):
            registry.get("p")

    def test_a_wrong_option_is_named_by_the_argument_that_it_came_from(self, registry: Providers, store: Store) -> None:
        """The section [iaas] is the provider default, and has nothing to do with this one."""
        sealed = registry.seal("p", Secrets(password="x", extra={"timeout_s": "soon"}))
        with pytest.raises(Invalid, match="extra: OPENNEBULA_TIMEOUT_S = soon") as caught:
            registry.try_out(replace(record("OPENNEBULA", sealed=sealed), url="http://one:2633/RPC2"))
        assert "[iaas]" not in caught.value.says
        sealed = registry.seal("p", Secrets(password="x", extra={}))
        store.providers.add(replace(record("OPENNEBULA", sealed=sealed), url="gopher://one/"))
        with pytest.raises(ProviderError, match="Provider p cannot be used: url: OPENNEBULA_URL = gopher:") as refused:
            registry.get("p")
        assert "[iaas]" not in refused.value.says

    def test_a_name_is_taken_once(self, store: Store) -> None:
        store.providers.add(record())
        with pytest.raises(ProviderError, match="already"):
            store.providers.add(record())

    def test_secrets_do_not_show(self) -> None:
        assert "s3cret" not in repr(Secrets(password="s3cret", extra={"key": "s3cret"}))
        assert "blob" not in repr(record(sealed=b"blob"))


class Slow:
    """A driver whose lists wait for permission; ``begun`` counts them."""

    def __init__(self) -> None:
        self.inner = dummy.Driver({}, "m")
        self.may_end = threading.Event()
        self.begun = 0

    def create(self, spec: VmSpec) -> str:
        """Make a VM."""
        return self.inner.create(spec)

    def delete(self, vm_id: str) -> None:
        """Remove a VM."""
        self.inner.delete(vm_id)

    def list(self) -> Sequence[Vm]:
        """List what there was when it began."""
        found = self.inner.list()
        self.begun += 1
        assert self.may_end.wait(10)
        return found


class TestMemory:
    def test_a_list_is_remembered_until_something_is_changed(self) -> None:
        slow = Slow()
        slow.may_end.set()
        provider = Provider(slow, time.monotonic)
        assert provider.view(60.0) == {}
        assert provider.view(60.0) == {}
        assert slow.begun == 1
        provider.create(SPEC)
        assert list(provider.view(60.0) or ()) == ["a-1"]
        provider.view(0.0)
        assert slow.begun == 3
        provider.close()

    def test_what_was_listed_before_a_change_does_not_count(self) -> None:
        slow = Slow()
        provider = Provider(slow, time.monotonic)
        seen: list[object] = []
        looking = threading.Thread(target=lambda: seen.append(provider.view(60.0)))
        looking.start()
        while not slow.begun:
            time.sleep(0.001)
        provider.create(SPEC)
        slow.may_end.set()
        looking.join(10)
        assert list(provider.view(60.0) or ()) == ["a-1"]
        provider.close()

    def test_a_cloud_that_hangs_counts_as_silent(self) -> None:
        slow = Slow()
        provider = Provider(slow, time.monotonic, limits=Limits(list_within_s=0.05))
        assert provider.view(60.0) is None
        began = time.monotonic()
        for _ in range(20):  # nobody waits for it a second time, and it is not asked again
            assert provider.view(60.0) is None
        assert time.monotonic() - began < 1.0
        assert slow.begun == 1
        slow.may_end.set()
        deadline = time.monotonic() + 10
        assert "no answer within 0.05 s" in provider.silence
        while provider.view(60.0) is None:
            assert time.monotonic() < deadline
        assert provider.silence == ""
        provider.close()

    def test_silence_is_logged_when_it_changes(self, caplog: pytest.LogCaptureFixture) -> None:
        class Moody(Slow):
            says = ("no.", "no.", "", "no.")

            def list(self) -> Sequence[Vm]:
                self.begun += 1
                if why := self.says[self.begun - 1]:
                    raise IaasError(why)
                return []

        provider = Provider(Moody(), time.monotonic)
        for _ in Moody.says:
            provider.view(0.0)
        silent = "Provider default does not list its VMs: no."
        assert [record.message for record in caplog.records] == [
            silent,
            "Provider default lists its VMs again.",
            silent,
        ]
        provider.close()

    def test_one_that_was_let_go_lists_nothing_and_keeps_nobody_waiting(self) -> None:
        """Somebody may hold it when its login is changed; his next look goes to the one that is built anew."""
        slow = Slow()
        provider = Provider(slow, time.monotonic)
        seen: list[object] = []
        looking = threading.Thread(target=lambda: seen.append(provider.view(60.0)))
        looking.start()
        while not slow.begun:
            time.sleep(0.001)
        provider.close()
        looking.join(5)
        assert seen == [None]
        assert provider.view(0.0) is None
        assert provider.silence == ""
        slow.may_end.set()

    def test_a_failing_list_is_silence(self) -> None:
        class Failing(Slow):
            def list(self) -> Sequence[Vm]:
                raise IaasError("no.")

        provider = Provider(Failing(), time.monotonic)
        assert provider.silence == ""
        assert provider.view(0.0) is None
        assert provider.silence == "Provider default does not list its VMs: no."
        provider.close()

    def test_places_are_bounded(self) -> None:
        limits = Limits(at_once=2, place_within_s=0.01)
        provider = Provider(dummy.Driver({}, "m"), time.monotonic, limits=limits)
        with provider.use(), provider.use(), pytest.raises(IaasBusy), provider.use():
            pass
        with provider.use() as driver:
            assert list(driver.list()) == []
        provider.close()


class Sized(dummy.Driver):
    """A cloud that counts how often its flavors are asked for, and may not answer."""

    asked = 0
    silent = False

    def flavors(self) -> Sequence[OfferedFlavor]:
        self.asked += 1
        if self.silent:
            raise IaasError("The cloud does not answer.")
        return super().flavors()


class TestSizes:
    def test_the_memory_of_a_named_flavor_is_the_cloud_s(self) -> None:
        driver = Sized({}, "m")
        provider = Provider(driver, time.monotonic)
        assert [provider.memory_mib(name) for name in ("medium", "2", "medium", "2")] == [2048] * 4
        assert driver.asked == 2
        assert provider.memory_mib("none") is None
        assert provider.memory_mib("") is None
        driver.silent = True
        assert (provider.memory_mib("medium"), provider.memory_mib("large")) == (2048, None)
        driver.silent = False
        assert provider.memory_mib("large") == 8192
        provider.close()
