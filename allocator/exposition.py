"""What every process of ours offers to Prometheus: `/metrics`, and `/healthz` beside it.

Values are read off in the event loop, where they are consistent, and made into text in a thread: for a large fleet
the text takes longer than a pod's admission may wait.

Plain HTTP by intent: nothing secret is served, and who may scrape is for a NetworkPolicy to say (docs/metrics.md).
"""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from allocator.listening import site

PATH: Final = "/metrics"
WORTH_PACKING: Final = 8 * 1024
"""Bytes from which an answer is compressed, for scrapers that take it so."""
_FAREWELL: Final = 2.0
"""Seconds that a scrape in flight has to end at a stop."""
_CHEAPEST: Final = 1
"""Level of compression; metrics shrink twenty-fold at the lowest already."""


def new_registry(component: str) -> CollectorRegistry:
    """A registry for one process, with what every process says of itself: version, memory, CPU.

    Args:
        component: `webhook` or `agent`.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series per counter, which nobody reads
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    built = Gauge("vramshare_build_info", "1; the labels say what runs.", ["component", "version"], registry=registry)
    built.labels(component, version("vramshare")).set(1)
    return registry


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a scrape gets, plain and compressed (where that is worth it), and until when others get the same."""

    plain: bytes
    packed: bytes | None
    until: float


class Scrapes:
    """Answers scrapes, one at a time: whoever asks meanwhile waits, and is given the same if it is recent enough.

    Recent is as long as the making took. So scrapes take half of a processor at most, however many there are: the
    port is open to the cluster, and the same process has pods to admit.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        prepare: Callable[[], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to answer.

        Args:
            registry: what to tell.
            prepare: called in the event loop before each making; reads what a thread must not.
            now: time in seconds.
        """
        self._registry = registry
        self._prepare = prepare
        self._now = now
        self._lock = asyncio.Lock()
        self._last: _Answer | None = None

    async def answer(self, request: web.Request) -> web.Response:
        """`GET /metrics`."""
        async with self._lock:
            if self._last is None or self._now() >= self._last.until:
                started = self._now()
                self._prepare()
                plain, packed = await asyncio.to_thread(_render, self._registry)
                ended = self._now()
                self._last = _Answer(plain=plain, packed=packed, until=ended + (ended - started))
            last = self._last
        if last.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            headers = {"Content-Type": CONTENT_TYPE_LATEST, "Content-Encoding": "gzip"}
            return web.Response(body=last.packed, headers=headers)
        return web.Response(body=last.plain, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _nothing() -> None:
    """Nothing to read beforehand."""


def metrics_app(registry: CollectorRegistry, *, prepare: Callable[[], None] = _nothing) -> web.Application:
    """An application that serves `GET /metrics` and `GET /healthz`; see `Scrapes`."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application()
    app.router.add_get(PATH, Scrapes(registry, prepare=prepare).answer)
    app.router.add_get("/healthz", healthz)
    return app


@asynccontextmanager
async def exposed(app: web.Application, *, host: str, port: int) -> AsyncIterator[int]:
    """Serve an application over plain HTTP until left; gives the port, which was free to choose where 0 was asked.

    Raises:
        OSError: the port is taken.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_FAREWELL)
    await runner.setup()
    try:
        await site(runner, host, port).start()
        found: int = runner.addresses[0][1]
        yield found
    finally:
        await runner.cleanup()


def _render(registry: CollectorRegistry) -> tuple[bytes, bytes | None]:
    """The text, and the same compressed where that is worth it."""
    text = generate_latest(registry)
    return text, gzip.compress(text, _CHEAPEST) if len(text) >= WORTH_PACKING else None
