"""Deletion of namespaces: everything in one goes first."""

import asyncio
from collections.abc import Iterable

from devcluster.client import NAMESPACES, ApiError, Resource
from devcluster.controllers.shared import Shared
from devcluster.controllers.workqueue import WorkQueue
from devcluster.informer import Key, key_of

_POLL_SECONDS = 0.25


class Namespaces:
    """The controller that empties namespaces which are being deleted."""

    def __init__(self, shared: Shared, kinds: Iterable[Resource]) -> None:
        self._shared = shared
        self._kinds = [kind for kind in kinds if kind.namespaced]
        self._namespaces = shared.informer(NAMESPACES)
        self.queue = WorkQueue("namespace", self.reconcile, clock=shared.clock)
        self._namespaces.on_change(lambda _, after: self.queue.add(key_of(after)) if after else None)

    async def reconcile(self, key: Key) -> None:
        """Delete what is in the namespace; release it once it is empty."""
        namespace = self._namespaces.items.get(key)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return
        left = await asyncio.gather(*(self._clear(kind, key[1]) for kind in self._kinds))
        if any(left):
            self.queue.add_later(key, _POLL_SECONDS)
            return
        kept = [each for each in namespace["spec"].get("finalizers") or [] if each != "kubernetes"]
        body = {**namespace, "apiVersion": "v1", "kind": "Namespace", "spec": {"finalizers": kept}}
        try:
            await self._shared.client.replace(NAMESPACES.path(name=key[1], subresource="finalize"), body)
        except ApiError as error:
            if not error.missing:
                raise

    async def _clear(self, kind: Resource, namespace: str) -> int:
        """Ask for the deletion of all objects of a kind; return how many there were."""
        listed = await self._shared.client.get(kind.path(namespace))
        fresh = [item for item in listed["items"] if not item["metadata"].get("deletionTimestamp")]
        if fresh:
            await self._shared.client.delete(kind.path(namespace), {"propagationPolicy": "Background"})
        return len(listed["items"])
