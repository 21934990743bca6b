"""Keys and certificates: what is in them, and what is refused."""

import ipaddress
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from conpaassql import pki
from conpaassql.errors import Invalid
from conpaassql.pki import MANAGER, Authority, Identity

NODE = Identity(cluster="shop", node=7)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return pki.new_authority("conpaassql")


def signed(authority: Authority, *addresses: str, asked: Identity = NODE, given: Identity = NODE) -> x509.Certificate:
    request = pki.signing_request(pki.new_key(), asked)
    return x509.load_pem_x509_certificate(authority.sign(request, given, addresses))


def names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_the_subject_comes_from_who_signs(authority: Authority) -> None:
    certificate = signed(authority, "127.0.0.1", asked=MANAGER)
    assert certificate.subject.rfc4514_string() == "CN=node-7,OU=shop,O=conpaassql"
    assert NODE.subject == "/O=conpaassql/OU=shop/CN=node-7"


def test_addresses_are_ip_entries(authority: Authority) -> None:
    found = names(signed(authority, "127.1.2.3", "::1", "db.example"))
    assert found.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.1.2.3"), ipaddress.ip_address("::1")]
    assert found.get_values_for_type(x509.DNSName) == ["db.example"]


def test_a_certificate_of_a_node_signs_nothing(authority: Authority) -> None:
    certificate = signed(authority, "127.0.0.1")
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_pem))


def test_the_strict_check_is_passed_on_both_sides(authority: Authority, tmp_path: Path) -> None:
    """Python's default from 3.13 on."""
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    ends = []
    for side, who in ((ssl.PROTOCOL_TLS_SERVER, NODE), (ssl.PROTOCOL_TLS_CLIENT, MANAGER)):
        key = pki.new_key()
        (tmp_path / "pair.pem").write_bytes(
            key + authority.sign(pki.signing_request(key, who), who, ("127.0.0.1", "::1"))
        )
        context = ssl.SSLContext(side)
        context.load_cert_chain(tmp_path / "pair.pem")
        context.load_verify_locations(tmp_path / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        ends.append(context)
    sent, received = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ends[0].wrap_bio(sent, received, server_side=True)
    client = ends[1].wrap_bio(received, sent, server_hostname="127.0.0.1")
    for _ in range(3):
        for end in (client, server):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert client.getpeercert()
    assert server.getpeercert()


def test_another_authority_did_not_sign_it(authority: Authority) -> None:
    other = x509.load_pem_x509_certificate(pki.new_authority("conpaassql").certificate_pem)
    with pytest.raises(InvalidSignature):
        signed(authority, "127.0.0.1").verify_directly_issued_by(other)


def test_a_fingerprint_is_of_the_key() -> None:
    key = pki.new_key()
    first, second = (pki.request_fingerprint(pki.signing_request(key, who)) for who in (NODE, MANAGER))
    assert first == second
    assert len(first) == 64
    assert pki.request_fingerprint(pki.signing_request(pki.new_key(), NODE)) != first


def forged() -> bytes:
    """A signing request whose public key is not the one that signed it."""
    mine = x509.load_pem_x509_csr(pki.signing_request(pki.new_key(), NODE))
    other = x509.load_pem_x509_csr(pki.signing_request(pki.new_key(), NODE))
    swapped = mine.public_bytes(serialization.Encoding.DER).replace(_point(mine), _point(other))
    assert swapped != mine.public_bytes(serialization.Encoding.DER)
    return x509.load_der_x509_csr(swapped).public_bytes(serialization.Encoding.PEM)


def _point(request: x509.CertificateSigningRequest) -> bytes:
    return request.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )[-65:]


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"hello",
        b"\xff\0",
        pki.new_key(),
        pki.new_authority("x").certificate_pem,
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        forged(),
    ],
    ids=["empty", "text", "bytes", "key", "certificate", "broken", "forged"],
)
def test_what_is_no_request_of_its_key(authority: Authority, request_: bytes) -> None:
    with pytest.raises(Invalid):
        pki.request_fingerprint(request_)
    with pytest.raises(Invalid):
        authority.sign(request_, NODE, ("127.0.0.1",))


def test_only_elliptic_curve_keys_are_ours() -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(Invalid):
        pki.signing_request(key, NODE)


@pytest.mark.parametrize("identity", [MANAGER, NODE, Identity(cluster="a", node=10**17)])
def test_a_subject_is_read_back(identity: Identity) -> None:
    fields = dict(part.split("=") for part in identity.subject.split("/")[1:])
    assert pki.identity_of(fields["CN"], fields.get("OU", "")) == identity


@pytest.mark.parametrize("name", ["", "root", "node-", "node-x", "node-1x", "node--1", "xnode-1", "node-1\n", "node-٣"])
def test_other_subjects_are_nobodys(name: str) -> None:
    assert pki.identity_of(name, "shop") is None


def test_files_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    authority = pki.open_authority(tmp_path, "conpaassql")
    assert pki.open_authority(tmp_path, "other") == authority
    certificate, key = pki.open_identity(tmp_path, "manager", authority, ("127.0.0.1",))
    kept = key.read_bytes()
    pki.open_identity(tmp_path, "manager", authority, ("127.0.0.2",))
    assert key.read_bytes() == kept
    assert "127.0.0.2" in str(names(x509.load_pem_x509_certificate(certificate.read_bytes())))
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_a_half_made_authority_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "ca.key").write_bytes(b"half")
    authority = pki.open_authority(tmp_path, "conpaassql")
    key = serialization.load_pem_private_key(authority.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate(authority.certificate_pem)
    assert certificate.public_key() == key.public_key()
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
