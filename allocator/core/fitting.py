"""Where a shape fits on one node.

A pod with one asking container needs `k` GPUs with enough left: any `k` of those that have it will do. With
several containers, of which two may share a GPU, it is a small packing problem of its own; `assign` solves it
by search, in the order of preference that a policy gives, so that it finds an assignment whenever there is one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from allocator.api.quantities import Memory
from allocator.core.demand import Shape, SliceAsk
from allocator.core.state import GpuState, NodeState

_MOST_STEPS: Final = 5_000
"""Where a search ends that no real pod needs: containers times GPUs is a few dozen."""
_FAIR_STEPS: Final = 64
"""What every node gets, however hard the search was on those before it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A slice on one of a node's GPUs: position of the GPU, bytes, percent of its time."""

    gpu: int
    memory: int
    cores: int


Assignment = tuple[tuple[Part, ...], ...]
"""For each ask of a shape, its slices."""


@dataclass(slots=True)
class Patience:
    """Steps that one decision may still search for, over all nodes.

    A pod can be made up so that each node is a hard puzzle. Without a common end it would hold up all others' pods.
    """

    left: int = _MOST_STEPS

    def share(self) -> int:
        """What the next node may take of it."""
        return max(_FAIR_STEPS, self.left)


def usable(state: GpuState, shape: Shape) -> bool:
    """Whether a GPU may be used for a shape at all, however full it is."""
    return state.gpu.healthy and shape.models.allows(state.model) and shape.uuids.allows(state.uuid)


def node_refusal(node: NodeState, shape: Shape) -> str | None:
    """Why a node cannot take a shape for other reasons than its GPUs, as a clause; None: it can."""
    if node.info is None:
        return "is not known to the cluster"
    return node.obstacle() or shape.filter.refusal(node.info) or _crowded(node, shape)


def takes_still(node: NodeState, shape: Shape, uuids: Iterable[str]) -> bool:
    """Whether a pod may use what was granted on a node before: it may go there, and the GPUs are there and well."""
    if node.info is None or node.obstacle() or shape.filter.refusal(node.info):
        return False
    return set(uuids) <= {state.gpu.uuid for state in node.gpus if usable(state, shape)}


def _crowded(node: NodeState, shape: Shape) -> str | None:
    """What the node itself has too little of."""
    if node.free_pods < 1:
        return "runs as many pods as it may"
    if shape.usage.cpu > node.free.cpu and shape.usage.cpu:
        return f"has {max(0, node.free.cpu)}m CPU free of {shape.usage.cpu}m needed"
    if shape.usage.memory > node.free.memory and shape.usage.memory:
        free = Memory(max(0, node.free.memory)).rounded()
        return f"has {free} of node memory free of {Memory(shape.usage.memory).rounded()} needed"
    return None


def assign(node: NodeState, shape: Shape, order: Sequence[int], patience: Patience | None = None) -> Assignment | None:
    """Give each ask its GPUs.

    Args:
        node: the node.
        shape: what is asked.
        order: positions of GPUs that may be used, most preferred first.
        patience: of the decision that this node is looked at for; None: it is the only one.

    Returns:
        The first assignment in the order's sense, larger asks having the first choice; None: none exists, or none
        was found with patience.
    """
    patience = patience or Patience()
    memory = [state.free_memory for state in node.gpus]
    cores = [state.free_cores for state in node.gpus]
    ranked = sorted(range(len(shape.asks)), key=lambda at: _weight(shape.asks[at], node), reverse=True)
    search = _Search(node=node, shape=shape, order=tuple(order), ranked=ranked, most=patience.share())
    found = search.run(memory, cores)
    patience.left = max(0, patience.left - search.steps)
    return None if found is None else tuple(found[at] for at in range(len(shape.asks)))


def _weight(ask: SliceAsk, node: NodeState) -> tuple[int, int, int]:
    """Asks that are hardest to place go first."""
    largest = max((state.capacity for state in node.gpus), default=0)
    return (ask.on(largest), ask.cores, ask.gpus)


@dataclass(slots=True)
class _Search:
    """Depth-first over the asks; states that failed are remembered, however they were reached.

    Two states that differ only in which of several equal GPUs is how full are one state.
    """

    node: NodeState
    shape: Shape
    order: tuple[int, ...]
    ranked: list[int]
    most: int
    steps: int = 0

    def run(self, memory: list[int], cores: list[int]) -> dict[int, tuple[Part, ...]] | None:
        return self._place(0, memory, cores, set())

    def _place(
        self, depth: int, memory: list[int], cores: list[int], failed: set[tuple[int, tuple[tuple[int, int, int], ...]]]
    ) -> dict[int, tuple[Part, ...]] | None:
        if depth == len(self.ranked):
            return {}
        key = (depth, tuple(sorted((self.node.gpus[at].capacity, memory[at], cores[at]) for at in self.order)))
        if key in failed:
            return None
        ask = self.shape.asks[self.ranked[depth]]
        sizes = {at: ask.on(self.node.gpus[at].capacity) for at in self.order}
        able = [at for at in self.order if memory[at] >= sizes[at] and cores[at] >= ask.cores]
        for chosen in combinations(able, ask.gpus):
            self.steps += 1
            if self.steps > self.most:
                return None
            for at in chosen:
                memory[at] -= sizes[at]
                cores[at] -= ask.cores
            rest = self._place(depth + 1, memory, cores, failed)
            for at in chosen:
                memory[at] += sizes[at]
                cores[at] += ask.cores
            if rest is not None:
                rest[self.ranked[depth]] = tuple(Part(gpu=at, memory=sizes[at], cores=ask.cores) for at in chosen)
                return rest
        failed.add(key)
        return None
