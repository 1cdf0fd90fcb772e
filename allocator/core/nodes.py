"""What the allocator needs to know of a Kubernetes Node, read from its JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from allocator.core.resources import NOTHING, Usage, amount, usage_from

_DEFAULT_PODS: Final = 110
"""The kubelet's default; only for nodes whose status does not say."""


@dataclass(frozen=True, slots=True)
class Taint:
    """A node's taint. Effects other than NoSchedule and NoExecute do not keep a pod away."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"

    @property
    def repels(self) -> bool:
        """Whether a pod that does not tolerate it may not come."""
        return self.effect in {"NoSchedule", "NoExecute"}

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node as far as placing pods is concerned.

    Attributes:
        name: its name.
        labels: its labels.
        taints: its taints.
        unschedulable: cordoned.
        ready: its Ready condition is True.
        allocatable: CPU and memory for pods.
        pods: how many pods it may run.
    """

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    ready: bool = True
    allocatable: Usage = NOTHING
    pods: int = _DEFAULT_PODS

    @classmethod
    def from_json(cls, node: Mapping[str, Any]) -> "NodeInfo":
        """Read a Node object."""
        metadata = node.get("metadata") or {}
        spec = node.get("spec") or {}
        status = node.get("status") or {}
        allocatable = status.get("allocatable") or {}
        return cls(
            name=metadata.get("name", ""),
            labels=dict(metadata.get("labels") or {}),
            taints=tuple(
                Taint(key=one.get("key", ""), value=one.get("value") or "", effect=one.get("effect", ""))
                for one in spec.get("taints") or ()
            ),
            unschedulable=bool(spec.get("unschedulable")),
            ready=any(
                one.get("type") == "Ready" and one.get("status") == "True" for one in status.get("conditions") or ()
            ),
            allocatable=usage_from(allocatable),
            pods=amount(allocatable["pods"], scale=1) if "pods" in allocatable else _DEFAULT_PODS,
        )
