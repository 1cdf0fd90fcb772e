"""The scheduler's picture of the cluster: nodes, what their pods use, and what it has decided but not yet seen.

A decision is counted at once ("assumed"), so that the next pod of the same cycle sees it; it is confirmed when the
watch shows the binding, or forgotten when the binding failed. Pure.
"""

from collections.abc import Mapping
from typing import Any

from devcluster.scheduler.predicates import NOT_CHOSEN, NodeState, Refusal, named_nodes, refuse
from devcluster.scheduler.resources import Amounts, amounts, pod_requests

_ENOUGH = 100
"""How many feasible nodes are compared; with more nodes the search starts where the last one ended."""


class Cache:
    """What the scheduler knows."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self._placed: dict[str, tuple[str, Amounts]] = {}
        self._next = 0

    def set_node(self, name: str, node: Mapping[str, Any] | None) -> None:
        """Take a node in, replace or drop it."""
        if node is None:
            self.nodes.pop(name, None)
            return
        fresh = NodeState(node, amounts(node.get("status", {}).get("allocatable")))
        known = self.nodes.get(name)
        if known is not None:
            fresh.used = known.used
        else:
            for place, asked in self._placed.values():
                if place == name:
                    fresh.add(asked)
        self.nodes[name] = fresh

    def place(self, pod: Mapping[str, Any], node: str) -> None:
        """Count a pod, bound or assumed, on its node."""
        uid = pod["metadata"]["uid"]
        if self._placed.get(uid, ("", {}))[0] == node:
            return
        self.remove(uid)
        asked = pod_requests(pod["spec"])
        self._placed[uid] = (node, asked)
        if node in self.nodes:
            self.nodes[node].add(asked)

    def remove(self, uid: str) -> bool:
        """Count a pod out; return whether it was counted."""
        node, asked = self._placed.pop(uid, ("", {}))
        if node in self.nodes:
            self.nodes[node].add(asked, -1)
        return bool(node)

    def choose(self, pod: Mapping[str, Any]) -> tuple[str | None, list[Refusal]]:
        """Return the node for ``pod``; if there is none, why each of the nodes is out of question."""
        asked = pod_requests(pod["spec"])
        named = named_nodes(pod["spec"])
        refusals: list[Refusal] = []
        feasible: list[str] = []
        for name in self._search_order(named):
            refusal = refuse(pod, asked, self.nodes[name])
            if refusal is None:
                feasible.append(name)
                if len(feasible) >= _ENOUGH:
                    break
            else:
                refusals.append(refusal)
        if feasible:
            return max(feasible, key=lambda name: self.nodes[name].free_share()), []
        unseen = len(self.nodes) - len(refusals)
        return None, refusals + [Refusal((NOT_CHOSEN,), final=True)] * unseen

    def _search_order(self, named: set[str] | None) -> list[str]:
        if named is not None:
            return sorted(named & self.nodes.keys())
        names = list(self.nodes)
        start = self._next % len(names) if names else 0
        self._next = start + _ENOUGH
        return names[start:] + names[:start]
