"""What is done to the Secret with CA and certificate, decided from what it holds and the time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from webhook.custody import Action, Custody, carry_out, certificates, decide, read
from webhook.pki import SKEW, names_in, pem, signed_by
from webhook.settings import TlsSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TLS = TlsSettings(names=("svc.ns.svc",), lifetime_days=90, ca_lifetime_days=1000)
DAY = timedelta(days=1)


def made(*, now: datetime = NOW, tls: TlsSettings = TLS) -> Custody:
    """What the first replica writes."""
    return carry_out(Action.MAKE, None, named=(), now=now, tls=tls)


def again(found: Custody) -> Custody:
    """The same after it was stored and read."""
    result = read(found.to_data())
    assert result is not None
    return result


def due(found: Custody | None, *, now: datetime = NOW, settled: tuple[x509.Certificate, ...] = ()) -> Action:
    """What is to be done."""
    return decide(found, settled=settled, now=now, tls=TLS)


def step(found: Custody, action: Action, *, now: datetime) -> Custody:
    """Do what is due, which must be this."""
    settled = (found.following.certificate,) if found.following else ()
    assert due(found, now=now, settled=settled) is action
    return again(carry_out(action, found, named=found.trusted, now=now, tls=TLS))


def test_secret_is_read_as_written() -> None:
    """Nothing is lost on the way, and a whole Secret has no faults."""
    found = made()
    assert again(found).to_data() == found.to_data()
    assert again(found).faults == ()
    assert due(found) is Action.KEEP


@pytest.mark.parametrize("data", [None, {}])
def test_first_replica_makes_everything(data: dict[str, bytes] | None) -> None:
    """An empty Secret, as a manifest may bring it, is as good as none."""
    assert due(read(data) if data is not None else None) is Action.MAKE


def test_certificate_is_the_cas_and_for_our_names() -> None:
    """With the CA in the registration an API server believes it, by the Service's name."""
    found = made()
    assert found.serving is not None
    assert found.ca is not None
    assert signed_by(found.serving.certificate, found.ca)
    assert {one.value for one in names_in(found.serving.certificate)} == {"svc.ns.svc"}
    assert certificates(found.bundle) == [found.ca]


def test_clock_of_an_api_server_may_be_behind() -> None:
    """Both certificates begin an hour ago."""
    found = made()
    assert found.serving is not None
    assert found.ca is not None
    assert {one.not_valid_before_utc for one in (found.ca, found.serving.certificate)} == {NOW - SKEW}


def test_clock_of_who_made_it_may_be_ahead_of_ours() -> None:
    """A certificate that begins tomorrow by our clock is left alone: replicas must not fight over whose is right."""
    assert due(made(now=NOW + DAY)) is Action.KEEP


def test_renewed_in_its_last_third_by_the_same_ca() -> None:
    """Registrations need not change."""
    found = made()
    assert due(found, now=NOW + 59 * DAY) is Action.KEEP
    renewed = step(found, Action.REISSUE, now=NOW + 61 * DAY)
    assert renewed.ca == found.ca
    assert renewed.serving != found.serving
    assert due(renewed, now=NOW + 61 * DAY) is Action.KEEP


def test_missing_name_is_added_and_none_dropped() -> None:
    """Two versions that want different names settle on both, instead of taking turns."""
    found = made(tls=replace(TLS, names=("other.ns.svc",)))
    renewed = step(found, Action.REISSUE, now=NOW)
    assert renewed.serving is not None
    assert {one.value for one in names_in(renewed.serving.certificate)} == {"other.ns.svc", "svc.ns.svc"}


def test_ca_is_replaced_in_two_steps_before_it_gets_too_old() -> None:
    """The next CA is trusted first, signs when that has settled, and the former is trusted as long as it is needed."""
    late = NOW + 920 * DAY
    found = step(made(), Action.REISSUE, now=NOW + 880 * DAY)
    introduced = step(found, Action.INTRODUCE, now=late)
    assert introduced.serving == found.serving
    assert introduced.following is not None
    assert set(certificates(introduced.bundle)) == {found.ca, introduced.following.certificate}
    assert due(introduced, now=late) is Action.KEEP, "not settled yet"
    promoted = step(introduced, Action.PROMOTE, now=late)
    assert promoted.ca == introduced.following.certificate
    assert promoted.serving is not None
    assert signed_by(promoted.serving.certificate, promoted.ca)
    assert found.ca in promoted.trusted
    assert found.serving is not None
    assert promoted.former_until == found.serving.certificate.not_valid_after_utc
    forgotten = step(promoted, Action.FORGET, now=promoted.former_until)
    assert forgotten.trusted == (promoted.ca,)
    assert due(forgotten, now=promoted.former_until) is Action.KEEP


def test_certificate_never_outlives_its_ca() -> None:
    """Whatever it would like."""
    tls = replace(TLS, ca_lifetime_days=10)
    found = made(tls=tls)
    assert found.serving is not None
    assert found.ca is not None
    assert found.serving.certificate.not_valid_after_utc <= found.ca.not_valid_after_utc


def test_cluster_that_slept_for_years_starts_at_once() -> None:
    """Where everything has ended there is nothing to be careful about."""
    found = step(made(), Action.MAKE, now=NOW + 2000 * DAY)
    assert due(found, now=NOW + 2000 * DAY) is Action.KEEP


def test_serving_certificate_that_ended_is_made_anew_while_its_ca_lives() -> None:
    """Even by a CA too old to sign a whole life."""
    found = step(made(), Action.REISSUE, now=NOW + 990 * DAY)
    assert due(found, now=NOW + 990 * DAY) is Action.INTRODUCE


def broken(**changes: bytes | None) -> Custody:
    """A Secret with some of its content replaced or taken away."""
    data = {**made().to_data(), **{name.replace("_", "-").replace("0", "."): value for name, value in changes.items()}}
    result = read({name: value for name, value in data.items() if value is not None})
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("changes", "fault", "action"),
    [
        ({"tls0crt": None}, "`tls.crt` is missing", Action.REISSUE),
        ({"tls0crt": b"x"}, "`tls.crt` is no PEM certificate", Action.REISSUE),
        ({"tls0key": b"\xff"}, "`tls.key` is no PEM key", Action.REISSUE),
        ({"tls0crt": "tls.crt"}, "`tls.key` is not the key of `tls.crt`", Action.REISSUE),
        ({"tls0crt": "tls.crt", "tls0key": "tls.key"}, "`tls.crt` was not signed by `ca.crt`", Action.REISSUE),
        ({"ca0key": None}, "`ca.key` is missing", Action.INTRODUCE),
        ({"ca0key": "ca.key"}, "`ca.key` is not the key of `ca.crt`", Action.INTRODUCE),
        ({"ca0crt": b""}, "`ca.crt` is no PEM certificate", Action.MAKE),
        ({"ca0key": None, "tls0key": None}, "`ca.key` is missing", Action.MAKE),
        ({"former_ca0crt": b"x"}, "`former-ca.crt` is no PEM certificate", Action.KEEP),
    ],
)
def test_damage_is_named_and_mended(changes: dict[str, bytes | str | None], fault: str, action: Action) -> None:
    """As little as possible is made anew: what the CA can sign, the CA signs."""
    other = made().to_data()
    found = broken(**{key: other[value] if isinstance(value, str) else value for key, value in changes.items()})
    assert fault in found.faults
    assert due(found) is action


def test_lost_ca_key_is_replaced_without_a_gap() -> None:
    """The certificate that is served stays believed until the new CA is."""
    found = broken(ca0key=None)
    introduced = step(found, Action.INTRODUCE, now=NOW)
    assert introduced.serving == found.serving
    promoted = step(introduced, Action.PROMOTE, now=NOW)
    assert found.ca in promoted.trusted
    assert due(promoted) is Action.KEEP


def test_what_registrations_name_stays_trusted_when_everything_is_made_anew() -> None:
    """Replicas that run go on serving what they have."""
    before = made()
    assert before.ca is not None
    remade = carry_out(Action.MAKE, None, named=[before.ca], now=NOW, tls=TLS)
    assert before.ca in remade.trusted
    assert remade.former_until == NOW + 90 * DAY


def test_secret_of_another_format_is_not_written() -> None:
    """A newer version's, or somebody else's: served from where that is possible, and left alone."""
    data = {**made().to_data(), "format": b"2"}
    found = read(data)
    assert found is not None
    assert "'2'" in found.foreign
    assert found.serving is not None
    assert due(found, now=NOW + 5000 * DAY) is Action.KEEP
    stranger = read({"password": b"x"})
    assert stranger is not None
    assert due(stranger) is Action.KEEP


def test_odd_bundle_names_nobody() -> None:
    """A registration may hold anything."""
    assert certificates(b"") == []
    assert certificates(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n") == []
    found = made()
    assert found.ca is not None
    assert certificates(b"junk\n" + pem(found.ca)) == [found.ca]
