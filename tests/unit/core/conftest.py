"""Small fleets to decide on."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.api.request import Choice
from allocator.core.demand import PodDemand, Shape, SliceAsk
from allocator.core.fleet import Fleet
from allocator.core.nodes import NodeInfo
from allocator.core.placement import Placement, place
from allocator.core.policies import Policies
from allocator.core.reasons import NoFit
from allocator.core.resources import Usage

GIB = 1024**3
GRANTED = datetime(2026, 1, 1, tzinfo=UTC)


class Make:
    """Makes nodes, pods and grants of whole GiB, and asks for placements."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.policies = Policies()

    def inventory(self, name: str, gpus: int = 1, *, gib: int = 16, **gpu: Any) -> Inventory:
        """A node's inventory."""
        found = [
            Gpu(uuid=f"GPU-{name}-{at}", index=at, memory=Memory(gib * GIB), **{"model": "Tesla T4", **gpu})
            for at in range(gpus)
        ]
        return Inventory(node=name, interposer="/opt/vramshare/libvramshare-1.so", gpus=tuple(found))

    def node(self, name: str, gpus: int = 1, *, gib: int = 16, cpu: int = 64_000, **gpu: Any) -> None:
        """Add a node."""
        self.fleet.apply_node(NodeInfo(name=name, labels={}, allocatable=Usage(cpu=cpu, memory=256 * GIB)))
        self.fleet.apply_inventory(self.inventory(name, gpus, gib=gib, **gpu))

    def pod(self, *gib: int, gpus: int = 1, cores: int = 0, cpu: int = 1000, models: Iterable[str] = ()) -> PodDemand:
        """A pod with a container per size."""
        shape = Shape(
            asks=tuple(SliceAsk(gpus=gpus, memory=Memory(one * GIB), cores=cores) for one in gib),
            usage=Usage(cpu=cpu, memory=GIB),
            models=Choice(include=frozenset(models)),
        )
        return PodDemand(shape=shape, containers=tuple(f"c{at}" for at in range(len(gib))))

    def grant(self, name: str, node: str, gib: int, *, gpu: int = 0, cores: int = 0) -> Grant:
        """A grant of one slice."""
        one = Slice(uuid=f"GPU-{node}-{gpu}", memory=Memory(gib * GIB), cores=cores)
        allocation = Allocation(id=name, node=node, containers={"c0": (one,)})
        return Grant(allocation=allocation, namespace="default", pod=name, granted=GRANTED)

    def hold(self, node: str, gib: int, *, gpu: int = 0, cores: int = 0, cpu: int = 0) -> Grant:
        """Take a slice."""
        found = self.grant(f"h{len(self.fleet.table.log)}", node, gib, gpu=gpu, cores=cores)
        self.fleet.assume(found, Usage(cpu=cpu))
        return found

    def place(self, demand: PodDemand, policy: str = "best-fit", **options: Any) -> Placement | NoFit:
        """Ask for a placement."""
        return place(self.fleet, demand, self.policies.named(policy), **options)

    def spot(self, demand: PodDemand, policy: str = "best-fit", **options: Any) -> str:
        """The first GPU of a placement, or why there is none."""
        found = self.place(demand, policy, **options)
        if isinstance(found, NoFit):
            return found.summary
        return next(iter(found.containers.values()))[0].uuid.removeprefix("GPU-")


@pytest.fixture
def make() -> Make:
    """A maker with an empty fleet."""
    return Make()
