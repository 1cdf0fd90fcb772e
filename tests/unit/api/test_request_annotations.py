"""Asking by vramshare's annotations."""

from typing import Any

import pytest

from allocator.api.errors import RequestError
from allocator.api.quantities import Memory, MemoryShare
from allocator.api.request import ContainerRequest, PodRequest, Syntax, WhenFull, parse_pod


def pod(annotations: dict[str, str], *containers: str, init: tuple[str, ...] = ()) -> dict[str, Any]:
    """A pod with these containers; `a` and `b` by default."""
    return {
        "metadata": {"annotations": annotations},
        "spec": {
            "initContainers": [{"name": name} for name in init],
            "containers": [{"name": name} for name in containers or ("a", "b")],
        },
    }


def asked(annotations: dict[str, str], *containers: str, init: tuple[str, ...] = ()) -> PodRequest:
    """The request of such a pod."""
    request = parse_pod(pod(annotations, *containers, init=init))
    assert request is not None
    return request


def test_default_container_is_the_first() -> None:
    """Pod-wide sizes go to one container."""
    got = asked({"vramshare.io/memory": "2Gi", "vramshare.io/cores": "25", "vramshare.io/gpus": "2"})
    assert got.containers == (ContainerRequest("a", 2, Memory.mib(2048), 25),)
    assert got.syntax is Syntax.ANNOTATIONS


def test_kubectls_default_container_comes_before_the_first() -> None:
    """Where a sidecar stands first, templates name the main one."""
    got = asked({"vramshare.io/memory": "20%", "kubectl.kubernetes.io/default-container": "b"})
    assert got.containers == (ContainerRequest("b", 1, MemoryShare(200), None),)


def test_unknown_default_container_is_passed_over() -> None:
    """That annotation is kubectl's, and not ours to judge."""
    got = asked({"vramshare.io/memory": "20%", "kubectl.kubernetes.io/default-container": "zzz"})
    assert got.containers[0].container == "a"


def test_named_containers_each_get_a_slice() -> None:
    """A list of containers; init containers count."""
    got = asked({"vramshare.io/memory": "1Gi", "vramshare.io/containers": "b, i"}, init=("i",))
    assert [one.container for one in got.containers] == ["i", "b"]


def test_containers_own_size_comes_before_the_pods() -> None:
    """One container asks for more than the others."""
    got = asked({"vramshare.io/memory": "1Gi", "vramshare.io/containers": "a,b", "memory.vramshare.io/b": "3Gi"})
    assert [one.memory for one in got.containers] == [Memory.mib(1024), Memory.mib(3072)]


def test_only_own_sizes_ask_for_those_containers_only() -> None:
    """Without pod-wide sizes the default container asks for nothing."""
    assert [one.container for one in asked({"cores.vramshare.io/b": "10"}).containers] == ["b"]


def test_cores_alone_take_the_whole_memory() -> None:
    """No size of memory means all of it."""
    assert asked({"vramshare.io/cores": "50"}).containers[0] == ContainerRequest("a", 1, MemoryShare(1000), 50)


def test_gpus_alone_take_them_whole() -> None:
    """As `nvidia.com/gpu` does."""
    assert asked({"vramshare.io/gpus": "2"}).containers[0] == ContainerRequest("a", 2, MemoryShare(1000), 100)


def test_choice_of_gpus() -> None:
    """Models and UUIDs are compared without regard to case; an exclamation mark excludes."""
    got = asked(
        {"vramshare.io/memory": "1Gi", "vramshare.io/models": "Tesla T4, !NVIDIA A100", "vramshare.io/uuids": "!GPU-1"}
    )
    assert got.models.allows("tesla t4")
    assert not got.models.allows("NVIDIA A100")
    assert not got.models.allows("NVIDIA L40S")
    assert got.uuids.allows("GPU-2")
    assert not got.uuids.allows("gpu-1")


def test_policy_and_when_full() -> None:
    """Waiting is the default."""
    assert asked({"vramshare.io/memory": "1Gi"}).when_full is WhenFull.QUEUE
    got = asked({"vramshare.io/memory": "1Gi", "vramshare.io/when-full": "reject", "vramshare.io/policy": "spread"})
    assert (got.when_full, got.policy) == (WhenFull.REJECT, "spread")


@pytest.mark.parametrize("made", [{}, {"metadata": {"annotations": None}}, {"metadata": {}, "spec": {}}])
def test_nothing_asked_is_no_request(made: dict[str, Any]) -> None:
    """Absent, null and empty alike."""
    assert parse_pod(made) is None


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        (
            {"vramshare.io/memory": "2048"},
            (
                "container 'a': annotation vramshare.io/memory is '2048': 2048 bytes is too small for a slice; "
                "2048? write 2048Mi"
            ),
        ),
        (
            {"memory.vramshare.io/b": "-1Gi"},
            (
                "container 'b': annotation memory.vramshare.io/b is '-1Gi': memory cannot be negative; "
                "write a positive size such as 2Gi"
            ),
        ),
        (
            {"vramshare.io/cores": "101"},
            (
                "container 'a': annotation vramshare.io/cores is '101': GPU time is at most 100 percent of one GPU; "
                "write 1 to 100; ask for more GPUs to use more"
            ),
        ),
        (
            {"vramshare.io/gpus": "0"},
            (
                "container 'a': annotation vramshare.io/gpus is '0': a number of GPUs is a whole number from 1 to 64; "
                "write for example 1"
            ),
        ),
        (
            {"vramshare.io/gpus": "65"},
            (
                "container 'a': annotation vramshare.io/gpus is '65': a number of GPUs is a whole number from 1 to 64; "
                "write for example 1"
            ),
        ),
        (
            {"memory.vramshare.io/zzz": "1Gi"},
            "annotation memory.vramshare.io/zzz is '1Gi': the pod has no container 'zzz'; name one of: a, b",
        ),
        (
            {"vramshare.io/memory": "1Gi", "vramshare.io/containers": "a,zzz"},
            "annotation vramshare.io/containers is 'a,zzz': the pod has no container 'zzz'; name one of: a, b",
        ),
        (
            {"vramshare.io/memory": "1Gi", "vramshare.io/containers": "a,a"},
            "annotation vramshare.io/containers is 'a,a': 'a' stands there twice; name each once",
        ),
        (
            {"vramshare.io/memory": "1Gi", "vramshare.io/containers": "a,,b"},
            (
                "annotation vramshare.io/containers is 'a,,b': an entry of the list is empty; "
                "write names separated by single commas"
            ),
        ),
        (
            {"vramshare.io/memory": "1Gi", "vramshare.io/models": "!"},
            "annotation vramshare.io/models is '!': an exclamation mark with no name; write for example !Tesla T4",
        ),
        (
            {"vramshare.io/memory": "1Gi", "vramshare.io/models": "T4,!t4"},
            "annotation vramshare.io/models is 'T4,!t4': 't4' is both wanted and excluded; keep one of the two",
        ),
        (
            {"vramshare.io/models": "Tesla T4", "vramshare.io/when-full": "reject"},
            (
                "annotation vramshare.io/models is 'Tesla T4': it says how a GPU is chosen, but the pod asks for none; "
                "add vramshare.io/memory: 2Gi (or remove it)"
            ),
        ),
        (
            {"vramshare.io/memory": "1Gi", "vramshare.io/when-full": "wait"},
            "annotation vramshare.io/when-full is 'wait': not a choice; write queue or reject",
        ),
    ],
)
def test_wrong_ways_to_ask(annotations: dict[str, str], message: str) -> None:
    """The message names container, field, value and remedy."""
    with pytest.raises(RequestError) as caught:
        parse_pod(pod(annotations))
    assert str(caught.value) == message


def test_far_too_long_value_is_refused_and_cut_in_the_message() -> None:
    """Nobody wants to read it, or to parse it."""
    with pytest.raises(RequestError) as caught:
        parse_pod(pod({"vramshare.io/uuids": "x" * 5000}))
    text = str(caught.value)
    assert "… (5000 characters)" in text
    assert "far too long; write at most 4096 characters" in text
    assert len(text) < 300
