"""What is remembered must be what would be computed anew."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from allocator.api.allocation import Allocation
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory, MemoryShare
from allocator.core.demand import PodDemand, Shape, SliceAsk
from allocator.core.fleet import Fleet
from allocator.core.nodes import NodeInfo
from allocator.core.placement import Placement, place
from allocator.core.policies import Policies
from allocator.core.resources import Usage

GRANTED = datetime(2026, 1, 1, tzinfo=UTC)
NODES = ["a", "b", "c", "d"]


def node(name: str, *, cordoned: bool) -> NodeInfo:
    """A node with room for a few pods."""
    return NodeInfo(name=name, labels={}, allocatable=Usage(cpu=20, memory=50), unschedulable=cordoned)


def inventory(name: str, gpus: int) -> Inventory:
    """Its GPUs."""
    found = tuple(Gpu(uuid=f"GPU-{name}-{at}", index=at, model="T4", memory=Memory.mib(10)) for at in range(gpus))
    return Inventory(node=name, interposer="/opt/vramshare/lib.so", gpus=found)


shapes = st.builds(
    lambda milli, gpus, cpu: Shape(asks=(SliceAsk(gpus, MemoryShare(milli), milli // 10),), usage=Usage(cpu=cpu)),
    st.sampled_from([200, 300, 500, 700, 1000]),
    st.integers(1, 2),
    st.integers(1, 4),
)
happenings = st.one_of(
    st.tuples(st.just("place"), shapes),
    st.tuples(st.just("end"), st.integers(0, 30)),
    st.tuples(st.just("node"), st.sampled_from(NODES), st.booleans()),
    st.tuples(st.just("inventory"), st.sampled_from(NODES), st.integers(0, 9)),
    st.tuples(st.just("silent"), st.sampled_from(NODES), st.booleans()),
    st.tuples(st.just("gone"), st.sampled_from(NODES)),
)


def copy(fleet: Fleet) -> Fleet:
    """The same cluster, seen for the first time, in another order; with what was learnt."""
    fresh = Fleet()
    fresh.table.mix = fleet.table.mix
    for state in reversed(list(fleet.nodes())):
        if state.inventory is not None:
            fresh.apply_inventory(state.inventory)
        if state.info is not None:
            fresh.apply_node(state.info)
        fresh.set_agent_live(state.name, state.live)
        for grant in state.assumed.values():
            fresh._state(state.name).assume(grant, Usage(cpu=1))
        fresh._touch(fresh._state(state.name))
    fresh.table.largest_cpu, fresh.table.largest_gpus = fleet.table.largest_cpu, fleet.table.largest_gpus
    return fresh


class Script:
    """A fleet to which things happen. It tells few states apart, so that their numbers are given anew at times."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fleet = Fleet()
        self.policy = Policies().named(name)
        self.grants: list[Grant] = []
        self.fleet.table.most_states = 3
        for each in NODES:
            self.fleet.apply_node(node(each, cordoned=False))
            self.fleet.apply_inventory(inventory(each, 2))
        for _ in range(80):
            self.fleet.observe(Shape(asks=(SliceAsk(1, MemoryShare(300), 30),), usage=Usage(cpu=1)))

    def place(self, shape: Shape) -> None:
        """Decide, here and as if seen for the first time."""
        demand = PodDemand(shape=shape, containers=("c",))
        found = place(self.fleet, demand, self.policy)
        again = place(copy(self.fleet), demand, Policies().named(self.name))
        assert isinstance(found, Placement) == isinstance(again, Placement)
        if isinstance(found, Placement) and isinstance(again, Placement):
            assert (found.node, found.containers) == (again.node, again.containers)
            allocation = Allocation(id=f"g{len(self.fleet.table.log)}", node=found.node, containers=found.containers)
            self.grants.append(Grant(allocation=allocation, namespace="d", pod="p", granted=GRANTED))
            self.fleet.assume(self.grants[-1], Usage(cpu=1))

    def end(self, which: int) -> None:
        """A pod ends."""
        if self.grants:
            ended = self.grants.pop(which % len(self.grants))
            self.fleet.forget(ended.allocation.node, ended.allocation.id)

    def change(self, what: str, name: str, value: Any = None) -> None:
        """Something happens to a node."""
        if what == "node":
            self.fleet.apply_node(node(name, cordoned=value))
        elif what == "inventory":
            self.fleet.apply_inventory(inventory(name, value))
        elif what == "silent":
            self.fleet.set_agent_live(name, value)
        else:
            self.fleet.remove_node(name)


@given(steps=st.lists(happenings, max_size=25), name=st.sampled_from(Policies().names()))
def test_history_does_not_matter(steps: list[tuple[Any, ...]], name: str) -> None:
    """A fleet that has been followed decides as one that sees the same cluster for the first time."""
    script = Script(name)
    for step in steps:
        if step[0] == "place":
            script.place(step[1])
        elif step[0] == "end":
            script.end(step[1])
        else:
            script.change(*step)
