"""Time as an argument, so that tests can make it pass."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, Protocol

_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux has it; where a developer's machine does not, its monotonic clock has to do."""


class Clock(Protocol):
    """What the asynchronous parts know of time."""

    def now(self) -> datetime:
        """Wall-clock time in UTC, for what other processes will read."""

    def monotonic(self) -> float:
        """Seconds that never go back and go on while the machine is suspended, for ages and deadlines in here."""

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Wall-clock time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since boot, those of suspension among them.

        A leader that was suspended must not wake up and think that its Lease is fresh: Linux's monotonic clock
        stands still meanwhile. A process that was merely stopped sees either clock run on. Against a hypervisor
        that stops a guest's every clock none helps; then the compare-and-swap of each write does.
        """
        return time.clock_gettime(_SINCE_BOOT)

    async def sleep(self, seconds: float) -> None:
        """Give way to others for so long."""
        await asyncio.sleep(seconds)
