"""The page's socket."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web

from allocator.listening import site
from webhook.page.app import create_page
from webhook.page.feed import Feed, Watched
from webhook.page.settings import PageSettings

_log: Final = structlog.get_logger(__name__)


@asynccontextmanager
async def serving_page(source: Watched, settings: PageSettings) -> AsyncIterator[int | None]:
    """Serve the page until left; its port, or None where it is off.

    Raises:
        OSError: the port is taken.
    """
    if settings.port is None:
        yield None
        return
    feed = Feed(source, now=time.time)
    app = create_page(feed, names=settings.names)
    # A stream of changes never ends by itself: nobody is waited for.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    following = asyncio.create_task(feed.run())
    try:
        await site(runner, settings.host, settings.port).start()
        port: int = runner.addresses[0][1]
        _log.info("serving_page", host=settings.host, port=port)
        yield port
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await runner.cleanup()
