"""Time as an argument: what the components ask for the hour, so that tests can set it."""

import asyncio
import datetime as dt
import time
from typing import Protocol


class Clock(Protocol):
    """The wall clock, in seconds since 1970."""

    def time(self) -> float:
        """Return the present time."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once ``seconds`` have passed on this clock."""
        ...


class SystemClock:
    """The machine's clock."""

    def time(self) -> float:
        """Return the present time."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Return once ``seconds`` have passed."""
        await asyncio.sleep(seconds)


def timestamp(seconds: float) -> str:
    """Return ``seconds`` as a Kubernetes Time: RFC 3339 in UTC, whole seconds."""
    return dt.datetime.fromtimestamp(int(seconds), tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(seconds: float) -> str:
    """Return ``seconds`` as a Kubernetes MicroTime."""
    return dt.datetime.fromtimestamp(seconds, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> float:
    """Read an RFC 3339 time as seconds since 1970."""
    return dt.datetime.fromisoformat(text).timestamp()
