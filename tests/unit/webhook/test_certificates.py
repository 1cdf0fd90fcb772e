"""Certificates of our own making, and given ones."""

import ssl
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from webhook.certificates import CertificateError, identity
from webhook.settings import TlsSettings
from webhook.tls import server_context

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> TlsSettings:
    """An empty folder."""
    return TlsSettings(folder=tmp_path / "made", names=("svc.ns.svc", "10.0.0.1", "::1"))


def loaded(path: Path) -> x509.Certificate:
    """The certificate in a file."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_names_and_addresses_are_in_the_certificate(settings: TlsSettings) -> None:
    """An API server reaches the webhook by a Service's name, or by an address."""
    made = loaded(identity(settings, now=NOW).certificate)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["svc.ns.svc"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "::1"]


def test_bundle_is_the_issuer(settings: TlsSettings) -> None:
    """What goes into the registration is the CA that signed the serving certificate."""
    served = identity(settings, now=NOW)
    assert served.ca_bundle is not None
    loaded(served.certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(served.ca_bundle))


def test_clock_of_the_api_server_may_be_behind(settings: TlsSettings) -> None:
    """A certificate that begins this second is not yet valid elsewhere."""
    served = identity(settings, now=NOW)
    assert loaded(served.certificate).not_valid_before_utc <= NOW - timedelta(minutes=30)


def test_keys_are_private(settings: TlsSettings) -> None:
    """Nobody but the owner reads a key, at no time; the folder is closed too."""
    identity(settings, now=NOW)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in settings.folder.iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "tls.crt": 0o644, "tls.key": 0o600}
    assert stat.S_IMODE(settings.folder.stat().st_mode) == 0o700


def test_second_start_serves_the_same(settings: TlsSettings) -> None:
    """What is good is kept: the registration stays right over restarts."""
    first = identity(settings, now=NOW)
    before = first.certificate.read_bytes()
    assert identity(settings, now=NOW + timedelta(days=200)) == first
    assert first.certificate.read_bytes() == before


def test_renewed_in_time_under_the_same_ca(settings: TlsSettings) -> None:
    """After two thirds of its life a new one is made; clients that know the CA notice nothing."""
    first = identity(settings, now=NOW)
    second = identity(settings, now=NOW + timedelta(days=250))
    assert second.ends > first.ends
    assert second.ca_bundle == first.ca_bundle


def test_new_names_make_a_new_certificate(settings: TlsSettings) -> None:
    """A certificate for other names is of no use."""
    identity(settings, now=NOW)
    served = identity(replace(settings, names=("other",)), now=NOW)
    names = loaded(served.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["other"]


def test_ca_near_its_end_is_replaced_with_what_it_signed(settings: TlsSettings) -> None:
    """No certificate outlives its CA."""
    first = identity(settings, now=NOW)
    late = identity(settings, now=NOW + timedelta(days=3400))
    assert late.ca_bundle != first.ca_bundle
    assert late.ca_bundle is not None
    loaded(late.certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(late.ca_bundle))


@pytest.mark.parametrize("names", [("tls.crt",), ("tls.key",), ("tls.crt", "tls.key"), ("ca.key",)])
def test_mixed_up_files_are_made_anew(settings: TlsSettings, names: tuple[str, ...]) -> None:
    """A serving certificate of another CA, or without its key, is not served."""
    identity(settings, now=NOW)
    identity(replace(settings, folder=settings.folder / "other"), now=NOW)
    for name in names:
        (settings.folder / name).write_bytes((settings.folder / "other" / name).read_bytes())
    again = identity(settings, now=NOW)
    assert again.ca_bundle is not None
    loaded(again.certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(again.ca_bundle))
    server_context(again)


def test_nothing_half_written_is_left(settings: TlsSettings) -> None:
    """Files are replaced as a whole."""
    identity(settings, now=NOW)
    assert sorted(path.name for path in settings.folder.iterdir()) == ["ca.crt", "ca.key", "tls.crt", "tls.key"]


def test_given_files_are_served_as_they_are(settings: TlsSettings, tmp_path: Path) -> None:
    """With a certificate manager nothing is made here."""
    made = identity(settings, now=NOW)
    given = TlsSettings(certificate=made.certificate, key=made.key, folder=tmp_path / "unused")
    served = identity(given, now=NOW)
    assert (served.certificate, served.ca_bundle) == (made.certificate, None)
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (b"x", "is no PEM certificate")])
def test_bad_given_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    """The error says which file and what is wrong."""
    path = tmp_path / "tls.crt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CertificateError, match=f"tls.crt {message}"):
        identity(TlsSettings(certificate=path, key=path), now=NOW)


def test_key_of_another_certificate_is_refused(settings: TlsSettings) -> None:
    """A pair that does not fit is an error at the start, not at the first handshake."""
    served = identity(settings, now=NOW)
    with pytest.raises(CertificateError, match="cannot be served"):
        server_context(replace(served, key=settings.folder / "ca.key"))


def test_old_protocols_are_off(settings: TlsSettings) -> None:
    """TLS 1.2 is the oldest."""
    assert server_context(identity(settings, now=NOW)).minimum_version is ssl.TLSVersion.TLSv1_2
