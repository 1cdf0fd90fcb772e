"""What a pod takes of its node's CPU and memory."""

from typing import Any

from allocator.core.resources import Usage, pod_usage

GIB = 1024**3


def container(cpu: str, memory: str, **more: Any) -> dict[str, Any]:
    """A container that requests this."""
    return {"resources": {"requests": {"cpu": cpu, "memory": memory}}, **more}


def test_containers_add_up() -> None:
    """Containers that run together are added."""
    spec = {"containers": [container("500m", "1Gi"), container("1", "1Gi")]}
    assert pod_usage(spec) == Usage(cpu=1500, memory=2 * GIB)


def test_init_containers_run_alone() -> None:
    """An init container counts only where it needs more than all that comes after it."""
    spec = {"initContainers": [container("4", "1Gi")], "containers": [container("1", "2Gi")]}
    assert pod_usage(spec) == Usage(cpu=4000, memory=2 * GIB)


def test_sidecars_run_along() -> None:
    """A sidecar is added to the containers, and to the init containers that start after it."""
    spec = {
        "initContainers": [container("3", "1Gi"), container("1", "1Gi", restartPolicy="Always"), container("3", "1Gi")],
        "containers": [container("2", "1Gi")],
    }
    assert pod_usage(spec) == Usage(cpu=4000, memory=2 * GIB)


def test_limits_stand_in_for_requests() -> None:
    """A limit without a request is the request."""
    assert pod_usage({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}) == Usage(cpu=2000)


def test_requests_of_the_pod_come_first() -> None:
    """Requests stated for the whole pod replace the containers' sum, each resource on its own."""
    spec = {"resources": {"requests": {"cpu": "3"}}, "containers": [container("1", "1Gi")]}
    assert pod_usage(spec) == Usage(cpu=3000, memory=GIB)


def test_overhead_is_added_once() -> None:
    """The spec's overhead counts; the RuntimeClass' only where the spec has none yet."""
    spec: dict[str, Any] = {"containers": [container("1", "1Gi")]}
    assert pod_usage(spec, overhead={"cpu": "250m"}) == Usage(cpu=1250, memory=GIB)
    assert pod_usage({**spec, "overhead": {"cpu": "100m"}}, overhead={"cpu": "250m"}) == Usage(cpu=1100, memory=GIB)
