"""From one look after the other to what is told: once, when it is certain, without spam. Pure.

One look can fall into the moment in which a process starts or ends. So a container is called anything else than
isolated only when two looks in a row agree. What has been told stays word for word until it is something else, lest
a number that grows rewrites the inventory at every look.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from allocator.agent.judge import Key, Verdict
from allocator.api.isolation import NOBODY, Eviction, Finding, Isolation

MOST: Final = 500
"""Findings that go into the inventory; the worst first. A ConfigMap holds 1 MiB."""
LONGEST_REASON: Final = 300


@dataclass(frozen=True, slots=True)
class Change:
    """A container's state is another one than was told.

    Attributes:
        now: what holds from now on.
        before: what was told; None: nothing yet.
    """

    now: Verdict
    before: Isolation | None


@dataclass(slots=True)
class Tracker:
    """What has been told of this node's containers.

    Attributes:
        evict: ask for the eviction of pods that violate.
    """

    evict: bool = False
    _told: dict[Key, Verdict] = field(default_factory=dict)
    _seen: dict[Key, Isolation] = field(default_factory=dict)
    _kinds: dict[Key, str] = field(default_factory=dict)

    def recall(self, findings: Iterable[Finding]) -> None:
        """Take over what an earlier agent told, so that it is not told again."""
        for one in findings:
            key = (one.uid, one.container)
            self._told[key] = Verdict(
                uid=one.uid, pod=one.pod, container=one.container, state=one.state, reason=one.reason
            )
            self._seen[key] = one.state

    def look(self, verdicts: Iterable[Verdict]) -> list[Change]:
        """Take in what a look found; what changes by it. Containers that are not in it any more are forgotten."""
        changes = []
        told, seen, kinds = {}, {}, {}
        for one in (_short(verdict) for verdict in verdicts):
            key = (one.uid, one.container)
            before, last = self._told.get(key), self._seen.get(key)
            seen[key], kinds[key] = one.state, one.kind
            if before is not None and before.state is one.state:
                kind = before.kind or one.kind
                if kind != one.kind and self._kinds.get(key) == one.kind:
                    told[key] = one
                else:  # of two faults that take turns the one that was told stands
                    told[key] = replace(one, kind=kind, reason=before.reason or one.reason)
            elif one.state is Isolation.ISOLATED and before is None:
                told[key] = one
            elif last is one.state:
                told[key] = one
                changes.append(Change(now=one, before=before.state if before else None))
            elif before is not None:
                told[key] = before
        self._told, self._seen, self._kinds = told, seen, kinds
        return changes

    def state(self, key: Key) -> Verdict | None:
        """What was told of a container; None: nothing yet."""
        return self._told.get(key)

    def findings(self) -> tuple[Finding, ...]:
        """The inventory's lines."""
        bad = [one for one in self._told.values() if one.state is not Isolation.ISOLATED]
        bad.sort(key=lambda one: (one.state is not Isolation.VIOLATED, one.pod, one.uid, one.container))
        return tuple(
            Finding(state=one.state, pod=one.pod, uid=one.uid, container=one.container or NOBODY, reason=one.reason)
            for one in bad[:MOST]
        )

    def evictions(self) -> tuple[Eviction, ...]:
        """The pods that should go: those that hold a grant and violate, where that is the policy."""
        if not self.evict:
            return ()
        wanted: dict[str, Eviction] = {}
        for one in self._told.values():
            if one.state is Isolation.VIOLATED and one.granted:
                wanted.setdefault(one.uid, Eviction(uid=one.uid, pod=one.pod, reason=one.reason))
        return tuple(sorted(wanted.values()))[:MOST]


def _short(verdict: Verdict) -> Verdict:
    reason = " ".join(verdict.reason.split())
    return replace(verdict, reason=reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…")
