"""CA and serving certificate in one Secret, shared by all replicas: what to do next. Pure.

The Secret holds `ca.crt`, `ca.key`, `tls.crt`, `tls.key`; while the CA is being replaced `next-ca.crt`, `next-ca.key`;
afterwards `former-ca.crt` with `former-until`. What API servers must trust is all of these CAs together.

One rule makes every exchange unnoticed: *what the Secret calls `tls.crt` is trusted before it is served.* So a new CA
is first introduced, signs nothing until every registration has named it for the settling time, and only then takes
over; the former one stays trusted until the last certificate that it signed has ended. A replica that was cut off
for days and still serves an old certificate is believed as long as that certificate itself is good.

Every step is one compare-and-swap on the Secret. Replicas that decide at the same time decide the same, one of them
is first, and the others see what it wrote.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

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

FORMAT: Final = "1"
"""Of the Secret. A Secret of another format is served from and never written."""


class Action(Enum):
    """What has to be done to the Secret."""

    KEEP = "nothing"
    MAKE = "a CA and a certificate are made"
    REISSUE = "a new serving certificate of the same CA is made"
    INTRODUCE = "the next CA is made, to be trusted before it signs"
    PROMOTE = "the next CA takes over"
    FORGET = "the former CA is trusted no longer: what it signed has ended"


@dataclass(frozen=True, slots=True)
class Custody:
    """What the Secret holds, as far as it can be read.

    Attributes:
        ca: certificate of the CA in office.
        ca_key: its key; None: lost.
        serving: what replicas serve.
        following: the CA that will take over.
        former: CAs that signed certificates which may still be in use.
        former_until: when the last of those has ended.
        faults: what cannot be read, one sentence each.
        foreign: why nobody of us may write it; empty: we may.
    """

    ca: x509.Certificate | None = None
    ca_key: ec.EllipticCurvePrivateKey | None = None
    serving: Pair | None = None
    following: Pair | None = None
    former: tuple[x509.Certificate, ...] = ()
    former_until: datetime | None = None
    faults: tuple[str, ...] = ()
    foreign: str = ""

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        """The CAs that registrations must name."""
        found = (self.ca, self.following.certificate if self.following else None, *self.former)
        return tuple(dict.fromkeys(one for one in found if one is not None))

    @property
    def bundle(self) -> bytes:
        """They, as `caBundle`."""
        return b"".join(pem(one) for one in self.trusted)

    def to_data(self) -> dict[str, bytes]:
        """The Secret's data."""
        data = {"format": FORMAT.encode()}
        if self.ca:
            data["ca.crt"] = pem(self.ca)
        if self.ca_key:
            data["ca.key"] = key_pem(self.ca_key)
        if self.serving:
            data |= {"tls.crt": pem(self.serving.certificate), "tls.key": key_pem(self.serving.key)}
        if self.following:
            data |= {"next-ca.crt": pem(self.following.certificate), "next-ca.key": key_pem(self.following.key)}
        if self.former and self.former_until:
            data["former-ca.crt"] = b"".join(pem(one) for one in self.former)
            data["former-until"] = self.former_until.astimezone(UTC).isoformat(timespec="seconds").encode()
        return data


def read(data: Mapping[str, bytes]) -> Custody | None:
    """What a Secret's data says; None where it is empty. Never fails: what is unreadable is named in `faults`."""
    if not data:
        return None
    if (found := data.get("format", b"").decode(errors="replace")) != FORMAT:
        why = f"its `format` is {found!r}, not {FORMAT!r}: another version's, or not vramshare's"
        return Custody(serving=_pair(data, "tls", []), ca=_certificate(data, "ca.crt", []), foreign=why)
    faults: list[str] = []
    ca, ca_key = _certificate(data, "ca.crt", faults), _key(data, "ca.key", faults)
    if ca and ca_key and not belong_together(ca, ca_key):
        faults.append("`ca.key` is not the key of `ca.crt`")
        ca_key = None
    serving = _pair(data, "tls", faults)
    if serving and ca and not signed_by(serving.certificate, ca):
        faults.append("`tls.crt` was not signed by `ca.crt`")
        serving = None
    former = tuple(certificates(data.get("former-ca.crt", b"")))
    if data.get("former-ca.crt") and not former:
        faults.append("`former-ca.crt` is no PEM certificate")
    until = _moment(data, "former-until", faults) if former else None
    return Custody(
        ca=ca,
        ca_key=ca_key,
        serving=serving,
        following=_pair(data, "next-ca", faults) if "next-ca.crt" in data else None,
        former=former,
        former_until=until or (max(one.not_valid_after_utc for one in former) if former else None),
        faults=tuple(faults),
    )


def decide(found: Custody | None, *, settled: Iterable[x509.Certificate], now: datetime, tls: TlsSettings) -> Action:
    """What to do to the Secret.

    Args:
        found: what it holds; None: nothing, or it does not exist.
        settled: the CAs that every registration has named for the settling time.
        now: the time.
        tls: names and lifetimes.
    """
    if found is not None and found.foreign:
        return Action.KEEP
    if found is None or found.ca is None or (found.serving is None and found.ca_key is None):
        return Action.MAKE
    left = found.ca.not_valid_after_utc - now
    return (
        _serving_due(found, left, now=now, tls=tls)
        or _authority_due(found, left, settled=settled, now=now, tls=tls)
        or (Action.FORGET if found.former_until is not None and found.former_until <= now else Action.KEEP)
    )


def _serving_due(found: Custody, left: timedelta, *, now: datetime, tls: TlsSettings) -> Action | None:
    """What is served must be good, and stay so for a third of its life. Comes before anything that can wait."""
    served = found.serving.certificate if found.serving else None
    if served is not None and _good(served, now=now, tls=tls):
        return None
    ended = served is None or served.not_valid_after_utc <= now
    if found.ca_key is not None and (left > timedelta(days=tls.lifetime_days) / 3 or (ended and left > timedelta())):
        return Action.REISSUE
    return Action.MAKE if ended else None


def _authority_due(
    found: Custody, left: timedelta, *, settled: Iterable[x509.Certificate], now: datetime, tls: TlsSettings
) -> Action | None:
    """A CA that has lost its key, or cannot sign a whole life any more, is replaced in two steps."""
    lifetime = timedelta(days=tls.lifetime_days)
    if found.ca_key is not None and left >= lifetime:
        return None
    coming = found.following.certificate if found.following else None
    if coming is None or coming.not_valid_after_utc < now + lifetime:
        return Action.INTRODUCE
    return Action.PROMOTE if coming in settled else None


def carry_out(
    action: Action,
    found: Custody | None,
    *,
    named: Iterable[x509.Certificate],
    now: datetime,
    tls: TlsSettings,
) -> Custody:
    """What the Secret has to hold afterwards.

    Args:
        action: as decided.
        found: what it holds.
        named: the CAs that registrations name now; kept where the Secret cannot tell which were in use.
        now: the time.
        tls: names and lifetimes.
    """
    old = found or Custody()
    lifetime, ca_lifetime = timedelta(days=tls.lifetime_days), timedelta(days=tls.ca_lifetime_days)
    match action:
        case Action.MAKE:
            ca = make_authority(now=now, lifetime=ca_lifetime)
            former = tuple(dict.fromkeys(one for one in (*old.trusted, *named) if one.not_valid_after_utc > now))
            return Custody(
                ca=ca.certificate,
                ca_key=ca.key,
                serving=make_serving(ca, names=tls.names, lifetime=lifetime, now=now),
                former=former,
                former_until=now + lifetime if former else None,
            )
        case Action.REISSUE if old.ca and old.ca_key:
            names = _names(old, tls)
            serving = make_serving(Pair(old.ca, old.ca_key), names=names, lifetime=lifetime, now=now)
            return _with(old, serving=serving)
        case Action.INTRODUCE:
            return _with(old, following=make_authority(now=now, lifetime=ca_lifetime))
        case Action.PROMOTE if old.ca and old.following:
            last = old.serving.certificate.not_valid_after_utc if old.serving else now
            return Custody(
                ca=old.following.certificate,
                ca_key=old.following.key,
                serving=make_serving(old.following, names=_names(old, tls), lifetime=lifetime, now=now),
                former=(old.ca, *old.former),
                former_until=max(last, old.former_until or last),
            )
        case Action.FORGET:
            return Custody(old.ca, old.ca_key, old.serving, old.following)
        case _:
            return old


def certificates(bundle: bytes) -> list[x509.Certificate]:
    """The certificates in a bundle; what is none is passed over."""
    try:
        return x509.load_pem_x509_certificates(bundle)
    except ValueError:
        return []


def _with(old: Custody, *, serving: Pair | None = None, following: Pair | None = None) -> Custody:
    return Custody(
        ca=old.ca,
        ca_key=old.ca_key,
        serving=serving or old.serving,
        following=following or old.following,
        former=old.former,
        former_until=old.former_until,
    )


def _good(certificate: x509.Certificate, *, now: datetime, tls: TlsSettings) -> bool:
    """Whether it is for our names and lives for another third of a life.

    One that begins in the future is good: the clock of whoever made it, and that of the API server, count for more.
    """
    left = certificate.not_valid_after_utc - now
    return alternatives(tls.names) <= names_in(certificate) and left > timedelta(days=tls.lifetime_days) / 3


def _names(found: Custody, tls: TlsSettings) -> list[str]:
    """Ours and those in use: replicas of two versions that want different names must not take turns at it."""
    used = names_in(found.serving.certificate) if found.serving else frozenset()
    return sorted({*tls.names, *(str(one.value) for one in used)})


def _certificate(data: Mapping[str, bytes], key: str, faults: list[str]) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(data[key])
    except KeyError:
        faults.append(f"`{key}` is missing")
    except ValueError:
        faults.append(f"`{key}` is no PEM certificate")
    return None


def _key(data: Mapping[str, bytes], name: str, faults: list[str]) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(data[name], password=None)
    except KeyError:
        faults.append(f"`{name}` is missing")
        return None
    except (ValueError, TypeError):
        faults.append(f"`{name}` is no PEM key")
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        faults.append(f"`{name}` is no elliptic curve key")
        return None
    return key


def _pair(data: Mapping[str, bytes], name: str, faults: list[str]) -> Pair | None:
    certificate, key = _certificate(data, f"{name}.crt", faults), _key(data, f"{name}.key", faults)
    if certificate is None or key is None:
        return None
    if not belong_together(certificate, key):
        faults.append(f"`{name}.key` is not the key of `{name}.crt`")
        return None
    return Pair(certificate, key)


def _moment(data: Mapping[str, bytes], name: str, faults: list[str]) -> datetime | None:
    try:
        found = datetime.fromisoformat(data[name].decode())
    except (KeyError, ValueError):
        faults.append(f"`{name}` is no time")
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
