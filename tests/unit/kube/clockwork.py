"""A clock that tests wind by hand."""

import asyncio
from datetime import UTC, datetime, timedelta


class ManualClock:
    """Time that passes only when somebody says so; `sleep` returns when its hour has come."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)) -> None:
        self._start = start
        self.elapsed = 0.0
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime:
        """The hour on the wall."""
        return self._start + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait for the hour."""
        self.slept.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        done = asyncio.Event()
        self._sleepers.append((self.elapsed + seconds, done))
        await done.wait()

    def advance(self, seconds: float) -> None:
        """Let time pass and wake who waited for it."""
        self.elapsed += seconds
        due = [done for at, done in self._sleepers if at <= self.elapsed]
        self._sleepers = [(at, done) for at, done in self._sleepers if at > self.elapsed]
        for done in due:
            done.set()


async def until(condition, *, turns: int = 5000) -> None:
    """Give the event loop turns until something holds."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")
