"""The server over real sockets: TLS, renewal, an orderly stop."""

import asyncio
import ssl
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import aiohttp
import pytest
from aiohttp import web

from allocator.controller import Granted, GrantRequest
from tests.unit.webhook.support import SETTINGS, FakeAllocator, gpu_pod
from tests.unit.webhook.test_app import asked
from webhook import create_app
from webhook.certificates import Identity, identity
from webhook.metrics import Metrics, metrics_app
from webhook.server import Addresses, serving
from webhook.settings import ServerSettings, TlsSettings
from webhook.tls import keep_fresh, server_context


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    """Free ports on loopback, a certificate of our own, no waiting at the stop."""
    tls = TlsSettings(folder=tmp_path, names=("localhost", "127.0.0.1"))
    return ServerSettings(host="127.0.0.1", port=0, metrics_host="127.0.0.1", metrics_port=0, drain_seconds=0, tls=tls)


def trusting(at: Addresses) -> ssl.SSLContext:
    """A client's context that trusts the server's CA and nothing else."""
    assert at.ca_bundle is not None
    return ssl.create_default_context(cadata=at.ca_bundle.decode())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_review_over_tls(settings: ServerSettings, host: str) -> None:
    """With the CA bundle alone a client believes the server, by name and by address."""
    app = create_app(SETTINGS, FakeAllocator())
    async with (
        serving(app, metrics_app(Metrics().registry), settings) as at,
        aiohttp.ClientSession() as session,
        session.post(f"https://{host}:{at.port}/mutate", json=asked(gpu_pod()), ssl=trusting(at)) as answer,
    ):
        assert (await answer.json())["response"]["allowed"]


async def test_old_tls_is_refused(settings: ServerSettings) -> None:
    """A client that speaks TLS 1.1 at best gets no connection."""
    app = create_app(SETTINGS, FakeAllocator())
    async with serving(app, metrics_app(Metrics().registry), settings) as at:
        context = trusting(at)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", at.port, ssl=context)


async def test_metrics_have_their_own_port(settings: ServerSettings) -> None:
    """Plain HTTP for Prometheus, and nothing of it where reviews come in."""
    app = create_app(SETTINGS, FakeAllocator())
    async with serving(app, metrics_app(Metrics().registry), settings) as at, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{at.metrics_port}/metrics") as answer:
            assert "vramshare_admissions" in await answer.text()
        async with session.get(f"https://127.0.0.1:{at.port}/metrics", ssl=trusting(at)) as answer:
            assert answer.status == 404


async def test_stop_is_announced_before_the_sockets_close(settings: ServerSettings) -> None:
    """A load balancer that asks meanwhile hears that no more is wanted, while reviews are still answered."""
    app = create_app(SETTINGS, FakeAllocator())
    heard = asyncio.Event()

    async def listener() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                answer = await session.get(f"https://127.0.0.1:{at.port}/readyz", ssl=trusting(at))
                if answer.status == 503:
                    heard.set()
                    return

    settings = replace(settings, drain_seconds=60)
    running = serving(app, metrics_app(Metrics().registry), settings)
    at = await running.__aenter__()
    asking = asyncio.create_task(listener())
    leaving = asyncio.create_task(running.__aexit__(None, None, None))
    await heard.wait()
    await asking
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving


class Slow(FakeAllocator):
    """An allocator that decides when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def grant(self, asked: GrantRequest) -> Granted:
        """Wait to be let."""
        self.begun.set()
        await self.go_on.wait()
        return await super().grant(asked)


async def when_closed(port: int, then: Callable[[], None]) -> None:
    """Do something as soon as nobody listens on a port any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            then()
            return
        writer.close()


async def test_request_in_flight_is_finished_at_a_stop(settings: ServerSettings) -> None:
    """The server stops listening, and the review that it holds is still answered."""
    allocator = Slow()
    app = create_app(SETTINGS, allocator)
    async with aiohttp.ClientSession() as session:
        async with serving(app, metrics_app(Metrics().registry), settings) as at:
            url = f"https://127.0.0.1:{at.port}/mutate"
            pending = asyncio.create_task(session.post(url, json=asked(gpu_pod()), ssl=trusting(at)))
            await allocator.begun.wait()
            closing = asyncio.create_task(when_closed(at.port, allocator.go_on.set))
        await closing
        answer = await pending
        assert (await answer.json())["response"]["allowed"]
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"https://127.0.0.1:{at.port}/healthz", ssl=trusting(at))


async def test_taken_port_is_an_error(settings: ServerSettings) -> None:
    """Whoever starts it hears of it, and nothing is left running."""
    apps = [create_app(SETTINGS, FakeAllocator()) for _ in range(2)]
    async with serving(apps[0], metrics_app(Metrics().registry), settings) as at:
        taken = ServerSettings(
            host="127.0.0.1", port=at.port, metrics_host="127.0.0.1", metrics_port=0, tls=settings.tls
        )
        with pytest.raises(OSError, match="in use"):
            async with serving(apps[1], web.Application(), taken):
                pass


class EndedError(Exception):
    """Stops a loop that goes on for ever."""


async def test_exchanged_certificate_is_served_without_a_restart(settings: ServerSettings) -> None:
    """A renewed Secret is noticed; new connections get the new certificate."""
    tls = settings.tls
    context = server_context(identity(tls, now=datetime.now(UTC)))
    seen: list[Identity] = []
    rounds = 0

    async def sleep(_: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            for name in ("tls.crt", "tls.key"):
                (tls.folder / name).unlink()
        if rounds == 4:
            raise EndedError

    async def forever() -> NoReturn:
        await keep_fresh(context, tls, changed=seen.append, sleep=sleep)

    with pytest.raises(EndedError):
        await forever()
    assert len(seen) == 2, "served at the start and after the exchange, and not announced in between"


async def test_broken_exchange_leaves_the_old_certificate_in_service(settings: ServerSettings) -> None:
    """A file that is half there now is whole the next time."""
    tls = settings.tls
    made = identity(tls, now=datetime.now(UTC))
    context = server_context(made)
    given = TlsSettings(certificate=made.certificate, key=made.key)
    seen: list[Identity] = []
    good = made.certificate.read_bytes()
    rounds = 0

    async def sleep(_: float) -> None:
        nonlocal rounds
        rounds += 1
        made.certificate.write_bytes(b"half" if rounds == 1 else good)
        if rounds == 3:
            raise EndedError

    with pytest.raises(EndedError):
        await keep_fresh(context, given, changed=seen.append, sleep=sleep)
    assert len(seen) == 1
