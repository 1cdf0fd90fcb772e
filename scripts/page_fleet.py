"""A fleet to look at: many GPUs, partly granted, some with troubles, and a queue. For tests and benchmarks."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Final

from allocator.api import names
from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.core.fleet import Fleet
from allocator.core.nodes import NodeInfo
from allocator.core.queue import Waiting
from allocator.core.resources import Usage

GIB: Final = 1024**3
_KINDS: Final = (("Tesla T4", 16), ("NVIDIA L40S", 48), ("NVIDIA H100 80GB HBM3", 80))
_SPACES: Final = (
    "team-a",
    "team-b",
    "research",
    "ci",
    "inference",
    "search",
    "vision",
    "speech",
    "ads",
    "billing",
    "lab",
)
_SINCE: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class ShownFleet:
    """What the page watches, with a fleet made up from a seed.

    Attributes:
        fleet: the fleet.
        ready: whether it is called fresh.
        queue: who waits.
    """

    random: Random
    fleet: Fleet = field(default_factory=Fleet)
    ready: bool = True
    queue: list[Waiting] = field(default_factory=list)
    _ids: "itertools.count[int]" = field(default_factory=itertools.count)
    _held: list[Grant] = field(default_factory=list)

    def waiting(self) -> Sequence[Waiting]:
        """The queue."""
        return self.queue

    def add_node(self, name: str, *, gpus: int = 8, model: str = "Tesla T4", gib: int = 16) -> None:
        """A node whose GPUs nobody holds."""
        room = Usage(cpu=192_000, memory=2048 * GIB)
        self.fleet.apply_node(NodeInfo(name=name, labels={}, allocatable=room))
        found = tuple(
            Gpu(uuid=f"GPU-{name}-{at}", index=at, model=model, memory=Memory(gib * GIB), reserve=Memory(GIB // 2))
            for at in range(gpus)
        )
        self.fleet.apply_inventory(Inventory(node=name, gpus=found, interposer="/opt/vramshare/lib.so", driver="580"))

    def hold(self, node: str, *, gpu: int, gib: int, cores: int = 0, space: str = "team-a", pod: str = "") -> Grant:
        """Grant a slice."""
        number = next(self._ids)
        one = Slice(uuid=f"GPU-{node}-{gpu}", memory=Memory(gib * GIB), cores=cores)
        allocation = Allocation(id=f"g{number}", node=node, containers={"worker": (one,)})
        grant = Grant(allocation=allocation, namespace=space, pod=pod or f"worker-{number}", granted=_SINCE)
        self.fleet.assume(grant)
        self._held.append(grant)
        return grant

    def wait(self, pod: str, *, memory: str = "40Gi", reason: str = "no GPU has 40Gi free", space: str = "lab") -> None:
        """Queue a pod."""
        metadata = {
            "name": pod,
            "namespace": space,
            "uid": pod,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {names.memory_annotation("worker"): memory, names.REASON: reason},
        }
        spec = {"containers": [{"name": "worker"}], "schedulingGates": [{"name": names.GATE}]}
        if (one := Waiting.of({"metadata": metadata, "spec": spec})) is not None:
            self.queue.append(one)

    def churn(self, times: int) -> None:
        """Give back and grant anew."""
        for _ in range(times):
            old = self._held.pop(self.random.randrange(len(self._held)))
            node, (one,) = old.allocation.node, old.allocation.containers["worker"]
            self.fleet.forget(node, old.allocation.id)
            gpu = int(one.uuid.rpartition("-")[2])
            self.hold(node, gpu=gpu, gib=one.memory.count // GIB, cores=one.cores, space=self.random.choice(_SPACES))


def large(gpus: int, *, seed: int = 1, per_node: int = 8) -> ShownFleet:
    """So many GPUs, two thirds granted in slices of all sizes; one sick GPU, a silent agent, a queue."""
    random = Random(seed)
    shown = ShownFleet(random)
    for number in range(gpus // per_node):
        name = f"node-{number:04}"
        model, gib = _KINDS[number % len(_KINDS)]
        shown.add_node(name, gpus=per_node, model=model, gib=gib)
        for gpu in range(per_node):
            left, time = gib - 1, 100
            while left > 0 and random.random() < 0.8:
                size, cores = min(left, random.randint(1, max(1, gib // 3))), min(time, random.choice((0, 10, 25)))
                shown.hold(name, gpu=gpu, gib=size, cores=cores, space=random.choice(_SPACES))
                left, time = left - size, time - cores
    trouble(shown)
    for number in range(30):
        shown.wait(f"late-{number}", memory="79Gi", reason="no GPU has 79Gi free; the best has 41.5Gi (node-0002)")
    return shown


def trouble(shown: ShownFleet) -> None:
    """A GPU with a fault, others' memory on another, and an agent that has gone silent, if there are such nodes."""
    nodes = list(shown.fleet.nodes())
    first = nodes[0].inventory
    if first is not None:
        sick = replace(first.gpus[0], health="Xid 79: fallen off the bus")
        foreign = replace(first.gpus[-1], foreign=Memory(2 * GIB))
        shown.fleet.apply_inventory(replace(first, gpus=(sick, *first.gpus[1:-1], foreign)))
    shown.fleet.set_agent_live(nodes[-1].name, live=False)
