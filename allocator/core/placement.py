"""Where a pod goes: the one decision that everything else here serves."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, cast, runtime_checkable

import numpy as np

from allocator.api.allocation import Slice
from allocator.api.quantities import Memory
from allocator.core.demand import ANY, PodDemand, Shape
from allocator.core.fitting import Assignment, Patience, assign
from allocator.core.fleet import Fleet
from allocator.core.policies.base import Policy, Rater
from allocator.core.policies.foresight import Choice
from allocator.core.policies.one_by_one import as_rater
from allocator.core.reasons import NoFit
from allocator.core.state import NodeState
from allocator.core.table import Table
from allocator.core.views import View


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a pod goes.

    Attributes:
        node: the node's name.
        containers: slices by container name, in the pod's order.
        score: how good the policy finds it; larger is better, comparable for one policy and pod only.
    """

    node: str
    containers: Mapping[str, tuple[Slice, ...]]
    score: float


@runtime_checkable
class Refiner(Rater, Protocol):
    """A rater that looks at the best rows a second time, more closely."""

    looks: int

    def refine(self, table: Table, shape: Shape, rows: list[tuple[int, tuple[int, ...] | None]]) -> Iterator[Choice]:
        """The ways to take these rows, best first."""


def place(
    fleet: Fleet, demand: PodDemand, policy: Policy | Rater, *, excluded: Collection[str] = frozenset()
) -> Placement | NoFit:
    """Choose a node and GPUs for a pod. Changes nothing.

    Args:
        fleet: the cluster.
        demand: the pod.
        policy: how to choose among what fits.
        excluded: nodes not to be used, such as those that another replica has just changed.

    Returns:
        The best placement, the same for the same snapshot; or why nothing fits.
    """
    rater = as_rater(policy)
    view, patience = fleet.view(demand.shape, rater), Patience()
    for row, order, score in _candidates(fleet.table, view, rater, excluded):
        node = fleet.table.nodes[row]
        if node is None:
            continue
        assignment = assign(node, demand.shape, order, patience)
        if assignment is not None:
            return Placement(node=node.name, containers=slices_of(node, demand, assignment), score=score)
    return NoFit(fleet, demand, excluded=frozenset(excluded))


def slices_of(node: NodeState, demand: PodDemand, assignment: Assignment) -> dict[str, tuple[Slice, ...]]:
    """An assignment in the words of an allocation."""
    return {
        container: tuple(
            Slice(uuid=node.gpus[part.gpu].gpu.uuid, memory=Memory(part.memory), cores=part.cores) for part in parts
        )
        for container, parts in zip(demand.containers, assignment, strict=True)
    }


def _candidates(
    table: Table, view: View, rater: Rater, excluded: Collection[str]
) -> Iterator[tuple[int, tuple[int, ...], float]]:
    """Rows, best first, with the order in which to fill their GPUs and the score."""
    refiner = _refiner(rater)
    if refiner is not None:
        choosy = view.shape.models != ANY or view.shape.uuids != ANY
        rows = [
            (row, _allowed(view, row) if choosy else None) for row in view.shortlist(table, excluded, refiner.looks)
        ]
        for choice in refiner.refine(table, view.shape, rows):
            yield choice.row, choice.gpus, choice.score
    for row in view.best(table, excluded):
        node = table.nodes[row]
        if node is not None:
            order = tuple(rater.order(node, view.shape, _allowed(view, row)))
            yield row, order, float(view.rates[row])


_REFINES: Final[dict[type, bool]] = {}
"""Whether a class of raters refines. Asking `isinstance` of a protocol takes longer than the rest of a decision."""


def _refiner(rater: Rater) -> Refiner | None:
    kind = type(rater)
    if kind not in _REFINES:
        _REFINES[kind] = isinstance(rater, Refiner)
    return cast("Refiner", rater) if _REFINES[kind] else None


def _allowed(view: View, row: int) -> tuple[int, ...]:
    """The row's GPUs that the shape may use."""
    return tuple(np.flatnonzero(view.gate.gpus[row]).tolist())
