"""Admission reviews as a real API server sent them."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from tests.unit.webhook.support import SETTINGS, FakeAllocator
from webhook.admission import Admission
from webhook.review import Answer, Review, parse

NUMBERS = range(12)
GRANTED = {0, 1, 2, 10, 11}
"""Creates that ask for a GPU, in one syntax or the other."""


def read(folder: Path, number: int) -> Review:
    """One of the recorded reviews."""
    (path,) = (folder / "kube-apiserver-1.36").glob(f"review-{number:02}-*.json")
    return parse(path.read_bytes())


def answer(review: Review, allocator: FakeAllocator) -> Answer:
    """What the webhook says to it."""
    return asyncio.run(Admission(SETTINGS, allocator).answer(review))


def applied(review: Review, got: Answer) -> dict[str, Any]:
    """The object that the API server goes on with."""
    assert review.pod is not None
    changed: dict[str, Any] = jsonpatch.apply_patch(dict(review.pod), got.patch or [])
    return changed


@pytest.mark.parametrize("number", NUMBERS)
def test_every_review_is_read_and_allowed(shared_data: Path, number: int) -> None:
    """Each is of a kind that can be answered; those that ask for a GPU get one and name their pod and namespace."""
    review, allocator = read(shared_data, number), FakeAllocator()
    got = answer(review, allocator)
    assert got.allowed
    assert review.uid
    assert review.namespace == "team-a"
    assert len(allocator.asked) == (1 if number in GRANTED else 0)
    if number in GRANTED:
        assert allocator.asked[0].pod_name not in {"", "*"}
        assert allocator.asked[0].dry_run == review.dry_run


@pytest.mark.parametrize("number", sorted(GRANTED | {3, 4, 6, 7}))
def test_answer_stands_on_a_second_call(shared_data: Path, number: int) -> None:
    """Called again with its own result and a new uid, the webhook has nothing to add."""
    review, allocator = read(shared_data, number), FakeAllocator()
    first = answer(review, allocator)
    second = answer(replace(review, pod=applied(review, first), uid="another"), allocator)
    if not review.dry_run:
        assert not second.patch
        assert not second.warnings


@pytest.mark.parametrize("number", sorted(GRANTED))
def test_no_gpu_resource_and_no_foreign_scheduler_are_left(shared_data: Path, number: int) -> None:
    """What the manifests say in HAMi's words is gone from the spec."""
    review = read(shared_data, number)
    spec = applied(review, answer(review, FakeAllocator()))["spec"]
    assert spec["schedulerName"] == "default-scheduler"
    for container in spec["containers"]:
        assert "nvidia.com/" not in str(container["resources"])


def test_generated_pod_of_a_replica_set_names_its_owner(shared_data: Path) -> None:
    """The name is not made yet; the controller is known."""
    allocator = FakeAllocator()
    answer(read(shared_data, 10), allocator)
    asked = allocator.asked[0]
    assert asked.pod_name.endswith("-*")
    assert asked.owner.startswith("ReplicaSet/gpu-worker-a-")


@pytest.mark.parametrize("number", [5, 8])
def test_updates_of_pods_that_are_not_ours_pass_unchanged(shared_data: Path, number: int) -> None:
    """A label on a bound pod, another's gate on a waiting one: nothing to do."""
    assert not answer(read(shared_data, number), FakeAllocator()).patch


@pytest.mark.parametrize("number", [0, 2])
def test_manifest_applied_again_is_the_stored_pod(shared_data: Path, number: int) -> None:
    """The same object as an update of what the create made."""
    review, allocator = read(shared_data, number), FakeAllocator()
    stored = applied(review, answer(review, allocator))
    again = replace(review, operation="UPDATE", old=stored)
    assert applied(again, answer(again, allocator)) == stored
    assert len(allocator.asked) == 1
