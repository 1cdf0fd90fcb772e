"""What must hold for every cluster and every pod: never overbooked, never refused without need."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations, product

from hypothesis import given
from hypothesis import strategies as st

from allocator.api.allocation import Allocation
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import MIB, Memory, MemoryShare
from allocator.core.demand import PodDemand, Shape, SliceAsk, resolve
from allocator.core.fleet import Fleet
from allocator.core.nodes import NodeInfo
from allocator.core.placement import Placement, place
from allocator.core.policies import Policies
from allocator.core.resources import Usage

GRANTED = datetime(2026, 1, 1, tzinfo=UTC)
POLICIES = Policies()


@dataclass(frozen=True)
class Room:
    """What is left of one GPU, for the brute force."""

    capacity: int
    memory: int
    cores: int


asks = st.builds(
    SliceAsk,
    gpus=st.integers(1, 3),
    memory=st.one_of(st.integers(1, 8).map(Memory.mib), st.sampled_from([200, 500, 810, 1000]).map(MemoryShare)),
    cores=st.sampled_from([0, 0, 30, 50, 70, 100]),
)
demands = st.lists(asks, min_size=1, max_size=3).map(
    lambda found: PodDemand(
        shape=Shape(asks=tuple(found), usage=Usage(cpu=1, memory=1)),
        containers=tuple(f"c{at}" for at in range(len(found))),
    )
)
nodes = st.lists(st.lists(st.sampled_from([4, 8, 10]), min_size=0, max_size=4), min_size=0, max_size=3)


def fleet_of(sizes: list[list[int]]) -> Fleet:
    """Nodes with GPUs of these sizes in MiB and room for six pods each."""
    fleet = Fleet()
    for at, gpus in enumerate(sizes):
        name = f"n{at}"
        fleet.apply_node(NodeInfo(name=name, labels={}, allocatable=Usage(cpu=6, memory=100)))
        fleet.apply_inventory(
            Inventory(
                node=name,
                interposer="/opt/vramshare/lib.so",
                gpus=tuple(
                    Gpu(uuid=f"GPU-{at}-{index}", index=index, model="Tesla T4", memory=Memory.mib(size))
                    for index, size in enumerate(gpus)
                ),
            )
        )
    return fleet


def could_fit(rooms: list[Room], found: tuple[SliceAsk, ...]) -> bool:
    """Try every way to give the asks their GPUs."""
    ways = [list(combinations(range(len(rooms)), ask.gpus)) for ask in found]
    for way in product(*ways):
        memory = [room.memory for room in rooms]
        cores = [room.cores for room in rooms]
        for ask, chosen in zip(found, way, strict=True):
            for gpu in chosen:
                memory[gpu] -= resolve(ask.memory, rooms[gpu].capacity)
                cores[gpu] -= ask.cores
        if min(memory, default=0) >= 0 and min(cores, default=0) >= 0:
            return True
    return False


@given(sizes=nodes, arrivals=st.lists(demands, max_size=12), name=st.sampled_from(POLICIES.names()))
def test_placement_is_sound_and_complete(sizes: list[list[int]], arrivals: list[PodDemand], name: str) -> None:
    """A placement never overbooks memory, time, CPU or different GPUs; a refusal means that nothing fits."""
    fleet = fleet_of(sizes)
    rooms = {
        f"n{at}": {f"GPU-{at}-{i}": Room(size * MIB, size * MIB, 100) for i, size in enumerate(gpus)}
        for at, gpus in enumerate(sizes)
    }
    pods_left = dict.fromkeys(rooms, 6)
    for number, demand in enumerate(arrivals):
        found = place(fleet, demand, POLICIES.named(name))
        if not isinstance(found, Placement):
            assert not any(
                pods_left[node] and could_fit(list(gpus.values()), demand.shape.asks) for node, gpus in rooms.items()
            )
            continue
        pods_left[found.node] -= 1
        assert pods_left[found.node] >= 0
        for ask, slices in zip(demand.shape.asks, found.containers.values(), strict=True):
            assert len({one.uuid for one in slices}) == ask.gpus
            for one in slices:
                before = rooms[found.node][one.uuid]
                assert one.memory.count == resolve(ask.memory, before.capacity)
                after = Room(before.capacity, before.memory - one.memory.count, before.cores - one.cores)
                assert after.memory >= 0
                assert after.cores >= 0
                rooms[found.node][one.uuid] = after
        allocation = Allocation(id=f"a{number}", node=found.node, containers=found.containers)
        grant = Grant(allocation=allocation, namespace="d", pod=f"p{number}", granted=GRANTED)
        fleet.assume(grant, demand.shape.usage)
