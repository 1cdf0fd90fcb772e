"""Users who make groups, resize what runs, share quotas, and are in a hurry; and the landlord who sets the quotas."""

import asyncio
from random import Random
from typing import Any

from allocator.api import names
from allocator.kube import NAMESPACES, RESOURCE_QUOTAS
from tests.storm.api import StormApi
from tests.storm.nodes import GPU_MIB, Nodes
from tests.storm.quotas import FREE, Limits, Quotas, quota_annotations, quota_hard
from tests.storm.server import PodServer
from tests.storm.truth import carried
from tests.storm.users import Kind, Users

MIB = 1024**2
LAB, SHOP = "lab", "shop"
"""Namespaces with a quota: the one in its annotations, the other in a ResourceQuota."""
_HOMES = ("team", "greedy", LAB, SHOP)
_PATIENCE = 25
"""Seconds for which somebody waits for a pod to be granted."""


class Tenants(Users):
    """All of these, in the namespaces of the other users and in their own."""

    LETTER = "t"

    def __init__(
        self, api: StormApi, server: PodServer, nodes: Nodes, random: Random, *, quotas: Quotas, hurried: bool
    ) -> None:
        super().__init__(api, server, nodes, random)
        self._quotas = quotas
        self._hurried = hurried

    def settle_in(self) -> None:
        """The namespaces, and the quotas as they begin."""
        for name in (LAB, SHOP):
            self._quotas.allow(name, self._limits())
        self.write_quotas()

    def write_quotas(self) -> None:
        """Every namespace as it has to be, whatever the API server remembers."""
        for name in _HOMES:
            annotations = quota_annotations(self._quotas.limits(name)) if name == LAB else {}
            labels = {names.INJECT_LABEL: names.INJECT_ENABLED}
            self._api.put(NAMESPACES, {"metadata": {"name": name, "labels": labels, "annotations": annotations}})
        body = {"metadata": {"name": "gpus"}, "spec": {"hard": quota_hard(self._quotas.limits(SHOP))}}
        self._api.put(RESOURCE_QUOTAS, body, namespace=SHOP)

    def _kinds(self) -> list[Kind]:
        found: list[Kind] = [
            (self.group, 4),
            (self.resizer, 8),
            (self.lodger, 5),
            (self.landlord, 2),
        ]
        return [*found, (self.urgent, 4), (self.sheltered, 1)] if self._hurried else found

    async def group(self, name: str) -> None:
        """Pods that are of use together only; one may come late, die, or be one too many."""
        random = self._random
        gpus = sum(len(machine.gpus) for machine in self._nodes.machines.values())
        size = random.randrange(2, 5)
        sizes = [100, 200, 300, 500, 700, 1000] if size <= gpus else [GPU_MIB // size // 100 * 100]
        home, memory, priority = random.choice(_HOMES[:1] + _HOMES[2:]), random.choice(sizes), random.randrange(3)
        if home != "team":
            memory = min(memory, 200)

        async def member(at: int) -> None:
            body = self._body(f"{name}-{at}", home, memory, owner=f"Job/{name}" if random.random() < 0.5 else "")
            body["metadata"]["annotations"] |= {names.GROUP: name, names.GROUP_SIZE: str(size)}
            body["spec"]["priority"] = priority
            await asyncio.sleep(random.choice([0, 0, random.uniform(0, 3), random.uniform(0, 20)]))
            for _ in range(random.choice([1, 1, 2])):
                if not await self._insist(f"{name}-{at}", body, times=4):
                    return
                await asyncio.sleep(random.uniform(0, 10))
                await self._finish(f"{name}-{at}")

        await asyncio.gather(*(member(at) for at in range(size + (random.random() < 0.2))))

    async def resizer(self, name: str) -> None:
        """Runs a pod, and wants it larger and smaller."""
        random = self._random
        home = random.choice(_HOMES[:1] + _HOMES[2:])
        body = self._pod(name) if home == "team" else self._body(name, home, random.choice([100, 200, 300]))
        self._homes[name] = home
        if await self._insist(name, body, times=3) and await self._granted(name):
            sizes = random.sample([100, 200, 300, 500, 700, 900, 1000], k=random.choice([2, 2, 7]))
            for _ in range(random.randrange(1, 9)):
                await self._rest()
                await self._change(name, lambda pod: self._another_size(pod, sizes))
            await self._finish(name)

    async def lodger(self, name: str) -> None:
        """As anybody, under a quota."""
        home = self._random.choice([LAB, SHOP])
        if await self._insist(name, self._body(name, home, self._random.choice([100, 200, 300, 500])), times=3):
            await self._rest()
            await self._finish(name)

    async def landlord(self, _name: str) -> None:
        """Changes a quota now and again."""
        for _ in range(self._random.randrange(1, 4)):
            await asyncio.sleep(self._random.uniform(0, 8))
            if not self._api.down:
                limits = FREE if self._random.random() < 0.1 else self._limits()
                self._quotas.allow(self._random.choice([LAB, SHOP]), limits)
                self.write_quotas()

    async def urgent(self, name: str) -> None:
        """More important than others, and perhaps too polite to push them out."""
        body = self._pod(name)
        body["spec"]["priority"] = self._random.choice([3, 5])
        if self._random.random() < 0.2:
            body["spec"]["preemptionPolicy"] = "Never"
        if await self._insist(name, body, times=3):
            await asyncio.sleep(self._random.uniform(0, 10))
            await self._finish(name)

    async def sheltered(self, name: str) -> None:
        """Kept by a disruption budget."""
        self._api.protected.add(name)
        await self.somebody(name)

    # --- inside ----------------------------------------------------------------------------------------------

    def _limits(self) -> Limits:
        """Enough for any one pod and any group of such a namespace."""
        random = self._random
        memory = random.choice([None, 800, 1000, 1500])
        return (
            None if memory is None else memory * MIB,
            random.choice([None, None, 100, 150]),
            random.choice([None, None, 4, 5]),
        )

    def _body(self, name: str, home: str, memory: int, *, owner: str = "") -> dict[str, Any]:
        """A plain pod of a size."""
        body = self._pod(name, owner=owner)
        body["metadata"]["namespace"] = home
        body["metadata"]["annotations"] = {names.MEMORY: f"{memory}Mi"}
        if self._random.random() < 0.3:
            body["metadata"]["annotations"][names.CORES] = "20"
        body["spec"]["containers"] = body["spec"]["containers"][:1]
        body["spec"].pop("nodeSelector", None)
        self._homes[name] = home
        return body

    def _another_size(self, pod: dict, sizes: list[int]) -> None:
        """The same pod with another request, of memory or of time."""
        random, annotations = self._random, pod["metadata"]["annotations"]
        own = random.random() < 0.7
        if random.random() < 0.8:
            annotations[names.memory_annotation("c") if own else names.MEMORY] = f"{random.choice(sizes)}Mi"
        else:
            annotations[names.cores_annotation("c") if own else names.CORES] = str(random.choice([10, 20, 50, 90, 100]))

    async def _granted(self, name: str) -> bool:
        """Whether a pod has its grant within somebody's patience."""
        for _ in range(_PATIENCE):
            pod = self._there(name)
            if pod is None or carried(pod)[0]:
                return pod is not None
            await asyncio.sleep(1)
        return False
