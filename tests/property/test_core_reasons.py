"""Reasons given for all nodes at once must be those that each node would give."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory, MemoryShare
from allocator.core.demand import PodDemand, Shape, SliceAsk
from allocator.core.fleet import Fleet
from allocator.core.nodes import NodeInfo
from allocator.core.reasons import NoFit, grouped, refusal
from allocator.core.resources import Usage

GRANTED = datetime(2026, 1, 1, tzinfo=UTC)

gpus = st.tuples(st.sampled_from([8, 10]), st.integers(0, 10), st.sampled_from([0, 50, 100]), st.booleans())
nodes = st.lists(st.tuples(st.lists(gpus, max_size=3), st.integers(0, 3), st.booleans()), max_size=5)
asks = st.builds(
    SliceAsk,
    gpus=st.sampled_from([1, 1, 1, 2]),
    memory=st.one_of(st.integers(1, 12).map(Memory.mib), st.sampled_from([500, 1000]).map(MemoryShare)),
    cores=st.sampled_from([0, 60]),
)


def fleet_of(found: list[tuple[list[tuple[int, int, int, bool]], int, bool]]) -> Fleet:
    """Nodes with GPUs of (MiB, MiB held, time held, healthy), with cores, cordoned or not."""
    fleet = Fleet()
    for at, (held, cpu, cordoned) in enumerate(found):
        name = f"n{at}"
        fleet.apply_node(
            NodeInfo(name=name, labels={}, allocatable=Usage(cpu=cpu, memory=9), unschedulable=cordoned, ready=True)
        )
        states = [
            Gpu(uuid=f"GPU-{name}-{i}", index=i, model="T4", memory=Memory.mib(one[0]), health="ok" if one[3] else "x")
            for i, one in enumerate(held)
        ]
        fleet.apply_inventory(Inventory(node=name, interposer="/opt/vramshare/lib.so", gpus=tuple(states)))
        slices = tuple(
            Slice(uuid=f"GPU-{name}-{i}", memory=Memory.mib(one[1]), cores=one[2]) for i, one in enumerate(held)
        )
        allocation = Allocation(id="g", node=name, containers={"c": slices})
        fleet.apply_grants(name, [Grant(allocation=allocation, namespace="d", pod="p", granted=GRANTED)])
    return fleet


@given(found=nodes, ask=asks)
def test_reasons_at_once_are_the_reasons_one_by_one(
    found: list[tuple[list[tuple[int, int, int, bool]], int, bool]], ask: SliceAsk
) -> None:
    """Wherever nothing fits, the groups are those of asking every node."""
    fleet = fleet_of(found)
    shape = Shape(asks=(ask,), usage=Usage(cpu=2))
    groups: dict[str, list[str]] = {}
    for node in fleet.nodes():
        reason = refusal(node, shape)
        if reason is None:
            return
        groups.setdefault(reason, []).append(node.name)
    assert NoFit(fleet, PodDemand(shape=shape, containers=("c",))).shortfalls == grouped(groups)
