"""What holds of every mutation, whatever the pod."""

import asyncio
from typing import Any

import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from allocator.api import names
from allocator.api.errors import NoCapacityError, RequestError
from tests.property.webhook_pods import containers, hami, pods
from tests.unit.webhook.support import FakeAllocator, Outcome, admit
from webhook.mutation.files import is_reserved

KINDS = ("initContainers", "containers")
failures = st.sampled_from([None, NoCapacityError("full")])


def admitted(pod: dict[str, Any], allocator: FakeAllocator, **about: Any) -> Outcome:
    """The pod admitted; examples that are refused are not of interest here."""
    try:
        return asyncio.run(admit(pod, allocator=allocator, **about))
    except (RequestError, NoCapacityError):
        assume(False)
        raise


@given(pods(), failures)
@settings(max_examples=150, deadline=None)
def test_second_pass_changes_nothing(pod: dict[str, Any], failure: Exception | None) -> None:
    """Its own output it leaves alone: no patch, no warning, no second grant."""
    allocator = FakeAllocator(failure=failure)
    first = admitted(pod, allocator)
    asked = len(allocator.asked)
    second = admitted(first.pod, allocator)
    assert not second.answer.patch
    assert not second.answer.warnings
    assert len(allocator.asked) == asked


@given(pods(), failures, containers(hami), st.integers(0, 2), hami)
@settings(max_examples=150, deadline=None)
def test_others_between_the_passes_change_nothing_of_ours(
    pod: dict[str, Any], failure: Exception | None, injected: dict[str, Any], place: int, again: dict[str, str]
) -> None:
    """A sidecar put anywhere and resources added again leave answer, slices and other containers as they were."""
    allocator = FakeAllocator(failure=failure)
    first = admitted(pod, allocator)
    assume(names.STATUS in first.annotations)
    asked = len(allocator.asked)
    changed = orjson.loads(orjson.dumps(first.pod))
    for container in changed["spec"]["containers"]:
        amounts = {key: value for key, value in again.items() if key in names.HAMI_RESOURCES}
        if amounts:
            resources = container.setdefault("resources", {})
            resources["limits"] = {**(resources.get("limits") or {}), **amounts}
    changed["spec"]["containers"].insert(place, orjson.loads(orjson.dumps({**injected, "name": "injected"})))
    second = admitted(changed, allocator)
    assert len(allocator.asked) == asked
    assert second.annotations == first.annotations
    assert second.env("injected")["NVIDIA_VISIBLE_DEVICES"] == "void"
    for before in first.spec["containers"]:
        after = second.container(before["name"])
        assert {**after, "resources": None} == {**before, "resources": None}
        for amounts in (after.get("resources") or {}).values():
            assert not set(amounts) & set(names.HAMI_RESOURCES)


@given(pods(), failures)
@settings(max_examples=150, deadline=None)
def test_no_container_is_let_through(pod: dict[str, Any], failure: Exception | None) -> None:
    """Each has NVIDIA_VISIBLE_DEVICES once, ours: its slice's annotation with all of our mounts, or void with none."""
    got = admitted(pod, FakeAllocator(failure=failure))
    slices = {key.removeprefix(names.PRELOAD_PREFIX) for key in got.annotations if key.startswith(names.PRELOAD_PREFIX)}
    for container in (one for kind in KINDS for one in got.spec.get(kind) or ()):
        name = container["name"]
        entries = [one for one in container["env"] if one["name"] == "NVIDIA_VISIBLE_DEVICES"]
        assert len(entries) == 1
        ours = sorted(path for path, volume in got.mounts(name).items() if is_reserved(volume))
        if name in slices:
            assert (
                got.env(name)["NVIDIA_VISIBLE_DEVICES"]
                == f"metadata.annotations['visible-devices.vramshare.io/{name}']"
            )
            assert ours == ["/etc/ld.so.preload", "/etc/vramshare", "/opt/vramshare", "/run/vramshare"]
        else:
            assert got.env(name)["NVIDIA_VISIBLE_DEVICES"] == "void"
            assert ours == []


@given(pods(), failures)
@settings(max_examples=150, deadline=None)
def test_results_are_the_allocators(pod: dict[str, Any], failure: Exception | None) -> None:
    """Allocated is only what the allocator granted, and a queued pod waits behind the gate; nothing brought is left."""
    allocator = FakeAllocator(failure=failure)
    got = admitted(pod, allocator)
    gated = {"name": names.GATE} in (got.spec.get("schedulingGates") or [])
    status = got.annotations.get(names.STATUS)
    assert gated == (status == names.STATUS_QUEUED)
    if status == names.STATUS_ALLOCATED:
        assert got.annotations[names.ALLOCATION_ID] in allocator.ledger
    else:
        assert not [key for key in got.annotations if key.startswith(names.ALLOCATION_PREFIX)]
    if status is None:
        assert not [key for key in got.annotations if names.is_result(key)]


@given(pods(), failures)
@settings(max_examples=150, deadline=None)
def test_users_own_things_stay(pod: dict[str, Any], failure: Exception | None) -> None:
    """Volumes, mounts, variables and annotations that are none of ours come through in their order."""
    got = admitted(pod, FakeAllocator(failure=failure))

    def users(found: dict[str, Any]) -> list[Any]:
        spec = found["spec"]
        own = [one for one in spec.get("volumes") or () if not is_reserved(one["name"])]
        mounts = [
            [one for one in container.get("volumeMounts") or () if not is_reserved(one["name"])]
            for kind in KINDS
            for container in spec.get(kind) or ()
        ]
        variables = [
            [one for one in container.get("env") or () if one["name"] == "A"]
            for kind in KINDS
            for container in spec.get(kind) or ()
        ]
        return [own, mounts, variables, found["metadata"].get("annotations", {}).get("note")]

    assert users(got.pod) == users(pod)


@given(pods(brought=False), failures)
@settings(max_examples=150, deadline=None)
def test_same_manifest_put_again_is_no_change(pod: dict[str, Any], failure: Exception | None) -> None:
    """`kubectl replace` with what created the pod gives the stored pod again."""
    stored = admitted(pod, FakeAllocator(failure=failure))
    again = admitted(pod, FakeAllocator(failure=RuntimeError("asked")), old=stored.pod)
    assert again.pod["spec"] == stored.pod["spec"]
    assert again.annotations == stored.annotations
