"""The transport under pyone: deadlines, repetitions, bounds, and nothing from the environment."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conpaassql import pki
from conpaassql.errors import ConfigError, Error, IaasBusy, IaasDenied, IaasError, IaasMissing, IaasRefused, Unsupported
from conpaassql.iaas.opennebula import config, rpc
from conpaassql.iaas.opennebula.rpc import Rpc
from one_script import ADDRESS, Answer, Fault, Raw, Refused, Script, scripted

SECRET = "s3cret:with colon"


def options(url: str, **more: str) -> dict[str, str]:
    return {"OPENNEBULA_URL": url, "OPENNEBULA_USER": "conpaas", "OPENNEBULA_PASSWORD": SECRET, **more}


def client(script: Script, timeout_s: float = 5, **more: Any) -> Rpc:
    return Rpc(config.read(options(script.url, OPENNEBULA_TIMEOUT_S=str(timeout_s))), **more)


def test_a_call() -> None:
    with scripted(vm_info="<VM/>", vm_action=7) as script:
        one = client(script)
        assert one.read("vm.info", 7) == "<VM/>"
        assert one.change("vm.action", "resume", 7) == 7
    assert script.calls == [("vm.info", (7,)), ("vm.action", ("resume", 7))]
    assert script.paths == ["/RPC2", "/RPC2"]


def test_text_arrives_as_it_was() -> None:
    text = "<A>&amp; čšž 😀 ]]&gt;</A>\n"
    with scripted(echo=lambda given: given) as script:
        assert client(script).read("echo", text) == text


def test_code_and_text_of_a_refusal() -> None:
    refused = Refused(code=1024, text="Error getting virtual machine [7].", object=7)
    says = r"Error getting virtual machine \[7\]\."
    with scripted(vm_info=refused) as script, pytest.raises(IaasMissing, match=says) as caught:
        client(script).read("vm.info", 7)
    assert caught.value.details == {"code": 1024, "method": "one.vm.info"}
    assert len(script.calls) == 1


def test_a_method_that_an_old_core_lacks() -> None:
    with scripted() as script, pytest.raises(Unsupported, match=r"Use OpenNebula 5\.12 or later"):
        client(script).change("vm.exec", 1)


def test_old_error_arrays_of_three() -> None:
    body = (
        b"<methodResponse><params><param><value><array><data><value><boolean>0</boolean></value>"
        b"<value><string>no</string></value><value><i4>512</i4></value></data></array></value></param></params></methodResponse>"
    )
    with scripted(vm_info=Raw(body=body)) as script, pytest.raises(IaasDenied):
        client(script).read("vm.info", 1)


def test_a_read_is_repeated_a_change_is_not() -> None:
    with scripted(system_version=[Raw(cut=True), Raw(status=503), "7.4.0"], vm_allocate=[Raw(cut=True), 1]) as script:
        one = client(script)
        assert one.read("system.version") == "7.4.0"
        with pytest.raises(IaasError) as caught:
            one.change("vm.allocate", "NAME=x", False)
    assert caught.value.details["lost"] is True
    assert caught.value.retry
    assert len(script.called("vm.allocate")) == 1


def test_repetition_has_an_end() -> None:
    with scripted(system_version=Raw(cut=True)) as script, pytest.raises(IaasError):
        client(script).read("system.version")
    assert len(script.calls) == 3


@pytest.mark.parametrize(
    "slow", [Raw(pause_s=30), Raw(body=b"<methodResponse>" + b" " * 100, drip_s=0.05)], ids=["mute", "drip"]
)
def test_a_deadline_for_the_whole_answer(slow: Raw) -> None:
    with scripted(vm_action=slow) as script:
        one = client(script, timeout_s=0.3)
        began_s = time.monotonic()
        with pytest.raises(IaasError, match=r"did not answer within 0\.3 s"):
            one.change("vm.action", "resume", 1)
        assert time.monotonic() - began_s < 3
    assert socket.getdefaulttimeout() is None


def test_a_read_that_is_not_answered_is_not_repeated_for_ever() -> None:
    with scripted(system_version=Raw(pause_s=30)) as script:
        began_s = time.monotonic()
        with pytest.raises(IaasError):
            client(script, timeout_s=0.4).read("system.version")
        assert time.monotonic() - began_s < 3


def test_nobody_listens() -> None:
    with socket.create_server((ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
    one = Rpc(config.read(options(f"http://{ADDRESS}:{port}")))
    with pytest.raises(IaasError, match="cannot be reached"):
        one.read("system.version")


def test_few_connections() -> None:
    go, inside = threading.Event(), threading.Barrier(rpc.CONNECTIONS + 1)

    def slow() -> Answer:
        if not go.is_set():
            inside.wait(5)
        go.wait(5)
        return "7.4.0"

    with scripted(system_version=slow) as script:
        one = client(script)
        threads = [threading.Thread(target=one.read, args=("system.version",)) for _ in range(12)]
        for thread in threads:
            thread.start()
        inside.wait(5)
        assert script.at_once == rpc.CONNECTIONS
        go.set()
        for thread in threads:
            thread.join(10)
    assert script.most_at_once == rpc.CONNECTIONS
    assert len(script.calls) == 12


def test_no_place_in_time() -> None:
    go = threading.Event()
    held = threading.Semaphore(0)

    def slow() -> Answer:
        held.release()
        go.wait(5)
        return 1

    with scripted(vm_action=slow) as script:
        one = client(script, timeout_s=0.5)
        threads = [threading.Thread(target=swallow, args=(one,)) for _ in range(rpc.CONNECTIONS)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert held.acquire(timeout=5)
        one._server("transport")._timeout_s = 0.05
        with pytest.raises(IaasBusy):
            one.change("vm.action")
        go.set()
        for thread in threads:
            thread.join(5)


def swallow(one: Rpc) -> None:
    with contextlib.suppress(IaasError):
        one.change("vm.action")


def test_answers_are_bounded() -> None:
    with scripted(vmpool_info="x" * 5000) as script, pytest.raises(IaasError, match="larger than 1000 bytes"):
        client(script, max_bytes=1000).read("vmpool.info")


def test_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine {ADDRESS} login spy password spy\n")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.70.0.9:1")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with scripted(system_version="7.4.0") as script:
        assert client(script).read("system.version") == "7.4.0"
    assert "Authorization" not in script.headers[0]


BAD: list[tuple[Raw, type[Error], str]] = [
    (Raw(status=404, body=b"<html/>"), IaasRefused, "HTTP 404"),
    (Raw(status=403), IaasDenied, "lets nobody through"),
    (Raw(status=302, headers=(("Location", "http://127.70.0.9:1/"),)), IaasRefused, "HTTP 302"),
    (Raw(body=b"hello"), IaasError, "no XML"),
    (Raw(body=b""), IaasError, "no XML"),
    (Raw(body=b"<html><body/></html>"), IaasRefused, "not of XML-RPC"),
    (Raw(body=b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"), IaasRefused, "XML"),
    (
        Raw(
            body=b"<methodResponse><params><param><value><array><data/></array></value></param></params></methodResponse>"
        ),
        IaasRefused,
        "cannot be read",
    ),
]


@pytest.mark.parametrize(("raw", "kind", "says"), BAD, ids=[f"{raw.status}-{says}" for raw, _, says in BAD])
def test_what_is_not_opennebula(raw: Raw, kind: type[Error], says: str) -> None:
    with scripted(vm_action=raw) as script, pytest.raises(kind, match=says):
        client(script).change("vm.action", "resume", 1)


def test_the_secret_is_in_no_error_and_no_representation() -> None:
    answers: Mapping[str, Any] = {
        "a": Refused(code=8192, text=f"you said conpaas:{SECRET} to me"),
        "b": Fault(code=-503, text=f"bad {SECRET}"),
        "c": Raw(cut=True),
    }
    with scripted(**answers) as script:
        one = client(script)
        for method in answers:
            with pytest.raises(Error) as caught:
                one.change(method)
            assert SECRET not in f"{caught.value.says} {caught.value.details} {caught.value!r}"
    assert SECRET not in repr(config.read(options("http://x")))


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("http://10.30.1.1:2633/RPC2", "http://10.30.1.1:2633/RPC2"),
        ("http://10.30.1.1:2633", "http://10.30.1.1:2633/RPC2"),
        ("http://10.30.1.1:2633/any/path?x=1", "http://10.30.1.1:2633/RPC2"),
        ("https://one.example.org/", "https://one.example.org/RPC2"),
        ("http://[::1]:2633/", "http://[::1]:2633/RPC2"),
    ],
)
def test_the_path_is_always_the_same(url: str, becomes: str) -> None:
    assert config.read(options(url)).url == becomes


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"OPENNEBULA_URL": ""}, "is missing"),
        ({"OPENNEBULA_URL": "one:2633"}, "http://"),
        ({"OPENNEBULA_URL": "grpc://one:2634"}, "not gRPC"),
        ({"OPENNEBULA_URL": "http://a:b@one/"}, "holds a login"),
        ({"OPENNEBULA_URL": "http://one:port/"}, "no address"),
        ({"OPENNEBULA_USER": ""}, "is missing"),
        ({"OPENNEBULA_USER": "a:b"}, "colon"),
        ({"OPENNEBULA_PASSWORD": ""}, "is missing"),
        ({"OPENNEBULA_TIMEOUT_S": "soon"}, "number of seconds"),
        ({"OPENNEBULA_TIMEOUT_S": "0"}, "number of seconds"),
        ({"OPENNEBULA_CA_FILE": "/nonexistent"}, "no such file"),
    ],
    ids=str,
)
def test_wrong_options(wrong: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        config.read(options("http://one:2633") | wrong)
    assert caught.value.details["key"] in wrong
    assert SECRET not in caught.value.says


def test_in_clear_or_not() -> None:
    clear = {
        url: config.read(options(url)).in_clear for url in ("http://one/", "https://one/", "http://127.0.0.1:2633")
    }
    assert clear == {"http://one/": True, "https://one/": False, "http://127.0.0.1:2633": False}


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> pki.Authority:
        authority = pki.new_authority("one")
        (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
        return authority

    def context(self, tmp_path: Path, authority: pki.Authority, address: str) -> ssl.SSLContext:
        certificate, key = pki.open_identity(tmp_path, "one", authority, (address,))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def test_a_trusted_authority(self, tmp_path: Path, authority: pki.Authority) -> None:
        with scripted(tls=self.context(tmp_path, authority, ADDRESS), system_version="7.4.0") as script:
            trusting = config.read(options(script.url, OPENNEBULA_CA_FILE=str(tmp_path / "ca.pem")))
            assert Rpc(trusting).read("system.version") == "7.4.0"

    def test_a_drip_is_cut_in_tls_too(self, tmp_path: Path, authority: pki.Authority) -> None:
        drip = Raw(body=b" " * 100, drip_s=0.05)
        with scripted(tls=self.context(tmp_path, authority, ADDRESS), vm_action=drip) as script:
            chosen = options(script.url, OPENNEBULA_CA_FILE=str(tmp_path / "ca.pem"), OPENNEBULA_TIMEOUT_S="0.4")
            began_s = time.monotonic()
            with pytest.raises(IaasError, match="did not answer"):
                Rpc(config.read(chosen)).change("vm.action")
        assert time.monotonic() - began_s < 3

    def test_nobody_else_is_trusted(self, tmp_path: Path, authority: pki.Authority) -> None:
        with scripted(tls=self.context(tmp_path, authority, ADDRESS), system_version="7.4.0") as script:
            with pytest.raises(IaasRefused, match=r"not trusted.*OPENNEBULA_CA_FILE"):
                client(script).read("system.version")
            assert script.calls == []

    def test_another_host_s_certificate(self, tmp_path: Path, authority: pki.Authority) -> None:
        with scripted(tls=self.context(tmp_path, authority, "127.70.0.2"), system_version="7.4.0") as script:
            trusting = config.read(options(script.url, OPENNEBULA_CA_FILE=str(tmp_path / "ca.pem")))
            with pytest.raises(IaasRefused, match="not trusted"):
                Rpc(trusting).read("system.version")
            assert script.calls == []

    def test_a_file_that_holds_no_certificate(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("hello")
        with pytest.raises(ConfigError, match="no certificates"):
            Rpc(config.read(options("https://one", OPENNEBULA_CA_FILE=str(tmp_path / "ca.pem"))))
