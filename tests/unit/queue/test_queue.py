"""The queue's order, and the patch that lets a pod go."""

import copy

import jsonpatch
import pytest

from allocator.api import names
from allocator.api.allocation import Allocation, Slice
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.core.queue import Waiting, admission_patch, in_order

INVENTORY = Inventory(
    node="gpu-1",
    gpus=(Gpu(uuid="GPU-1", index=0, model="T4", memory=Memory.mib(1000)),),
    interposer="/opt/vramshare/lib.so",
)
ALLOCATION = Allocation(id="a", node="gpu-1", containers={"w": (Slice("GPU-1", Memory.mib(10), 5),)})


def gated(name: str = "p", *, priority: int = 0, created: str = "2026-01-01T00:00:00Z", gates=(names.GATE,)):
    """A pod behind gates."""
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"u-{name}",
            "resourceVersion": "41",
            "creationTimestamp": created,
            "annotations": {
                names.STATUS: names.STATUS_QUEUED,
                names.REASON: "needs more",
                names.preload_annotation("w"): "/lib/other.so",
                "mine": "kept",
            },
        },
        "spec": {"priority": priority, "containers": [{"name": "w"}], "schedulingGates": [{"name": g} for g in gates]},
    }


def waiting(*args, **kwargs) -> Waiting:
    """The same as a waiting one."""
    found = Waiting.of(gated(*args, **kwargs))
    assert found is not None
    return found


def test_priority_goes_before_age_and_age_before_name():
    """A later pod of a higher class goes first; among equals the oldest."""
    order = in_order(
        [
            waiting("young", created="2026-01-02T00:00:00Z"),
            waiting("b"),
            waiting("high", priority=10, created="2026-01-03T00:00:00Z"),
            waiting("a"),
        ]
    )
    assert [one.name for one in order] == ["high", "a", "b", "young"]


def test_only_a_living_pod_behind_our_gate_waits():
    """A pod without our gate, or one that is being deleted, is none of the queue's."""
    assert Waiting.of(gated(gates=("other",))) is None
    dying = gated()
    dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    assert Waiting.of(dying) is None


def test_foreign_gates_are_seen():
    """Ours goes last."""
    assert waiting(gates=("x/quota", names.GATE)).foreign_gates == ("x/quota",)
    assert waiting().foreign_gates == ()


def test_patch_makes_a_waiting_pod_a_granted_one():
    """Annotations, pin and gate in one patch; the spec's own preload stays behind ours, the reason goes."""
    pod = gated()
    done = jsonpatch.apply_patch(copy.deepcopy(pod), admission_patch(pod, allocation=ALLOCATION, inventory=INVENTORY))
    annotations = done["metadata"]["annotations"]
    assert annotations[names.STATUS] == names.STATUS_ALLOCATED
    assert annotations[names.allocation_annotation("w")] == f"GPU-1 memory={10 * 1024**2} cores=5 tenant=a/w\n"
    assert annotations[names.preload_annotation("w")] == "/opt/vramshare/lib.so:/lib/other.so"
    assert annotations["mine"] == "kept"
    assert names.REASON not in annotations
    assert "schedulingGates" not in done["spec"]
    [term] = done["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gpu-1"]}]}


def test_patch_holds_for_the_version_read_only():
    """A pod that its user has edited meanwhile is left alone."""
    pod = gated()
    edited = copy.deepcopy(pod)
    edited["metadata"]["resourceVersion"] = "42"
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(edited, admission_patch(pod, allocation=ALLOCATION, inventory=INVENTORY))


def test_patch_leaves_foreign_gates():
    """Only our own gate is ours to remove."""
    pod = gated(gates=("x/quota", names.GATE))
    done = jsonpatch.apply_patch(pod, admission_patch(pod, allocation=ALLOCATION, inventory=INVENTORY))
    assert done["spec"]["schedulingGates"] == [{"name": "x/quota"}]


def test_an_ended_pod_waits_no_more():
    """An evicted pod keeps its gate, and nothing will run in it."""
    assert Waiting.of(gated()) is not None
    assert Waiting.of(gated() | {"status": {"phase": "Failed"}}) is None
