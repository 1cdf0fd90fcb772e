"""One leader at a time, and one that was paused and wakes up late does no harm."""

import asyncio

import pytest

from allocator.api import names
from allocator.kube import CONFIGMAPS, PODS, Resource
from tests.unit.controller.cluster import Cluster, ask


class Pausable:
    """An API as one process sees it; while that process is paused, what it asks stays on its way.

    Attributes:
        stop_before: kind of request, by method and resource, before which the process is paused.
    """

    def __init__(self, api) -> None:
        self.stop_before: tuple[str, Resource] | None = None
        self._api = api
        self._running = asyncio.Event()
        self._running.set()

    def pause(self) -> None:
        """Stop the process before its next request."""
        self._running.clear()

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return not self._running.is_set()

    def resume(self) -> None:
        """Let it go on where it was."""
        self.stop_before = None
        self._running.set()

    def __getattr__(self, name):
        method = getattr(self._api, name)
        if name == "watch":
            return method

        async def held(*args, **named):
            if args and (name, args[0]) == self.stop_before:
                self.pause()
            await self._running.wait()
            return await method(*args, **named)

        return held


async def test_no_moment_has_two_leaders():
    """The old leader stops by its own clock before another may start."""
    cluster = Cluster()
    old = Pausable(cluster.api)
    async with cluster.allocator(client=old) as first, cluster.allocator(leads=False, identity="two") as second:
        old.pause()
        for _ in range(30):
            await cluster.pass_time(1)
            assert not (first.leading and second.leading)
        assert second.leading
        old.resume()
        await cluster.pass_time(5)
        assert (first.leading, second.leading) == (False, True)


async def test_another_leads_soon_after_the_leader_died():
    """A queued pod need not wait longer than a Lease and one look at it."""
    cluster = Cluster()
    old = Pausable(cluster.api)
    async with cluster.allocator(client=old), cluster.allocator(leads=False, identity="two") as second:
        old.pause()
        cluster.queue_pod("q")
        await cluster.pass_time(17)
        assert second.leading
        assert cluster.annotation("q", names.STATUS) == names.STATUS_ALLOCATED


@pytest.mark.parametrize("moment", [("create", CONFIGMAPS), ("replace", CONFIGMAPS), ("patch", PODS)])
async def test_a_paused_leader_that_was_about_to_grant_books_nothing_twice(moment):
    """It wakes up amid a grant for a queued pod that its successor has served: the pod keeps one, the other goes."""
    cluster = Cluster(gpus=2)
    old = Pausable(cluster.api)
    async with cluster.allocator(client=old) as first, cluster.allocator(leads=False, identity="two") as second:
        if moment[0] == "replace":
            await first.grant(ask("other"))
        await cluster.pass_time(1)
        old.stop_before = moment
        cluster.queue_pod("q", mib=900)
        await cluster.pass_time(2)
        assert old.paused
        await cluster.pass_time(25)
        assert second.leading
        carried = cluster.annotation("q", names.ALLOCATION_ID)
        old.resume()
        await cluster.pass_time(40)
        cluster.check()
        held = [key for key, grant in cluster.ledger().grants.items() if grant.pod == "q"]
        assert held == [carried]


async def test_a_paused_leader_tells_no_granted_pod_why_it_waits():
    """It stood still as it was about to say so; its successor has let the pod in meanwhile."""
    cluster = Cluster()
    old = Pausable(cluster.api)
    async with cluster.allocator(client=old) as first, cluster.allocator(leads=False, identity="two") as second:
        cluster.run_pod(await first.grant(ask("before", mib=600)))
        await cluster.pass_time(5)
        old.stop_before = ("patch", PODS)
        cluster.queue_pod("q", mib=900)
        await cluster.pass_time(2)
        assert old.paused
        cluster.end_pod("before")
        await cluster.pass_time(25)
        assert second.leading
        assert cluster.annotation("q", names.STATUS) == names.STATUS_ALLOCATED
        old.resume()
        await cluster.pass_time(10)
        assert cluster.annotation("q", names.REASON) is None


async def test_a_paused_leader_frees_nothing_that_came_to_life():
    """What it decided on old knowledge is decided again on what is there."""
    cluster = Cluster()
    old = Pausable(cluster.api)
    async with cluster.allocator(client=old), cluster.allocator(leads=False, identity="two") as second:
        granted = await second.grant(ask("late"))
        await cluster.pass_time(88)
        old.pause()
        await cluster.pass_time(1)
        cluster.run_pod(granted)
        await cluster.pass_time(30)
        old.resume()
        await cluster.pass_time(120)
        assert set(cluster.ledger().grants) == {granted.grant.allocation.id}
