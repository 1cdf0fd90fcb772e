"""Updates: what is ours becomes again what it was, so that the user's manifest can be applied again."""

import copy
from typing import Any

import pytest

from allocator.api.errors import NoCapacityError, RequestError
from tests.unit.webhook.support import FakeAllocator, Outcome, admit, container, env, gpu_pod, pod

FULL = NoCapacityError("full")
HAMI = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "2k", "nvidia.com/gpucores": "25"}
PLAIN = gpu_pod(container(env=env(A="1", NVIDIA_VISIBLE_DEVICES="all", LD_PRELOAD="/mine.so")))
MOVED = pod(None, container(resources={"limits": HAMI, "requests": HAMI}), schedulerName="hami-scheduler")


async def replaced(manifest: dict[str, Any], stored: Outcome) -> Outcome:
    """The manifest put in place of the stored pod, as `kubectl replace` does."""
    return await admit(manifest, old=stored.pod, allocator=FakeAllocator(failure=RuntimeError("asked")))


@pytest.mark.parametrize("manifest", [PLAIN, MOVED, pod(None, container(env=env(NVIDIA_VISIBLE_DEVICES="all")))])
@pytest.mark.parametrize("failure", [None, FULL], ids=["granted", "queued"])
async def test_same_manifest_again_is_no_change(manifest: dict[str, Any], failure: Exception | None) -> None:
    """Put in whole, in either syntax, granted or queued: the stored pod comes out, and the allocator is not asked."""
    stored = await admit(manifest, allocator=FakeAllocator(failure=failure))
    assert (await replaced(manifest, stored)).pod == stored.pod


async def test_merged_manifest_is_no_change() -> None:
    """`kubectl apply` merges lists by name: value and valueFrom stand in one entry until we have looked at it."""
    stored = await admit(PLAIN)
    merged = copy.deepcopy(stored.pod)
    for entry in merged["spec"]["containers"][0]["env"]:
        if entry["name"] in {"LD_PRELOAD", "NVIDIA_VISIBLE_DEVICES"}:
            entry["value"] = "all"
    assert (await replaced(merged, stored)).pod == stored.pod


async def test_users_affinity_gets_its_pin_back() -> None:
    """Terms are replaced as a list by apply; the pin returns into each."""
    terms = [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    manifest = gpu_pod(affinity=affinity)
    stored = await admit(manifest)
    assert (await replaced(manifest, stored)).spec["affinity"] == stored.spec["affinity"]


async def test_unchanged_pod_has_no_patch() -> None:
    """A label set by somebody passes without a word."""
    stored = await admit(PLAIN)
    labelled = copy.deepcopy(stored.pod)
    labelled["metadata"]["labels"] = {"a": "b"}
    got = await replaced(labelled, stored)
    assert not got.answer.patch
    assert not got.answer.warnings


@pytest.mark.parametrize("key", ["vramshare.io/node", "allocation.vramshare.io/main", "vramshare.io/status"])
async def test_result_annotations_cannot_be_changed(key: str) -> None:
    """What vramshare answered stays, and the user is told."""
    stored = await admit(PLAIN)
    changed = copy.deepcopy(stored.pod)
    changed["metadata"]["annotations"][key] = "GPU-0 memory=1 cores=0"
    got = await replaced(changed, stored)
    assert got.annotations == stored.annotations
    assert got.answer.warnings == ("annotations that are vramshare's to write were left as they are",)


async def test_results_cannot_be_added_later() -> None:
    """A pod without GPUs does not become one with by annotation."""
    stored = await admit(pod())
    changed = copy.deepcopy(stored.pod)
    changed["metadata"]["annotations"] = {"allocation.vramshare.io/main": "GPU-0 memory=1 cores=0"}
    assert (await replaced(changed, stored)).annotations == {}


@pytest.mark.parametrize(("key", "was"), [("vramshare.io/gpus", None), ("vramshare.io/models", None)])
async def test_what_is_no_size_cannot_be_changed(key: str, was: str | None) -> None:
    """How many GPUs, and which: that needs another pod, and the warning says so."""
    stored = await admit(PLAIN)
    changed = copy.deepcopy(stored.pod)
    changed["metadata"]["annotations"][key] = "4"
    got = await replaced(changed, stored)
    assert got.annotations.get(key) == was
    assert f"annotation {key} stays as it was" in got.answer.warnings[0]


async def test_request_on_a_pod_without_gpus_has_no_effect() -> None:
    """Asking later is answered by a warning."""
    stored = await admit(pod())
    changed = copy.deepcopy(stored.pod)
    changed["metadata"]["annotations"] = {"vramshare.io/memory": "9Gi"}
    assert "created without a GPU slice" in (await replaced(changed, stored)).answer.warnings[0]


async def test_gate_is_not_the_users_to_open() -> None:
    """An open gate without a grant would be a GPU pod on any node."""
    stored = await admit(PLAIN, allocator=FakeAllocator(failure=FULL))
    opened = copy.deepcopy(stored.pod)
    del opened["spec"]["schedulingGates"]
    got = await replaced(opened, stored)
    assert got.pod == stored.pod
    assert "gate vramshare.io/capacity stays" in got.answer.warnings[0]


def answered(stored: Outcome) -> dict[str, Any]:
    """A queued pod as the allocator answers it later."""
    new = copy.deepcopy(stored.pod)
    annotations = new["metadata"]["annotations"]
    del annotations["vramshare.io/reason"], new["spec"]["schedulingGates"]
    annotations |= {"vramshare.io/status": "allocated", "vramshare.io/node": "n", "vramshare.io/allocation-id": "a"}
    new["spec"]["affinity"] = {"nodeAffinity": {}}
    return new


async def test_allocators_answer_passes() -> None:
    """The allocator's own patch opens the gate and writes the results; nothing of it is undone."""
    stored = await admit(PLAIN, allocator=FakeAllocator(failure=FULL))
    new = answered(stored)
    got = await admit(new, old=stored.pod, user="allocator")
    assert got.pod == new


async def test_somebody_elses_answer_does_not_pass() -> None:
    """The same patch by another user changes nothing but warns."""
    stored = await admit(PLAIN, allocator=FakeAllocator(failure=FULL))
    got = await admit(answered(stored), old=stored.pod, user="mallory")
    assert got.annotations == stored.annotations
    assert got.spec["schedulingGates"] == stored.spec["schedulingGates"]


async def test_new_reason_by_the_allocator_passes() -> None:
    """Why a pod waits changes while it waits."""
    stored = await admit(PLAIN, allocator=FakeAllocator(failure=FULL))
    new = copy.deepcopy(stored.pod)
    new["metadata"]["annotations"]["vramshare.io/reason"] = "still full"
    got = await admit(new, old=stored.pod, user="allocator")
    assert not got.answer.patch


async def test_pod_from_before_vramshare_keeps_what_it_has() -> None:
    """A pod that was never ours keeps its resources and environment: they could not be changed anyway."""
    stored = pod(None, container(resources={"limits": HAMI}, env=env(NVIDIA_VISIBLE_DEVICES="all")))
    new = copy.deepcopy(stored)
    new["metadata"]["labels"] = {"a": "b"}
    assert not (await admit(new, old=stored)).answer.patch


async def test_opted_out_pod_stays_out() -> None:
    """What counts is the label at creation: taking it off later changes nothing."""
    stored = pod(None, container(resources={"limits": HAMI}))
    stored["metadata"]["labels"] = {"vramshare.io/inject": "disabled"}
    new = copy.deepcopy(stored)
    del new["metadata"]["labels"]
    assert not (await admit(new, old=stored)).answer.patch


async def test_opting_out_later_has_no_effect() -> None:
    """A label on a running GPU pod does not free its annotations."""
    stored = await admit(PLAIN)
    new = copy.deepcopy(stored.pod)
    new["metadata"]["labels"] = {"vramshare.io/inject": "disabled"}
    new["metadata"]["annotations"]["allocation.vramshare.io/main"] = "GPU-0 memory=99999999999 cores=0"
    assert (await replaced(new, stored)).annotations == stored.annotations


async def test_new_ephemeral_container_sees_no_gpu() -> None:
    """`kubectl debug` into a GPU pod: the wall is not in that container, so no GPU is either."""
    stored = await admit(PLAIN)
    new = copy.deepcopy(stored.pod)
    debugger = container("debug", env=env(NVIDIA_VISIBLE_DEVICES="all"))
    debugger["volumeMounts"] = [{"name": "vramshare-region", "mountPath": "/r"}, {"name": "d", "mountPath": "/d"}]
    new["spec"]["ephemeralContainers"] = [debugger]
    got = await admit(new, old=stored.pod, subresource="ephemeralcontainers")
    assert got.env("debug") == {"NVIDIA_VISIBLE_DEVICES": "void"}
    assert got.mounts("debug") == {"/d": "d"}
    assert got.container("main") == stored.container("main")
    assert "mounts of vramshare's volumes were dropped" in got.answer.warnings[-1]


async def test_old_ephemeral_containers_are_immutable() -> None:
    """One that runs already stays as it is: changing it would be refused."""
    stored = pod(None, ephemeralContainers=[container("debug")])
    new = pod(None, ephemeralContainers=[container("debug"), container("second")])
    got = await admit(new, old=stored, subresource="ephemeralcontainers")
    assert got.env("debug") == {}
    assert got.env("second") == {"NVIDIA_VISIBLE_DEVICES": "void"}


@pytest.mark.parametrize("subresource", ["status", "binding", "eviction"])
async def test_other_subresources_are_left_alone(subresource: str) -> None:
    """A kubelet's status update is none of ours."""
    got = await admit(PLAIN, old=PLAIN, subresource=subresource)
    assert not got.answer.patch


async def test_the_way_out_stays_shut() -> None:
    """With the label on, later updates would pass us by, and with them any annotation."""
    stored = await admit(PLAIN)
    new = copy.deepcopy(stored.pod)
    new["metadata"]["labels"] = {"vramshare.io/inject": "disabled", "app": "x"}
    got = await replaced(new, stored)
    assert got.pod["metadata"]["labels"] == {"app": "x"}
    assert "label vramshare.io/inject stays as it was" in got.answer.warnings[-1]


async def test_ephemeral_container_cannot_choose_gpus_by_mounts() -> None:
    """The NVIDIA runtime may be set up to read a list of GPUs from the paths of mounts."""
    stored = pod(None)
    debugger = container("debug")
    debugger["volumeMounts"] = [{"name": "d", "mountPath": "/var/run/nvidia-container-devices/all"}]
    new = pod(None, ephemeralContainers=[debugger])
    with pytest.raises(RequestError, match="takes mounts there for a choice of GPUs"):
        await admit(new, old=stored, subresource="ephemeralcontainers")
