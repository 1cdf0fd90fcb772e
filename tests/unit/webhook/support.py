"""Pods, reviews and an allocator in memory for the tests of the webhook."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jsonpatch

from allocator.api.allocation import Allocation, Slice
from allocator.api.errors import VramshareError
from allocator.api.grant import Grant
from allocator.api.inventory import Inventory, Strategy
from allocator.api.quantities import GIB, Memory, MemoryShare
from allocator.controller import Granted, GrantRequest
from webhook.admission import Admission, Step
from webhook.review import Answer, Review
from webhook.settings import AdmissionSettings, MutationSettings, WebhookSettings

NODE = "node-a"
LIBRARY = "/opt/vramshare/libvramshare-0.1.0-0123456789ab.so"
INVENTORY = Inventory(node=NODE, gpus=(), interposer=LIBRARY)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SETTINGS = WebhookSettings(admission=AdmissionSettings(own_users=frozenset({"allocator"})))


@dataclass
class FakeAllocator:
    """Grants everything on one node with GPUs of 10 GiB, or fails as told, and remembers."""

    inventory: Inventory = INVENTORY
    ready: bool = True
    failure: VramshareError | Exception | None = None
    asked: list[GrantRequest] = field(default_factory=list)
    ledger: dict[str, Granted] = field(default_factory=dict)
    returned: list[str] = field(default_factory=list)
    namespaces: dict[str, dict[str, Any]] = field(default_factory=dict)

    def namespace(self, name: str) -> dict[str, Any] | None:
        """A namespace that the test has made known."""
        return self.namespaces.get(name)

    async def grant(self, asked: GrantRequest) -> Granted:
        """Grant, or fail as told."""
        self.asked.append(asked)
        if self.failure is not None:
            raise self.failure
        containers = {
            one.container: tuple(Slice(f"GPU-{index}", _bytes(one.memory), one.cores or 0) for index in range(one.gpus))
            for one in asked.request.containers
        }
        allocation = Allocation(id=f"grant-{len(self.asked)}", node=self.inventory.node, containers=containers)
        grant = Grant(allocation, asked.namespace, asked.pod_name, NOW, owner=asked.owner)
        granted = Granted(grant=grant, inventory=self.inventory)
        if not asked.dry_run:
            self.ledger[allocation.id] = granted
        return granted

    async def recognise(self, namespace: str, allocation: Allocation) -> Granted | None:
        """The grant, if it stands for this namespace."""
        granted = self.ledger.get(allocation.id)
        fits = granted and granted.grant.allocation == allocation and granted.grant.namespace == namespace
        return granted if fits else None

    async def give_back(self, granted: Granted) -> None:
        """Remember."""
        self.returned.append(granted.grant.allocation.id)
        del self.ledger[granted.grant.allocation.id]


def cdi() -> FakeAllocator:
    """An allocator whose node injects by CDI."""
    return FakeAllocator(inventory=Inventory(node=NODE, gpus=(), interposer=LIBRARY, strategy=Strategy.CDI))


def pod(annotations: Mapping[str, str] | None = None, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod with these annotations and containers; one named `main` if none is given."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "team", **({"annotations": dict(annotations)} if annotations else {})},
        "spec": {"containers": list(containers) or [container()], **spec},
    }


def container(name: str = "main", **fields: Any) -> dict[str, Any]:
    """A container."""
    return {"name": name, "image": "x", "resources": {}, **fields}


def env(**values: str) -> list[dict[str, Any]]:
    """Literal environment variables."""
    return [{"name": name, "value": value} for name, value in values.items()]


def gpu_pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod that asks for 2 GiB and a quarter of a GPU's time."""
    return pod({"vramshare.io/memory": "2Gi", "vramshare.io/cores": "25"}, *containers, **spec)


def review(
    new: Mapping[str, Any] | None,
    *,
    old: Mapping[str, Any] | None = None,
    subresource: str = "",
    dry_run: bool = False,
    user: str = "someone",
    namespace: str = "team",
) -> Review:
    """The question that the API server asks about a pod."""
    return Review(
        uid="u-1",
        operation="CREATE" if old is None else "UPDATE",
        kind="Pod",
        group="",
        subresource=subresource,
        namespace=namespace,
        pod=new,
        old=old,
        dry_run=dry_run,
        user=user,
    )


@dataclass
class Outcome:
    """What became of a pod."""

    answer: Answer
    pod: dict[str, Any]
    allocator: FakeAllocator

    @property
    def annotations(self) -> dict[str, str]:
        """The pod's annotations."""
        found: dict[str, str] = self.pod["metadata"].get("annotations", {})
        return found

    @property
    def spec(self) -> dict[str, Any]:
        """The pod's spec."""
        found: dict[str, Any] = self.pod["spec"]
        return found

    def container(self, name: str = "main") -> dict[str, Any]:
        """A container of the pod, of whichever kind."""
        kinds = ("initContainers", "containers", "ephemeralContainers")
        return next(one for kind in kinds for one in self.spec.get(kind) or () if one["name"] == name)

    def env(self, name: str = "main") -> dict[str, Any]:
        """A container's environment: literal values as they are, references by their path."""
        return {
            one["name"]: one["value"] if "value" in one else one["valueFrom"].get("fieldRef", {}).get("fieldPath")
            for one in self.container(name).get("env") or ()
        }

    def mounts(self, name: str = "main") -> dict[str, str]:
        """A container's mounts: volume by path."""
        return {one["mountPath"]: one["name"] for one in self.container(name).get("volumeMounts") or ()}


async def admit(
    new: Mapping[str, Any],
    *,
    allocator: FakeAllocator | None = None,
    settings: WebhookSettings = SETTINGS,
    steps: tuple[Step, ...] = (),
    **about: Any,
) -> Outcome:
    """Ask about a pod, and apply the answer's patch as the API server does."""
    allocator = allocator or FakeAllocator()
    before = copy.deepcopy(new)
    admission = Admission(settings, allocator, steps=steps)
    try:
        answer = await admission.answer(review(new, **about))
    finally:
        await admission.settle()
    assert new == before, "a review's object was changed"
    changed = jsonpatch.apply_patch(new, answer.patch) if answer.patch else copy.deepcopy(dict(new))
    return Outcome(answer, changed, allocator)


def mutating(**changes: Any) -> WebhookSettings:
    """Settings with other ways to write pods."""
    return WebhookSettings(admission=SETTINGS.admission, mutation=MutationSettings(**changes))


def _bytes(ask: Memory | MemoryShare) -> Memory:
    return ask.of(Memory(10 * GIB)) if isinstance(ask, MemoryShare) else ask
