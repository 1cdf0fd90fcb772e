"""Why nothing fits, grouped over the nodes, in words that say what would have to change."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from allocator.api.errors import NoCapacityError, Shortfall
from allocator.api.quantities import Memory, MemoryShare
from allocator.core.demand import PodDemand, Shape, SliceAsk
from allocator.core.fitting import assign, node_refusal, usable
from allocator.core.fleet import Fleet
from allocator.core.state import GpuState, NodeState
from allocator.core.views import needed, roomy_rows


class NoFit:
    """Nothing fits now.

    Why is worked out when it is asked for, which must be before the fleet changes: at a full cluster most
    callers only want to know that nothing fits.
    """

    def __init__(self, fleet: Fleet, demand: PodDemand, *, excluded: Collection[str] = frozenset()) -> None:
        self._fleet = fleet
        self._demand = demand
        self._excluded = excluded

    @cached_property
    def _why(self) -> tuple[str, tuple[Shortfall, ...]]:
        return _ask_all(self._fleet, self._demand.shape, self._excluded)

    @property
    def summary(self) -> str:
        """What is needed and the best there is, in one sentence."""
        return self._why[0]

    @property
    def shortfalls(self) -> tuple[Shortfall, ...]:
        """Why not, per node, equal reasons grouped, most nodes first."""
        return self._why[1]

    def error(self) -> NoCapacityError:
        """The same as the error that callers of the allocator see."""
        return NoCapacityError(self.summary, self.shortfalls)


def _ask_all(fleet: Fleet, shape: Shape, excluded: Collection[str]) -> tuple[str, tuple[Shortfall, ...]]:
    """Ask every node why it cannot take the pod; those with too full GPUs all at once."""
    groups, best = _too_full(fleet, shape, excluded)
    asked = {name for names in groups.values() for name in names}
    near = _Near(best=best)
    for node in fleet.nodes():
        if node.name in asked:
            continue
        reason = "was just changed by another replica" if node.name in excluded else node_refusal(node, shape)
        if reason is None:
            reason = gpu_refusal(node, shape)
            near.see(node.name, _candidates(node, shape), shape, reason)
        elif near.barred is None and _candidates(node, shape):
            near.barred = (node.name, reason)
        groups.setdefault(reason, []).append(node.name)
    shortfalls = grouped({reason: sorted(names) for reason, names in groups.items()})
    return _summary(shape, near, shortfalls), shortfalls


@dataclass(slots=True)
class _Near:
    """The nodes that come nearest to taking a shape.

    Attributes:
        best: the most memory free on one GPU, and its node, where memory is what is missing.
        lacking: the node with the most GPUs that may be used, where memory is not what is missing, and what is:
            minus the number of GPUs, the name, a clause.
        barred: a node that has GPUs of the kind and takes no pod like this, and why, as a clause.
    """

    best: tuple[int, str] | None = None
    lacking: tuple[int, str, str] | None = None
    barred: tuple[str, str] | None = None

    def see(self, name: str, candidates: Sequence[GpuState], shape: Shape, reason: str) -> None:
        """One node whose GPUs cannot take the shape, for this reason."""
        if not candidates:
            return
        if all(any(gpu.free_memory >= ask.on(gpu.capacity) for gpu in candidates) for ask in shape.asks):
            found = (-len(candidates), name, reason)
            self.lacking = min(self.lacking or found, found)
            return
        largest = max(gpu.free_memory for gpu in candidates)
        if self.best is None or (-largest, name) < (-self.best[0], self.best[1]):
            self.best = (largest, name)


def _too_full(
    fleet: Fleet, shape: Shape, excluded: Collection[str]
) -> tuple[dict[str, list[str]], tuple[int, str] | None]:
    """The nodes that lack nothing but memory on one GPU, by reason, and the one with the most.

    On a full cluster these are nearly all nodes. To ask each of ten thousand singly would hold up everybody else
    for a tenth of a second.
    """
    groups: dict[str, list[str]] = {}
    if len(shape.asks) != 1 or shape.asks[0].gpus != 1:
        return groups, None
    ask, table = shape.asks[0], fleet.table
    gate = fleet.gate(shape)
    rows = roomy_rows(table, gate, shape, np.arange(len(table.nodes), dtype=np.int64))
    free = np.where(gate.gpus[rows], table.gpu_memory[rows], -1)
    largest = free.max(axis=1)
    full = (largest >= 0) & ~(free >= needed(table, ask, rows)).any(axis=1)
    best: tuple[int, str] | None = None
    reasons: dict[int, str] = {}
    for row, most in zip(rows[full].tolist(), largest[full].tolist(), strict=True):
        name = table.names[row]
        if name in excluded:
            continue
        if best is None or (-most, name) < (-best[0], best[1]):
            best = (most, name)
        if most not in reasons:
            reasons[most] = _full(most, ask)
        groups.setdefault(reasons[most], []).append(name)
    return groups, best


def _full(free: int, ask: SliceAsk) -> str:
    return f"has at most {Memory(free).rounded()} free on one GPU of {_size(ask)} needed"


def grouped(groups: Mapping[str, Sequence[str]]) -> tuple[Shortfall, ...]:
    """Reasons with their nodes, most nodes first."""
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(Shortfall(reason=reason, nodes=tuple(names)) for reason, names in ranked)


def refusal(node: NodeState, shape: Shape) -> str | None:
    """Why a node cannot take a shape, as a clause that reads on after its name; None: it can."""
    reason = node_refusal(node, shape)
    if reason is not None:
        return reason
    able = [at for at, state in enumerate(node.gpus) if usable(state, shape)]
    return None if assign(node, shape, able) is not None else gpu_refusal(node, shape)


def gpu_refusal(node: NodeState, shape: Shape) -> str:
    """Why a node's GPUs cannot take a shape, as a clause that reads on after the node's name."""
    if not node.gpus:
        return "has no GPU"
    candidates = _candidates(node, shape)
    if not candidates:
        return _no_candidate(node)
    reasons = (_ask_refusal(candidates, ask) for ask in shape.asks)
    return next(filter(None, reasons), "has room for each container, but not for all of them together")


def _no_candidate(node: NodeState) -> str:
    if not any(state.gpu.healthy for state in node.gpus):
        return f"has no healthy GPU: {', '.join(sorted({state.gpu.health for state in node.gpus}))}"
    return f"has none of the GPUs that the pod wants, but {', '.join(sorted({s.gpu.model for s in node.gpus}))}"


def _ask_refusal(candidates: list[GpuState], ask: SliceAsk) -> str | None:
    """Why one ask cannot be met by these GPUs, were they all its own; None: it can."""
    able = [s for s in candidates if s.free_memory >= ask.on(s.capacity) and s.free_cores >= ask.cores]
    if len(able) >= ask.gpus:
        return None
    if ask.gpus > len(candidates):
        return f"has {_count(len(candidates))} of {ask.gpus} needed"
    roomy = [s for s in candidates if s.free_memory >= ask.on(s.capacity)]
    if len(roomy) >= ask.gpus:
        free = max(0, *(s.free_cores for s in roomy))
        return f"has GPUs with memory enough, but at most {free}% of their time free of {ask.cores}% needed"
    free = max(0, *(s.free_memory for s in candidates))
    if ask.gpus > 1:
        return f"has {_count(len(able))} with {_size(ask)} free of {ask.gpus} needed"
    return _full(free, ask)


def _candidates(node: NodeState, shape: Shape) -> list[GpuState]:
    return [state for state in node.gpus if usable(state, shape)]


def _count(gpus: int) -> str:
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"


def _size(ask: SliceAsk) -> str:
    return f"{ask.memory} of the GPU" if isinstance(ask.memory, MemoryShare) else ask.memory.rounded()


def _summary(shape: Shape, near: _Near, shortfalls: tuple[Shortfall, ...]) -> str:
    """What is needed, and what comes nearest."""
    need = " and ".join(dict.fromkeys(_need(ask) for ask in shape.asks))
    if near.lacking is not None:
        return f"needs {need}; {near.lacking[1]} {near.lacking[2]}"
    if near.best is not None and near.best[0] > 0:
        return f"needs {need}; best is {Memory(near.best[0]).rounded()} on {near.best[1]}"
    if near.best is not None:
        return f"needs {need}; no GPU that may be used has anything free"
    if not shortfalls:
        return f"needs {need}; the cluster has no GPU node"
    node, reason = near.barred or (shortfalls[0].nodes[0], shortfalls[0].reason)
    return f"needs {need}; no node may be used: {node} {reason}"


def _need(ask: SliceAsk) -> str:
    cores = f" and {ask.cores}% of its time" if ask.cores else ""
    if ask.gpus == 1:
        return f"{_size(ask)}{cores} on one GPU"
    return f"{_size(ask)}{cores} on each of {ask.gpus} GPUs of one node"
