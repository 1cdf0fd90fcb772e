"""Granted pods that get no node: whether it is time to say so, and to have them placed anew. Pure.

The pin on a node cannot be taken back. If CPU was taken meanwhile, or volumes or anti-affinity forbid the node, or
it is gone, a granted pod waits for ever and its grant with it. If a controller owns it, it can go and come anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from allocator.api import names
from allocator.core.giveback import ENDED

_SCHEDULED: Final = "PodScheduled"


@dataclass(frozen=True, slots=True)
class Unbound:
    """A granted pod without a node.

    Attributes:
        namespace: its namespace.
        name: its name.
        uid: its UID.
        node: the node that it is pinned to.
        allocation: the id of its grant.
        owner: `Kind/name/uid` of its controller; empty for a bare pod.
        said: what the scheduler said of it; empty: nothing yet.
    """

    namespace: str
    name: str
    uid: str
    node: str
    allocation: str
    owner: str = ""
    said: str = ""

    @classmethod
    def of(cls, pod: Mapping[str, Any], *, owner: str) -> "Unbound | None":
        """A pod as such a one; None: it has a node, is behind a gate, or is going anyway."""
        metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
        annotations: Mapping[str, str] = metadata.get("annotations") or {}
        if annotations.get(names.STATUS) != names.STATUS_ALLOCATED or not annotations.get(names.ALLOCATION_ID):
            return None
        if spec.get("nodeName") or spec.get("schedulingGates"):
            return None
        if metadata.get("deletionTimestamp") or status.get("phase") in ENDED:
            return None
        return cls(
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata["uid"],
            node=annotations.get(names.NODE, ""),
            allocation=annotations[names.ALLOCATION_ID],
            owner=owner,
            said=_said(status),
        )

    def problem(self, *, node_gone: bool) -> str:
        """Why it gets no node, in words for its user; empty: not known."""
        if node_gone:
            return f"node {self.node} is gone"
        return f"the scheduler says: {self.said}" if self.said else ""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the pods of one owner may be moved.

    Attributes:
        first: seconds between the first move and the second; doubles each time.
        longest: seconds to which that grows.
        moves: how many there were.
        last: when the last was, in seconds of some monotonic clock.
    """

    first: float
    longest: float
    moves: int = 0
    last: float = 0.0

    def allows(self, now: float) -> bool:
        """Whether another may go now."""
        return self.moves == 0 or now - self.last >= self.wait

    @property
    def wait(self) -> float:
        """Seconds from the last move to the next."""
        return float(min(self.longest, self.first * 2 ** min(self.moves - 1, 32)))

    def moved(self, now: float) -> "Pace":
        """After one more."""
        return replace(self, moves=self.moves + 1, last=now)

    def settled(self, now: float) -> bool:
        """Whether the owner's troubles lie so far back that they count no more."""
        return now - self.last > 2 * self.longest


def _said(status: Mapping[str, Any]) -> str:
    """The scheduler's refusal, from the condition that it writes."""
    for condition in status.get("conditions") or ():
        if condition.get("type") == _SCHEDULED and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "")
    return ""
