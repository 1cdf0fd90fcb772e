"""The webhook as a server of its own: two sockets, a certificate that stays fresh, and an orderly stop."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog
from aiohttp import web

from allocator.listening import site
from webhook.app import HEALTH
from webhook.settings import ServerSettings
from webhook.tls import CertificateSource, Files, Served, empty_context

_log: Final = structlog.get_logger(__name__)
_REST: Final = 10.0
"""Seconds before a failed renewal is started again."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running server listens.

    Attributes:
        port: reviews, over TLS.
        metrics_port: Prometheus, plain HTTP.
        ca_bundle: PEM of the CA that a client needs; None: not known here.
        page_port: the web page, plain HTTP; None: it is off.
    """

    port: int
    metrics_port: int
    ca_bundle: bytes | None
    page_port: int | None = None


@asynccontextmanager
async def serving(
    app: web.Application,
    metrics: web.Application,
    settings: ServerSettings,
    *,
    certificates: CertificateSource | None = None,
    certified: Callable[[Served], None] = lambda _: None,
) -> AsyncIterator[Addresses]:
    """Serve both applications until left.

    On leaving, `/readyz` says no first; after `drain_seconds` no connection is accepted any more, and requests in
    flight have `finish_seconds` to end.

    Args:
        app: the webhook's application, or one of yours that has it mounted.
        metrics: served on the other port.
        settings: sockets and certificate.
        certificates: where the certificate comes from; None: the files that the settings name.
        certified: told of each certificate that is served.

    Raises:
        CertificateError: there is no certificate to serve with.
        OSError: a port is taken.
    """
    source = certificates or Files(settings.tls)
    context = empty_context()
    served = await source.first(context)
    main = web.AppRunner(
        app, access_log=None, shutdown_timeout=settings.finish_seconds, keepalive_timeout=settings.idle_seconds
    )
    side = web.AppRunner(metrics, access_log=None, shutdown_timeout=settings.finish_seconds)
    renewal = asyncio.create_task(_renew(source, context, certified))
    try:
        port = await _start(main, settings.host, settings.port, context)
        metrics_port = await _start(side, settings.metrics_host, settings.metrics_port, None)
        _log.info("serving", port=port, metrics_port=metrics_port, certificate_ends=served.ends.isoformat())
        yield Addresses(port=port, metrics_port=metrics_port, ca_bundle=served.ca_bundle)
        if HEALTH in app:
            app[HEALTH].draining = True
        _log.info("draining", seconds=settings.drain_seconds)
        await asyncio.sleep(settings.drain_seconds)
    finally:
        renewal.cancel()
        await main.cleanup()
        await side.cleanup()
        _log.info("stopped")


async def _renew(source: CertificateSource, context: ssl.SSLContext, certified: Callable[[Served], None]) -> NoReturn:
    """Renew for ever: a fault of ours must not come to light when the certificate ends, months later."""
    while True:
        try:
            await source.follow(context, certified)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged, and tried again
            _log.exception("certificate_renewal_failed")
        await asyncio.sleep(_REST)


async def _start(runner: web.AppRunner, host: str, port: int, context: ssl.SSLContext | None) -> int:
    """Listen; returns the port."""
    await runner.setup()
    await site(runner, host, port, tls=context).start()
    found: int = runner.addresses[0][1]
    return found
