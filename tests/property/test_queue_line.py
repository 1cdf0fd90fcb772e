"""What is kept for pods that wait, whatever happens in whatever order.

The fleet is the allocator's own picture; what is kept in it must come and go without a trace, never give a pod more
than it asked for, and never let a newcomer have what a pod that waits could have had.
"""

from datetime import UTC, datetime
from random import Random

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.core.demand import PodDemand, Shape, SliceAsk
from allocator.core.fleet import Fleet
from allocator.core.nodes import NodeInfo
from allocator.core.placement import Placement, place
from allocator.core.policies import BestFit
from allocator.core.preempt import Victim, cheapest
from allocator.core.reservation import Spot, nearest, stands
from allocator.core.resources import Usage

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
CAPACITY = 16
ASKS = st.builds(
    lambda memory, cores, gpus: (memory, cores, gpus),
    st.integers(1, CAPACITY),
    st.sampled_from([0, 0, 25, 50, 100]),
    st.integers(1, 2),
)


def demand(ask: tuple[int, int, int]) -> PodDemand:
    """A pod of one container."""
    memory, cores, gpus = ask
    asked = SliceAsk(gpus=gpus, memory=Memory.mib(memory), cores=cores)
    return PodDemand(shape=Shape(asks=(asked,), usage=Usage(cpu=1)), containers=("c",))


def fleet_of(held: list[tuple[int, int, tuple[int, int]]], *, nodes: int = 3, gpus: int = 2) -> Fleet:
    """A small fleet with grants: node, GPU, memory and time each; what does not fit is passed over."""
    fleet = Fleet()
    for node in range(nodes):
        name = f"n{node}"
        fleet.apply_node(NodeInfo(name=name, labels={}, allocatable=Usage(cpu=1000, memory=1), pods=110))
        found = tuple(
            Gpu(uuid=f"G{node}-{at}", index=at, model="T4", memory=Memory.mib(CAPACITY)) for at in range(gpus)
        )
        fleet.apply_inventory(Inventory(node=name, gpus=found, interposer="/x"))
    for number, (node, gpu, (memory, cores)) in enumerate(held):
        state = fleet.node(f"n{node}")
        assert state is not None
        free = state.gpus[gpu]
        if memory * 1024**2 <= free.free_memory and cores <= free.free_cores:
            fleet.assume(grant(f"g{number}", f"n{node}", {"c": (Slice(f"G{node}-{gpu}", Memory.mib(memory), cores),)}))
    return fleet


def grant(name: str, node: str, containers: dict) -> Grant:
    """A grant of these slices."""
    return Grant(allocation=Allocation(id=name, node=node, containers=containers), namespace="", pod="", granted=WHEN)


def picture(fleet: Fleet) -> list:
    """Everything that a decision depends on."""
    return [
        (node.name, node.free, node.free_pods, [(gpu.free_memory, gpu.free_cores) for gpu in node.gpus])
        for node in fleet.nodes()
    ]


HELD = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 1), st.tuples(st.integers(1, 12), st.sampled_from([0, 25, 50]))),
    max_size=10,
)

CROWDED = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 1), st.tuples(st.integers(2, 9), st.sampled_from([0, 25, 50]))),
    min_size=8,
    max_size=14,
)
LARGE = st.tuples(st.integers(11, CAPACITY), st.sampled_from([0, 50, 100]), st.integers(1, 2))


@given(held=HELD, asks=st.lists(ASKS, max_size=6), seed=st.integers(0, 2**16))
def test_what_is_kept_comes_and_goes_without_a_trace(held, asks, seed):
    """Kept and let go in any order, with a new inventory in between, the fleet is as it was."""
    fleet = fleet_of(held)
    before = picture(fleet)
    random, kept = Random(seed), []
    for number, ask in enumerate(asks):
        spot = nearest(fleet, demand(ask))
        if spot is not None:
            kept.append(grant(f"keep{number}", spot.node, dict(spot.containers)))
            fleet.hold(kept[-1], Usage(cpu=1))
    for node in list(fleet.nodes()):
        assert node.inventory is not None
        node.set_inventory(node.inventory)
    random.shuffle(kept)
    for one in kept:
        fleet.unhold(one)
        fleet.unhold(one)  # once more does no harm
    assert picture(fleet) == before


@given(held=HELD, ask=ASKS)
def test_a_place_to_be_kept_is_what_the_pod_asks_and_could_have(held, ask):
    """It stands, it survives being written and read, and it holds nothing that an empty node could not give."""
    fleet, wanted = fleet_of(held), demand(ask)
    spot = nearest(fleet, wanted)
    assert spot is not None  # an empty node could take any of these
    assert stands(fleet, wanted, spot)
    assert Spot.from_text(spot.to_text()) == spot
    [slices] = spot.containers.values()
    assert [(one.memory, one.cores) for one in slices] == [(Memory.mib(ask[0]), ask[1])] * ask[2]


@given(held=HELD, ask=ASKS, others=st.lists(ASKS, min_size=1, max_size=12), seed=st.integers(0, 2**16))
@settings(max_examples=100)
def test_a_kept_place_fills_up_whoever_comes_meanwhile(held, ask, others, seed):
    """Everybody there ends some day, in any order, others come all the time: in the end the pod has its place."""
    fleet, wanted, random = fleet_of(held), demand(ask), Random(seed)
    spot = nearest(fleet, wanted)
    assert spot is not None
    kept = grant("keep", spot.node, dict(spot.containers))
    fleet.hold(kept, wanted.shape.usage)
    first = [one for node in fleet.nodes() for one in node.assumed.values()]
    random.shuffle(first)
    for number, ending in enumerate(first):
        fleet.forget(ending.allocation.node, ending.allocation.id)
        for at, other in enumerate(others):
            found = place(fleet, demand(other), BestFit())
            if isinstance(found, Placement):
                fleet.assume(grant(f"new{number}-{at}", found.node, dict(found.containers)), Usage(cpu=1))
    fleet.unhold(kept)
    state = fleet.node(spot.node)
    assert state is not None
    free = {gpu.gpu.uuid: gpu for gpu in state.gpus}
    assert all(
        free[one.uuid].free_memory >= one.memory.count and free[one.uuid].free_cores >= one.cores
        for slices in spot.containers.values()
        for one in slices
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(held=CROWDED, ask=LARGE, priorities=st.lists(st.integers(0, 3), min_size=14, max_size=14))
def test_preemption_evicts_no_pod_in_vain_and_none_too_many(held, ask, priorities):
    """With its victims gone the pod fits on the place named; sparing any one of them it does not fit on that node."""
    fleet, wanted = fleet_of(held), demand(ask)
    assume(not isinstance(place(fleet, wanted, BestFit()), Placement))
    grants = [one for node in fleet.nodes() for one in node.assumed.values()]
    victims = [
        Victim(
            grant_id=one.allocation.id,
            node=one.allocation.node,
            namespace="",
            name=one.allocation.id,
            uid=one.allocation.id,
            priority=priorities[at],
            memory=sum(part.memory.count for part in one.allocation.totals().values()),
        )
        for at, one in enumerate(grants)
    ]
    before = picture(fleet)
    found = cheapest(fleet, wanted, victims, priority=2)
    assert picture(fleet) == before
    if found is None:
        for one in victims:
            if one.priority < 2:
                fleet.forget(one.node, one.grant_id)
        assert not isinstance(place(fleet, wanted, BestFit()), Placement)
        return
    assert all(one.priority < 2 for one in found.victims)
    for one in found.victims:
        rest = [other for other in found.victims if other is not one]
        assert _fits_on(held, wanted, found.spot.node, rest) is False
    assert _fits_on(held, wanted, found.spot.node, found.victims)


def _fits_on(held: list, wanted: PodDemand, node: str, gone: list | tuple) -> bool:
    """Whether a pod fits on a node without these pods, on a fleet of its own."""
    fleet = fleet_of(held)
    for one in gone:
        fleet.forget(one.node, one.grant_id)
    others = [state.name for state in fleet.nodes() if state.name != node]
    return isinstance(place(fleet, wanted, BestFit(), excluded=others), Placement)
