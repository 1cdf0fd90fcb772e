"""The reflector against a scripted API server: every way in which a watch can end."""

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from allocator.kube import PODS, Backoff, Reflector, Selection, WatchSettings
from allocator.kube.errors import ExpiredError, UnknownOutcomeError
from tests.unit.kube.clockwork import ManualClock, until


def pod(name: str, version: int) -> dict:
    """A pod of a version."""
    return {"metadata": {"name": name, "namespace": "a", "resourceVersion": str(version)}}


def event(kind: str, name: str, version: int) -> dict:
    """A watch event."""
    return {"type": kind, "object": pod(name, version)}


class Script:
    """A client whose lists and watches are written down beforehand; after the last, it blocks."""

    def __init__(self, lists, watches) -> None:
        self.lists = deque(lists)
        self.watches = deque(watches)
        self.asked: list[str] = []
        self.version = 10**6

    async def page(self, *_, **__):
        """How far the server has come."""
        return {"metadata": {"resourceVersion": str(self.version)}, "items": []}

    async def list(self, *_, **__):
        """The next list, or its error."""
        answer = self.lists.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @asynccontextmanager
    async def watch(self, *_, query, **__):
        """The next stream, or its error."""
        self.asked.append(query["resourceVersion"])
        if not self.watches:
            await asyncio.Event().wait()
        answer = self.watches.popleft()
        if isinstance(answer, Exception):
            raise answer

        async def stream():
            for one in answer:
                if isinstance(one, Exception):
                    raise one
                yield one

        yield stream()


class Book:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def replaced(self, items):
        """Note a list."""
        self.told.append("=" + ",".join(sorted(item["metadata"]["name"] for item in items)))

    def applied(self, item):
        """Note a change."""
        self.told.append("+" + item["metadata"]["name"])

    def removed(self, item):
        """Note a removal."""
        self.told.append("-" + item["metadata"]["name"])


class Running:
    """A reflector in a task, with its book and clock."""

    def __init__(self, lists, watches) -> None:
        self.script, self.book, self.clock = Script(lists, watches), Book(), ManualClock()
        self.reflector = Reflector(
            self.script,
            Selection(PODS),
            self.book,
            clock=self.clock,
            random=Random(1),
            settings=WatchSettings(seconds=60, backoff=Backoff(first=1, most=8, least=1)),
            reverted=self._revert,
        )
        self.reverted = 0

    def _revert(self) -> None:
        """Count."""
        self.reverted += 1

    async def __aenter__(self):
        self.task = asyncio.create_task(self.reflector.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def test_list_then_watch_from_there_on():
    """The first watch starts where the list ended; the next where the last event was."""
    async with Running(
        [([pod("a", 1)], "5")], [[event("ADDED", "b", 6), event("MODIFIED", "a", 7), event("DELETED", "b", 9)]]
    ) as it:
        await until(lambda: len(it.script.asked) == 2)
        assert it.book.told == ["=a", "+b", "+a", "-b"]
        assert it.script.asked == ["5", "9"]
        assert it.reflector.synced.is_set()


async def test_bookmarks_move_the_start_and_are_not_told():
    """A quiet watch stays resumable without waking anybody."""
    async with Running([([], "5")], [[{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "50"}}}]]) as it:
        await until(lambda: len(it.script.asked) == 2)
        assert it.script.asked == ["5", "50"]
        assert it.book.told == ["="]


EXPIRED = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


@pytest.mark.parametrize("watch", [ExpiredError("410"), [event("ADDED", "b", 6), EXPIRED]])
async def test_gone_means_list_again(watch):
    """After missed changes the handler is told the whole."""
    async with Running([([pod("a", 1)], "5"), ([pod("c", 8)], "9")], [watch]) as it:
        await until(lambda: it.clock.slept == [1.0])
        it.clock.advance(1)
        await until(lambda: len(it.script.asked) == 2)
        assert it.book.told[0] == "=a"
        assert it.book.told[-1] == "=c"
        assert it.script.asked == ["5", "9"]


async def test_failures_are_followed_by_growing_waits_and_success_resets_them():
    """An API server that restarts is not hammered; nor is it waited for long after it is back."""
    broken = UnknownOutcomeError("reset")
    async with Running([([], "5")], [broken, broken, broken, [event("ADDED", "a", 6)], broken]) as it:
        for wait in (1, 2, 4):
            await until(lambda wait=wait: it.clock.slept[-1:] == [wait])
            it.clock.advance(wait)
        await until(lambda: len(it.clock.slept) == 4)
        assert it.clock.slept == [1, 2, 4, 1]
        assert it.book.told == ["=", "+a"]
        assert it.script.asked == ["5", "5", "5", "5", "6"]


async def test_a_stream_that_breaks_resumes_after_its_last_event():
    """What was told is not asked for again."""
    async with Running([([], "5")], [[event("ADDED", "a", 6), UnknownOutcomeError("reset")]]) as it:
        await until(lambda: it.clock.slept == [1.0])
        it.clock.advance(1)
        await until(lambda: len(it.script.asked) == 2)
        assert it.script.asked == ["5", "6"]
        assert it.book.told == ["=", "+a"]


async def test_age_counts_from_the_end_of_contact():
    """Nothing seen is infinitely old, an open stream is fresh, and a lost one ages."""
    async with Running([([], "5")], [UnknownOutcomeError("reset")]) as it:
        assert it.reflector.age() == float("inf")
        await until(lambda: it.clock.slept == [1.0])
        it.clock.elapsed += 7
        assert it.reflector.age() == 7


async def test_a_server_that_went_back_in_time_is_listed_anew():
    """Restored from a backup, it would keep a watch from our version waiting until it gets there."""
    async with Running([([pod("a", 90)], "90"), ([pod("b", 40)], "40")], [[]]) as it:
        it.script.version = 40
        await until(lambda: len(it.script.asked) == 2)
        assert it.book.told == ["=a", "=b"]
        assert it.script.asked == ["90", "40"]
        assert it.reverted == 1
