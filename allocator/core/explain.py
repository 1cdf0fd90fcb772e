"""Where a pod would go and why not elsewhere, as a value that can be shown or encoded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from allocator.api.allocation import Slice
from allocator.api.errors import Shortfall
from allocator.core.demand import PodDemand
from allocator.core.fleet import Fleet
from allocator.core.placement import Placement, place
from allocator.core.policies import Policy, Rater
from allocator.core.reasons import NoFit, grouped, refusal


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer to "where would it go?".

    Attributes:
        policy: the policy that was asked.
        node: the chosen node; empty: none.
        containers: slices by container.
        score: how good the policy finds it; comparable for one pod and policy only.
        alternatives: how many other nodes fit.
        summary: what is missing, if nothing fits; else empty.
        shortfalls: why other nodes do not fit, equal reasons grouped, most nodes first.
    """

    policy: str
    node: str
    containers: Mapping[str, tuple[Slice, ...]]
    score: float
    alternatives: int
    summary: str
    shortfalls: tuple[Shortfall, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {
            "fits": bool(self.node),
            "policy": self.policy,
            "node": self.node or None,
            "score": self.score if self.node else None,
            "alternatives": self.alternatives,
            "containers": {
                name: [{"gpu": one.uuid, "memory": str(one.memory), "cores": one.cores} for one in slices]
                for name, slices in self.containers.items()
            },
            "summary": self.summary,
            "refusals": [{"reason": one.reason, "nodes": list(one.nodes)} for one in self.shortfalls],
        }


def explain(fleet: Fleet, demand: PodDemand, policy: Policy | Rater) -> Explanation:
    """Place a pod without consequences, and ask every node whether it could take it."""
    found = place(fleet, demand, policy)
    fitting = 0
    groups: dict[str, list[str]] = {}
    for node in fleet.nodes():
        reason = refusal(node, demand.shape)
        if reason is None:
            fitting += 1
        else:
            groups.setdefault(reason, []).append(node.name)
    placed = isinstance(found, Placement)
    return Explanation(
        policy=policy.name,
        node=found.node if isinstance(found, Placement) else "",
        containers=found.containers if isinstance(found, Placement) else {},
        score=found.score if isinstance(found, Placement) else 0.0,
        alternatives=max(0, fitting - placed),
        summary=found.summary if isinstance(found, NoFit) else "",
        shortfalls=grouped(groups),
    )
