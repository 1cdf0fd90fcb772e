"""Room kept for a pod that has waited long."""

import pytest

from allocator.api.allocation import Allocation
from allocator.api.errors import FormatError
from allocator.api.grant import Grant
from allocator.core.reservation import Spot, nearest, stands
from allocator.core.resources import Usage
from tests.unit.core.conftest import GRANTED, Make


def keep(make: Make, spot: Spot, name: str = "hold") -> Grant:
    """Hold a spot, as the allocator does."""
    allocation = Allocation(id=name, node=spot.node, containers=spot.containers)
    grant = Grant(allocation=allocation, namespace="", pod="", granted=GRANTED)
    make.fleet.hold(grant, Usage(cpu=1000))
    return grant


def test_a_spot_is_where_least_is_missing(make: Make):
    """On the GPU that has most free."""
    make.node("a", 2)
    make.hold("a", 12, gpu=0)
    make.hold("a", 9, gpu=1)
    spot = nearest(make.fleet, make.pod(10))
    assert spot is not None
    assert [one.uuid for one in spot.containers["c0"]] == ["GPU-a-1"]


def test_a_spot_lets_others_use_what_is_left_beside_it(make: Make):
    """A pod of 10 waits on a GPU of 16 where 9 are taken: nothing more fits there, but elsewhere it does."""
    make.node("a")
    make.node("b")
    make.hold("a", 9)
    make.hold("b", 12)
    spot = nearest(make.fleet, make.pod(10))
    assert spot is not None
    assert spot.node == "a"
    keep(make, spot)
    assert make.spot(make.pod(4)) == "b-0"
    assert "needs 6Gi" in make.spot(make.pod(6))


def test_beside_a_spot_there_is_room_for_what_does_not_delay_it(make: Make):
    """A GPU of 16 with a spot of 10 still takes 6, once what was there has ended."""
    make.node("a")
    held = make.hold("a", 7)
    spot = nearest(make.fleet, make.pod(10))
    assert spot is not None
    keep(make, spot)
    assert "needs 3Gi" in make.spot(make.pod(3))
    make.fleet.forget("a", held.allocation.id)
    assert make.spot(make.pod(6)) == "a-0"
    assert "needs 7Gi" in make.spot(make.pod(7))


def test_a_spot_that_is_lifted_leaves_nothing_behind(make: Make):
    """All of a node is free again: memory, time, CPU, pods."""
    make.node("a")
    make.hold("a", 9)
    before = make.fleet.node("a")
    assert before is not None
    was = (before.free, before.free_pods, before.gpus[0].free_memory, before.gpus[0].free_cores)
    spot = nearest(make.fleet, make.pod(10, cores=50))
    assert spot is not None
    grant = keep(make, spot)
    assert before.gpus[0].free_memory < 0
    make.fleet.unhold(grant)
    assert (before.free, before.free_pods, before.gpus[0].free_memory, before.gpus[0].free_cores) == was


def test_a_spot_outlives_a_new_inventory(make: Make):
    """An agent publishes anew: what is kept is still kept."""
    make.node("a")
    spot = nearest(make.fleet, make.pod(10))
    assert spot is not None
    keep(make, spot)
    make.fleet.apply_inventory(make.inventory("a", gib=17))
    assert make.spot(make.pod(7)) == "a-0"
    assert "needs 8Gi" in make.spot(make.pod(8))


def test_there_is_no_spot_where_a_pod_could_never_be(make: Make):
    """More than any GPU has, a model that is not there, more CPU than others leave."""
    make.node("a", cpu=2000)
    assert nearest(make.fleet, make.pod(17)) is None
    assert nearest(make.fleet, make.pod(1, models=["nvidia l40s"])) is None
    assert nearest(make.fleet, make.pod(1, cpu=3000)) is None


def test_a_second_spot_stands_beside_the_first(make: Make):
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


def test_a_spot_on_several_gpus(make: Make):
    """All on one node, each on another GPU, and text that reads back."""
    make.node("a", 4)
    make.hold("a", 16, gpu=2)
    spot = nearest(make.fleet, make.pod(10, gpus=3, cores=20))
    assert spot is not None
    assert {one.uuid for one in spot.containers["c0"]} == {"GPU-a-0", "GPU-a-1", "GPU-a-3"}
    assert Spot.from_text(spot.to_text()) == spot
    assert stands(make.fleet, make.pod(10, gpus=3, cores=20), spot)


def test_a_spot_that_is_not_what_the_pod_asks_does_not_stand(make: Make):
    """Anyone may have written it, or the pod was edited since, or the GPU fell ill."""
    make.node("a", 2)
    spot = nearest(make.fleet, make.pod(10))
    assert spot is not None
    assert stands(make.fleet, make.pod(10), spot)
    assert not stands(make.fleet, make.pod(9), spot)
    assert not stands(make.fleet, make.pod(10, cores=5), spot)
    assert not stands(make.fleet, make.pod(10, gpus=2), spot)
    assert not stands(make.fleet, make.pod(10, models=["other"]), spot)
    assert not stands(make.fleet, make.pod(10), Spot(node="b", containers=spot.containers))
    make.fleet.apply_inventory(make.inventory("a", 2, health="Xid 79"))
    assert not stands(make.fleet, make.pod(10), spot)


@pytest.mark.parametrize(
    "text", ["", "a", "a: ", "a: c0", "a: c0 GPU-1", "a: c0 GPU-1 memory=x", ": c0 GPU-1 memory=1Gi"]
)
def test_text_that_is_no_spot(text: str):
    """Whoever wrote it, it keeps nothing."""
    with pytest.raises(FormatError):
        Spot.from_text(text)
