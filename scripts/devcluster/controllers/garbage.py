"""Owner references: what is owned goes with its owners.

An object whose owners are all gone is deleted. An owner that is deleted in the foreground waits for what it owns; one
that is deleted as an orphan lets go of it. Whether an owner is really gone is asked of the API server, never concluded
from a watch that may lag.
"""

from collections.abc import Mapping
from typing import Any

from devcluster.client import ApiError, Resource
from devcluster.controllers.shared import Shared
from devcluster.controllers.workqueue import WorkQueue
from devcluster.informer import Key, Object, key_of

_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"


class GarbageCollector:
    """Deletes what has lost its owners."""

    def __init__(self, shared: Shared, kinds: Mapping[tuple[str, str], Resource]) -> None:
        self._shared = shared
        self._kinds = dict(kinds)
        self._dependents: dict[str, set[tuple[Resource, Key]]] = {}
        self._queues: dict[Resource, WorkQueue] = {}
        for resource in self._kinds.values():
            self._follow(resource)

    @property
    def queues(self) -> list[WorkQueue]:
        """One queue per kind, to be run."""
        return list(self._queues.values())

    def _follow(self, resource: Resource) -> None:
        informer = self._shared.informer(resource)

        async def reconcile(key: Key) -> None:
            item = informer.items.get(key)
            if item is not None:
                await self._reconcile(resource, item)

        def on_change(before: Object | None, after: Object | None) -> None:
            self._index(resource, before, after)
            if after is None:
                self._requeue_dependents(before or {})
                self._requeue_owners(before or {})
            elif _owners(after) or after["metadata"].get("deletionTimestamp"):
                self._queues[resource].add(key_of(after))

        self._queues[resource] = WorkQueue(f"garbage {resource.plural}", reconcile, clock=self._shared.clock)
        informer.on_change(on_change)

    def _index(self, resource: Resource, before: Object | None, after: Object | None) -> None:
        for owner in _owners(before or {"metadata": {}}):
            self._dependents.get(owner["uid"], set()).discard((resource, key_of(before or {})))
        for owner in _owners(after or {"metadata": {}}):
            self._dependents.setdefault(owner["uid"], set()).add((resource, key_of(after or {})))

    def _requeue_dependents(self, gone: Object) -> None:
        for resource, key in self._dependents.get(gone["metadata"]["uid"], ()):
            self._queues[resource].add(key)

    def _requeue_owners(self, gone: Object) -> None:
        """A dependent is gone: an owner may have waited for that."""
        for owner in _owners(gone):
            resource = self._kinds.get((owner["apiVersion"], owner["kind"]))
            if resource is not None:
                self._queues[resource].add((gone["metadata"].get("namespace", ""), owner["name"]))
                self._queues[resource].add(("", owner["name"]))

    async def _reconcile(self, resource: Resource, item: Object) -> None:
        finalizers = item["metadata"].get("finalizers") or []
        if item["metadata"].get("deletionTimestamp"):
            if _ORPHAN in finalizers:
                await self._orphan(resource, item)
            elif _FOREGROUND in finalizers:
                await self._take_along(resource, item)
            return
        owners = _owners(item)
        if not owners:
            return
        states = [await self._owner_state(owner, item) for owner in owners]
        if all(state in {"gone", "waiting"} for state in states):
            policy = "Foreground" if "waiting" in states and _FOREGROUND in finalizers else "Background"
            await self._delete(resource, item, policy=policy)

    async def _owner_state(self, owner: Mapping[str, Any], item: Object) -> str:
        """Return ``gone``, ``waiting`` (being deleted in the foreground) or ``alive``."""
        resource = self._kinds.get((owner["apiVersion"], owner["kind"]))
        if resource is None:
            return "alive"
        namespace = item["metadata"].get("namespace", "") if resource.namespaced else ""
        try:
            found = await self._shared.client.get(resource.path(namespace, owner["name"]))
        except ApiError as error:
            if error.missing:
                return "gone"
            raise
        if found["metadata"]["uid"] != owner["uid"]:
            return "gone"
        waits = _FOREGROUND in (found["metadata"].get("finalizers") or [])
        return "waiting" if waits and found["metadata"].get("deletionTimestamp") else "alive"

    async def _take_along(self, resource: Resource, owner: Object) -> None:
        """Delete what ``owner`` owns; once nothing blocks, let it go."""
        blocking = False
        for kind, key in list(self._dependents.get(owner["metadata"]["uid"], ())):
            item = self._shared.informer(kind).items.get(key)
            if item is None:
                continue
            link = next(each for each in _owners(item) if each["uid"] == owner["metadata"]["uid"])
            blocking = blocking or bool(link.get("blockOwnerDeletion"))
            if not item["metadata"].get("deletionTimestamp"):
                await self._delete(kind, item, policy="Foreground")
        if not blocking:
            await self._drop_finalizer(resource, owner, _FOREGROUND)

    async def _orphan(self, resource: Resource, owner: Object) -> None:
        for kind, key in list(self._dependents.get(owner["metadata"]["uid"], ())):
            item = self._shared.informer(kind).items.get(key)
            if item is not None:
                kept = [each for each in _owners(item) if each["uid"] != owner["metadata"]["uid"]]
                meta = {"uid": item["metadata"]["uid"], "ownerReferences": kept or None}
                await self._ignore_missing(self._shared.client.patch(kind.path(*key), {"metadata": meta}))
        await self._drop_finalizer(resource, owner, _ORPHAN)

    async def _drop_finalizer(self, resource: Resource, item: Object, finalizer: str) -> None:
        meta = item["metadata"]
        kept = [each for each in meta.get("finalizers") or [] if each != finalizer]
        change = {"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": kept or None}}
        await self._ignore_missing(self._shared.client.patch(resource.path(*key_of(item)), change))

    async def _delete(self, resource: Resource, item: Object, *, policy: str) -> None:
        options = {"propagationPolicy": policy, "preconditions": {"uid": item["metadata"]["uid"]}}
        await self._ignore_missing(self._shared.client.delete(resource.path(*key_of(item)), options))

    @staticmethod
    async def _ignore_missing(request: Any) -> None:
        try:
            await request
        except ApiError as error:
            if not error.missing:
                raise


def _owners(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = item["metadata"].get("ownerReferences") or []
    return found
