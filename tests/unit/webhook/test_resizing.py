"""Sizes that are edited on a pod that exists."""

import copy
from typing import Any

import pytest

from allocator.api.errors import NoCapacityError, RequestError
from tests.unit.webhook.support import FakeAllocator, Outcome, admit, container, gpu_pod, pod

PLAIN = gpu_pod()
MEMORY, CORES, RESIZE = "vramshare.io/memory", "vramshare.io/cores", "vramshare.io/resize"
TWO = pod(
    {"vramshare.io/containers": "a,b", MEMORY: "1Gi", "memory.vramshare.io/b": "3Gi"}, container("a"), container("b")
)


async def edited(stored: Outcome, changes: dict[str, str], *, user: str = "owner") -> Outcome:
    """The stored pod after `kubectl annotate --overwrite`."""
    new: dict[str, Any] = copy.deepcopy(stored.pod)
    new["metadata"]["annotations"] |= changes
    return await admit(new, old=stored.pod, user=user)


async def test_a_new_size_is_noted_for_the_allocator():
    """The request is as edited, for the container too; what the container is told is the allocator's to change."""
    stored = await admit(PLAIN)
    got = await edited(stored, {MEMORY: "3Gi"})
    assert got.annotations[MEMORY] == got.annotations["memory.vramshare.io/main"] == "3Gi"
    assert got.annotations["cores.vramshare.io/main"] == "25"
    assert got.annotations[RESIZE] == "wanted"
    key = "allocation.vramshare.io/main"
    assert got.annotations[key] == stored.annotations[key]
    assert "new size when there is room" in got.answer.warnings[0]


async def test_a_size_of_all_is_for_those_without_their_own():
    """A container that asked for its own size keeps it."""
    got = await edited(await admit(TWO), {MEMORY: "2Gi"})
    assert got.annotations["memory.vramshare.io/a"] == "2Gi"
    assert got.annotations["memory.vramshare.io/b"] == "3Gi"


async def test_one_containers_own_size_can_be_edited():
    """The others stay as they are."""
    got = await edited(await admit(TWO), {"memory.vramshare.io/b": "50%", "cores.vramshare.io/a": "30"})
    assert got.annotations["memory.vramshare.io/b"] == "50%"
    assert got.annotations["cores.vramshare.io/a"] == "30"
    assert got.annotations["memory.vramshare.io/a"] == "1Gi"
    assert got.annotations[RESIZE] == "wanted"


async def test_time_may_be_asked_for_later():
    """A pod that had no share of time gets one like any other size."""
    got = await edited(await admit(TWO), {CORES: "30"})
    assert got.annotations["cores.vramshare.io/a"] == got.annotations["cores.vramshare.io/b"] == "30"


@pytest.mark.parametrize(("key", "value"), [(MEMORY, "2048"), (CORES, "0"), ("memory.vramshare.io/main", "lots")])
async def test_a_size_that_cannot_be_read_is_refused(key: str, value: str):
    """At once and with the remedy, as when a pod is created."""
    stored = await admit(PLAIN)
    with pytest.raises(RequestError, match=key):
        await edited(stored, {key: value})


async def test_a_queued_pod_keeps_its_request():
    """It holds nothing: deleting it costs nothing."""
    stored = await admit(PLAIN, allocator=FakeAllocator(failure=NoCapacityError("full")))
    got = await edited(stored, {MEMORY: "3Gi"})
    assert got.annotations[MEMORY] == "2Gi"
    assert RESIZE not in got.annotations


async def test_a_manifest_applied_whole_does_not_withdraw_what_waits():
    """The mark is not in the user's manifest; only the allocator takes it off."""
    waits = await edited(await admit(PLAIN), {MEMORY: "3Gi"})
    manifest = gpu_pod()
    manifest["metadata"]["annotations"][MEMORY] = "3Gi"
    got = await admit(manifest, old=waits.pod, user="owner")
    assert got.annotations[RESIZE] == "wanted"
    done = copy.deepcopy(waits.pod)
    del done["metadata"]["annotations"][RESIZE]
    assert RESIZE not in (await admit(done, old=waits.pod, user="allocator")).annotations


async def test_the_old_size_again_is_a_resize_too():
    """Who applies the first manifest again wants the first size again."""
    larger = await edited(await admit(PLAIN), {MEMORY: "3Gi"})
    del larger.pod["metadata"]["annotations"][RESIZE]
    got = await admit(gpu_pod(), old=larger.pod, user="owner")
    assert got.annotations["memory.vramshare.io/main"] == "2Gi"
    assert got.annotations[RESIZE] == "wanted"
