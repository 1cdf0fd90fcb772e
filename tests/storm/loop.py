"""An event loop on virtual time: where nobody has anything to do, the clock jumps to the next hour awaited.

A minute of leases, graces and time-outs costs the milliseconds of what happens in it, and the same seed makes the
same run: nothing in here looks at the machine's clock, its threads or its network.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_RESOLUTION = 1e-6
_FAREWELLS = 50


class StandstillError(AssertionError):
    """Everybody waits for somebody else, for ever."""


class _Jump(selectors.SelectSelector):
    """Waits for nothing: the time that it should have waited has passed."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let the time pass."""
        if timeout is None:
            raise StandstillError("nobody will ever do anything again")
        if timeout > 0:
            self.loop.elapsed += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; `elapsed` are the seconds since its start."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        jump = _Jump()
        jump.loop = self
        super().__init__(jump)
        self._clock_resolution = _RESOLUTION

    def time(self) -> float:
        """Seconds since the start."""
        return self.elapsed


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a loop of its own, and cancel what is left over."""
    loop = VirtualLoop()
    loop.set_exception_handler(lambda *_: None)
    try:
        return loop.run_until_complete(main)
    finally:
        for _ in range(_FAREWELLS):
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if not left:
                break
            loop.run_until_complete(asyncio.wait(left, timeout=1))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
