"""Whether a pod's own constraints let it onto a node: selector, required affinity, tolerations, nodeName.

The rules are the stock scheduler's (component-helpers `nodeaffinity`, `v1.Toleration.ToleratesTaint`), because
it has the last word: a node that it would refuse must not be pinned.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from allocator.core.nodes import NodeInfo, Taint

_UNSCHEDULABLE: Final = Taint(key="node.kubernetes.io/unschedulable")


@dataclass(frozen=True, slots=True)
class Expression:
    """One requirement on a label (or, among fields, on metadata.name)."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet it. An operator that is not known matches nothing."""
        test = _OPERATORS.get(self.operator)
        return test is not None and test(labels.get(self.key), self.values)


def _compare(value: str | None, values: tuple[str, ...], *, sign: int) -> bool:
    """Whether value > bound (sign 1) or value < bound (sign -1), both whole numbers."""
    if value is None or len(values) != 1:
        return False
    try:
        return (int(value) - int(values[0])) * sign > 0
    except ValueError:
        return False


_OPERATORS: Final[Mapping[str, Callable[[str | None, tuple[str, ...]], bool]]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: _compare(value, values, sign=1),
    "Lt": lambda value, values: _compare(value, values, sign=-1),
}


@dataclass(frozen=True, slots=True)
class Term:
    """One alternative of a required node affinity: all of its requirements hold. An empty one matches nothing."""

    labels: tuple[Expression, ...] = ()
    fields: tuple[Expression, ...] = ()

    def matches(self, node: NodeInfo) -> bool:
        """Whether the node meets the term."""
        if not self.labels and not self.fields:
            return False
        name = {"metadata.name": node.name}
        return all(one.matches(node.labels) for one in self.labels) and all(one.matches(name) for one in self.fields)


@dataclass(frozen=True, slots=True)
class Toleration:
    """A pod's toleration; an empty key with `Exists` tolerates all, an empty effect every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def covers(self, taint: Taint) -> bool:
        """Whether it tolerates this taint."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        return self.operator == "Equal" and bool(self.key) and self.value == taint.value


@dataclass(frozen=True, slots=True)
class NodeFilter:
    """A pod's constraints on nodes.

    Attributes:
        selector: label pairs that must all be there.
        terms: alternatives of the required affinity; None: no affinity. An empty tuple matches nothing.
        tolerations: what the pod tolerates.
        node_name: the one node it names itself; empty: any.
    """

    selector: frozenset[tuple[str, str]] = frozenset()
    terms: tuple[Term, ...] | None = None
    tolerations: frozenset[Toleration] = frozenset()
    node_name: str = ""

    def refusal(self, node: NodeInfo) -> str | None:
        """Why the pod may not go to the node, as a clause that reads on after the node's name; None: it may."""
        if not node.ready:
            return "is not ready"
        return self.repelled(node) or self.unwanted(node)

    @property
    def particular(self) -> bool:
        """Whether `unwanted` can ever say no."""
        return bool(self.node_name or self.selector) or self.terms is not None

    def repelled(self, node: NodeInfo) -> str | None:
        """Why the node keeps the pod away."""
        if node.unschedulable and not self._tolerates(_UNSCHEDULABLE):
            return "is cordoned"
        for taint in node.taints:
            if taint.repels and not self._tolerates(taint):
                return f"has the taint {taint} that the pod does not tolerate"
        return None

    def unwanted(self, node: NodeInfo) -> str | None:
        """Why the pod does not want the node."""
        if self.node_name and self.node_name != node.name:
            return "is not the node that the pod names"
        for key, value in sorted(self.selector):
            if node.labels.get(key) != value:
                return f"lacks the label {key}={value} of the pod's node selector"
        if self.terms is not None and not any(term.matches(node) for term in self.terms):
            return "does not meet the pod's node affinity"
        return None

    def _tolerates(self, taint: Taint) -> bool:
        return any(one.covers(taint) for one in self.tolerations)

    @classmethod
    def from_spec(
        cls,
        spec: Mapping[str, Any],
        *,
        runtime: Mapping[str, Any] | None = None,
        tolerations: Iterable[Toleration] = (),
    ) -> "NodeFilter":
        """Read a pod's spec.

        Args:
            spec: the pod's spec.
            runtime: its RuntimeClass as JSON, whose `scheduling` the API server merges in later; None: none.
            tolerations: what will be added to the pod after this.
        """
        scheduling = (runtime or {}).get("scheduling") or {}
        selector = {**(spec.get("nodeSelector") or {}), **(scheduling.get("nodeSelector") or {})}
        own = [*(spec.get("tolerations") or ()), *(scheduling.get("tolerations") or ())]
        return cls(
            selector=frozenset(selector.items()),
            terms=_terms(spec.get("affinity")),
            tolerations=frozenset([*(_toleration(one) for one in own), *tolerations]),
            node_name=spec.get("nodeName") or "",
        )


ANYWHERE: Final = NodeFilter()
"""No constraint at all."""


def _terms(affinity: Mapping[str, Any] | None) -> tuple[Term, ...] | None:
    node_affinity = (affinity or {}).get("nodeAffinity") or {}
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return None
    return tuple(
        Term(labels=_expressions(one.get("matchExpressions")), fields=_expressions(one.get("matchFields")))
        for one in required.get("nodeSelectorTerms") or ()
    )


def _expressions(listed: Iterable[Mapping[str, Any]] | None) -> tuple[Expression, ...]:
    return tuple(
        Expression(key=one.get("key", ""), operator=one.get("operator", ""), values=tuple(one.get("values") or ()))
        for one in listed or ()
    )


def _toleration(one: Mapping[str, Any]) -> Toleration:
    return Toleration(
        key=one.get("key") or "",
        operator=one.get("operator") or "Equal",
        value=one.get("value") or "",
        effect=one.get("effect") or "",
    )
