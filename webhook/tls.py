"""The TLS side of the server: a context, and the task that keeps its certificate fresh while connections go on."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, NoReturn, Protocol

import structlog

from webhook.certificates import CertificateError, Identity, identity
from webhook.settings import TlsSettings

_log: Final = structlog.get_logger(__name__)


class Served(Protocol):
    """What is known of a certificate in use."""

    @property
    def ends(self) -> datetime:
        """When it expires."""

    @property
    def ca_bundle(self) -> bytes | None:
        """PEM of the CAs that clients need; None: not known here."""


class CertificateSource(Protocol):
    """Where the server gets its certificate from."""

    async def first(self, context: ssl.SSLContext) -> Served:
        """Load one."""

    async def follow(self, context: ssl.SSLContext, changed: Callable[[Served], None]) -> NoReturn:
        """Load renewed ones for ever; `changed` is told of each that is served, the first one included."""


class Files:
    """Certificates in files: given ones, or self-made ones in a folder."""

    def __init__(self, settings: TlsSettings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._now = now

    async def first(self, context: ssl.SSLContext) -> Identity:
        """Load what is there, or make it.

        Raises:
            CertificateError: there is nothing to serve with.
        """
        served = await asyncio.to_thread(identity, self._settings, now=self._now())
        load(context, served)
        return served

    async def follow(self, context: ssl.SSLContext, changed: Callable[[Served], None]) -> NoReturn:
        """Look for renewed files for ever."""
        await keep_fresh(context, self._settings, changed=changed, now=self._now)


def empty_context() -> ssl.SSLContext:
    """A context for TLS 1.2 and newer, without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def server_context(served: Identity) -> ssl.SSLContext:
    """A context for TLS 1.2 and newer that serves this certificate.

    Raises:
        CertificateError: certificate and key do not belong together, or cannot be read.
    """
    context = empty_context()
    load(context, served)
    return context


def load(context: ssl.SSLContext, served: Identity) -> None:
    """Serve new connections with this certificate from now on; present ones keep theirs.

    Raises:
        CertificateError: certificate and key do not belong together, or cannot be read.
    """
    try:
        context.load_cert_chain(served.certificate, served.key)
    except (OSError, ssl.SSLError) as reason:
        raise CertificateError(f"{served.certificate} and {served.key} cannot be served: {reason}") from reason


async def keep_fresh(
    context: ssl.SSLContext,
    settings: TlsSettings,
    *,
    changed: Callable[[Identity], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NoReturn:
    """Look for a renewed certificate for ever; make one where it is ours to make.

    Args:
        context: used by the server.
        settings: where certificates come from, and how often to look.
        changed: told of every certificate served from now on.
        now: the time.
        sleep: waits so many seconds.
    """
    before: tuple[bytes, bytes] | None = None
    while True:
        try:
            served = await asyncio.to_thread(identity, settings, now=now())
            content = await asyncio.to_thread(_content, served)
            if content != before:
                load(context, served)
                before = content
                changed(served)
        except (CertificateError, OSError) as reason:
            # A Secret is being exchanged, or somebody made a mistake: what was loaded last goes on.
            _log.warning("certificate_not_renewed", error=str(reason))
        await sleep(settings.reload_seconds)


def _content(served: Identity) -> tuple[bytes, bytes]:
    return served.certificate.read_bytes(), served.key.read_bytes()
