"""Which pods to move."""

from typing import Any

from allocator.core.defrag import Movable, advise, largest_free
from allocator.core.policies import Policies
from allocator.core.resources import Usage
from allocator.core.state import PodOnNode

BEST_FIT = Policies().named("best-fit")


def running(make: Any, node: str, gib: int) -> Movable:
    """A pod with a grant, bound to its node."""
    grant = make.hold(node, gib)
    pod = PodOnNode(key=grant.pod, node=node, usage=Usage(cpu=1000), allocation_id=grant.allocation.id)
    make.fleet.apply_pod(pod)
    return Movable(grant=grant, demand=make.pod(gib), pod=pod)


def test_one_move_admits_a_pod(make: Any) -> None:
    """One of two half-full nodes is cleared onto the other; the fleet is left as it was."""
    make.node("a")
    make.node("b")
    pods = [running(make, "a", 8), running(make, "b", 6)]
    advice = advise(make.fleet, pods, BEST_FIT, wanted=make.pod(12))
    assert advice is not None
    assert [(one.node, one.to) for one in advice.steps] == [("a", "b")]
    assert advice.node == "a"
    assert [state.gpus[0].free_memory // 1024**3 for state in make.fleet.nodes()] == [8, 10]
    assert [state.free.cpu for state in make.fleet.nodes()] == [63_000, 63_000]


def test_no_move_is_needed(make: Any) -> None:
    """A pod that fits already needs no move."""
    make.node("a")
    advice = advise(make.fleet, [], BEST_FIT, wanted=make.pod(10))
    assert advice is not None
    assert advice.steps == ()


def test_a_move_without_a_new_place_is_none(make: Any) -> None:
    """Nobody is evicted who would then wait."""
    make.node("a")
    pods = [running(make, "a", 8)]
    assert advise(make.fleet, pods, BEST_FIT, wanted=make.pod(10)) is None


def test_the_largest_slice_grows_most(make: Any) -> None:
    """Without a pod, the single move that frees the largest slice is advised."""
    for name in ("a", "b", "c"):
        make.node(name)
    pods = [running(make, "a", 6), running(make, "b", 4), running(make, "c", 5)]
    make.hold("a", 2)
    advice = advise(make.fleet, pods, BEST_FIT)
    assert advice is not None
    assert (len(advice.steps), advice.largest_before.rounded(), advice.largest_after.rounded()) == (1, "12Gi", "16Gi")
    assert largest_free(make.fleet).rounded() == "12Gi"
