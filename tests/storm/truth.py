"""What is really so, whatever any replica believes: which creates are under way, which containers run where."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from allocator.api import names
from allocator.kube import CONFIGMAPS, NODES, PODS
from tests.invariants import Entry, Slice, Watchdog, entries, ledger_node
from tests.storm.api import StormApi
from tests.storm.trace import Trace
from tests.unit.kube.fakeapi import Listener

SYSTEM = names.DEFAULT_NAMESPACE
ENDED = frozenset({"Succeeded", "Failed"})
_BELIEF = 60.0
"""Seconds for which a replica may believe in an inventory that has been replaced."""


@dataclass(eq=False)
class Flight:
    """A create request that has passed our webhook and may still be persisted, with the grant that it carries."""

    id: str


@dataclass(frozen=True)
class Hold:
    """What a kubelet has taken on, and may start or has started."""

    node: str
    id: str
    slices: tuple[Slice, ...]


@dataclass
class Truth:
    """Checks itself whenever something changes.

    Attributes:
        problems: what must never be, in sentences.
        running: pods that a kubelet has taken on and not ended, by UID.
        amnesty: allocation ids that a restored backup has made wrong; they are looked at no more.
        listeners: told of every change as well: the object's key, and it before and after.
    """

    api: StormApi
    trace: Trace
    problems: list[str] = field(default_factory=list)
    running: dict[str, Hold] = field(default_factory=dict)
    amnesty: set[str] = field(default_factory=set)
    listeners: list[Listener] = field(default_factory=list)
    _flights: list[Flight] = field(default_factory=list)
    _capacities: dict[str, list[tuple[float, dict[str, int]]]] = field(default_factory=dict)
    _dry: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.watchdog = Watchdog(capacities=self._believable, excuse=self.objection, problems=self.problems)
        self.api.changed = self._changed

    # --- what happens ----------------------------------------------------------------------------------------

    @contextmanager
    def on_its_way(self, pod: Mapping[str, Any], *, dry_run: bool) -> Iterator[Flight]:
        """A pod has passed our webhook."""
        flight = Flight("")
        self._flights.append(flight)
        try:
            self.turn(flight, pod, dry_run=dry_run)
            yield flight
        finally:
            self._flights.remove(flight)

    def turn(self, flight: Flight, pod: Mapping[str, Any], *, dry_run: bool) -> None:
        """The webhook has answered, perhaps not for the first time."""
        key, node, slices = carried(pod)
        flight.id = "" if dry_run else key
        gated = any(gate["name"] == names.GATE for gate in pod["spec"].get("schedulingGates") or ())
        if not key and not gated:
            self.wrong(f"a pod passed with neither grant nor gate: {pod['metadata']}")
        elif key and dry_run:
            self._dry.add(key)
        elif key:
            self._covered("admitted", key, node, slices)

    def persisted(self, pod: Mapping[str, Any]) -> None:
        """A pod is there from now on."""
        key, node, slices = carried(pod)
        if key:
            self._covered("persisted", key, node, slices)

    def started(self, uid: str) -> None:
        """Containers begin to run."""
        hold = self.running[uid]
        self._covered("started", hold.id, hold.node, hold.slices)
        used: dict[str, int] = {}
        for one in (one for other in self.running.values() for one in other.slices if other.id not in self.amnesty):
            used[one.uuid] = used.get(one.uuid, 0) + one.memory
        for uuid, capacity in self._believable(hold.node).items():
            if used.get(uuid, 0) > capacity:
                self.wrong(f"containers run with {used[uuid]} bytes of {uuid}, which has {capacity}")

    def published(self, node: str, capacities: dict[str, int]) -> None:
        """An agent says what its node has."""
        self._capacities.setdefault(node, []).append((self.now(), capacities))

    # --- what is so ------------------------------------------------------------------------------------------

    def ledger(self, node: str) -> dict[str, Entry]:
        """What the API server has."""
        found = self.api.see(CONFIGMAPS, names.ledger_name(node), namespace=SYSTEM) or {}
        return entries(node, found.get("data"))

    def everything(self) -> dict[str, Entry]:
        """All grants of all ledgers."""
        found: dict[str, Entry] = {}
        for item in [item for key, item in self.api.objects.items() if key[0] == CONFIGMAPS.plural]:
            node = ledger_node(item)
            found |= entries(node, item.get("data")) if node else {}
        return found

    def objection(self, entry: Entry) -> str:
        """Why a grant must not be given back now; empty where it may."""
        if entry.id in self.amnesty or self.api.see(NODES, entry.node) is None:
            return ""
        if any(flight.id == entry.id for flight in self._flights):
            return "a create request that carries it is under way"
        for uid, hold in self.running.items():
            if hold.id == entry.id:
                return f"the node still has pod {uid}"
        for pod in self.pods(lambda pod: carried(pod)[0] == entry.id):
            if meant(entry, pod) and pod["status"].get("phase") not in ENDED:
                return f"pod {pod['metadata']['uid']} lives"
        return ""

    def marked(self, pod: Mapping[str, Any]) -> bool:
        """Whether the ledger says that a pod has appeared."""
        key, node, _ = carried(pod)
        return bool(key) and self.ledger(node).get(key) is not None and self.ledger(node)[key].uid != ""

    def pods(self, chosen: Callable[[dict], bool] = lambda _: True) -> list[dict]:
        """Pods that the API server has."""
        return [pod for key, pod in self.api.objects.items() if key[0] == PODS.plural and chosen(pod)]

    def _believable(self, node: str) -> dict[str, int]:
        """For each GPU the most that a replica may believe that it has."""
        history = self._capacities.get(node, [])
        found: dict[str, int] = {}
        for at, (_, capacities) in enumerate(history):
            replaced = history[at + 1][0] if at + 1 < len(history) else float("inf")
            if replaced > self.now() - _BELIEF:
                for uuid, capacity in capacities.items():
                    found[uuid] = max(found.get(uuid, 0), capacity)
        return found

    def _changed(self, key: tuple[str, str, str], before: dict | None, after: dict | None) -> None:
        known = len(self.problems)
        self.watchdog.changed(key, before, after)
        if key[0] == CONFIGMAPS.plural and after and self._dry & after["data"].keys():
            self.wrong("a dry run was written into a ledger")
        if key[0] == PODS.plural and before and after and carried(before) != carried(after):
            self._covered("let go", *carried(after))
        for problem in self.problems[known:]:
            self.trace("WRONG", problem)
        for listener in self.listeners:
            listener(key, before, after)

    def _covered(self, what: str, key: str, node: str, slices: tuple[Slice, ...]) -> None:
        entry = self.ledger(node).get(key)
        if key in self.amnesty:
            return
        if entry is None:
            self.wrong(f"a pod was {what} with grant {key}, which is not in the ledger of {node}")
        elif not covers(entry, slices):
            self.wrong(f"a pod was {what} with {slices}, but its grant {key} has {entry.slices}")

    def wrong(self, problem: str) -> None:
        """Something is that must never be."""
        self.trace("WRONG", problem)
        self.problems.append(problem)

    def now(self) -> float:
        """Seconds since the start."""
        return asyncio.get_running_loop().time()


def carried(pod: Mapping[str, Any]) -> tuple[str, str, tuple[Slice, ...]]:
    """Id, node and slices of the grant that a pod's annotations say; empty ones where it has none."""
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    if annotations.get(names.STATUS) != names.STATUS_ALLOCATED:
        return "", "", ()
    slices = []
    for key, text in annotations.items():
        if key.startswith(names.ALLOCATION_PREFIX):
            for line in text.splitlines():
                uuid, *tokens = line.split()
                given = dict(token.split("=", 1) for token in tokens)
                container = key.removeprefix(names.ALLOCATION_PREFIX)
                slices.append(Slice(container, uuid, int(given["memory"]), int(given["cores"])))
    return annotations[names.ALLOCATION_ID], annotations[names.NODE], tuple(slices)


def covers(entry: Entry, slices: Iterable[Slice]) -> bool:
    """Whether a grant is what a pod carries; one that was resized may be more for a while, and never less."""
    if not entry.revision:
        return sorted(map(repr, entry.slices)) == sorted(map(repr, slices))
    booked = {(one.container, one.uuid): one for one in entry.slices}
    said = {(one.container, one.uuid): one for one in slices}
    return booked.keys() == said.keys() and all(
        one.memory <= booked[key].memory and one.cores <= booked[key].cores for key, one in said.items()
    )


def meant(entry: Entry, pod: Mapping[str, Any]) -> bool:
    """Whether a grant was made for this very pod."""
    metadata = pod["metadata"]
    if entry.uid:
        return metadata["uid"] == entry.uid
    name = f"{metadata['namespace']}/{metadata['name']}"
    return name.startswith(entry.pod[:-1]) if entry.pod.endswith("*") else name == entry.pod
