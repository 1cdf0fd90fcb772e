"""Background tasks that outlive their own mistakes: one that fails is logged and started again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Self

import structlog

from allocator.kube import Clock

_log = structlog.get_logger(__name__)
_REST: Final = 1.0
"""Seconds before a failed task is started again."""


class Tasks:
    """An asynchronous context manager; leaving it cancels everything and waits for the end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run something for ever."""
        self._tasks.append(asyncio.create_task(self._keep(name, run), name=name))

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await run()
            except Exception:  # noqa: BLE001  # whatever it is, the other tasks must go on, and it is logged
                _log.exception("task failed, starting it again", task=name)
            await self._clock.sleep(_REST)
