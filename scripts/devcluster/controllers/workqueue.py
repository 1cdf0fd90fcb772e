"""Keys to be reconciled: each at most once at a time, again after failures with growing pauses."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from devcluster.clock import Clock
from devcluster.informer import FAILURES, Key

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 30.0
_WORKERS = 8
_log = logging.getLogger(__name__)


class WorkQueue:
    """Calls ``reconcile`` for every key that was added, until the world is as it wants it."""

    def __init__(self, name: str, reconcile: Callable[[Key], Awaitable[None]], *, clock: Clock) -> None:
        self._name = name
        self._reconcile = reconcile
        self._clock = clock
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._busy: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.Task[None]] = {}

    def add(self, key: Key) -> None:
        """Reconcile ``key`` soon."""
        if key not in self._queued:
            self._queued.add(key)
            if key not in self._busy:
                self._queue.put_nowait(key)

    def add_later(self, key: Key, seconds: float) -> None:
        """Reconcile ``key`` after ``seconds``; an earlier wait for it is replaced."""
        self._cancel_timer(key)
        self._timers[key] = asyncio.ensure_future(self._later(key, seconds))

    async def run(self) -> None:
        """Work until cancelled."""
        workers = [asyncio.ensure_future(self._work()) for _ in range(_WORKERS)]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in [*workers, *self._timers.values()]:
                task.cancel()

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._queued.discard(key)
            self._busy.add(key)
            try:
                await self._reconcile(key)
                self._failures.pop(key, None)
            except FAILURES as error:
                _log.debug("%s %s: %s", self._name, "/".join(key), error)
                self._retry(key)
            except Exception:  # noqa: BLE001 - one object's bug must not stop the controller of all others
                _log.exception("%s %s: a bug of this controller", self._name, "/".join(key))
                self._retry(key)
            finally:
                self._busy.discard(key)
                if key in self._queued:
                    self._queue.put_nowait(key)

    def _retry(self, key: Key) -> None:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        self.add_later(key, min(_FIRST_PAUSE * 2**count, _LONGEST_PAUSE))

    async def _later(self, key: Key, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timers.pop(key, None)
        self.add(key)

    def _cancel_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
