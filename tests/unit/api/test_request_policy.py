"""Asking that idle GPU time of others may be used too."""

from typing import Any

import pytest

from allocator.api.errors import RequestError
from allocator.api.quantities import CoresPolicy
from allocator.api.request import PodRequest, normalised_annotations, parse_pod


def pod(annotations: dict[str, str], limits: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod with the containers `a` and `b`; the first has these resources."""
    first = {"name": "a", "resources": {"limits": limits or {}}}
    return {"metadata": {"annotations": annotations}, "spec": {"containers": [first, {"name": "b"}]}}


def policies(request: PodRequest | None) -> dict[str, CoresPolicy]:
    """Each container's policy."""
    assert request is not None
    return {one.container: one.cores_policy for one in request.containers}


def test_without_a_word_a_share_is_a_ceiling() -> None:
    """The default is the one that surprises no neighbour."""
    assert policies(parse_pod(pod({"vramshare.io/cores": "25"}))) == {"a": CoresPolicy.HARD}


def test_the_pods_policy_holds_for_all_its_slices() -> None:
    """One annotation, every container with a slice."""
    asked = {"vramshare.io/cores": "25", "vramshare.io/containers": "a,b", "vramshare.io/cores-policy": " burst "}
    assert policies(parse_pod(pod(asked))) == {"a": CoresPolicy.BURST, "b": CoresPolicy.BURST}


def test_a_containers_own_policy_comes_before_the_pods() -> None:
    """Also where it is the stricter one."""
    asked = {
        "vramshare.io/cores": "25",
        "vramshare.io/containers": "a,b",
        "vramshare.io/cores-policy": "burst",
        "cores-policy.vramshare.io/b": "hard",
    }
    assert policies(parse_pod(pod(asked))) == {"a": CoresPolicy.BURST, "b": CoresPolicy.HARD}


def test_a_policy_goes_with_hamis_resources_too() -> None:
    """Who asks by resources has no other way to say it."""
    asked = {"vramshare.io/cores-policy": "burst"}
    limits = {"nvidia.com/gpu": "1", "nvidia.com/gpucores": "30"}
    assert policies(parse_pod(pod(asked, limits))) == {"a": CoresPolicy.BURST}
    assert policies(parse_pod(pod({"cores-policy.vramshare.io/a": "burst"}, limits))) == {"a": CoresPolicy.BURST}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"vramshare.io/cores": "25", "vramshare.io/cores-policy": "soft"},
            "container 'a': annotation vramshare.io/cores-policy is 'soft': .*; write hard .* or burst",
        ),
        (
            {"vramshare.io/cores": "25", "cores-policy.vramshare.io/z": "burst"},
            "annotation cores-policy.vramshare.io/z is 'burst': the pod has no container 'z'; name one of: a, b",
        ),
        ({"vramshare.io/cores-policy": "burst"}, "the pod asks for none"),
        ({"cores-policy.vramshare.io/a": "burst"}, "the pod asks for none"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked: dict[str, str], message: str) -> None:
    """With the field, the value and what to write."""
    with pytest.raises(RequestError, match=message):
        parse_pod(pod(asked))


def test_a_policy_is_read_back_from_what_the_webhook_writes() -> None:
    """By the containers' own annotations alone, as after a restart with resources stripped from the spec."""
    limits = {"nvidia.com/gpu": "1", "nvidia.com/gpucores": "30"}
    first = parse_pod(pod({"vramshare.io/cores-policy": "burst"}, limits))
    assert first is not None
    written = normalised_annotations(first)
    assert written["cores-policy.vramshare.io/a"] == "burst"
    assert policies(parse_pod(pod(written | {"vramshare.io/status": "queued"}))) == policies(first)


def test_the_default_is_not_written() -> None:
    """Pods of before there were policies stay as they are."""
    first = parse_pod(pod({"vramshare.io/cores": "25", "vramshare.io/cores-policy": "hard"}))
    assert first is not None
    assert not [key for key in normalised_annotations(first) if "policy" in key]
