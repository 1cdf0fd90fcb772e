"""Pods that are asked to go: for one of higher priority, whose place they are in, and no more than it takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from allocator.api import names
from allocator.kube import PODS
from tests.invariants import Entry
from tests.storm.quotas import BELIEF
from tests.storm.truth import Truth, carried


@dataclass
class Reserved:
    """A place that was chosen for a waiting pod, and until when it was its; None: it still is."""

    node: str
    priority: int
    since: float
    until: float | None = None


@dataclass
class Evictions:
    """Looks at every eviction.

    Attributes:
        allowed: whether the settings allow any.
        asked: the names of those who were asked to go.
    """

    truth: Truth
    allowed: bool
    asked: list[str] = field(default_factory=list)
    _reserved: dict[str, list[Reserved]] = field(default_factory=dict)

    def changed(self, key: tuple[str, str, str], before: dict | None, after: dict | None) -> None:
        """An object has changed."""
        if key[0] != PODS.plural:
            return
        was, now = place_of(before), place_of(after)
        places = self._reserved.setdefault((after or before or {})["metadata"]["uid"], [])
        if was == now:
            return
        if places:
            places[-1].until = self.truth.now()
        if now and after is not None:
            places.append(Reserved(node=now, priority=priority_of(after), since=self.truth.now()))

    def evicted(self, pod: Mapping[str, Any], writer: str) -> None:
        """A process has asked a pod to go."""
        name, (_, node, _) = pod["metadata"]["name"], carried(pod)
        self.truth.trace(writer, "evicts", name, "on", node)
        if not pod["spec"].get("nodeName"):
            return  # moved, because nothing binds it
        self.asked.append(name)
        recent = self.truth.now() - BELIEF
        places = [one for found in self._reserved.values() for one in found if one.until is None or one.until > recent]
        if not self.allowed:
            self.truth.wrong(f"{name} is evicted, though nobody may be")
        elif not any(one.node == node and one.priority > priority_of(pod) for one in places):
            self.truth.wrong(f"{name} on {node} is evicted for nobody of a priority above {priority_of(pod)}: {places}")

    def chosen(self, since: float) -> int:
        """How many places were chosen from some time on, be it for pods that evict or for those that only wait."""
        return sum(one.since >= since for places in self._reserved.values() for one in places)


def fewest(ledgers: Mapping[str, Mapping[str, Entry]], capacities: Mapping[str, int], memory: int) -> int | None:
    """How many grants have to go, at least, so that one GPU has so much memory; None: no number of them helps."""
    best: int | None = None
    for uuid, capacity in capacities.items():
        held = sorted(
            (
                sum(one.memory for one in entry.slices if one.uuid == uuid)
                for ledger in ledgers.values()
                for entry in ledger.values()
            ),
            reverse=True,
        )
        free, count = capacity - sum(held), 0
        while free < memory and count < len(held) and held[count]:
            free, count = free + held[count], count + 1
        if free >= memory and (best is None or count < best):
            best = count
    return best


def place_of(pod: Mapping[str, Any] | None) -> str:
    """The node that is kept for a waiting pod; empty: none."""
    annotations = ((pod or {}).get("metadata") or {}).get("annotations") or {}
    return annotations.get(names.RESERVED, "").partition(":")[0]


def priority_of(pod: Mapping[str, Any]) -> int:
    """A pod's priority."""
    return int(pod["spec"].get("priority") or 0)
