"""The pods of the cluster as far as the allocator cares: who runs where, who carries a grant, who waits."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from allocator.api import names
from allocator.api.grant import Grant
from allocator.controller.claims import ClaimBook
from allocator.controller.public import owner_of
from allocator.controller.signals import Signals
from allocator.core.fleet import Fleet
from allocator.core.giveback import PodFacts, holder
from allocator.core.queue import Waiting, in_order, priority_of
from allocator.core.resources import Usage, pod_usage
from allocator.core.state import PodOnNode
from allocator.core.stuck import Unbound
from allocator.kube import Clock, JsonObject


@dataclass(frozen=True, slots=True)
class _Record:
    """What is remembered of one pod.

    Attributes:
        facts: who it is.
        allocation: the id that it carries; empty: none.
        bound: the node that it was given; empty: none yet.
        pinned: the node that its annotations name.
        usage: what it takes of its node.
        priority: of its PriorityClass.
        leaving: whether it is being deleted.
        group: the group that its annotations name; empty: none.
    """

    facts: PodFacts
    allocation: str
    bound: str
    pinned: str
    usage: Usage
    priority: int
    leaving: bool
    group: str


@dataclass(slots=True)
class PodBook:
    """All pods, fed by a reflector.

    Attributes:
        fleet: told what pods take of their nodes.
        signals: told of carriers of grants, of room made, and of the queue.
        granted: finds a grant by its id.
        claims: kept in step, for what pods say that they hold.
        clock: by which it is told how long a granted pod has been without a node.
    """

    fleet: Fleet
    signals: Signals
    granted: Callable[[str], Grant | None]
    claims: ClaimBook
    clock: Clock
    _records: dict[str, _Record] = field(default_factory=dict)
    _carriers: dict[str, dict[str, PodFacts]] = field(default_factory=dict)
    _waiting: dict[str, Waiting] = field(default_factory=dict)
    _groups: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _unbound: dict[str, tuple[Unbound, float]] = field(default_factory=dict)

    def put(self, key: str, pod: JsonObject) -> None:
        """A pod is new or has changed. One of the same name and another UID takes the former's place."""
        metadata = pod["metadata"]
        record = _record(pod)
        before = self._records.get(key)
        if before is not None and before.facts.uid != record.facts.uid:
            self.missed(key)
            before = None
        self._records[key] = record
        self.claims.put(key, pod)
        self._wait(key, pod)
        self._watch_binding(key, pod)
        if before == record:
            return
        if before is not None and before.group != record.group:
            self._join(before, gone=True)
        self._join(record)
        if not self._count(record) and before is not None and (before.bound or before.pinned):
            self.fleet.remove_pod(record.facts.uid)
            self.signals.room()
        if before is not None and before.allocation != record.allocation:
            self._carry_no_more(before)
        if record.allocation:
            self._carriers.setdefault(record.allocation, {})[metadata["uid"]] = record.facts
            self.signals.carrier(record.allocation)

    def missed(self, key: str) -> None:
        """A pod is gone and nobody saw it go: one that had no node may have been given one and started meanwhile."""
        record = self._records.get(key)
        if record is not None and not record.bound and not record.facts.ended:
            self._records[key] = replace(record, facts=replace(record.facts, stopped=False))
        self.drop(key)

    def drop(self, key: str) -> None:
        """A pod is gone."""
        record = self._records.pop(key, None)
        if record is None:
            return
        self.claims.drop(key)
        self._unbound.pop(key, None)
        if self._waiting.pop(key, None) is not None:
            self.signals.queue()
        if record.bound or record.pinned:
            self.fleet.remove_pod(record.facts.uid)
            self.signals.room()
        self._join(record, gone=True)
        self._put_down(record)

    def arrived(self, allocations: Iterable[str]) -> None:
        """These grants are new in a ledger: pods that were seen before them count from now on."""
        for facts in (facts for allocation in allocations for facts in self.carriers(allocation)):
            record = self._records.get(f"{facts.namespace}/{facts.name}")
            if record is not None and record.facts.uid == facts.uid:
                self._count(record)

    def carriers(self, allocation: str) -> Iterable[PodFacts]:
        """The pods that carry an allocation id, truly or not; those that were seen to go, as ended."""
        return tuple(self._carriers.get(allocation, {}).values())

    def forget(self, allocation: str) -> None:
        """The grant is given back: of its pods only the living need be remembered."""
        carriers = self._carriers.get(allocation, {})
        for uid in [uid for uid, facts in carriers.items() if facts.ended]:
            del carriers[uid]
        if not carriers:
            self._carriers.pop(allocation, None)

    def waiting(self) -> list[Waiting]:
        """The pods behind our gate, first come first."""
        return in_order(self._waiting.values())

    def members(self, namespace: str, group: str) -> int:
        """How many living pods of a group hold grants."""
        return len(self._groups.get((namespace, group), ()))

    def standing(self, grant: Grant) -> tuple[int, bool] | None:
        """The priority of a grant's pod, and whether it is being deleted; None: it is not to be seen, or has ended."""
        record = self._records.get(f"{grant.namespace}/{grant.pod}")
        if record is None or record.facts.uid != grant.uid or record.facts.ended:
            return None
        return record.priority, record.leaving

    def depth(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def unbound(self) -> dict[Unbound, float]:
        """Granted pods without a node, and since when on our clock."""
        return dict(self._unbound.values())

    def _watch_binding(self, key: str, pod: JsonObject) -> None:
        found = Unbound.of(pod, owner=owner_of(pod))
        if found is None:
            self._unbound.pop(key, None)
            return
        before = self._unbound.get(key)
        self._unbound[key] = (found, before[1] if before else self.clock.monotonic())

    def _wait(self, key: str, pod: JsonObject) -> None:
        waits, before = Waiting.of(pod), self._waiting.get(key)
        if waits is not None:
            self._waiting[key] = waits
            if before is None or not before.same(waits):
                self.signals.queue()
        elif self._waiting.pop(key, None) is not None:
            self.signals.queue()

    def _count(self, record: _Record) -> bool:
        """Count what a pod takes of its node, of the one that it is bound to, else of its grant's; says whether.

        Anyone may write a node into a pod's annotations. Only the pod that a grant was made for takes anything there.
        """
        node = record.bound
        if not node and record.allocation:
            grant = self.granted(record.allocation)
            if grant is not None and grant.allocation.node == record.pinned and holder(grant, [record.facts]):
                node = record.pinned
        if node and not record.facts.ended:
            pod = PodOnNode(key=record.facts.uid, node=node, usage=record.usage, allocation_id=record.allocation)
            self.fleet.apply_pod(pod)
            return True
        return False

    def _join(self, record: _Record, *, gone: bool = False) -> None:
        """Count a pod to its group while it holds a grant and lives."""
        if not record.group:
            return
        key = (record.facts.namespace, record.group)
        members = self._groups.setdefault(key, set())
        if record.allocation and not (gone or record.facts.ended or record.leaving):
            members.add(record.facts.uid)
        else:
            members.discard(record.facts.uid)
        if not members:
            del self._groups[key]

    def _carry_no_more(self, before: _Record) -> None:
        """A pod carries another id now, or none. Anyone may write ever new ones: nothing is kept of the old."""
        carriers = self._carriers.get(before.allocation, {})
        carriers.pop(before.facts.uid, None)
        if not carriers:
            self._carriers.pop(before.allocation, None)

    def _put_down(self, record: _Record) -> None:
        """A UID never comes back: whoever carried it has ended."""
        if record.allocation:
            self._carriers.setdefault(record.allocation, {})[record.facts.uid] = replace(record.facts, ended=True)
            self.signals.carrier(record.allocation)


def _record(pod: JsonObject) -> _Record:
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    allocated = annotations.get(names.STATUS) == names.STATUS_ALLOCATED
    return _Record(
        facts=PodFacts.of(pod),
        allocation=annotations.get(names.ALLOCATION_ID, "") if allocated else "",
        bound=spec.get("nodeName") or "",
        pinned=annotations.get(names.NODE, "") if allocated else "",
        usage=pod_usage(spec),
        priority=priority_of(pod),
        leaving=bool(metadata.get("deletionTimestamp")),
        group=annotations.get(names.GROUP, ""),
    )
