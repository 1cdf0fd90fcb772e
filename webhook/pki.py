"""Making and judging X.509 certificates: an authority that signs serving certificates, and nothing else.

Every certificate begins an hour before it is made, so that an API server whose clock is behind ours believes it.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SKEW: Final = timedelta(hours=1)
"""How far the clock of an API server may be behind ours."""
CA_LIFETIME: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and the key that belongs to it; equal if the certificates are."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(compare=False)


def make_authority(*, now: datetime, lifetime: timedelta = CA_LIFETIME) -> Pair:
    """A new CA that may sign serving certificates and nothing below them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"vramshare webhook CA {now.astimezone(UTC):%Y-%m-%d}")
    certificate = (
        _builder(name, name, key.public_key(), now=now, lifetime=lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def make_serving(ca: Pair, *, names: Sequence[str], lifetime: timedelta, now: datetime) -> Pair:
    """A new serving certificate; it ends before its CA does.

    Args:
        ca: who signs it.
        names: DNS names and IP addresses by which the server is reached.
        lifetime: how long it is good.
        now: the time.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    lifetime = min(lifetime, ca.certificate.not_valid_after_utc - now)
    certificate = (
        _builder(_name("vramshare webhook"), ca.certificate.subject, key.public_key(), now=now, lifetime=lifetime)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    return Pair(certificate, key)


def belong_together(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    """Whether the key is the certificate's."""
    return certificate.public_key() == key.public_key()


def signed_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Whether this CA signed it."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def names_in(certificate: x509.Certificate) -> frozenset[x509.GeneralName]:
    """The names and addresses that a certificate is good for."""
    try:
        return frozenset(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (ValueError, x509.ExtensionNotFound):
        return frozenset()


def alternatives(names: Sequence[str]) -> frozenset[x509.GeneralName]:
    """Names and addresses as certificates hold them."""
    return frozenset(_alternative(name) for name in names)


def pem(certificate: x509.Certificate) -> bytes:
    """The certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as text, in the clear."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + lifetime)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
