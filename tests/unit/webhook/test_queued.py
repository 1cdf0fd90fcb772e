"""Pods that fit nowhere now."""

import pytest

from allocator.api.errors import ConflictError, MustWaitError, NoCapacityError, NotReadyError
from tests.unit.webhook.support import FakeAllocator, admit, container, env, gpu_pod, pod

FULL = NoCapacityError("needs 2Gi; the best GPU has 1Gi free")


async def test_pod_waits_behind_the_gate() -> None:
    """Gate, status and reason; no pin, no allocation."""
    got = await admit(gpu_pod(), allocator=FakeAllocator(failure=FULL))
    assert got.spec["schedulingGates"] == [{"name": "vramshare.io/capacity"}]
    assert got.annotations["vramshare.io/status"] == "queued"
    assert got.annotations["vramshare.io/reason"] == "needs 2Gi; the best GPU has 1Gi free"
    assert "affinity" not in got.spec
    assert not [key for key in got.annotations if key.startswith("allocation")]
    assert got.answer.warnings == ("the pod waits: needs 2Gi; the best GPU has 1Gi free",)
    assert got.answer.audit == {"reason": "queued: needs 2Gi; the best GPU has 1Gi free"}


async def test_queued_pod_has_the_same_spec_as_a_granted_one() -> None:
    """But for pin and gate: what is decided later reaches it by annotations alone."""
    made = gpu_pod(container(env=env(A="1")), container("side"))
    queued = (await admit(made, allocator=FakeAllocator(failure=FULL))).spec
    granted = (await admit(made)).spec
    del queued["schedulingGates"], granted["affinity"]
    assert queued == granted


async def test_a_pod_that_must_pass_the_queue_does_so_even_if_it_wants_none() -> None:
    """Whether it fits cannot be told at admission: of a group, or of a namespace with a quota."""
    made = gpu_pod()
    made["metadata"]["annotations"]["vramshare.io/when-full"] = "reject"
    got = await admit(made, allocator=FakeAllocator(failure=MustWaitError("its namespace has a GPU quota")))
    assert got.spec["schedulingGates"] == [{"name": "vramshare.io/capacity"}]


async def test_a_pod_that_names_its_node_cannot_pass_the_queue() -> None:
    """No gate can hold it."""
    with pytest.raises(MustWaitError):
        await admit(gpu_pod(nodeName="node-a"), allocator=FakeAllocator(failure=MustWaitError("a quota")))


async def test_users_preload_is_saved_for_later() -> None:
    """The spec's literal is gone by then; the annotation keeps it, for each container with a slice."""
    made = pod(
        {"memory.vramshare.io/a": "1Gi", "memory.vramshare.io/b": "1Gi"},
        container("a", env=env(LD_PRELOAD="/mine.so")),
        container("b"),
    )
    got = (await admit(made, allocator=FakeAllocator(failure=FULL))).annotations
    assert (got["preload.vramshare.io/a"], got["preload.vramshare.io/b"]) == ("/mine.so", "")


async def test_what_others_hold_takes_no_gpu() -> None:
    """A pod behind somebody else's gate waits in the queue, where ours is granted last, though there is room."""
    got = await admit(gpu_pod(schedulingGates=[{"name": "other.io/x"}]))
    assert got.annotations["vramshare.io/status"] == "queued"
    assert got.annotations["vramshare.io/reason"] == "held by other scheduling gates: other.io/x"
    assert {"name": "vramshare.io/capacity"} in got.spec["schedulingGates"]


async def test_gate_joins_others() -> None:
    """Gates of others keep their places."""
    got = await admit(gpu_pod(schedulingGates=[{"name": "other.io/x"}]), allocator=FakeAllocator(failure=FULL))
    assert got.spec["schedulingGates"] == [{"name": "other.io/x"}, {"name": "vramshare.io/capacity"}]


async def test_rejected_if_asked_to_be() -> None:
    """`when-full: reject` wants an error rather than a wait."""
    with pytest.raises(NoCapacityError):
        await admit(
            pod({"vramshare.io/memory": "2Gi", "vramshare.io/when-full": "reject"}),
            allocator=FakeAllocator(failure=FULL),
        )


async def test_pod_with_a_node_of_its_own_cannot_wait() -> None:
    """`spec.nodeName` passes the scheduler by, and so every gate: granted there or refused."""
    with pytest.raises(NoCapacityError):
        await admit(gpu_pod(nodeName="node-a"), allocator=FakeAllocator(failure=FULL))


async def test_pod_with_a_node_of_its_own_is_granted_there() -> None:
    """The allocator sees the node's name in the spec."""
    got = await admit(gpu_pod(nodeName="node-a"))
    assert got.allocator.asked[0].pod["spec"]["nodeName"] == "node-a"
    assert got.annotations["vramshare.io/status"] == "allocated"


@pytest.mark.parametrize("failure", [ConflictError("busy"), NotReadyError("unseen")])
async def test_what_may_pass_soon_is_not_queued(failure: Exception) -> None:
    """A conflict or a start-up says nothing about capacity: the request fails and is tried again."""
    with pytest.raises(type(failure)):
        await admit(gpu_pod(), allocator=FakeAllocator(failure=failure))
