"""Users and controllers: who creates pods, edits them, gives up, and deletes them, by force too."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from allocator.api import names
from allocator.kube import PODS
from tests.storm.api import StormApi
from tests.storm.nodes import Nodes
from tests.storm.replica import REQUEST_LIMIT
from tests.storm.server import PodServer, RefusedError

SEASON = 40.0
"""Seconds within which everybody has come."""


Kind = tuple[Callable[[str], Awaitable[None]], int]
"""A kind of user, and how common it is."""


class Users:
    """Everybody; `come` starts so many of them."""

    LETTER = "p"
    """What the names of their pods begin with."""

    def __init__(self, api: StormApi, server: PodServer, nodes: Nodes, random: Random) -> None:
        self._api = api
        self._server = server
        self._nodes = nodes
        self._random = random
        self._homes: dict[str, str] = {}

    async def come(self, count: int) -> None:
        """So many users, each at a time of its own; returns when all have what they want, or have given up."""
        kinds = self._kinds()
        chosen = self._random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds], k=count)
        await asyncio.gather(*(self._at_some_time(kind(f"{self.LETTER}{at}")) for at, kind in enumerate(chosen)))

    def _kinds(self) -> list[Kind]:
        """Who they are, and how many of each."""
        return [
            (self.somebody, 10),
            (self.replica_set, 5),
            (self.stateful_set, 4),
            (self.hopeless, 2),
            (self.planner, 2),
            (self.queued_elsewhere, 3),
            (self.impatient, 3),
        ]

    async def somebody(self, name: str) -> None:
        """Creates a pod, tries again a few times, edits it perhaps, and deletes it perhaps."""
        if await self._insist(name, self._pod(name), times=3):
            await self._rest()
            if self._random.random() < 0.3:
                await self._edit(name)
            await self._finish(name)

    async def replica_set(self, name: str) -> None:
        """Creates pods under made-up names until one is there, and another one when that is gone."""
        for _ in range(self._random.randrange(1, 3)):
            for _ in range(5):
                body = self._pod("", owner=f"ReplicaSet/{name}")
                body["metadata"]["generateName"] = f"{name}-"
                try:
                    pod = await self._create(body)
                except RefusedError:
                    await self._rest()
                else:
                    self._plan(pod["metadata"]["name"])
                    await self._rest()
                    await self._finish(pod["metadata"]["name"])
                    break

    async def stateful_set(self, name: str) -> None:
        """Creates a pod of one name again and again: whenever it was refused, and when it is gone."""
        body = self._pod(name, owner=f"StatefulSet/{name}")
        for _ in range(self._random.randrange(1, 4)):
            await self._insist(name, body, times=5)
            await self._rest()
            await self._finish(name)

    async def hopeless(self, name: str) -> None:
        """Somebody else's quota refuses every pod of it after us."""
        for _ in range(self._random.randrange(3, 8)):
            body = self._pod(name)
            if self._random.random() < 0.5:
                body["metadata"] = body["metadata"] | {"generateName": f"{name}-"}
                del body["metadata"]["name"]
            try:
                await self._server.create(body, namespace="greedy", refuse=True, slow=self._slow())
            except RefusedError:
                await asyncio.sleep(self._random.uniform(0, 1))

    async def planner(self, name: str) -> None:
        """Asks what would be, many times."""
        for _ in range(5):
            try:
                await self._server.create(self._pod(name), namespace="team", dry_run=True)
            except RefusedError:
                await asyncio.sleep(self._random.uniform(0, 0.5))

    async def queued_elsewhere(self, name: str) -> None:
        """Another queue holds the pod by a gate of its own, and opens it at some time."""
        body = self._pod(name)
        body["spec"]["schedulingGates"] = [{"name": "elsewhere/quota"}]
        if await self._insist(name, body, times=3):
            await self._rest()

            def open_gate(pod: dict) -> None:
                rest = [one for one in pod["spec"].get("schedulingGates") or () if one["name"] != "elsewhere/quota"]
                pod["spec"]["schedulingGates"] = rest

            while self._there(name) and any(
                one["name"] != names.GATE for one in self._there(name)["spec"].get("schedulingGates") or ()
            ):
                await self._change(name, open_gate)
                await asyncio.sleep(1)
            await self._finish(name)

    async def impatient(self, name: str) -> None:
        """Wants it now or not at all, and deletes it as soon as it is there."""
        body = self._pod(name)
        body["metadata"]["annotations"][names.WHEN_FULL] = "reject"
        if await self._insist(name, body, times=2):
            await asyncio.sleep(self._random.uniform(0, 1))
            self._server.delete(name, namespace="team", force=self._random.random() < 0.5)

    # --- inside ----------------------------------------------------------------------------------------------

    def _pod(self, name: str, *, owner: str = "") -> dict[str, Any]:
        """A pod that some empty node has room for; but its user may edit it into one that fits nowhere."""
        random = self._random
        annotations = {names.MEMORY: f"{random.choice([100, 200, 300, 500, 700, 1000])}Mi"}
        containers = [{"name": "c", "image": "x"}]
        if random.random() < 0.1:
            containers.append({"name": "d", "image": "x"})
            annotations[names.CONTAINERS] = "c,d"
            annotations[names.MEMORY] = f"{random.choice([100, 300])}Mi"
        if random.random() < 0.3:
            annotations[names.CORES] = str(random.choice([20, 50, 100] if len(containers) == 1 else [20, 50]))
        sizes = {name: len(machine.inventory.gpus) for name, machine in self._nodes.machines.items()}
        if random.random() < 0.1:
            annotations[names.GPUS] = str(min(2, max(sizes.values())))
        metadata: dict[str, Any] = {"namespace": "team", "annotations": annotations}
        if name:
            metadata["name"] = name
        if owner:
            kind, _, of = owner.partition("/")
            metadata["ownerReferences"] = [{"kind": kind, "name": of, "uid": f"u-{of}", "controller": True}]
        spec: dict[str, Any] = {"containers": containers, "priority": random.randrange(3)}
        if random.random() < 0.1:
            large = [name for name, gpus in sizes.items() if gpus >= int(annotations.get(names.GPUS, "1"))]
            spec["nodeSelector"] = {"kubernetes.io/hostname": random.choice(large)}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _plan(self, name: str) -> None:
        """How long its containers will run."""
        self._nodes.lives[name] = self._random.choice([None, self._random.uniform(1, 30)])

    def _slow(self) -> float:
        """Seconds that admission after ours takes: mostly none, at times all that the API server allows."""
        return self._random.choice([0.0] * 8 + [self._random.uniform(0, 2), self._random.uniform(0, REQUEST_LIMIT)])

    async def _create(self, body: dict[str, Any]) -> dict:
        home, refuse = body["metadata"]["namespace"], self._random.random() < 0.1
        return await self._server.create(body, namespace=home, refuse=refuse, slow=self._slow())

    async def _insist(self, name: str, body: dict[str, Any], *, times: int) -> bool:
        """Create a pod, several times if need be; whether it is there."""
        self._plan(name)
        for _ in range(times):
            try:
                await self._create(body)
            except RefusedError:
                await self._rest()
            else:
                return True
        return False

    async def _rest(self) -> None:
        await asyncio.sleep(self._random.choice([0, 0.2, self._random.uniform(0, 5)]))

    async def _finish(self, name: str) -> None:
        """Delete it perhaps: gently, by force, or gently and then by force."""
        what = self._random.random()
        if what < 0.2:
            self._server.delete(name, namespace=self._home(name))
        elif what < 0.4:
            self._server.delete(name, namespace=self._home(name), force=True)
        elif what < 0.5:
            self._server.delete(name, namespace=self._home(name))
            await self._rest()
            self._server.delete(name, namespace=self._home(name), force=True)

    async def _edit(self, name: str) -> None:
        """Change a label, where it may run, or what it asks: what one may of a pod that waits."""

        def change(pod: dict) -> None:
            metadata, spec = pod["metadata"], pod["spec"]
            waits = any(one["name"] == names.GATE for one in spec.get("schedulingGates") or ())
            what = self._random.choice(["label", "node", "memory"] if waits else ["label"])
            if what == "label":
                metadata["labels"] = (metadata.get("labels") or {}) | {"edited": str(self._random.randrange(9))}
            elif what == "node":
                node = self._random.choice(list(self._nodes.machines))
                spec["nodeSelector"] = (spec.get("nodeSelector") or {}) | {"kubernetes.io/hostname": node}
            else:
                key = names.memory_annotation("c")
                metadata["annotations"][key] = f"{self._random.choice([100, 300, 500])}Mi"

        for _ in range(3):
            await self._change(name, change)
            await self._rest()

    async def _change(self, name: str, change: Callable[[dict], None]) -> None:
        try:
            await self._server.edit(name, namespace=self._home(name), change=change)
        except RefusedError:
            return

    async def _at_some_time(self, what: Awaitable[None]) -> None:
        await asyncio.sleep(self._random.uniform(0, SEASON))
        await what

    def _there(self, name: str) -> dict | None:
        return self._api.see(PODS, name, namespace=self._home(name))

    def _home(self, name: str) -> str:
        """The namespace of a pod."""
        return self._homes.get(name, "team")
