"""Room that is kept for a pod that has waited long, so that smaller ones cannot pass it by for ever.

A spot names a node and GPUs, taken or not. It counts like a grant towards everybody who comes later: they may use
what is left beside it (backfill), and no GPU of the spot takes anything that the spot needs. As pods there end,
the spot fills up, and the pod is granted. How long others will run is not known, so the spot is where least is
missing now.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from allocator.api.allocation import Slice
from allocator.api.errors import FormatError
from allocator.core.demand import PodDemand, Shape
from allocator.core.fitting import Assignment, assign, node_refusal, usable
from allocator.core.fleet import Fleet
from allocator.core.placement import slices_of
from allocator.core.state import FULL_TIME, NodeState

_LOOKS: Final = 32
"""Nodes looked at closely, those with most memory free where it can be used."""


@dataclass(frozen=True, slots=True)
class Spot:
    """What is kept for a pod.

    Attributes:
        node: the node's name.
        containers: slices by container.
    """

    node: str
    containers: Mapping[str, tuple[Slice, ...]]

    def to_text(self) -> str:
        """For the pod's annotation: `gpu-1: main GPU-… memory=2Gi cores=25; …`."""
        parts = (f"{name} {one.shown()}" for name, slices in self.containers.items() for one in slices)
        return f"{self.node}: {'; '.join(parts)}"

    @classmethod
    def from_text(cls, text: str) -> "Spot":
        """Read an annotation.

        Raises:
            FormatError: it is none.
        """
        node, colon, rest = text.partition(": ")
        containers: dict[str, tuple[Slice, ...]] = {}
        for part in rest.split("; "):
            name, space, one = part.partition(" ")
            if not (colon and node and name and space):
                raise FormatError(f"no reservation: {text[:80]!r}")
            containers[name] = (*containers.get(name, ()), Slice.parse(one))
        return cls(node=node, containers=containers)


def stands(fleet: Fleet, demand: PodDemand, spot: Spot) -> bool:
    """Whether a spot is what this pod could get there if everybody else ended: not more, and not elsewhere."""
    node = fleet.node(spot.node)
    if node is None or tuple(spot.containers) != demand.containers:
        return False
    left = _emptied(node)
    if node_refusal(left, demand.shape) is not None:
        return False
    gpus = {state.gpu.uuid: state for state in left.gpus if usable(state, demand.shape)}
    for ask, slices in zip(demand.shape.asks, spot.containers.values(), strict=True):
        if len({one.uuid for one in slices}) != ask.gpus or len(slices) != ask.gpus:
            return False
        for one in slices:
            state = gpus.get(one.uuid)
            if state is None or one.memory.count != ask.on(state.capacity) or one.cores != ask.cores:
                return False
            state.take(one.memory.count, one.cores)
    return all(state.free_memory >= 0 and state.free_cores >= 0 for state in gpus.values())


def nearest(fleet: Fleet, demand: PodDemand) -> Spot | None:
    """Where a pod that fits nowhere now has least to wait for. None: it fits nowhere even if everybody else ended."""
    best: tuple[float, str, Spot] | None = None
    for name in _promising(fleet, demand.shape):
        node = fleet.node(name)
        if node is None:
            continue
        left = _emptied(node)
        found = None if node_refusal(left, demand.shape) else _assigned(node, left, demand.shape)
        if found is None:
            continue
        missing = _missing(node, found)
        if best is None or (missing, name) < best[:2]:
            best = (missing, name, Spot(node=name, containers=slices_of(node, demand, found)))
    return None if best is None else best[2]


def _promising(fleet: Fleet, shape: Shape) -> Iterable[str]:
    """Names of nodes whose GPUs are large enough, those with most free in front."""
    table, gate = fleet.table, fleet.gate(shape)
    large = max((ask.on(0) for ask in shape.asks), default=0)
    rows = np.flatnonzero(gate.nodes & (table.capacity.max(axis=1) >= large))
    most = max((ask.gpus for ask in shape.asks), default=1)
    free = np.where(gate.gpus[rows] & (table.gpu_memory[rows] != -1), np.maximum(table.gpu_memory[rows], 0), 0)
    free.sort(axis=1)
    ranked = np.argsort(-free[:, -most:].sum(axis=1), kind="stable")
    return [table.names[row] for row in rows[ranked[:_LOOKS]].tolist()]


def _emptied(node: NodeState) -> NodeState:
    """The node without any grants. What others before us have reserved, and what is no grant, stays."""
    return node.without([*node.ledger, *node.assumed])


def _assigned(node: NodeState, left: NodeState, shape: Shape) -> Assignment | None:
    """The GPUs that have most free now, of those that would do."""
    able = [at for at, state in enumerate(node.gpus) if usable(state, shape)]
    able.sort(key=lambda at: (-node.gpus[at].free_memory, -node.gpus[at].free_cores, at))
    return assign(left, shape, able)


def _missing(node: NodeState, found: Assignment) -> float:
    """How much of the reserved GPUs has to become free, in GPUs."""
    memory: dict[int, int] = {}
    cores: dict[int, int] = {}
    for part in (part for parts in found for part in parts):
        memory[part.gpu] = memory.get(part.gpu, 0) + part.memory
        cores[part.gpu] = cores.get(part.gpu, 0) + part.cores
    total = 0.0
    for at, amount in memory.items():
        state = node.gpus[at]
        total += max(0, amount - max(0, state.free_memory)) / state.capacity
        total += max(0, cores[at] - max(0, state.free_cores)) / FULL_TIME
    return total
