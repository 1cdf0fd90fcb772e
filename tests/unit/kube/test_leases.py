"""Leadership by Lease, with several candidates over one stored object."""

import time

import pytest

from allocator.kube import LEASES, Election, ElectionSettings, SystemClock, renew
from allocator.kube.errors import UnknownOutcomeError
from tests.unit.kube.clockwork import ManualClock
from tests.unit.kube.fakeapi import FakeApi


def candidate(store: FakeApi, name: str, clock: ManualClock) -> Election:
    """A replica that would lead."""
    return Election(store, ElectionSettings(namespace="s", name="leader", identity=name), clock=clock)


async def test_the_first_leads_and_the_second_waits():
    """One leader."""
    store, clock = FakeApi(), ManualClock()
    one, two = candidate(store, "one", clock), candidate(store, "two", clock)
    assert await one.step()
    assert not await two.step()
    assert (one.leading, two.leading) == (True, False)


async def test_an_unrenewed_lease_changes_hands_only_after_the_old_leader_has_stopped():
    """No moment with two leaders, whatever their clocks say of the date."""
    store, clock = FakeApi(), ManualClock()
    one, two = candidate(store, "one", clock), candidate(store, "two", clock)
    await one.step()
    for _ in range(40):
        await two.step()
        assert not (one.leading and two.leading)
        clock.advance(1)
    assert two.leading
    assert store.see(LEASES, "leader", namespace="s")["spec"]["leaseTransitions"] == 1


async def test_a_renewed_lease_is_kept():
    """A leader that renews leads on."""
    store, clock = FakeApi(), ManualClock()
    one, two = candidate(store, "one", clock), candidate(store, "two", clock)
    for _ in range(60):
        assert await one.step()
        assert not await two.step()
        clock.advance(2)


async def test_a_leader_without_api_server_stops_by_itself():
    """Loss of contact ends leadership before anyone else may start."""
    store, clock = FakeApi(), ManualClock()
    one = candidate(store, "one", clock)
    await one.step()

    def down(*_):
        raise UnknownOutcomeError("down")

    store.before = down
    clock.advance(10)
    assert not one.leading
    with pytest.raises(UnknownOutcomeError):
        await one.step()


async def test_resigning_lets_the_next_start_at_once():
    """A rolling update does not wait for the Lease to run out."""
    store, clock = FakeApi(), ManualClock()
    one, two = candidate(store, "one", clock), candidate(store, "two", clock)
    await one.step()
    await one.resign()
    assert not one.leading
    assert await two.step()


async def test_renew_makes_the_lease_of_an_agent():
    """The first sign of life creates it, the next changes its stamp."""
    store, clock = FakeApi(), ManualClock()
    await renew(store, namespace="s", name="agent", holder="n1", seconds=30, now=clock.now())
    clock.advance(5)
    await renew(store, namespace="s", name="agent", holder="n1", seconds=30, now=clock.now())
    assert store.see(LEASES, "agent", namespace="s")["spec"]["renewTime"] == "2026-01-01T12:00:05.000000Z"


async def test_a_free_lease_is_taken_when_it_runs_out_not_at_the_next_round():
    """Failover must not wait for a whole pause more."""
    store, clock = FakeApi(), ManualClock()
    one, two = candidate(store, "one", clock), candidate(store, "two", clock)
    await one.step()
    await two.step()
    assert two.pause() == 2
    clock.advance(14.5)
    assert not await two.step()
    assert two.pause() == 0.5
    clock.advance(two.pause())
    assert await two.step()
    assert two.pause() == 2


def test_the_clock_goes_on_while_the_machine_is_suspended():
    """Linux keeps such a clock; its monotonic one stands still, and a leader would think its Lease fresh."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= SystemClock().monotonic() <= time.clock_gettime(time.CLOCK_BOOTTIME)
