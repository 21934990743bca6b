"""A VM becomes a node with one token, one key, and the address that the cloud knows."""

import ipaddress
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from agent_fake import PretendAgents
from conpaassql import pki, settings
from conpaassql.errors import Error, IaasError, Invalid, Unauthorized
from conpaassql.iaas import VmSpec, dummy
from conpaassql.manager import enrolment
from conpaassql.manager.context import Manager, order_numbers
from conpaassql.manager.looks import Looks
from conpaassql.manager.provider import Provider
from conpaassql.manager.providers import Providers
from conpaassql.manager.provision import Provision
from conpaassql.manager.rows import NewNode
from conpaassql.manager.store import open_store
from conpaassql.model import Flavor, Goal, Node
from conpaassql.pki import Identity
from conpaassql.vault import open_vault

AUTHORITY = pki.new_authority("conpaassql")
NOW = datetime(2024, 1, 1, tzinfo=UTC)
Join = Callable[..., x509.Certificate]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    store = open_store(tmp_path / "store.sqlite")
    vault = open_vault(tmp_path)
    cloud = Provider(dummy.Driver({}, "conpaassql"), time.monotonic)
    providers = Providers(cloud, store, vault, "conpaassql", clock=time.monotonic)
    yield Manager(
        settings=settings.parse_manager("[iaas]\nDRIVER = DUMMY\n"),
        store=store,
        looks=Looks(),
        agents=PretendAgents(),
        providers=providers,
        provision=Provision(),
        vault=vault,
        authority=AUTHORITY,
        join_key=b"j" * 32,
        numbers=order_numbers(1),
        now=lambda: NOW,
        wake=lambda _cluster: None,
    )
    providers.close()
    store.close()


@pytest.fixture
def node(manager: Manager) -> Node:
    return added(manager, vm=True)


def added(manager: Manager, *, vm: bool) -> Node:
    cluster_id = manager.store.clusters.list()[0].id
    node = manager.store.nodes.add(cluster_id, NewNode(name_stem="agent", group="g"), NOW)
    if vm:
        manager.providers.get("default").create(
            VmSpec(name=node.name, flavor=Flavor(), tags={}, context={}, template="")
        )
    return node


def request(key: bytes | None = None, node: int = 1) -> str:
    return pki.signing_request(key or pki.new_key(), Identity(cluster="default", node=node)).decode()


def join(manager: Manager, node: Node, *, token: str | None = None, asked: str | None = None) -> x509.Certificate:
    chosen = manager.join_token(node.name) if token is None else token
    answer = enrolment.enrol(manager, node=node.id, token=chosen, request=asked or request())
    assert set(answer) == {"certificate"}
    return x509.load_pem_x509_certificate(answer["certificate"].encode())


def test_the_certificate_names_node_and_address_by_the_managers_word(manager: Manager, node: Node) -> None:
    certificate = join(manager, node, asked=request(node=99))
    assert certificate.subject.rfc4514_string() == f"CN=node-{node.id},OU=default,O=conpaassql"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.1.0.20")]
    assert manager.store.snapshot(node.cluster_id).joined == {node.id}
    assert [event.code for event in manager.store.events.list("default", 9)] == ["joined"]


@pytest.mark.parametrize("token", ["", "wrong", "\u00e9", "0" * 64, "\0"])
def test_a_wrong_token(manager: Manager, node: Node, token: str) -> None:
    with pytest.raises(Unauthorized):
        join(manager, node, token=token)
    assert manager.store.snapshot(node.cluster_id).joined == frozenset()


def test_the_token_of_another_node(manager: Manager, node: Node) -> None:
    other = added(manager, vm=True)
    with pytest.raises(Unauthorized):
        join(manager, node, token=manager.join_token(other.name))


def test_the_same_key_may_ask_again_and_another_never(manager: Manager, node: Node) -> None:
    key = pki.new_key()
    first = join(manager, node, asked=request(key))
    again = join(manager, node, asked=request(key))
    assert first.public_key() == again.public_key()
    with pytest.raises(Unauthorized, match="another key"):
        join(manager, node)
    assert [event.code for event in manager.store.events.list("default", 9)] == ["joined"]


def test_of_many_keys_at_the_same_time_one_gets_in(manager: Manager, node: Node) -> None:
    outcomes: list[str] = []
    together = threading.Barrier(8)

    def ask() -> None:
        asked = request()
        together.wait(5)
        try:
            join(manager, node, asked=asked)
            outcomes.append("in")
        except Error as exc:
            outcomes.append(exc.code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["in", *["unauthorized"] * 7]


def test_a_node_that_is_not_wished_for(manager: Manager, node: Node) -> None:
    manager.store.nodes.set_goal((node.id,), Goal.ABSENT)
    with pytest.raises(Unauthorized):
        join(manager, node)


def test_a_node_that_is_not_there_says_no_more_than_a_wrong_token(manager: Manager, node: Node) -> None:
    texts = set()
    for number in (node.id, node.id + 1):
        with pytest.raises(Unauthorized) as caught:
            enrolment.enrol(manager, node=number, token="wrong", request=request())
        texts.add(caught.value.says)
    assert len(texts) == 1


def test_a_malformed_request_does_not_use_the_token_up(manager: Manager, node: Node) -> None:
    with pytest.raises(Invalid):
        join(manager, node, asked="hello")
    assert join(manager, node)


def test_a_node_that_the_cloud_does_not_know_asks_again(manager: Manager) -> None:
    node = added(manager, vm=False)
    key = pki.new_key()
    with pytest.raises(IaasError):
        join(manager, node, asked=request(key))
    assert manager.store.snapshot(node.cluster_id).joined == frozenset()
    manager.providers.get("default").create(VmSpec(name=node.name, flavor=Flavor(), tags={}, context={}, template=""))
    assert join(manager, node, asked=request(key))
