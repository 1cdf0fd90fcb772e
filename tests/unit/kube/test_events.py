"""Events: what they say, and that repeats are counted."""

import asyncio
from dataclasses import replace

from allocator.kube import EventRecorder, Note
from allocator.kube.errors import BusyError
from tests.unit.kube.clockwork import ManualClock, until
from tests.unit.kube.fakeapi import FakeApi

NOTE = Note(kind="Pod", namespace="team", name="p", uid="u-1", reason="Allocated", message="Allocated 2Gi")


def recorder(wall: FakeApi, clock: ManualClock) -> EventRecorder:
    """A recorder that writes to the wall."""
    return EventRecorder(wall, component="vramshare", instance="one", clock=clock)


async def test_an_event_is_found_by_its_object():
    """`describe` selects by kind, name, namespace and UID of what it is about."""
    wall = FakeApi()
    await recorder(wall, ManualClock()).write(NOTE)
    [(key, found)] = wall.objects.items()
    assert key[1] == "team"
    assert found["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "p",
        "namespace": "team",
        "uid": "u-1",
    }
    assert (found["type"], found["reason"], found["message"], found["count"]) == (
        "Normal",
        "Allocated",
        "Allocated 2Gi",
        1,
    )


async def test_repeats_are_counted_on_one_event():
    """Ten equal sentences are one line of `describe`."""
    wall, clock = FakeApi(), ManualClock()
    writer = recorder(wall, clock)
    for _ in range(3):
        await writer.write(NOTE)
        clock.advance(60)
    [found] = wall.objects.values()
    assert found["count"] == 3
    assert found["firstTimestamp"] == "2026-01-01T12:00:00Z"
    assert found["lastTimestamp"] == "2026-01-01T12:02:00Z"


async def test_an_expired_event_is_written_anew():
    """The API server forgets Events after an hour."""
    wall, clock = FakeApi(), ManualClock()
    writer = recorder(wall, clock)
    await writer.write(NOTE)
    wall.objects.clear()
    clock.advance(3600)
    await writer.write(NOTE)
    assert [one["count"] for one in wall.objects.values()] == [1]


async def test_a_failure_is_not_the_callers():
    """Events are a courtesy."""
    wall = FakeApi()

    def busy(*_):
        raise BusyError("busy")

    wall.before = busy
    await recorder(wall, ManualClock()).write(NOTE)
    assert wall.objects == {}


async def test_events_of_cluster_objects_live_in_default():
    """A Node has no namespace."""
    wall = FakeApi()
    await recorder(wall, ManualClock()).write(
        Note(kind="Node", namespace="", name="n", uid="n", reason="R", message="m")
    )
    [key] = wall.objects
    assert key[1] == "default"


async def test_a_flood_of_events_is_paced():
    """A burst goes out at once, the rest as time passes; the API server has better things to do."""
    wall, clock = FakeApi(), ManualClock()
    writer = EventRecorder(wall, component="vramshare", instance="one", clock=clock, per_second=5, burst=10)
    for at in range(30):
        writer.record(replace(NOTE, name=f"p{at}"))
    task = asyncio.create_task(writer.run())
    await until(lambda: len(wall.objects) == 10 and clock.slept)
    for written in range(11, 21):
        clock.advance(0.201)
        await until(lambda written=written: len(wall.objects) == written)
    task.cancel()
