"""Where a pod goes: the one decision that everything else here serves."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from allocator.api.allocation import Slice
from allocator.api.quantities import Memory
from allocator.core.demand import PodDemand
from allocator.core.fitting import Assignment, assign, node_refusal, usable
from allocator.core.fleet import Fleet
from allocator.core.policies.base import Move, Policy
from allocator.core.reasons import NoFit, no_fit
from allocator.core.state import NodeState


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


def place(
    fleet: Fleet, demand: PodDemand, policy: Policy, *, excluded: Collection[str] = frozenset()
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
    best: tuple[float, NodeState, Assignment] | None = None
    for node in fleet.nodes():
        if node.name in excluded or node_refusal(node, demand.shape) is not None:
            continue
        found = _best_on(node, demand, policy)
        if found is not None and (best is None or found[0] > best[0]):
            best = (found[0], node, found[1])
    if best is None:
        return no_fit(fleet, demand, excluded=excluded)
    score, node, assignment = best
    return Placement(node=node.name, containers=slices_of(node, demand, assignment), score=score)


def slices_of(node: NodeState, demand: PodDemand, assignment: Assignment) -> dict[str, tuple[Slice, ...]]:
    """An assignment in the words of an allocation."""
    return {
        container: tuple(
            Slice(uuid=node.gpus[part.gpu].gpu.uuid, memory=Memory(part.memory), cores=part.cores) for part in parts
        )
        for container, parts in zip(demand.containers, assignment, strict=True)
    }


def _best_on(node: NodeState, demand: PodDemand, policy: Policy) -> tuple[float, Assignment] | None:
    able = [at for at, state in enumerate(node.gpus) if usable(state, demand.shape)]
    assignment = assign(node, demand.shape, policy.prefer(node, able))
    if assignment is None:
        return None
    return policy.score(Move(node=node, shape=demand.shape, assignment=assignment)), assignment
