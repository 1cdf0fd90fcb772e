"""Time as an argument, so that tests can make it pass."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the asynchronous parts know of time."""

    def now(self) -> datetime:
        """Wall-clock time in UTC, for what other processes will read."""

    def monotonic(self) -> float:
        """Seconds that never go back, for ages and deadlines within this process."""

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Wall-clock time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of the event loop's kind of clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Give way to others for so long."""
        await asyncio.sleep(seconds)
