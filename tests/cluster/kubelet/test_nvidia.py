"""Which GPUs the simulated NVIDIA runtime shows."""

import pytest
from devcluster.kubelet.nvidia import CDI, FAKE, Gpu, NodeGpus, NvidiaError, visible

A, B = Gpu("GPU-a", 0), Gpu("GPU-b", 1)
SPECS = {"nvidia.com/gpu=GPU-a": "GPU-a", "nvidia.com/gpu=1": "1"}


def shown(value: str | None, mode: str = "env") -> tuple[Gpu, ...] | None:
    """What a container with this variable sees."""
    env = {} if value is None else {"NVIDIA_VISIBLE_DEVICES": value}
    return visible(NodeGpus(kind=FAKE, gpus=(A, B), mode=mode), env, SPECS)


@pytest.mark.parametrize("value", [None, "", "void"])
@pytest.mark.parametrize("mode", ["env", CDI])
def test_no_request_no_driver(value: str | None, mode: str) -> None:
    """Absent, empty and void mean not even the driver's libraries."""
    assert shown(value, mode) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("all", (A, B)), ("GPU-b", (B,)), ("GPU-b,GPU-a", (A, B)), ("1", (B,)), ("none", ())],
)
def test_env_mode(value: str, expected: tuple[Gpu, ...]) -> None:
    """UUIDs, indices and all, in the node's order; none is a driver without GPUs."""
    assert shown(value) == expected


def test_env_mode_refuses_unknown_and_qualified_names() -> None:
    """A CDI name means nothing to the legacy mode."""
    for value in ("GPU-c", "nvidia.com/gpu=GPU-a"):
        with pytest.raises(NvidiaError, match="unknown device"):
            shown(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("nvidia.com/gpu=GPU-a", (A,)), ("nvidia.com/gpu=1", (B,)), ("management.nvidia.com/gpu=all", (A, B))],
)
def test_cdi_mode(value: str, expected: tuple[Gpu, ...]) -> None:
    """Qualified names resolve through the node's specs."""
    assert shown(value, CDI) == expected


@pytest.mark.parametrize("value", ["GPU-a", "nvidia.com/gpu=GPU-b"])
def test_cdi_mode_refuses_what_no_spec_names(value: str) -> None:
    """A bare UUID fails under CDI, and so does a GPU that no spec has by that name."""
    with pytest.raises(NvidiaError, match="unresolvable CDI devices"):
        shown(value, CDI)


def test_a_node_without_gpus() -> None:
    """There the variable has no meaning, as without the runtime."""
    assert visible(NodeGpus(), {"NVIDIA_VISIBLE_DEVICES": "all"}, {}) is None
