"""Own steps of the mutation."""

from typing import Any

import pytest

from allocator.api.errors import NoCapacityError, RequestError
from tests.unit.webhook.support import FakeAllocator, admit, gpu_pod, pod
from webhook import StepContext


def labelled(new: dict[str, Any], context: StepContext) -> dict[str, Any]:
    """A step that notes what became of the pod."""
    metadata = {**new["metadata"], "labels": {"outcome": type(context.outcome).__name__}}
    return {**new, "metadata": metadata}


@pytest.mark.parametrize(
    ("made", "failure", "outcome"),
    [(gpu_pod(), None, "Granted"), (gpu_pod(), NoCapacityError("full"), "Queued"), (pod(), None, "NoneType")],
)
async def test_step_sees_pod_and_outcome(made: dict[str, Any], failure: Exception | None, outcome: str) -> None:
    """It runs for every new pod, after vramshare's own changes."""
    got = await admit(made, allocator=FakeAllocator(failure=failure), steps=(labelled,))
    assert got.pod["metadata"]["labels"] == {"outcome": outcome}
    assert got.env()["NVIDIA_VISIBLE_DEVICES"]


async def test_steps_run_in_their_order() -> None:
    """A later step sees what an earlier one did."""
    seen = []

    def second(new: dict[str, Any], _: StepContext) -> dict[str, Any]:
        seen.append(new["metadata"]["labels"])
        return new

    await admit(gpu_pod(), steps=(labelled, second))
    assert seen == [{"outcome": "Granted"}]


@pytest.mark.parametrize(
    "error", [RequestError(where="w", value="v", problem="p", remedy="r"), KeyError("bug")], ids=["refusal", "bug"]
)
async def test_grant_goes_back_when_a_step_fails(error: Exception) -> None:
    """The pod will not be, so its slices are free again at once."""
    allocator = FakeAllocator()

    def failing(_: dict[str, Any], __: StepContext) -> dict[str, Any]:
        raise error

    with pytest.raises(type(error)):
        await admit(gpu_pod(), allocator=allocator, steps=(failing,))
    assert allocator.returned == ["grant-1"]
    assert not allocator.ledger


async def test_failing_step_in_a_dry_run_gives_nothing_back() -> None:
    """There is nothing to give back."""
    allocator = FakeAllocator()

    def failing(_: dict[str, Any], __: StepContext) -> dict[str, Any]:
        raise KeyError

    with pytest.raises(KeyError):
        await admit(gpu_pod(), allocator=allocator, steps=(failing,), dry_run=True)
    assert not allocator.returned


async def test_recognised_grant_is_kept_when_a_step_fails() -> None:
    """On a second pass the grant is the pod's already; the reaper decides, not a step."""
    first = await admit(gpu_pod())

    def failing(_: dict[str, Any], __: StepContext) -> dict[str, Any]:
        raise KeyError

    with pytest.raises(KeyError):
        await admit(first.pod, allocator=first.allocator, steps=(failing,))
    assert "grant-1" in first.allocator.ledger
