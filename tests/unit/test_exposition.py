"""The HTTP side of metrics, over real sockets."""

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from allocator.exposition import exposed, metrics_app, new_registry


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


async def test_each_scrape_is_prepared() -> None:
    """What a thread must not read is read before it starts."""
    registry = CollectorRegistry()
    scrapes = Gauge("vramshare_test_scrapes", "Scrapes.", registry=registry)
    async with exposed(metrics_app(registry, prepare=scrapes.inc), host="127.0.0.1", port=0) as port:
        assert "vramshare_test_scrapes 1.0" in (await got(port, "/metrics"))[1]
        assert "vramshare_test_scrapes 2.0" in (await got(port, "/metrics"))[1]


def test_counters_come_without_their_birthdays() -> None:
    """A series that nobody reads is not paid for."""
    registry = new_registry("webhook")
    Counter("vramshare_test", "Counts.", registry=registry).inc()
    text = generate_latest(registry).decode()
    assert "vramshare_test_total 1.0" in text
    assert "_created" not in text
