"""A CA and a serving certificate of our own, for clusters without a certificate manager.

The CA is kept, so that the registration of the webhook need not change when the serving certificate is renewed.
Replicas behind one Service need one CA between them: give them files from a Secret instead.
"""

import ipaddress
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from allocator.api.errors import VramshareError
from webhook.settings import TlsSettings

_SKEW: Final = timedelta(hours=1)
"""How far the clock of an API server may be behind ours."""
_CA_LIFETIME: Final = timedelta(days=3650)
_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644


class CertificateError(VramshareError):
    """A certificate or key that cannot be used; says which file and why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a TLS server needs, and what its clients must know.

    Attributes:
        certificate: PEM file with the chain.
        key: PEM file with the private key.
        ca_bundle: PEM of the CA, for `clientConfig.caBundle`; None: not known here.
        ends: when the serving certificate expires.
    """

    certificate: Path
    key: Path
    ca_bundle: bytes | None
    ends: datetime


def identity(settings: TlsSettings, *, now: datetime) -> Identity:
    """The certificate to serve with: the given one, or a self-made one that is made or renewed if need be.

    Raises:
        CertificateError: a file cannot be read, or is no certificate.
    """
    if settings.certificate is not None and settings.key is not None:
        bundle = _read(settings.ca) if settings.ca else None
        return Identity(settings.certificate, settings.key, bundle, _load(settings.certificate).not_valid_after_utc)
    return _self_made(settings, now=now)


def _self_made(settings: TlsSettings, *, now: datetime) -> Identity:
    folder = settings.folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_file, ca_key_file = folder / "ca.crt", folder / "ca.key"
    certificate_file, key_file = folder / "tls.crt", folder / "tls.key"
    lifetime = timedelta(days=settings.lifetime_days)
    ca = _kept_authority(ca_file, ca_key_file, until=now + lifetime)
    if ca is None:
        ca = make_authority(now=now)
        _write(ca_key_file, _pem(ca[1]), mode=_PRIVATE)
        _write(ca_file, ca[0].public_bytes(serialization.Encoding.PEM), mode=_PUBLIC)
    serving = _kept_serving(certificate_file, key_file, ca[0], names=settings.names, until=now + lifetime / 3)
    if serving is None:
        serving, key = make_serving(ca[0], ca[1], names=settings.names, lifetime=lifetime, now=now)
        _write(key_file, _pem(key), mode=_PRIVATE)
        _write(certificate_file, serving.public_bytes(serialization.Encoding.PEM), mode=_PUBLIC)
    return Identity(certificate_file, key_file, _read(ca_file), serving.not_valid_after_utc)


def make_authority(*, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A new CA that may sign serving certificates and nothing below them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"vramshare webhook CA {now.astimezone(UTC):%Y-%m-%d}")
    certificate = (
        _builder(name, name, key.public_key(), now=now, lifetime=_CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def make_serving(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    *,
    names: Sequence[str],
    lifetime: timedelta,
    now: datetime,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A new serving certificate.

    Args:
        ca: the CA's certificate.
        ca_key: the CA's key.
        names: DNS names and IP addresses by which the server is reached.
        lifetime: how long it is good.
        now: the time.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name("vramshare webhook"), ca.subject, key.public_key(), now=now, lifetime=lifetime)
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + lifetime)
    )


def _kept_authority(
    certificate_file: Path, key_file: Path, *, until: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """The CA in the folder; None if there is none, or it would expire before what it signs now."""
    if not (certificate_file.exists() and key_file.exists()):
        return None
    certificate, key = _load(certificate_file), _load_key(key_file)
    fits = certificate.public_key() == key.public_key() and certificate.not_valid_after_utc > until
    return (certificate, key) if fits else None


def _kept_serving(
    certificate_file: Path, key_file: Path, ca: x509.Certificate, *, names: Sequence[str], until: datetime
) -> x509.Certificate | None:
    """The serving certificate in the folder; None if it is missing, of another CA or key, for other names, or old."""
    if not (certificate_file.exists() and key_file.exists()):
        return None
    certificate, key = _load(certificate_file), _load_key(key_file)
    try:
        certificate.verify_directly_issued_by(ca)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return None
    fits = (
        certificate.public_key() == key.public_key()
        and set(found) == set(_alternatives(names))
        and certificate.not_valid_after_utc > until
    )
    return certificate if fits else None


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    result: list[x509.GeneralName] = []
    for name in names:
        try:
            result.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            result.append(x509.DNSName(name))
    return result


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


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as reason:
        raise CertificateError(f"{path} cannot be read: {reason.strerror}") from reason


def _load(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError:
        raise CertificateError(f"{path} is no PEM certificate; replace it, or remove it to have one made") from None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError):
        raise CertificateError(f"{path} is no PEM key; remove it to have one made") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{path} holds no elliptic curve key; remove it to have one made")
    return key


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Replace a file as a whole: whoever reads it meanwhile sees the old one or the new one. Never readable wider."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
