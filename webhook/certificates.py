"""A CA and a serving certificate of our own, for clusters without a certificate manager.

The CA is kept, so that the registration of the webhook need not change when the serving certificate is renewed.
Replicas behind one Service need one CA between them: they keep theirs in a Secret (`webhook.custody`).
"""

import os
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from allocator.api.errors import VramshareError
from webhook.pki import (
    Pair,
    alternatives,
    belong_together,
    key_pem,
    make_authority,
    make_serving,
    names_in,
    pem,
    signed_by,
)
from webhook.settings import TlsSettings

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
        ca = make_authority(now=now, lifetime=timedelta(days=settings.ca_lifetime_days))
        _write(ca_key_file, key_pem(ca.key), mode=_PRIVATE)
        _write(ca_file, pem(ca.certificate), mode=_PUBLIC)
    serving = _kept_serving(folder, ca.certificate, settings, until=now + lifetime / 3)
    if serving is None:
        made = make_serving(ca, names=settings.names, lifetime=lifetime, now=now)
        _write(key_file, key_pem(made.key), mode=_PRIVATE)
        _write(certificate_file, pem(made.certificate), mode=_PUBLIC)
        serving = made.certificate
    return Identity(certificate_file, key_file, _read(ca_file), serving.not_valid_after_utc)


def _kept_authority(certificate_file: Path, key_file: Path, *, until: datetime) -> Pair | None:
    """The CA in the folder; None if there is none, or it would expire before what it signs now."""
    if not (certificate_file.exists() and key_file.exists()):
        return None
    certificate, key = _load(certificate_file), _load_key(key_file)
    fits = belong_together(certificate, key) and certificate.not_valid_after_utc > until
    return Pair(certificate, key) if fits else None


def _kept_serving(
    folder: Path, ca: x509.Certificate, settings: TlsSettings, *, until: datetime
) -> x509.Certificate | None:
    """The serving certificate in the folder; None if it is missing, of another CA or key, for other names, or old."""
    certificate_file, key_file = folder / "tls.crt", folder / "tls.key"
    if not (certificate_file.exists() and key_file.exists()):
        return None
    certificate, key = _load(certificate_file), _load_key(key_file)
    fits = (
        signed_by(certificate, ca)
        and belong_together(certificate, key)
        and names_in(certificate) == alternatives(settings.names)
        and certificate.not_valid_after_utc > until
    )
    return certificate if fits else None


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
