"""Asking by HAMi's container resources."""

from typing import Any

import pytest

from allocator.api.errors import RequestError
from allocator.api.quantities import Memory, MemoryShare
from allocator.api.request import ContainerRequest, Syntax, gpu_resources, parse_pod

GPU, MEMORY, PERCENT, CORES = (
    "nvidia.com/gpu",
    "nvidia.com/gpumem",
    "nvidia.com/gpumem-percentage",
    "nvidia.com/gpucores",
)


def pod(limits: dict[str, str], annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod with one container `a` of these limits."""
    return {
        "metadata": {"annotations": annotations or {}},
        "spec": {"containers": [{"name": "a", "resources": {"limits": limits}}]},
    }


@pytest.mark.parametrize(
    ("limits", "gpus", "memory", "cores"),
    [
        ({GPU: "1"}, 1, MemoryShare(1000), 100),
        ({GPU: "2", MEMORY: "3000", CORES: "30"}, 2, Memory.mib(3000), 30),
        ({GPU: "1", MEMORY: "3k"}, 1, Memory.mib(3000), None),
        ({GPU: "1", PERCENT: "20"}, 1, MemoryShare(200), None),
        ({MEMORY: "512"}, 1, Memory.mib(512), None),
        ({CORES: "25"}, 1, MemoryShare(1000), 25),
        ({GPU: "1", CORES: "0"}, 1, MemoryShare(1000), 100),
    ],
)
def test_resources_are_understood(
    limits: dict[str, str], gpus: int, memory: Memory | MemoryShare, cores: int | None
) -> None:
    """Memory counts MiB, also as canonicalised; a GPU alone is a whole one; memory or cores alone mean one GPU."""
    got = parse_pod(pod(limits))
    assert got is not None
    assert got.containers == (ContainerRequest("a", gpus, memory, cores),)
    assert got.syntax is Syntax.RESOURCES


def test_no_gpus_is_no_request() -> None:
    """Zero is how some templates switch it off."""
    assert parse_pod(pod({GPU: "0"})) is None


def test_requests_count_where_limits_are_silent() -> None:
    """Both parts are read, limits first."""
    container = {"resources": {"limits": {GPU: "2"}, "requests": {GPU: "1", CORES: "5", "cpu": "1"}}}
    assert gpu_resources(container) == {GPU: "2", CORES: "5"}


def test_choices_by_annotation_go_with_resources() -> None:
    """Which GPUs, and what to do when full, can only be said by annotation."""
    got = parse_pod(pod({GPU: "1"}, {"vramshare.io/models": "Tesla T4", "vramshare.io/when-full": "reject"}))
    assert got is not None
    assert got.models.include == {"tesla t4"}
    assert got.when_full == "reject"


@pytest.mark.parametrize(
    ("limits", "annotations", "message"),
    [
        (
            {GPU: "-1"},
            {},
            "container 'a': resource nvidia.com/gpu is '-1': cannot be negative; write a positive whole number",
        ),
        ({GPU: "1500m"}, {}, "container 'a': resource nvidia.com/gpu is '1500m': must be a whole number; write 2"),
        (
            {GPU: "65"},
            {},
            "container 'a': resource nvidia.com/gpu is '65': at most 64; write a whole number from 1 to 64",
        ),
        (
            {MEMORY: "2Gi"},
            {},
            (
                "container 'a': resource nvidia.com/gpumem is '2Gi': counts MiB, and this would be more than any GPU "
                "has; write 2048 for 2Gi"
            ),
        ),
        (
            {PERCENT: "101"},
            {},
            (
                "container 'a': resource nvidia.com/gpumem-percentage is '101': at most 100; "
                "write a whole number from 1 to 100"
            ),
        ),
        (
            {CORES: "200"},
            {},
            "container 'a': resource nvidia.com/gpucores is '200': at most 100; write a whole number from 1 to 100",
        ),
        (
            {CORES: "much"},
            {},
            "container 'a': resource nvidia.com/gpucores is 'much': not a quantity; write a whole number",
        ),
        (
            {MEMORY: "1000", PERCENT: "20"},
            {},
            (
                "container 'a': resource nvidia.com/gpumem-percentage is '20': the container also asks by "
                "nvidia.com/gpumem; keep one of the two"
            ),
        ),
        (
            {GPU: "1"},
            {"vramshare.io/memory": "1Gi"},
            (
                "container 'a': resource nvidia.com/gpu is '1': the pod also asks by annotation vramshare.io/memory; "
                "ask by annotations or by resources, not both"
            ),
        ),
        (
            {GPU: "1"},
            {"vramshare.io/containers": "a"},
            (
                "container 'a': resource nvidia.com/gpu is '1': the pod also asks by annotation "
                "vramshare.io/containers; ask by annotations or by resources, not both"
            ),
        ),
    ],
)
def test_wrong_ways_to_ask(limits: dict[str, str], annotations: dict[str, str], message: str) -> None:
    """The message names container, resource, value and remedy."""
    with pytest.raises(RequestError) as caught:
        parse_pod(pod(limits, annotations))
    assert str(caught.value) == message
