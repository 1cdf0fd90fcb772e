"""A storm whose users make groups, resize what runs, live under quotas and, in every other one, evict each other."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from allocator.api import names
from allocator.kube import EVENTS, PODS
from tests.storm.api import Backup
from tests.storm.disasters import Disasters, LateDecisions
from tests.storm.evictions import Evictions, fewest, place_of
from tests.storm.groups import Groups
from tests.storm.nodes import Nodes
from tests.storm.quotas import Quotas
from tests.storm.replica import PREEMPTING
from tests.storm.server import RefusedError
from tests.storm.sizes import Containers, Sizes, requested
from tests.storm.storm import SETTLES_WITHIN, Storm
from tests.storm.tenants import MIB, Tenants
from tests.storm.truth import carried

_ANSWERED_WITHIN = 40.0
"""Seconds of calm within which a resize is done or refused."""
_MADE_WITHIN = 120.0
"""Seconds of calm within which room is made for an urgent pod."""
_SPARED = 70.0
"""Seconds after which a pod that a disruption budget kept may be asked again."""


class Tenancy(Storm):
    """One of them. All that is new to it has random numbers of its own."""

    def __init__(self, seed: int, *, whole: bool = False) -> None:
        super().__init__(seed, whole=whole)
        self._own = Random(f"tenants {seed}")
        hurried = self._own.random() < 0.5
        if hurried:
            self.settings = PREEMPTING
        self.containers = Containers(self.truth, Random(f"containers {seed}"))
        self.nodes = Nodes(self.api, self.truth, Random(seed + 2), self.trace, containers=self.containers)
        self.users._nodes = self.nodes
        self.quotas = Quotas(self.truth)
        self.groups = Groups(self.truth)
        self.sizes = Sizes(self.truth, self.quotas, self.containers)
        self.evictions = Evictions(self.truth, allowed=hurried)
        self.tenants = Tenants(self.api, self.server, self.nodes, self._own, quotas=self.quotas, hurried=hurried)
        self.truth.listeners += [one.changed for one in (self.quotas, self.groups, self.sizes, self.evictions)]
        self.api.evicted = self.evictions.evicted

    def restore(self, backup: Backup) -> None:
        """The past is back; quotas are what they were meant to be."""
        super().restore(backup)
        self.groups.restored()
        self.tenants.write_quotas()

    # --- inside ----------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self.tenants.settle_in()

    async def _season(self) -> None:
        await asyncio.gather(
            self.users.come(self._own.randrange(4, 16)),
            self.tenants.come(self._own.randrange(8, 20)),
        )

    def _disasters(self) -> Disasters:
        return LateDecisions(self, Random(f"disasters {self.seed}"))

    async def _calm_down(self) -> None:
        self.api.protected.clear()
        await super()._calm_down()

    async def _quiet(self) -> None:
        """One pod asks for more, and one comes that is more important than all others."""
        if not self.truth.problems:
            await self._resize_in_peace()
        if self.evictions.allowed and not self.truth.problems:
            await self._hurry_in_peace()
        await self._until(self._unsettled, SETTLES_WITHIN)

    async def _resize_in_peace(self) -> None:
        """A running pod asks for as much as a GPU has: it gets it, or is told why not, and an Event says which."""
        able = [pod for pod in self.truth.pods() if self.truth.running.get(pod["metadata"]["uid"]) and resizable(pod)]
        if not able:
            return
        pod = self._own.choice(able)
        name, namespace, uid = (pod["metadata"][key] for key in ("name", "namespace", "uid"))
        size = self._own.choice([one for one in (400, 1000) if one * MIB != carried(pod)[2][0].memory])
        told = {reason: self._events(uid, reason) for reason in ("Resized", "ResizeWaits")}
        self.trace("QUIET", name, "asks for", size)

        def change(body: dict) -> None:
            for one in carried(body)[2]:
                body["metadata"]["annotations"][names.memory_annotation(one.container)] = f"{size}Mi"

        await self._persist(lambda: self.server.edit(name, namespace=namespace, change=change))

        def unanswered() -> list[str]:
            now = self.api.see(PODS, name, namespace=namespace)
            if now is None or now["metadata"]["uid"] != uid or not resizable(now, marked=True):
                return []
            said = now["metadata"]["annotations"].get(names.RESIZE)
            done = said is None and set(requested(now)) == set(carried(now)[2])
            refused = said not in (None, names.RESIZE_WANTED)
            event = "Resized" if done else "ResizeWaits"
            answered = (done or refused) and self._events(uid, event) > told[event]
            return [] if answered else [f"resize of {name} to {size} is not answered: {said}"]

        await self._until(unanswered, _ANSWERED_WITHIN)

    async def _hurry_in_peace(self) -> None:
        """A pod comes that goes before all: it gets its place, and nobody is evicted who need not be."""
        for at in range(self._own.randrange(2, 10)):
            await self._persist(lambda at=at: self.server.create(self._plain(f"filler{at}", 300), namespace="team"))
        await asyncio.sleep(_SPARED)
        await self._until(self._moving, _MADE_WITHIN)
        ledgers = {name: self.truth.ledger(name) for name in self.nodes.machines}
        capacities = {gpu.uuid: gpu.capacity.count for one in self.nodes.machines.values() for gpu in one.gpus}
        size, before, begun = self._own.choice([500, 700, 1000, 1000]), len(self.evictions.asked), self.truth.now()
        need = fewest(ledgers, capacities, size * MIB)
        self.trace("QUIET", "a pod of", size, "goes before all;", need, "have to go")
        await self._persist(lambda: self.server.create(self._plain("first", size, priority=10), namespace="team"))

        def waits() -> list[str]:
            pod = self.api.see(PODS, "first", namespace="team")
            if pod is None:
                return []
            return [] if carried(pod)[0] else [f"no room is made: {pod['metadata']['annotations'].get(names.REASON)}"]

        await self._until(waits, _MADE_WITHIN)
        gone = self.evictions.asked[before:]
        # What is freed for it may be just what somebody else's place still lacked, who then evicts on his own account.
        if need is not None and len(gone) > need and self.evictions.chosen(begun) <= 1:
            self.truth.wrong(f"{gone} were evicted for a pod of {size}Mi, {need} would have done")

    def _plain(self, name: str, size: int, *, priority: int = 0) -> dict[str, Any]:
        """A pod with one slice of so many MiB."""
        return {
            "metadata": {"name": name, "namespace": "team", "annotations": {names.MEMORY: f"{size}Mi"}},
            "spec": {"containers": [{"name": "c", "image": "x"}], "priority": priority},
        }

    def _moving(self) -> list[str]:
        """Pods that are leaving, or that a place is made for."""
        pods = self.truth.pods()
        leaving = [pod["metadata"]["name"] for pod in pods if pod["metadata"].get("deletionTimestamp")]
        made = [
            pod["metadata"]["name"]
            for pod in pods
            if place_of(pod) and "make room" in pod["metadata"]["annotations"].get(names.REASON, "")
        ]
        return [f"still leaving: {leaving}"] * bool(leaving) + [f"room is still made for {made}"] * bool(made)

    async def _persist(self, act: Callable[[], Any]) -> None:
        """Try again where no replica answers."""
        for _ in range(5):
            try:
                await act()
            except RefusedError:
                await asyncio.sleep(1)
            else:
                return

    def _events(self, uid: str, reason: str) -> int:
        """How often an Event has told something of a pod."""
        events = [item for key, item in self.api.objects.items() if key[0] == EVENTS.plural]
        mine = [one for one in events if (one["involvedObject"]["uid"], one["reason"]) == (uid, reason)]
        return sum(one.get("count", 1) for one in mine)

    def _unsettled(self) -> list[str]:
        inventories = {name: machine.inventory for name, machine in self.nodes.machines.items()}
        return super()._unsettled() + self.groups.unsettled() + self.sizes.unsettled(inventories)

    def _disagreement(self) -> list[str]:
        found = super()._disagreement()
        for replica in self.replicas:
            engine = replica.allocator._engine
            for namespace in self.quotas.namespaces() if engine is not None else ():
                used = engine.world.accounts.used(namespace)
                if (used.memory, used.cores, used.gpus) != self.quotas.used(namespace):
                    found.append(f"{replica.process.name} believes that {namespace} holds {used}")
        return found

    def _possible(self, pod: dict) -> bool:
        return super()._possible(pod) and self.groups.complete(pod)


def resizable(pod: dict, *, marked: bool = False) -> bool:
    """Whether a pod runs with a grant; and unless `marked`, waits for no other size."""
    metadata = pod["metadata"]
    waits = names.RESIZE in metadata["annotations"] and not marked
    running = pod["status"].get("phase") == "Running" and not metadata.get("deletionTimestamp")
    return bool(carried(pod)[0]) and running and not waits
