"""The TLS side of the server: a context, and the task that keeps its certificate fresh while connections go on."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, NoReturn

import structlog

from webhook.certificates import CertificateError, Identity, identity
from webhook.settings import TlsSettings

_log: Final = structlog.get_logger(__name__)


def server_context(served: Identity) -> ssl.SSLContext:
    """A context for TLS 1.2 and newer.

    Raises:
        CertificateError: certificate and key do not belong together, or cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
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
