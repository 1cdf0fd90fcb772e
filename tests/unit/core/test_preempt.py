"""Whom to evict."""

from allocator.api.grant import Grant
from allocator.core.preempt import Victim, cheapest, never_preempts
from tests.unit.core.conftest import Make


def victim(grant: Grant, *, priority: int = 0) -> Victim:
    """The pod of a grant."""
    allocation = grant.allocation
    memory = sum(one.memory.count for one in allocation.totals().values())
    return Victim(
        grant_id=allocation.id,
        node=allocation.node,
        namespace="default",
        name=grant.pod,
        uid=allocation.id,
        priority=priority,
        memory=memory,
    )


def hold(make: Make, node: str, gib: int, *, gpu: int = 0, priority: int = 0) -> Victim:
    """A pod with a grant."""
    return victim(make.hold(node, gib, gpu=gpu), priority=priority)


def test_one_victim_is_better_than_two(make: Make):
    """Even where the two hold less."""
    make.node("a")
    make.node("b")
    pair = [hold(make, "a", 4), hold(make, "a", 4)]
    single = hold(make, "b", 12)
    found = cheapest(make.fleet, make.pod(14), [*pair, single], priority=10)
    assert found is not None
    assert found.victims == (single,)
    assert found.spot.node == "b"


def test_among_as_many_those_of_lowest_priority_go(make: Make):
    """And among those of one priority the one that holds least."""
    make.node("a")
    make.node("b")
    make.node("c")
    high = hold(make, "a", 6, priority=5)
    low = hold(make, "b", 12, priority=1)
    least = hold(make, "c", 10, priority=1)
    found = cheapest(make.fleet, make.pod(12), [high, low, least], priority=10)
    assert found is not None
    assert found.victims == (least,)


def test_nobody_of_the_same_or_a_higher_priority_goes(make: Make):
    """However little they hold."""
    make.node("a")
    others = [hold(make, "a", 2, priority=10), hold(make, "a", 2, priority=11)]
    assert cheapest(make.fleet, make.pod(14), others, priority=10) is None


def test_nobody_goes_in_vain(make: Make):
    """Evicting all would not make room enough."""
    make.node("a")
    hold(make, "a", 8)  # not to be evicted
    assert cheapest(make.fleet, make.pod(14), [hold(make, "a", 4)], priority=10) is None


def test_many_small_victims_where_there_is_no_other_way(make: Make):
    """Nobody more than needed, the lowest first."""
    make.node("a")
    small = [hold(make, "a", 2, priority=at) for at in range(8)]
    found = cheapest(make.fleet, make.pod(10), small, priority=10)
    assert found is not None
    assert {one.priority for one in found.victims} == {0, 1, 2, 3, 4}


def test_victims_cpu_counts(make: Make):
    """What holds the pod up may be the node's CPU: the pods that have it go."""
    make.node("a", cpu=4000)
    taken = victim(make.hold("a", 1, cpu=3500))
    idle = victim(make.hold("a", 1))
    found = cheapest(make.fleet, make.pod(2, cpu=1000), [idle, taken], priority=1)
    assert found is not None
    assert found.victims == (taken,)


def test_the_fleet_is_left_as_it_was(make: Make):
    """It is asked, not changed."""
    make.node("a")
    one = hold(make, "a", 12)
    cheapest(make.fleet, make.pod(14), [one], priority=1)
    assert "best is 4Gi" in make.spot(make.pod(14))


def test_a_class_may_wait_instead():
    """`preemptionPolicy: Never`."""
    assert never_preempts({"preemptionPolicy": "Never"})
    assert not never_preempts({"preemptionPolicy": "PreemptLowerPriority"})
    assert not never_preempts({})
