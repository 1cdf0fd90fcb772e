"""Serves an agent's metrics for as long as it runs.

A port that is taken is no reason for a node to go without an agent: it is said in the log and tried again, and
whoever scrapes sees that nothing answers.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web

from allocator.agent.metrics import agent_registry
from allocator.agent.sample import Latest
from allocator.exposition import exposed, metrics_app
from allocator.kube.clock import Clock
from allocator.listening import EVERYWHERE

_log: Final = structlog.get_logger(__name__)
_AGAIN: Final = 10.0
"""Seconds between two attempts to listen."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where Prometheus finds an agent.

    Attributes:
        host: address to listen on.
        port: 0: any free one, told in the log.
        hami: whether the metrics stand under HAMi's names too.
    """

    host: str = EVERYWHERE
    port: int = 9444
    hami: bool = False


@asynccontextmanager
async def showing(
    latest: Latest, settings: MetricsSettings, *, clock: Clock, listening: Callable[[int], None] = lambda _: None
) -> AsyncIterator[None]:
    """Show the newest sample until left.

    Args:
        latest: where the samples are.
        settings: where to listen.
        clock: time.
        listening: told the port, each time that one is opened.
    """
    app = metrics_app(agent_registry(latest, hami=settings.hami))
    task = asyncio.create_task(_show(app, settings, clock=clock, listening=listening), name="metrics")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _show(
    app: web.Application, settings: MetricsSettings, *, clock: Clock, listening: Callable[[int], None]
) -> None:
    while True:
        try:
            async with exposed(app, host=settings.host, port=settings.port) as port:
                _log.info("metrics served", host=settings.host, port=port)
                listening(port)
                await asyncio.Event().wait()
        except OSError as reason:
            _log.warning(
                "metrics not served, will try again", host=settings.host, port=settings.port, reason=str(reason)
            )
            await clock.sleep(_AGAIN)
