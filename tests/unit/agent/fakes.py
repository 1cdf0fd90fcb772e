"""Stand-ins for what surrounds the agent."""

import asyncio
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from allocator.agent.gpus import GpuUsage, Reading
from allocator.agent.interposer import Installed
from allocator.agent.report import Preparation, Report
from allocator.api.inventory import Inventory, Strategy
from allocator.kube.errors import AlreadyExistsError, NotFoundError, StaleError
from allocator.kube.resources import Resource


class Script:
    """A source that says one thing after the other, and the last one from then on."""

    def __init__(self, *says: Reading | Exception | None) -> None:
        self.says = list(says)

    def read(self) -> Reading | None:
        """The next thing."""
        one = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(one, Exception):
            raise one
        return one

    def usage(self) -> tuple[GpuUsage, ...]:
        """Nothing goes on."""
        return ()


@dataclass
class Prepared:
    """A preparation that ends as told."""

    reasons: list[str] = field(default_factory=lambda: [""])
    sound: bool = True
    calls: int = 0

    def prepare(self) -> Preparation:
        """The next outcome."""
        self.calls += 1
        reason = self.reasons.pop(0) if len(self.reasons) > 1 else self.reasons[0]
        installed = Installed(file=Path("/h/x.so"), path="/opt/vramshare/x.so", sha256="ab")
        return Preparation(installed=installed, strategy=Strategy.ENV, reason=reason)

    def intact(self, _preparation: Preparation) -> bool:
        """As told."""
        return self.sound


@dataclass
class Tables:
    """Counts updates and looks at who is idle; fails as often as told."""

    failures: list[Exception] = field(default_factory=list)
    updates: int = 0
    lending: bool = False
    looks: int = 0

    def lend(self) -> None:
        """One more look."""
        self.looks += 1

    def update(self) -> None:
        """The next outcome."""
        if self.failures:
            raise self.failures.pop(0)
        self.updates += 1


@dataclass
class Attested:
    """Says what it is told to find; fails as often as told."""

    report: Report = field(default_factory=Report)
    finds: list[Report | Exception] = field(default_factory=list)
    recalled: Inventory | None = None
    looks: list[Inventory] = field(default_factory=list)
    announced: int = 0

    def recall(self, before: Inventory) -> None:
        """Take note."""
        self.recalled = before

    async def look(self, inventory: Inventory) -> bool:
        """The next finding."""
        self.looks.append(inventory)
        found = self.finds.pop(0) if self.finds else self.report
        if isinstance(found, Exception):
            raise found
        before, self.report = self.report, found
        return before != found

    def announce(self) -> None:
        """Count."""
        self.announced += 1


@dataclass
class Judge:
    """Marks the GPUs as told."""

    sick: str = ""
    recalled: Inventory | None = None

    def recall(self, before: Inventory) -> None:
        """Take note."""
        self.recalled = before

    def judge(self, inventory: Inventory, _reading: Reading) -> Inventory:
        """All of them are as told."""
        if not self.sick:
            return inventory
        return replace(inventory, gpus=tuple(replace(gpu, health=self.sick) for gpu in inventory.gpus))


@dataclass
class Board:
    """Remembers what was published; fails as often as told."""

    earlier: Inventory | None = None
    failures: list[Exception] = field(default_factory=list)
    published: list[Inventory] = field(default_factory=list)
    checks: int = 0
    beats: int = 0
    order: list[str] = field(default_factory=list)

    async def recall(self) -> Inventory | None:
        """What an earlier agent said."""
        return self.earlier

    async def publish(self, inventory: Inventory, *, check: bool = False) -> bool:
        """Take note, or fail."""
        if self.failures:
            raise self.failures.pop(0)
        self.checks += check
        self.order.append("publish")
        self.published.append(inventory)
        return True

    async def beat(self) -> None:
        """Count."""
        self.beats += 1
        self.order.append("beat")


class FakeClock:
    """Time that passes when somebody sleeps; after `turns` sleeps it sets `stop`."""

    def __init__(self, *, stop: asyncio.Event | None = None, turns: int = 0) -> None:
        self.seconds = 0.0
        self._stop = stop
        self._left = turns

    def now(self) -> datetime:
        """Wall-clock time."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Let it pass, and others run."""
        self.seconds += seconds
        self._left -= 1
        if self._left <= 0 and self._stop is not None:
            self._stop.set()
        await asyncio.sleep(0)


class FakeApi:
    """Objects by path, with resource versions; `before` may change them ahead of a write."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.races: list[Any] = []
        self._version = 0

    async def get(self, resource: Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""
        path = resource.path(namespace=namespace, name=name)
        if path not in self.objects:
            raise NotFoundError(f"{path} not found", status=404)
        return deepcopy(self.objects[path])

    async def create(self, resource: Resource, body: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """A new object."""
        self._race()
        path = resource.path(namespace=namespace, name=body["metadata"]["name"])
        if path in self.objects:
            raise AlreadyExistsError("exists", status=409)
        return self._store("create", path, body)

    async def replace(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        """Compare and swap."""
        self._race()
        path = resource.path(namespace=body["metadata"]["namespace"], name=body["metadata"]["name"])
        if self.objects[path]["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise StaleError("changed", status=409)
        return self._store("replace", path, body)

    async def patch(
        self, resource: Resource, name: str, patch: dict[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Merge one level of `spec`."""
        found = await self.get(resource, name, namespace=namespace)
        found["spec"].update(patch["spec"])
        return self._store("patch", resource.path(namespace=namespace, name=name), found)

    def edit(self, path: str, **data: str) -> None:
        """Somebody else's change."""
        self.objects[path]["data"].update(data)
        self._version += 1
        self.objects[path]["metadata"]["resourceVersion"] = str(self._version)

    def _race(self) -> None:
        if self.races:
            self.races.pop(0)()

    def _store(self, verb: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        self.writes.append(verb)
        self.objects[path] = deepcopy(body)
        self.objects[path]["metadata"]["resourceVersion"] = str(self._version)
        return deepcopy(self.objects[path])
