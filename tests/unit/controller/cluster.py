"""A small cluster in memory, and an allocator on it that tests drive by hand."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from random import Random

from allocator.api import names
from allocator.api.allocation import result_annotations
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.api.request import parse_pod
from allocator.controller import AgentSettings, Allocator, AllocatorSettings, CommitSettings, Granted, GrantRequest
from allocator.controller.settings import UnseenSettings
from allocator.core.ledger import Ledger, overbooked
from allocator.kube import CONFIGMAPS, LEASES, NAMESPACES, NODES, PODS
from allocator.kube.events import stamp
from tests.unit.kube.clockwork import ManualClock, until
from tests.unit.kube.fakeapi import FakeApi
from webhook.mutation import files

SYSTEM = "vramshare-system"
SETTINGS = AllocatorSettings(
    identity="one",
    agents=AgentSettings(may_be_absent=True),
    commit=CommitSettings(patience=30, attempts=8, company=0),
    unseen=UnseenSettings(most=10_000, share=float("inf"), strikes=10_000),  # most tests never make their pods
)


class Cluster:
    """Nodes with GPUs of 1,000 MiB each, on a FakeApi."""

    def __init__(self, *nodes: str, gpus: int = 1) -> None:
        self.api = FakeApi()
        self.clock = ManualClock()
        self.inventories: dict[str, Inventory] = {}
        self._ids = itertools.count(1)
        self.api.put(NAMESPACES, {"metadata": {"name": "team", "labels": {names.INJECT_LABEL: names.INJECT_ENABLED}}})
        for node in nodes or ("n1",):
            self.add_node(node, gpus=gpus)

    def add_node(self, name: str, *, gpus: int = 1) -> None:
        """A node with an inventory."""
        body = {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {
                "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "1000"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        self.api.put(NODES, body)
        found = tuple(Gpu(uuid=f"GPU-{name}-{at}", index=at, model="T4", memory=Memory.mib(1000)) for at in range(gpus))
        self.publish(Inventory(node=name, gpus=found, interposer="/opt/vramshare/lib.so"))

    def publish(self, inventory: Inventory) -> None:
        """What an agent does."""
        self.inventories[inventory.node] = inventory
        metadata = {"name": names.inventory_name(inventory.node), "labels": {names.KIND_LABEL: names.KIND_INVENTORY}}
        self.api.put(CONFIGMAPS, {"metadata": metadata, "data": inventory.to_data()}, namespace=SYSTEM)

    def sign_of_life(self, node: str, stamp: str) -> None:
        """An agent renews its Lease."""
        body = {"metadata": {"name": names.agent_lease_name(node)}, "spec": {"renewTime": stamp}}
        self.api.put(LEASES, body, namespace=SYSTEM)

    def ledger(self, node: str = "n1") -> Ledger:
        """A node's ledger as the API server has it."""
        found = self.api.see(CONFIGMAPS, names.ledger_name(node), namespace=SYSTEM) or {}
        return Ledger.from_data(node, found.get("data"))

    def ledger_writes(self) -> int:
        """How often a ledger was written."""
        return sum(1 for verb, path in self.api.writes if "configmaps" in path and verb in {"POST", "PUT"})

    def check(self) -> None:
        """Invariant 1, on what the API server has."""
        for node, inventory in self.inventories.items():
            problems = overbooked(self.ledger(node), inventory)
            assert not problems, "; ".join(problems)

    def run_pod(self, granted: Granted, *, name: str = "", phase: str = "Running", uid: str = "") -> dict:
        """The pod of a grant, persisted."""
        grant = granted.grant
        annotations = result_annotations(grant.allocation, inventory=granted.inventory, preloads={})
        body = {
            "metadata": {"name": name or grant.pod, "annotations": annotations, **({"uid": uid} if uid else {})},
            "spec": {"nodeName": grant.allocation.node, "containers": [{"name": "c"}]},
            "status": {"phase": phase},
        }
        return self.api.put(PODS, body, namespace=grant.namespace)

    def end_pod(self, name: str) -> None:
        """A pod of `team` is deleted as pods are: its kubelet ends its containers and says so, then it is gone."""
        pod = self.api.see(PODS, name, namespace="team")
        state = {"terminated": {"exitCode": 0}}
        self.api.put(
            PODS,
            pod
            | {
                "metadata": pod["metadata"] | {"deletionTimestamp": "2026-01-01T12:00:00Z"},
                "status": pod["status"] | {"containerStatuses": [{"name": "c", "state": state}]},
            },
            namespace="team",
        )
        self.api.drop(PODS, name, namespace="team")

    def agents_confirm(self) -> None:
        """Every agent finds nothing left of what is being released on its node, and says so."""
        for node, inventory in list(self.inventories.items()):
            released = frozenset(key for key, one in self.ledger(node).grants.items() if one.releasing)
            if released != inventory.released:
                self.publish(replace(inventory, released=released))

    def queue_pod(
        self,
        name: str,
        *,
        mib: int = 100,
        cores: int = 0,
        priority: int = 0,
        gates: tuple[str, ...] = (),
        namespace: str = "team",
        waited: int = 0,
        **annotations: str,
    ) -> dict:
        """A pod behind our gate, as the webhook left it `waited` seconds ago. Each is a second younger than the last.

        Further annotations go by their last word: `group_size="2"`.
        """
        asked = {names.cores_annotation("c"): str(cores)} if cores else {}
        asked |= {f"{names.DOMAIN}/{word.replace('_', '-')}": value for word, value in annotations.items()}
        results = {
            names.STATUS: names.STATUS_QUEUED,
            names.memory_annotation("c"): f"{mib}Mi",
            names.preload_annotation("c"): "",
        }
        body = {
            "metadata": {
                "name": name,
                "annotations": results | asked,
                "creationTimestamp": stamp(self.clock.now() + timedelta(seconds=next(self._ids) - waited)),
            },
            "spec": {
                "priority": priority,
                "containers": [{"name": "c", "volumeMounts": files.mounts("c")}],
                "schedulingGates": [{"name": gate} for gate in (*gates, names.GATE)],
            },
            "status": {"phase": "Pending"},
        }
        return self.api.put(PODS, body, namespace=namespace)

    def annotation(self, pod: str, name: str, *, namespace: str = "team") -> str | None:
        """One annotation of a pod."""
        return self.api.see(PODS, pod, namespace=namespace)["metadata"]["annotations"].get(name)

    @asynccontextmanager
    async def allocator(self, *, leads: bool = True, client=None, **changes):
        """An allocator on this cluster, in step with it; `client` is how it sees the API."""
        settings = replace(SETTINGS, **changes)
        made = Allocator(
            settings,
            client=client or self.api,
            clock=self.clock,
            random=Random(1),
            new_id=lambda: f"g{next(self._ids)}",
        )
        async with made as running:
            if leads:
                await until(lambda: running.leading)
            yield running

    async def settle(self, *, turns: int = 200) -> None:
        """Let everything happen that happens without time passing."""
        ticks: Iterator[int] = iter(range(turns))
        await until(lambda: next(ticks, None) is None, turns=turns + 2)

    async def pass_time(self, seconds: int) -> None:
        """Let seconds pass one by one, so that leadership is renewed as in life."""
        for _ in range(seconds):
            self.clock.advance(1)
            await self.settle(turns=60)


def ask(name: str = "p", *, mib: int = 100, owner: str = "", dry_run: bool = False, **spec) -> GrantRequest:
    """A pod that asks for one slice."""
    pod = {
        "metadata": {"annotations": {names.MEMORY: f"{mib}Mi"}},
        "spec": {"containers": [{"name": "c", "image": "x"}]} | spec,
    }
    request = parse_pod(pod)
    assert request is not None
    return GrantRequest(request=request, pod=pod, namespace="team", pod_name=name, owner=owner, dry_run=dry_run)


class Lagging:
    """An API as one process sees it, some of whose watches are held up while it is not `going`."""

    def __init__(self, api, lags) -> None:
        self.going = asyncio.Event()
        self.going.set()
        self._api = api
        self._lags = lags

    def __getattr__(self, name):
        return getattr(self._api, name)

    @asynccontextmanager
    async def watch(self, resource, *, namespace="", query, seconds):
        """See FakeApi."""

        async def late(events):
            async for event in events:
                await self.going.wait()
                yield event

        async with self._api.watch(resource, namespace=namespace, query=query, seconds=seconds) as events:
            yield late(events) if self._lags(resource, query) else events
