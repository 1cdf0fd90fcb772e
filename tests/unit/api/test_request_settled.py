"""Reading a request again after the webhook has written it out."""

from typing import Any

from allocator.api.request import normalised_annotations, parse_pod


def pod(annotations: dict[str, str], *containers: str) -> dict[str, Any]:
    """A pod with these containers."""
    return {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": name} for name in containers]}}


def test_container_put_in_front_does_not_inherit_pod_wide_sizes() -> None:
    """Pod-wide sizes were for the first container of then, which has its own by now."""
    asked = {"vramshare.io/memory": "2Gi", "vramshare.io/cores": "25"}
    first = parse_pod(pod(asked, "main"))
    assert first is not None
    written = {**asked, **normalised_annotations(first), "vramshare.io/status": "allocated"}
    assert parse_pod(pod(written, "mesh", "main")) == first


def test_a_container_left_out_of_pod_wide_sizes_stays_out() -> None:
    """A container with only its own memory gets no cap from the pod-wide cores the second time either."""
    asked = {
        "vramshare.io/memory": "2Gi",
        "vramshare.io/cores": "25",
        "vramshare.io/containers": "a",
        "memory.vramshare.io/b": "1Gi",
    }
    first = parse_pod(pod(asked, "a", "b"))
    assert first is not None
    written = {**asked, **normalised_annotations(first), "vramshare.io/status": "queued"}
    assert parse_pod(pod(written, "a", "b")) == first


def test_status_alone_settles_nothing() -> None:
    """A status that somebody brought without sizes per container leaves the pod-wide ones in force."""
    got = parse_pod(pod({"vramshare.io/memory": "2Gi", "vramshare.io/status": "allocated"}, "main"))
    assert got is not None
    assert [one.container for one in got.containers] == ["main"]
