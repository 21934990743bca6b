"""Keys and certificates: the manager's own authority, and what agents ask of it.

Elliptic curve P-256 throughout.  The address goes into the subjectAltName as an IP entry, since
Connector/C checks it even for VERIFY_CA.  The subject says who somebody is:
``O=conpaassql, CN=manager`` or ``O=conpaassql, OU=<cluster>, CN=node-<id>``.
"""

import ipaddress
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from conpaassql.errors import Invalid

ORGANISATION = "conpaassql"
AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=1825)
_CLOCK_SKEW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a certificate's subject names; ``node`` is None for the manager."""

    cluster: str
    node: int | None

    @property
    def subject(self) -> str:
        """The subject as MariaDB writes it in ``REQUIRE SUBJECT`` (outermost part first)."""
        return "".join(f"/{key}={value}" for key, value in self._parts)

    @property
    def _parts(self) -> tuple[tuple[str, str], ...]:
        if self.node is None:
            return (("O", ORGANISATION), ("CN", "manager"))
        return (("O", ORGANISATION), ("OU", self.cluster), ("CN", f"node-{self.node}"))

    def x509_name(self) -> x509.Name:
        """The subject as X.509 has it."""
        oids = {"O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME, "CN": NameOID.COMMON_NAME}
        return x509.Name([x509.NameAttribute(oids[key], value) for key, value in self._parts])


MANAGER = Identity(cluster="", node=None)


def identity_of(common_name: str, unit: str) -> Identity | None:
    """Read the two subject fields that matter; None for a subject that is not one of ours."""
    if common_name == "manager":
        return MANAGER
    if found := re.fullmatch(r"node-([0-9]{1,18})", common_name):
        return Identity(cluster=unit, node=int(found.group(1)))
    return None


def new_key() -> bytes:
    """Return a fresh private key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_request(key_pem: bytes, identity: Identity) -> bytes:
    """Return a signing request of the key's owner as PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(identity.x509_name())
    return builder.sign(_private(key_pem), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def request_fingerprint(request_pem: bytes) -> str:
    """Return the SHA-256 of the public key in a signing request.

    Raises:
        Invalid: not a signing request, or not signed by its own key.
    """
    key = _checked_request(request_pem).public_key()
    raw = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(raw)
    return digest.finalize().hex()


@dataclass(frozen=True, slots=True)
class Authority:
    """The manager's certificate authority."""

    key_pem: bytes
    certificate_pem: bytes

    def sign(self, request_pem: bytes, identity: Identity, addresses: tuple[str, ...]) -> bytes:
        """Return a certificate (PEM) for the request's key.

        Subject and addresses come from the caller, who knows them; what the request claims is ignored.

        Raises:
            Invalid: the request is malformed or not signed by its own key.
        """
        issuer = x509.load_pem_x509_certificate(self.certificate_pem)
        now = datetime.now(UTC)
        public_key = _checked_request(request_pem).public_key()
        names = [_general_name(address) for address in addresses]
        builder = (
            x509.CertificateBuilder()
            .subject_name(identity.x509_name())
            .issuer_name(issuer.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(_issued_by(self.key_pem), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(_private(self.key_pem), hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


def new_authority(name: str) -> Authority:
    """Return a fresh authority whose certificate carries ``name``."""
    key_pem = new_key()
    key = _private(key_pem)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority"[:64]),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key_pem, certificate.public_bytes(serialization.Encoding.PEM))


def open_authority(folder: Path, name: str) -> Authority:
    """Return the authority that lies in ``folder``, made there at the first call (key mode 0600)."""
    key_file, certificate_file = folder / "ca.key", folder / "ca.pem"
    if not certificate_file.exists():
        fresh = new_authority(name)
        write_private(key_file, fresh.key_pem)
        write_private(certificate_file, fresh.certificate_pem)  # last: its presence says that both are there
    return Authority(key_file.read_bytes(), certificate_file.read_bytes())


def open_identity(folder: Path, stem: str, authority: Authority, addresses: tuple[str, ...]) -> tuple[Path, Path]:
    """Return certificate and key files of the manager itself, renewed at each call from a kept key."""
    key_file, certificate_file = folder / f"{stem}.key", folder / f"{stem}.pem"
    if not key_file.exists():
        write_private(key_file, new_key())
    request = signing_request(key_file.read_bytes(), MANAGER)
    write_private(certificate_file, authority.sign(request, MANAGER, addresses))
    return certificate_file, key_file


def write_private(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, readable by its owner alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what a key is for; the strict check, Python's default from 3.13 on, wants to be told."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issued_by(key_pem: bytes) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(_private(key_pem).public_key())


def _private(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Invalid("The private key is not an elliptic-curve key; remove the file to have a new one made.")
    return key


def _checked_request(request_pem: bytes) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(request_pem)
        if request.is_signature_valid:
            return request
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as exc:
        raise Invalid("This is not a certificate signing request in PEM form.") from exc
    raise Invalid("The signing request is not signed by its own key.")


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)
