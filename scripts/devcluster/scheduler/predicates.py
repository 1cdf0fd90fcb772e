"""Whether a pod may run on a node, and why not: the filters of the stock scheduler, in its words and order. Pure."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from devcluster.scheduler.resources import Amounts
from devcluster.selectors import node_matches, tolerates

UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
NOT_CHOSEN = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
"""Why a node was not looked at: the pod names other nodes in every term of its affinity."""


@dataclasses.dataclass
class NodeState:
    """A node and what runs on it."""

    node: Mapping[str, Any]
    allocatable: Amounts
    used: Amounts = dataclasses.field(default_factory=dict)

    def add(self, asked: Amounts, sign: int = 1) -> None:
        """Count a pod in, or out with ``sign`` -1."""
        for name, amount in asked.items():
            self.used[name] = self.used.get(name, 0) + sign * amount

    def free_share(self) -> float:
        """Return the mean share of CPU and memory that is free, for choosing the emptiest node."""
        shares = [1 - self.used.get(name, 0) / (self.allocatable.get(name) or 1) for name in ("cpu", "memory")]
        return sum(shares) / len(shares)


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why one node is out of question. ``final``: no eviction of other pods would help."""

    reasons: tuple[str, ...]
    final: bool


def refuse(pod: Mapping[str, Any], asked: Amounts, state: NodeState) -> Refusal | None:
    """Return why ``pod``, which needs ``asked``, cannot run on the node; None if it can."""
    spec, node = pod["spec"], state.node
    tolerations = spec.get("tolerations") or []
    if node.get("spec", {}).get("unschedulable") and not tolerates(tolerations, UNSCHEDULABLE_TAINT):
        return Refusal(("node(s) were unschedulable",), final=True)
    for taint in node.get("spec", {}).get("taints") or []:
        if taint["effect"] != "PreferNoSchedule" and not tolerates(tolerations, taint):
            return Refusal((f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}",), final=True)
    if not wants_node(spec, node):
        return Refusal(("node(s) didn't match Pod's node affinity/selector",), final=True)
    return _lacks(asked, state)


def wants_node(spec: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Tell whether nodeSelector and required node affinity accept ``node``."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(name) != value for name, value in (spec.get("nodeSelector") or {}).items()):
        return False
    required = _required(spec)
    return required is None or node_matches(required, node)


def named_nodes(spec: Mapping[str, Any]) -> set[str] | None:
    """Return the only nodes that a pod's affinity can accept by their names; None if it does not name nodes."""
    required = _required(spec)
    if required is None:
        return None
    names: set[str] = set()
    for term in required.get("nodeSelectorTerms") or []:
        chosen = [
            field["values"]
            for field in term.get("matchFields") or []
            if field["key"] == "metadata.name" and field["operator"] == "In"
        ]
        if not chosen:
            return None
        names.update(chosen[0])
    return names


def _required(spec: Mapping[str, Any]) -> Mapping[str, Any] | None:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required: Mapping[str, Any] | None = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required


def _lacks(asked: Amounts, state: NodeState) -> Refusal | None:
    reasons = []
    final = False
    for name in sorted(asked):
        has = state.allocatable.get(name, 0)
        if asked[name] and asked[name] > has - state.used.get(name, 0):
            reasons.append("Too many pods" if name == "pods" else f"Insufficient {name}")
            final = final or asked[name] > has
    return Refusal(tuple(reasons), final=final) if reasons else None


def explain(refusals: Sequence[Refusal]) -> str:
    """Return the FailedScheduling message for the refusals of all nodes."""
    count = len(refusals)
    if count == 0:
        return "no nodes available to schedule pods"
    found = _histogram([reason for refusal in refusals for reason in refusal.reasons])
    helpless, victimless = "Preemption is not helpful for scheduling", "No preemption victims found for incoming pod"
    preemption = _histogram([helpless if refusal.final else victimless for refusal in refusals])
    none = f"0/{count} nodes are available"
    return f"{none}: {found}. no new claims to deallocate, preemption: {none}: {preemption}."


def _histogram(reasons: Sequence[str]) -> str:
    return ", ".join(sorted(f"{reasons.count(reason)} {reason}" for reason in set(reasons)))
