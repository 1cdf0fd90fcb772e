"""Keeps a replica's certificate, the Secret that all share, and the registrations' caBundle in step.

Decisions are `webhook.custody`'s. Here is the order in which things are read and written, which is what keeps
replicas that know different pasts from undoing each other's work:

1. registrations, then the Secret: whoever adds a CA writes the Secret first, so a Secret read later knows at least
   the CAs that a registration read earlier named;
2. the Secret is written by compare-and-swap;
3. registrations are written only as they were read: who was asleep meanwhile fails and looks again;
4. a certificate is loaded when all registrations have long named its CA, or when there is nothing better.
"""

import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn, Protocol

import structlog
from cryptography import x509

from allocator.api.errors import VramshareError
from allocator.controller import Clock, Registration, Stored
from webhook.certificates import CertificateError
from webhook.custody import Action, Custody, carry_out, certificates, decide, read
from webhook.pki import Pair, key_pem, pem
from webhook.settings import TlsSettings

_log: Final = structlog.get_logger(__name__)
_ATTEMPTS: Final = 8
"""How often one step looks again because somebody was faster."""
_RETRY: Final = 2.0
"""Seconds until the next attempt after a failure."""
_TENTH_OF_A_DAY: Final = 8640.0
"""Seconds. Ten looks in a certificate's life are enough never to miss its last third."""
_REST: Final = 0.5
"""Seconds between two steps at least: somebody who resets the caBundle again and again must not keep us busy."""


class Keep(Protocol):
    """Where Secret and registrations are: `allocator.controller.Vault`."""

    namespace: str
    name: str

    async def registrations(self) -> list[Registration]:
        """The registrations that exist."""

    async def stored(self) -> Stored | None:
        """The Secret."""

    async def store(self, data: dict[str, bytes], *, version: str | None) -> bool:
        """Compare and swap the Secret."""

    async def trust(self, found: Registration, bundle: bytes) -> bool:
        """Compare and swap a registration's caBundle."""

    async def changed(self, *, within: float) -> None:
        """Wait for a change, at most so long."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What is served.

    Attributes:
        certificate: the serving certificate.
        ca: who signed it.
        ca_bundle: PEM of all CAs that clients must know.
    """

    certificate: x509.Certificate
    ca: x509.Certificate
    ca_bundle: bytes

    @property
    def ends(self) -> datetime:
        """When it expires."""
        return self.certificate.not_valid_after_utc


class Keeper:
    """One replica's."""

    def __init__(self, keep: Keep, tls: TlsSettings, *, clock: Clock) -> None:
        """Prepare.

        Args:
            keep: access to Secret and registrations.
            tls: names, lifetimes, waits.
            clock: time.
        """
        self._keep = keep
        self._tls = tls
        self._clock = clock
        self._named: dict[x509.Certificate, float] = {}
        self._faults: tuple[str, ...] = ()
        self.holding: Holding | None = None

    async def first(self, context: ssl.SSLContext) -> Holding:
        """Serve something. Goes on trying until it can: without the API server there is no pod to admit either."""
        while True:
            try:
                await self.step(context)
            except VramshareError as reason:
                _log.warning("certificate_not_ready", error=str(reason))
            if self.holding is not None:
                return self.holding
            await self._clock.sleep(_RETRY)

    async def follow(self, context: ssl.SSLContext, changed: Callable[[Holding], None]) -> NoReturn:
        """Keep everything in step for ever; what is served goes on whatever fails."""
        told: Holding | None = None
        while True:
            try:
                await self.step(context)
                wait = min(self._tls.reload_seconds, self._tls.lifetime_days * _TENTH_OF_A_DAY, *self._settling())
            except VramshareError as reason:
                _log.warning("certificate_not_renewed", error=str(reason))
                wait = _RETRY
            if self.holding is not None and self.holding != told:
                told = self.holding
                changed(told)
            await self._clock.sleep(_REST)
            await self._keep.changed(within=wait)

    async def step(self, context: ssl.SSLContext) -> None:
        """Look at everything once, and do what is due.

        Raises:
            CertificateError: the Secret cannot be served from, or keeps changing under our hands.
            KubeError: the API server cannot be asked, or forbids it.
        """
        for _ in range(_ATTEMPTS):
            registrations = await self._keep.registrations()
            named = self._note(registrations)
            stored = await self._keep.stored()
            found = read(stored.data) if stored else None
            self._tell(found)
            now = self._clock.now()
            action = decide(found, settled=self._settled(), now=now, tls=self._tls)
            if action is Action.KEEP:
                break
            wanted = carry_out(action, found, named=named, now=now, tls=self._tls)
            if await self._keep.store(wanted.to_data(), version=stored.version if stored else None):
                _log.info("certificates_changed", what=action.value, secret=self._place)
                found = wanted
                break
        else:
            raise CertificateError(f"{self._place} changed {_ATTEMPTS} times while it was being looked at")
        if found is None:
            raise CertificateError(f"{self._place} holds nothing to serve")
        if not found.foreign:
            await self._spread(registrations, found.bundle)
        self._serve(context, found)

    @property
    def _place(self) -> str:
        return f"Secret {self._keep.namespace}/{self._keep.name}"

    def _note(self, registrations: Sequence[Registration]) -> list[x509.Certificate]:
        """Remember since when every registration has named which CA; returns the CAs that any of them names."""
        bundles = [frozenset(certificates(bundle)) for one in registrations for bundle in one.bundles]
        everywhere = frozenset.intersection(*bundles) if bundles else frozenset()
        now = self._clock.monotonic()
        self._named = {one: self._named.get(one, now) for one in everywhere}
        return list(dict.fromkeys(one for bundle in bundles for one in bundle))

    def _settled(self) -> list[x509.Certificate]:
        """The CAs that all registrations have named for long enough."""
        since = self._clock.monotonic() - self._tls.settle_seconds
        return [one for one, first in self._named.items() if first <= since]

    def _settling(self) -> list[float]:
        """In how many seconds further CAs will have been named for long enough."""
        left = [first + self._tls.settle_seconds - self._clock.monotonic() for first in self._named.values()]
        return [seconds for seconds in left if seconds > 0] or [self._tls.reload_seconds]

    def _tell(self, found: Custody | None) -> None:
        """Say what is wrong with the Secret, once."""
        faults = () if found is None else (*found.faults, *([found.foreign] if found.foreign else []))
        if faults and faults != self._faults:
            _log.error(
                "certificate_secret_damaged",
                secret=self._place,
                faults=list(faults),
                remedy=f"if it does not mend itself: kubectl -n {self._keep.namespace} delete secret {self._keep.name}",
            )
        self._faults = faults

    async def _spread(self, registrations: Sequence[Registration], bundle: bytes) -> None:
        """Have every registration name exactly our CAs."""
        for one in registrations:
            if any(found != bundle for found in one.bundles) and await self._keep.trust(one, bundle):
                _log.info("ca_bundle_written", registration=one.name)

    def _serve(self, context: ssl.SSLContext, found: Custody) -> None:
        """Load the Secret's certificate, unless what is loaded is the same or better for now."""
        if found.serving is None or found.ca is None:
            why = found.foreign or "; ".join(found.faults)
            remedy = "delete it to have it made anew, or give --cert and --key"
            raise CertificateError(f"{self._place} cannot be served from: {why}; {remedy}")
        held = self.holding
        offered = Holding(found.serving.certificate, found.ca, found.bundle)
        if held is not None and held.certificate == offered.certificate:
            self.holding = offered
            return
        if held is not None and self._better(held, offered):
            return
        load_pair(context, found.serving)
        self.holding = offered
        _log.info("certificate_served", ends=offered.ends.isoformat())

    def _better(self, held: Holding, offered: Holding) -> bool:
        """Whether what is loaded is believed by every API server, and what is offered perhaps not yet."""
        believed = held.ca in self._named and held.ends > self._clock.now()
        return believed and held.ca != offered.ca and offered.ca not in self._settled()


def load_pair(context: ssl.SSLContext, pair: Pair) -> None:
    """Serve new connections with this certificate; its key never reaches a disk.

    Raises:
        CertificateError: the TLS library does not take it.
    """
    with _memory_file(pem(pair.certificate) + key_pem(pair.key)) as path:
        try:
            context.load_cert_chain(path)
        except (OSError, ssl.SSLError) as reason:
            raise CertificateError(f"the certificate in the Secret cannot be served: {reason}") from reason


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """A path of a file that exists in memory alone: the TLS library reads certificates from paths only."""
    descriptor = os.memfd_create("vramshare-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
