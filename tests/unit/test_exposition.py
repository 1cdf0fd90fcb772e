"""The HTTP side of metrics, over real sockets."""

import asyncio
from collections.abc import Iterator

import aiohttp
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from allocator.exposition import Scrapes, exposed, metrics_app, new_registry
from tests.unit.kube.clockwork import ManualClock


async def got(port: int, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, text and content encoding of an answer."""
    async with (
        aiohttp.ClientSession(auto_decompress=True) as session,
        session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.text(), answer.headers.get("Content-Encoding", "")


async def test_scrape_and_health() -> None:
    """Two paths and no more."""
    async with exposed(metrics_app(new_registry("agent")), host="127.0.0.1", port=0) as port:
        status, text, _ = await got(port, "/metrics")
        assert status == 200
        assert 'vramshare_build_info{component="agent",version="' in text
        assert "process_resident_memory_bytes" in text
        assert (await got(port, "/healthz"))[:2] == (200, "ok\n")
        assert (await got(port, "/"))[0] == 404


async def test_long_answers_are_packed_for_those_who_take_them_so() -> None:
    """And read the same."""
    registry = CollectorRegistry()
    many = Gauge("vramshare_test_bytes", "Many.", ["pod"], registry=registry)
    for number in range(1000):
        many.labels(f"pod-{number}").set(number)
    async with exposed(metrics_app(registry), host="127.0.0.1", port=0) as port:
        _, plain, coding = await got(port, "/metrics", **{"Accept-Encoding": "identity"})
        assert coding == ""
        _, packed, coding = await got(port, "/metrics", **{"Accept-Encoding": "gzip"})
        assert coding == "gzip"
        assert plain == packed
        assert 'vramshare_test_bytes{pod="pod-999"} 999.0' in plain


class Slow(Collector):
    """Takes a second of the clock to collect, and counts how often it did."""

    def __init__(self, clock: ManualClock) -> None:
        self.times = 0
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """One gauge."""
        self.times += 1
        self._clock.elapsed += 1
        yield GaugeMetricFamily("vramshare_test_scrapes", "Scrapes.", value=self.times)


async def test_each_scrape_is_prepared_and_many_at_once_are_one() -> None:
    """What a thread must not read is read before; who asks while, or just after, is given the same."""
    clock, prepared = ManualClock(), []
    registry = CollectorRegistry(auto_describe=False)
    slow = Slow(clock)
    registry.register(slow)
    scrapes = Scrapes(registry, prepare=lambda: prepared.append(slow.times), now=clock.monotonic)

    async def text() -> str:
        answer = await scrapes.answer(make_mocked_request("GET", "/metrics"))
        assert isinstance(answer.body, bytes)
        return answer.body.decode()

    assert len(set(await asyncio.gather(*(text() for _ in range(10))))) == 1
    assert (slow.times, prepared) == (1, [0])
    clock.elapsed += 0.9
    assert "vramshare_test_scrapes 1.0" in await text()
    clock.elapsed += 0.1
    assert "vramshare_test_scrapes 2.0" in await text()
    assert prepared == [0, 1]


def test_counters_come_without_their_birthdays() -> None:
    """A series that nobody reads is not paid for."""
    registry = new_registry("webhook")
    Counter("vramshare_test", "Counts.", registry=registry).inc()
    text = generate_latest(registry).decode()
    assert "vramshare_test_total 1.0" in text
    assert "_created" not in text
