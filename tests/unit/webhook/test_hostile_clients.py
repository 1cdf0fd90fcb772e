"""Clients that break off, stall, lie about their length or speak no TLS: they get what they asked for, others go on."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from tests.unit.webhook.support import SETTINGS, FakeAllocator, gpu_pod
from tests.unit.webhook.test_app import asked
from webhook import create_app
from webhook.metrics import Metrics, metrics_app
from webhook.server import Addresses, serving
from webhook.settings import ServerSettings, TlsSettings

IMPATIENT = replace(SETTINGS, admission=replace(SETTINGS.admission, deadline=0.3, body_limit=10_000))


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Addresses]:
    """A webhook that waits 0.3 s for a body of at most 10,000 bytes."""
    tls = TlsSettings(folder=tmp_path)
    settings = ServerSettings(
        host="127.0.0.1", port=0, metrics_host="127.0.0.1", metrics_port=0, drain_seconds=0, finish_seconds=1, tls=tls
    )
    app = create_app(IMPATIENT, FakeAllocator())
    async with serving(app, metrics_app(Metrics().registry), settings) as found:
        yield found


def trusting(at: Addresses) -> ssl.SSLContext:
    """A client's context."""
    assert at.ca_bundle is not None
    return ssl.create_default_context(cadata=at.ca_bundle.decode())


async def answers(at: Addresses) -> bool:
    """Whether an honest client is served."""
    url = f"https://127.0.0.1:{at.port}/mutate"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=asked(gpu_pod()), ssl=trusting(at)) as answer,
    ):
        return bool((await answer.json())["response"]["allowed"])


async def test_few_large_bodies_are_held_at_a_time(tmp_path: Path) -> None:
    """Some that are announced and do not come keep another large one waiting, and nobody else."""
    settings = ServerSettings(
        host="127.0.0.1",
        port=0,
        metrics_host="127.0.0.1",
        metrics_port=0,
        drain_seconds=0,
        finish_seconds=1,
        tls=TlsSettings(folder=tmp_path),
    )
    app = create_app(replace(SETTINGS, admission=replace(SETTINGS.admission, deadline=60)), FakeAllocator())
    async with serving(app, metrics_app(Metrics().registry), settings) as at:
        writers = [(await asyncio.open_connection("127.0.0.1", at.port, ssl=trusting(at)))[1] for _ in range(4)]
        for writer in writers:
            writer.write(posting(2_000_000))
            await writer.drain()
        assert await answers(at)
        large = asyncio.create_task(spoken(at, posting(2_000_000) + b" " * 2_000_000))
        for _ in range(10):
            assert await answers(at)
        assert not large.done()
        for writer in writers:
            writer.transport.abort()
        assert (await large).split(b" ")[1] == b"200"


async def spoken(at: Addresses, said: bytes, *, hang_up: bool = False) -> bytes:
    """What the server says to a client that says this over TLS and then waits, or hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", at.port, ssl=trusting(at))
    writer.write(said)
    await writer.drain()
    if hang_up:
        writer.transport.abort()
        return b""
    try:
        async with asyncio.timeout(60):
            return await reader.read(400)
    finally:
        writer.transport.abort()


def posting(length: int, content_type: str = "application/json") -> bytes:
    """The head of a request."""
    return (
        f"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n".encode()
    )


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (posting(100) + b"{", b"408"),
        (posting(70_000), b"413"),
        (posting(2, "text/plain") + b"{}", b"415"),
        (posting(2, "application/x-www-form-urlencoded") + b"{}", b"415"),
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"GET /mutate HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"POST /elsewhere HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"404"),
        (posting(2).replace(b"Content-Length: 2", b"Content-Length: two") + b"{}", b"400"),
    ],
    ids=["stalled", "oversized", "text", "form", "nonsense", "get", "elsewhere", "odd-length"],
)
async def test_bad_request_is_refused_and_others_go_on(at: Addresses, said: bytes, status: bytes) -> None:
    """With the status that says why, never a fault of the server."""
    assert (await spoken(at, said)).split(b" ")[1] == status
    assert await answers(at)


async def test_chunks_over_the_limit_are_refused(at: Addresses) -> None:
    """Also of a client that does not say beforehand how much will come."""
    head = posting(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    assert (await spoken(at, head + b"4000\r\n" + b"x" * 0x4000 + b"\r\n")).split(b" ")[1] == b"413"
    assert await answers(at)


async def test_many_clients_that_hang_up_in_the_middle(at: Addresses) -> None:
    """An API server that is restarted leaves many such."""
    await asyncio.gather(*(spoken(at, posting(100) + b"{" * (number % 50), hang_up=True) for number in range(100)))
    assert await answers(at)


@pytest.mark.parametrize(
    "hello", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_broken_off_handshakes(at: Addresses, hello: bytes) -> None:
    """Port scanners and load balancers' checks: a connection, half a hello, or no TLS at all."""
    for number in range(50):
        _, writer = await asyncio.open_connection("127.0.0.1", at.port)
        writer.write(hello)
        if number % 2:
            writer.transport.abort()
        else:
            writer.close()
    assert await answers(at)


async def test_client_without_trust_in_our_ca(at: Addresses) -> None:
    """Its own mistake, which ends its own handshake."""
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", at.port, ssl=ssl.create_default_context())
    assert await answers(at)


async def test_silent_connections_keep_nobody_out(at: Addresses) -> None:
    """Two hundred that stall in their handshake or in their first line."""
    held = [await asyncio.open_connection("127.0.0.1", at.port) for _ in range(100)]
    held += [await asyncio.open_connection("127.0.0.1", at.port, ssl=trusting(at)) for _ in range(100)]
    for _, writer in held[100:]:
        writer.write(b"POST /mut")
    assert await answers(at)
    for _, writer in held:
        writer.transport.abort()
