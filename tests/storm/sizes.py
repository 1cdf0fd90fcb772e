"""Slices that change size: what containers know of it, what their node's agent says, and what must come of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from allocator.api import names
from allocator.api.inventory import Inventory
from allocator.api.quantities import Memory
from allocator.api.settled import Settled
from tests.invariants import FULL_TIME, Entry, Slice, bytes_of, entries, ledger_node
from tests.storm.quotas import Quotas, home
from tests.storm.truth import ENDED, Truth, carried, covers

Place = tuple[str, str]
"""A container and a GPU."""


@dataclass
class Containers:
    """Every container's allocation file. The kubelet refreshes it late; who is told less keeps more for a while."""

    truth: Truth
    random: Random
    _told: dict[str, dict[Place, tuple[Slice, int]]] = field(default_factory=dict)

    def look_after(self, uid: str, pod: Mapping[str, Any] | None) -> None:
        """Half a second in the life of a pod whose containers run; None: the API server has no such pod any more."""
        if uid not in self._told or (pod is not None and self.random.random() < 0.25):
            if pod is None:
                return
            self._told[uid] = shown(pod)
            self._hold(uid, grown(self.truth.running[uid].slices, self._told[uid]))
            self.truth.started(uid)
        elif self.random.random() < 0.3:
            self._hold(uid, tuple(one for one, _ in self._told[uid].values()))

    def ended(self, uid: str) -> None:
        """A pod's containers run no more."""
        self._told.pop(uid, None)

    def settled(self, uids: list[str], ledger: Mapping[str, Entry]) -> tuple[Settled, ...]:
        """What an agent says of these pods' slices."""
        found = []
        for uid, told in ((uid, self._told[uid]) for uid in uids if uid in self._told):
            hold = self.truth.running[uid]
            kept = {place_of(one): one for one in hold.slices}
            booked = {place_of(one): one for one in ledger[hold.id].slices} if hold.id in ledger else {}
            for place, (one, revision) in told.items():
                most = booked.get(place, one)
                if kept[place] == one and (one.memory < most.memory or one.cores < most.cores):
                    memory = Memory(one.memory)
                    found.append(Settled(hold.id, *place, memory=memory, cores=one.cores, revision=revision))
        return tuple(sorted(found))

    def behind(self, uid: str, pod: Mapping[str, Any]) -> bool:
        """Whether a pod's containers use, or know of, another size than it shows."""
        told = self._told.get(uid)
        return told is not None and (told != shown(pod) or set(self.truth.running[uid].slices) != set(carried(pod)[2]))

    def _hold(self, uid: str, slices: tuple[Slice, ...]) -> None:
        self.truth.running[uid] = replace(self.truth.running[uid], slices=slices)


@dataclass
class Sizes:
    """Looks at each write of a ledger, and at the end of it all."""

    truth: Truth
    quotas: Quotas
    containers: Containers

    def changed(self, _key: tuple[str, str, str], before: dict | None, after: dict | None) -> None:
        """A ledger that changes books no less than what containers use and pods show, and counts its revisions."""
        node = ledger_node(after or {})
        if not node or after is None:
            return
        was = entries(node, (before or {}).get("data"))
        for key, entry in entries(node, after["data"]).items():
            if key not in was or was[key].slices == entry.slices or key in self.truth.amnesty:
                continue
            if entry.revision != was[key].revision + 1:
                self.truth.wrong(f"grant {key} went from revision {was[key].revision} to {entry.revision}")
            users = [hold.slices for hold in self.truth.running.values() if hold.id == key]
            users += [carried(pod)[2] for pod in self.truth.pods(lambda pod, key=key: carried(pod)[0] == key)]
            for slices in users:
                if not covers(entry, slices):
                    self.truth.wrong(f"grant {key} has {entry.slices}, and its pod {slices}")

    def unsettled(self, inventories: Mapping[str, Inventory]) -> list[str]:
        """Resizes that are neither done nor refused, though nothing stands in their way any more."""
        found = []
        for pod in self.truth.pods(lambda pod: carried(pod)[0] and pod["status"].get("phase") not in ENDED):
            name, (_, _, slices) = pod["metadata"]["name"], carried(pod)
            if pod["metadata"].get("deletionTimestamp"):
                continue
            said, asked = pod["metadata"]["annotations"].get(names.RESIZE), requested(pod)
            if said is None and set(asked) != set(slices):
                found.append(f"resize forgotten: pod {name} asks {asked} and has {slices}")
            if said == names.RESIZE_WANTED:
                found.append(f"resize not seen to: pod {name} asks {asked} and has {slices}")
            elif said is not None and not self._obstacle(pod, asked, inventories):
                found.append(f"resize refused though there is room: pod {name}: {said}")
            if self.containers.behind(pod["metadata"]["uid"], pod):
                found.append(f"resize not told: containers of pod {name} know another size than {slices}")
        return found

    def _obstacle(self, pod: dict, asked: tuple[Slice, ...], inventories: Mapping[str, Inventory]) -> str:
        """Why a pod cannot have what it asks; empty: it can."""
        key, node, slices = carried(pod)
        ledger, gpus = self.truth.ledger(node), {gpu.uuid: gpu for gpu in inventories[node].gpus}
        if key not in ledger:
            return "no grant"
        more: dict[str, tuple[int, int]] = {}
        for now, wanted in zip(sorted(slices, key=place_of), sorted(asked, key=place_of), strict=True):
            memory, cores = more.get(now.uuid, (0, 0))
            more[now.uuid] = memory + max(0, wanted.memory - now.memory), cores + max(0, wanted.cores - now.cores)
        for uuid, (memory, cores) in more.items():
            taken = [one for entry in ledger.values() for one in entry.slices if one.uuid == uuid]
            free = gpus[uuid].capacity.count - gpus[uuid].foreign.count - sum(one.memory for one in taken)
            if not gpus[uuid].healthy or memory > free or sum(one.cores for one in taken) + cores > FULL_TIME:
                return f"{uuid} is full"
        extra = (sum(one for one, _ in more.values()), sum(one for _, one in more.values()), 0)
        namespace = home(ledger[key])
        used, limits = self.quotas.used(namespace), self.quotas.limits(namespace)
        over = any(
            limit is not None and held + one > limit for held, one, limit in zip(used, extra, limits, strict=True)
        )
        return "over quota" if over else ""


def shown(pod: Mapping[str, Any]) -> dict[Place, tuple[Slice, int]]:
    """What a pod's annotations tell its containers, with the revision that it was written at."""
    found = {}
    revisions = {}
    for key, text in pod["metadata"]["annotations"].items():
        if key.startswith(names.ALLOCATION_PREFIX):
            for line in text.splitlines():
                uuid, *tokens = line.split()
                given = dict(token.split("=", 1) for token in tokens)
                revisions[key.removeprefix(names.ALLOCATION_PREFIX), uuid] = int(given.get("rev", "0"))
    for one in carried(pod)[2]:
        found[place_of(one)] = (one, revisions[place_of(one)])
    return found


def requested(pod: Mapping[str, Any]) -> tuple[Slice, ...]:
    """What a pod's request asks of the GPUs that it has."""
    annotations = pod["metadata"]["annotations"]
    found = []
    for one in carried(pod)[2]:
        memory = annotations.get(names.memory_annotation(one.container))
        cores = annotations.get(names.cores_annotation(one.container))
        found.append(
            replace(
                one,
                memory=one.memory if memory is None else bytes_of(memory),
                cores=one.cores if cores is None else int(cores),
            )
        )
    return tuple(found)


def grown(kept: tuple[Slice, ...], told: Mapping[Place, tuple[Slice, int]]) -> tuple[Slice, ...]:
    """What a container may use that has just been told a size: that, or what it held before."""
    before = {place_of(one): one for one in kept}
    found = []
    for place, (one, _) in told.items():
        most = before.get(place, one)
        found.append(replace(one, memory=max(one.memory, most.memory), cores=max(one.cores, most.cores)))
    return tuple(found)


def place_of(one: Slice) -> Place:
    """Where a slice is."""
    return one.container, one.uuid
