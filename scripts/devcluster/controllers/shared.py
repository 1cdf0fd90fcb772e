"""What the controllers share: one watch per kind, one client, one Event recorder per controller."""

import asyncio
from collections.abc import Mapping
from typing import Any

from devcluster import tasks
from devcluster.client import Client, Resource
from devcluster.clock import Clock
from devcluster.events import Recorder
from devcluster.informer import Informer, Key, Object


class Shared:
    """Informers by kind, started when first asked for."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.client = client
        self.clock = clock
        self._informers: dict[Resource, Informer] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def informer(self, resource: Resource) -> Informer:
        """Return the informer of a kind."""
        if resource not in self._informers:
            self._informers[resource] = Informer(self.client, resource)
        return self._informers[resource]

    def recorder(self, component: str) -> Recorder:
        """Return a running recorder of Events."""
        recorder = Recorder(self.client, component=component, clock=self.clock)
        self._tasks.append(tasks.start(recorder.run(), f"{component} events"))
        return recorder

    async def start(self) -> None:
        """Start all informers asked for so far, and wait until they know everything."""
        known = list(self._informers.values())
        self._tasks += [tasks.start(informer.run(), f"informer of {informer.resource.plural}") for informer in known]
        await asyncio.gather(*(informer.synced.wait() for informer in known))

    async def stop(self) -> None:
        """Stop everything that was started."""
        await tasks.end(self._tasks)


def controller_of(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the owner reference of the controller of ``item``."""
    for owner in item["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            found: Mapping[str, Any] = owner
            return found
    return None


def owned_by(informer: Informer, owner: Mapping[str, Any]) -> list[Object]:
    """Return the objects of a kind whose controller is ``owner``."""
    meta = owner["metadata"]
    found = []
    for (namespace, _), item in informer.items.items():
        if namespace == meta["namespace"]:
            controller = controller_of(item)
            if controller is not None and controller["uid"] == meta["uid"]:
                found.append(item)
    return found


def owner_key(item: Mapping[str, Any], kind: str) -> Key | None:
    """Return the key of the controller of ``item`` if it is a ``kind``."""
    controller = controller_of(item)
    if controller is None or controller["kind"] != kind:
        return None
    return item["metadata"]["namespace"], controller["name"]


def owner_reference(item: Mapping[str, Any], *, api_version: str, kind: str) -> dict[str, Any]:
    """Return the reference that makes ``item`` the controller of what carries it."""
    meta = item["metadata"]
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
