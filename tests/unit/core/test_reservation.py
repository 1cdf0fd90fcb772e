"""Room kept for a pod that has waited long."""

import pytest

from allocator.api.allocation import Allocation
from allocator.api.errors import FormatError
from allocator.api.grant import Grant
from allocator.core.reservation import Claim, nearest, stands
from allocator.core.resources import Usage
from tests.unit.core.conftest import GRANTED, Make


def keep(make: Make, claim: Claim, name: str = "hold") -> Grant:
    """Hold a claim, as the allocator does."""
    allocation = Allocation(id=name, node=claim.node, containers=claim.containers)
    grant = Grant(allocation=allocation, namespace="", pod="", granted=GRANTED)
    make.fleet.hold(grant, Usage(cpu=1000))
    return grant


def test_a_claim_is_where_least_is_missing(make: Make):
    """On the GPU that has most free."""
    make.node("a", 2)
    make.hold("a", 12, gpu=0)
    make.hold("a", 9, gpu=1)
    claim = nearest(make.fleet, make.pod(10))
    assert claim is not None
    assert [one.uuid for one in claim.containers["c0"]] == ["GPU-a-1"]


def test_a_claim_lets_others_use_what_is_left_beside_it(make: Make):
    """A pod of 10 waits on a GPU of 16 where 9 are taken: nothing more fits there, but elsewhere it does."""
    make.node("a")
    make.node("b")
    make.hold("a", 9)
    make.hold("b", 12)
    claim = nearest(make.fleet, make.pod(10))
    assert claim is not None
    assert claim.node == "a"
    keep(make, claim)
    assert make.spot(make.pod(4)) == "b-0"
    assert "needs 6Gi" in make.spot(make.pod(6))


def test_beside_a_claim_there_is_room_for_what_does_not_delay_it(make: Make):
    """A GPU of 16 with a claim of 10 still takes 6, once what was there has ended."""
    make.node("a")
    held = make.hold("a", 7)
    claim = nearest(make.fleet, make.pod(10))
    assert claim is not None
    keep(make, claim)
    assert "needs 3Gi" in make.spot(make.pod(3))
    make.fleet.forget("a", held.allocation.id)
    assert make.spot(make.pod(6)) == "a-0"
    assert "needs 7Gi" in make.spot(make.pod(7))


def test_a_claim_that_is_lifted_leaves_nothing_behind(make: Make):
    """All of a node is free again: memory, time, CPU, pods."""
    make.node("a")
    make.hold("a", 9)
    before = make.fleet.node("a")
    assert before is not None
    was = (before.free, before.free_pods, before.gpus[0].free_memory, before.gpus[0].free_cores)
    claim = nearest(make.fleet, make.pod(10, cores=50))
    assert claim is not None
    grant = keep(make, claim)
    assert before.gpus[0].free_memory < 0
    make.fleet.unhold(grant)
    assert (before.free, before.free_pods, before.gpus[0].free_memory, before.gpus[0].free_cores) == was


def test_a_claim_outlives_a_new_inventory(make: Make):
    """An agent publishes anew: what is kept is still kept."""
    make.node("a")
    claim = nearest(make.fleet, make.pod(10))
    assert claim is not None
    keep(make, claim)
    make.fleet.apply_inventory(make.inventory("a", gib=17))
    assert make.spot(make.pod(7)) == "a-0"
    assert "needs 8Gi" in make.spot(make.pod(8))


def test_there_is_no_claim_where_a_pod_could_never_be(make: Make):
    """More than any GPU has, a model that is not there, more CPU than others leave."""
    make.node("a", cpu=2000)
    assert nearest(make.fleet, make.pod(17)) is None
    assert nearest(make.fleet, make.pod(1, models=["nvidia l40s"])) is None
    assert nearest(make.fleet, make.pod(1, cpu=3000)) is None


def test_a_second_claim_stands_beside_the_first(make: Make):
    """Two pods of 10 do not wait for one GPU of 16."""
    make.node("a", 2)
    make.hold("a", 8, gpu=0)
    make.hold("a", 8, gpu=1)
    first = nearest(make.fleet, make.pod(10))
    assert first is not None
    keep(make, first)
    second = nearest(make.fleet, make.pod(10))
    assert second is not None
    assert second.containers != first.containers


def test_a_claim_on_several_gpus(make: Make):
    """All on one node, each on another GPU, and text that reads back."""
    make.node("a", 4)
    make.hold("a", 16, gpu=2)
    claim = nearest(make.fleet, make.pod(10, gpus=3, cores=20))
    assert claim is not None
    assert {one.uuid for one in claim.containers["c0"]} == {"GPU-a-0", "GPU-a-1", "GPU-a-3"}
    assert Claim.from_text(claim.to_text()) == claim
    assert stands(make.fleet, make.pod(10, gpus=3, cores=20), claim)


def test_a_claim_that_is_not_what_the_pod_asks_does_not_stand(make: Make):
    """Anyone may have written it, or the pod was edited since, or the GPU fell ill."""
    make.node("a", 2)
    claim = nearest(make.fleet, make.pod(10))
    assert claim is not None
    assert stands(make.fleet, make.pod(10), claim)
    assert not stands(make.fleet, make.pod(9), claim)
    assert not stands(make.fleet, make.pod(10, cores=5), claim)
    assert not stands(make.fleet, make.pod(10, gpus=2), claim)
    assert not stands(make.fleet, make.pod(10, models=["other"]), claim)
    assert not stands(make.fleet, make.pod(10), Claim(node="b", containers=claim.containers))
    make.fleet.apply_inventory(make.inventory("a", 2, health="Xid 79"))
    assert not stands(make.fleet, make.pod(10), claim)


@pytest.mark.parametrize(
    "text", ["", "a", "a: ", "a: c0", "a: c0 GPU-1", "a: c0 GPU-1 memory=x", ": c0 GPU-1 memory=1Gi"]
)
def test_text_that_is_no_claim(text: str):
    """Whoever wrote it, it keeps nothing."""
    with pytest.raises(FormatError):
        Claim.from_text(text)
