"""What can happen to a process: it runs, stands still for a while, or is dead between one await and the next."""

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Process:
    """Whatever a process does passes its gate before and after every await that reaches beyond it.

    A dead one stays in its last await for ever. So no `finally` of it has any effect, as after kill -9.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._going = asyncio.Event()
        self._going.set()

    @property
    def dead(self) -> bool:
        """Whether it was killed."""
        return self.died.done()

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return not self._going.is_set()

    async def gate(self) -> None:
        """Go on if it is running; wait while it is paused; never return if it is dead."""
        while self.paused and not self.dead:
            await self._going.wait()
        if self.dead:
            await asyncio.get_running_loop().create_future()

    def kill(self) -> None:
        """Kill -9."""
        if not self.dead:
            self.died.set_result(None)

    def pause(self) -> None:
        """SIGSTOP, a frozen virtual machine, a very long collection of garbage."""
        self._going.clear()

    def resume(self) -> None:
        """SIGCONT."""
        self._going.set()


class SkewedClock:
    """A process's own time: its hour is wrong, and its seconds are not quite seconds."""

    def __init__(self, process: Process, *, skew: float, rate: float) -> None:
        """Prepare.

        Args:
            process: whose clock it is.
            skew: seconds by which its hour is ahead.
            rate: its seconds in one true second.
        """
        self._process = process
        self._skew = skew
        self._rate = rate
        self._loop = asyncio.get_running_loop()

    def now(self) -> datetime:
        """The hour on the wall, as this process has it."""
        return START + timedelta(seconds=self._loop.time() * self._rate + self._skew)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return 1000 + self._loop.time() * self._rate

    async def sleep(self, seconds: float) -> None:
        """Let so much of its time pass."""
        await asyncio.sleep(max(0.0, seconds / self._rate))
        await self._process.gate()
