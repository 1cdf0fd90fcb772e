"""The controllers' queue."""

import asyncio
from collections.abc import Awaitable, Callable

from devcluster.client import ApiError
from devcluster.clock import SystemClock
from devcluster.controllers.workqueue import WorkQueue
from devcluster.informer import Key

A, B = ("n", "a"), ("n", "b")


class Impatient(SystemClock):
    """A clock on which waiting takes no time; it notes how long was asked for."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Return at once."""
        self.slept.append(seconds)


async def work(reconcile: Callable[[WorkQueue, Key], Awaitable[None]], *keys: Key, until: asyncio.Event) -> Impatient:
    """Run a queue until an event is set."""
    clock = Impatient()

    async def call(key: Key) -> None:
        await reconcile(queue, key)

    queue = WorkQueue("test", call, clock=clock)
    for key in keys:
        queue.add(key)
    task = asyncio.ensure_future(queue.run())
    await asyncio.wait_for(until.wait(), 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return clock


async def test_a_key_is_never_worked_on_twice_at_once() -> None:
    """A key added while it is being worked on is worked on again, afterwards."""
    done, running, seen = asyncio.Event(), set(), []

    async def reconcile(queue: WorkQueue, key: Key) -> None:
        assert key not in running
        running.add(key)
        if seen.count(key) == 0:
            queue.add(key)
            queue.add(key)
        await asyncio.sleep(0)
        seen.append(key)
        running.discard(key)
        if len(seen) == 4:
            done.set()

    await work(reconcile, A, A, B, until=done)
    assert (seen.count(A), seen.count(B)) == (2, 2)


async def test_failures_are_tried_again_with_growing_pauses() -> None:
    """Each failure doubles the pause; a success forgets them."""
    done, calls = asyncio.Event(), []

    async def reconcile(queue: WorkQueue, key: Key) -> None:
        calls.append(key)
        if len(calls) < 4:
            raise ApiError(code=500, reason="x", message="x")
        done.set()

    clock = await work(reconcile, A, until=done)
    assert clock.slept == [0.1, 0.2, 0.4]
