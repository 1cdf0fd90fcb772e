"""Second passes: the API server calls the webhook again after others have changed the pod."""

import copy
from typing import Any

import pytest

from allocator.api.errors import NoCapacityError
from tests.unit.webhook.support import LIBRARY, FakeAllocator, Outcome, admit, container, env, gpu_pod, pod

FULL = NoCapacityError("full")


def unchanged(second: Outcome, first: Outcome) -> bool:
    """Whether a second pass left the first's result alone, silently and without another grant."""
    return not second.answer.patch and not second.answer.warnings and len(first.allocator.asked) == 1


async def test_granted_pod_is_recognised() -> None:
    """The same pod again: no patch, no warning, no further grant, the same audit."""
    first = await admit(gpu_pod(container(env=env(LD_PRELOAD="/mine.so"))))
    second = await admit(first.pod, allocator=first.allocator)
    assert unchanged(second, first)
    assert second.answer.audit == first.answer.audit


async def test_queued_pod_stays_queued() -> None:
    """Nothing is tried again while the pod is being created: the queue will."""
    first = await admit(gpu_pod(container(env=env(LD_PRELOAD="/mine.so"))), allocator=FakeAllocator(failure=FULL))
    second = await admit(first.pod, allocator=first.allocator)
    assert unchanged(second, first)


async def test_pod_without_gpus_stays() -> None:
    """No patch for what is void already."""
    first = await admit(pod(None, container(env=env(NVIDIA_VISIBLE_DEVICES="all"))))
    second = await admit(first.pod, allocator=first.allocator)
    assert not second.answer.patch
    assert not second.answer.warnings


@pytest.mark.parametrize("failure", [None, FULL], ids=["granted", "queued"])
async def test_sidecar_injected_in_front_gets_no_slice(failure: Exception | None) -> None:
    """The slice stays with the container that was the first one then; the newcomer is kept from GPUs."""
    first = await admit(gpu_pod(), allocator=FakeAllocator(failure=failure))
    changed = copy.deepcopy(first.pod)
    changed["spec"]["containers"].insert(0, container("mesh", env=env(B="1")))
    changed["spec"]["volumes"].insert(0, {"name": "mesh-config", "emptyDir": {}})
    second = await admit(changed, allocator=first.allocator)
    assert len(first.allocator.asked) == 1
    assert second.env("mesh") == {"B": "1", "NVIDIA_VISIBLE_DEVICES": "void"}
    assert second.container("main") == first.container("main")
    assert second.annotations == first.annotations
    assert second.spec["volumes"][1:] == first.spec["volumes"]
    third = await admit(second.pod, allocator=first.allocator)
    assert unchanged(third, first)


@pytest.mark.parametrize("failure", [None, FULL], ids=["granted", "queued"])
async def test_resources_that_a_limit_range_adds_again_go_silently(failure: Exception | None) -> None:
    """A LimitRange fills in defaults for whatever was removed; our annotations hold."""
    resources = {"limits": {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "2k"}}
    first = await admit(pod(None, container(resources=resources)), allocator=FakeAllocator(failure=failure))
    changed = copy.deepcopy(first.pod)
    changed["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "4"}, "requests": {"cpu": "1"}}
    second = await admit(changed, allocator=first.allocator)
    assert second.container()["resources"] == {"requests": {"cpu": "1"}}
    assert second.annotations == first.annotations
    assert not second.answer.warnings
    assert len(first.allocator.asked) == 1


async def test_defaults_that_the_api_server_fills_in_are_written_by_us() -> None:
    """References carry their apiVersion and the downward volume its mode: nothing is left to default."""
    first = await admit(gpu_pod())
    references = [one["valueFrom"]["fieldRef"] for one in first.container()["env"]]
    volume = next(one["downwardAPI"] for one in first.spec["volumes"] if "downwardAPI" in one)
    references.append(volume["items"][0]["fieldRef"])
    assert [one["apiVersion"] for one in references] == ["v1"] * 3
    assert volume["defaultMode"] == 0o644


async def test_damage_by_others_is_repaired() -> None:
    """Another webhook that rewrote our variable does not get its way."""
    first = await admit(gpu_pod())
    changed = copy.deepcopy(first.pod)
    changed["spec"]["containers"][0]["env"] = env(NVIDIA_VISIBLE_DEVICES="all")
    second = await admit(changed, allocator=first.allocator)
    assert second.env()["NVIDIA_VISIBLE_DEVICES"] == first.env()["NVIDIA_VISIBLE_DEVICES"]
    assert second.env()["LD_PRELOAD"] == first.env()["LD_PRELOAD"]


def forged(**annotations: str) -> dict[str, Any]:
    """A pod that brings an allocation of its own making."""
    return gpu_pod_with(
        {
            "vramshare.io/status": "allocated",
            "vramshare.io/allocation-id": "mine",
            "vramshare.io/node": "node-z",
            "allocation.vramshare.io/main": "GPU-9 memory=99999999999 cores=0\n",
            **annotations,
        }
    )


def gpu_pod_with(annotations: dict[str, str]) -> dict[str, Any]:
    """A pod that asks for 2 GiB and has these annotations too."""
    return pod({"vramshare.io/memory": "2Gi", **annotations})


async def test_forged_allocation_is_replaced() -> None:
    """Only what the ledger knows is an allocation; the pod gets what it asks for and a warning."""
    got = await admit(forged(**{"preload.vramshare.io/main": "/evil.so", "visible-devices.vramshare.io/x": "all"}))
    assert got.annotations["vramshare.io/allocation-id"] == "grant-1"
    assert got.annotations["allocation.vramshare.io/main"].startswith("GPU-0 memory=2147483648 cores=0 ")
    assert got.annotations["preload.vramshare.io/main"] == LIBRARY
    assert "visible-devices.vramshare.io/x" not in got.annotations
    assert [text for text in got.answer.warnings if "are vramshare's to write; they were dropped" in text]


async def test_unreadable_allocation_is_replaced() -> None:
    """An annotation that nobody can read is nobody's grant."""
    got = await admit(forged(**{"allocation.vramshare.io/main": "what?"}))
    assert got.annotations["vramshare.io/allocation-id"] == "grant-1"


async def test_another_namespaces_allocation_is_replaced() -> None:
    """A grant is worth something in its own namespace only."""
    first = await admit(gpu_pod())
    second = await admit(first.pod, allocator=first.allocator, namespace="other")
    assert second.annotations["vramshare.io/allocation-id"] == "grant-2"


async def test_allocation_for_other_containers_is_replaced() -> None:
    """A grant fits the containers that it was made for."""
    first = await admit(pod({"memory.vramshare.io/a": "1Gi"}, container("a"), container("b")))
    changed = copy.deepcopy(first.pod)
    changed["metadata"]["annotations"]["memory.vramshare.io/b"] = "1Gi"
    second = await admit(changed, allocator=first.allocator)
    assert second.annotations["vramshare.io/allocation-id"] == "grant-2"
    assert "allocation.vramshare.io/b" in second.annotations


async def test_copied_manifest_is_placed_anew() -> None:
    """A manifest read back from the cluster brings marks, mounts and the old pin: all of them are made anew."""
    first = await admit(gpu_pod(container(env=env(LD_PRELOAD="/mine.so"))))
    elsewhere = FakeAllocator()
    second = await admit(first.pod, allocator=elsewhere)
    assert "affinity" not in elsewhere.asked[0].pod["spec"], "the old pin would keep it from every other node"
    assert second.annotations["preload.vramshare.io/main"] == f"{LIBRARY}:/mine.so"
    assert len(second.spec["volumes"]) == len(first.spec["volumes"])


async def test_copied_manifest_keeps_the_users_affinity() -> None:
    """Only the pin goes; a term that held nothing else goes with it, for an empty term matches no node."""
    terms = [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    first = await admit(gpu_pod(affinity=affinity))
    elsewhere = FakeAllocator()
    await admit(first.pod, allocator=elsewhere)
    assert elsewhere.asked[0].pod["spec"]["affinity"] == affinity


async def test_copy_without_annotations_loses_our_mounts() -> None:
    """`kubectl debug --copy-to` keeps mounts and variables and drops annotations: the copy is a pod without GPUs."""
    first = await admit(gpu_pod(container(volumeMounts=[{"name": "d", "mountPath": "/d"}]), volumes=[{"name": "d"}]))
    copied = copy.deepcopy(first.pod)
    del copied["metadata"]["annotations"]
    second = await admit(copied)
    assert second.env() == {"NVIDIA_VISIBLE_DEVICES": "void"}
    assert second.mounts() == {"/d": "d"}
    assert second.spec["volumes"] == [{"name": "d"}]
    assert [text for text in second.answer.warnings if "volume vramshare-library" in text]


async def test_brought_gate_is_dropped() -> None:
    """Without a status of ours the gate would hold the pod for ever."""
    got = await admit(pod(None, schedulingGates=[{"name": "vramshare.io/capacity"}]))
    assert "schedulingGates" not in got.spec
    assert [text for text in got.answer.warnings if "gate" in text]


async def test_queued_mark_of_a_pod_that_would_not_wait_is_no_mark() -> None:
    """Somebody who wants a refusal instead of a wait is asked about anew."""
    first = await admit(gpu_pod(), allocator=FakeAllocator(failure=FULL))
    changed = copy.deepcopy(first.pod)
    changed["metadata"]["annotations"]["vramshare.io/when-full"] = "reject"
    with pytest.raises(NoCapacityError):
        await admit(changed, allocator=first.allocator)


async def test_grant_on_another_node_than_the_pods_own_is_replaced() -> None:
    """Somebody gave the pod a node meanwhile: a grant elsewhere is of no use to it."""
    first = await admit(gpu_pod())
    changed = copy.deepcopy(first.pod)
    changed["spec"]["nodeName"] = "node-b"
    second = await admit(changed, allocator=first.allocator)
    assert len(second.allocator.asked) == 2
    assert second.annotations["vramshare.io/allocation-id"] == "grant-2"


async def test_queued_mark_without_a_gate_is_no_mark() -> None:
    """Nothing would hold the pod back: it is decided about as if it came for the first time."""
    first = await admit(gpu_pod(), allocator=FakeAllocator(failure=FULL))
    changed = copy.deepcopy(first.pod)
    del changed["spec"]["schedulingGates"]
    second = await admit(changed)
    assert second.annotations["vramshare.io/status"] == "allocated"


async def test_another_pods_unused_allocation_is_replaced() -> None:
    """A copied answer is no answer: each pod has a grant of its own."""
    first = await admit(gpu_pod())
    second = copy.deepcopy(first.pod)
    second["metadata"]["name"] = "q"
    got = await admit(second, allocator=first.allocator)
    assert got.annotations["vramshare.io/allocation-id"] != first.annotations["vramshare.io/allocation-id"]
