"""ReplicaSets: as many pods as asked for."""

from typing import Any

from devcluster.client import PODS, REPLICA_SETS
from devcluster.controllers.pods import (
    PodControl,
    deletion_order,
    from_template,
    is_active,
    owner_of_events,
    ready_since,
)
from devcluster.controllers.shared import Shared, owned_by, owner_key, owner_reference
from devcluster.controllers.workqueue import WorkQueue
from devcluster.informer import Key, Object, key_of

_KIND = {"api_version": "apps/v1", "kind": "ReplicaSet"}


class ReplicaSets:
    """The controller of ReplicaSets."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._sets = shared.informer(REPLICA_SETS)
        self._pods = shared.informer(PODS)
        self._control = PodControl(shared, shared.recorder("replicaset-controller"))
        self.queue = WorkQueue("replicaset", self.reconcile, clock=shared.clock)
        self._sets.on_change(lambda before, after: self.queue.add(key_of(after or before or {})))
        self._pods.on_change(self._on_pod)

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        key = owner_key(after or before or {}, "ReplicaSet")
        if key is not None:
            self.queue.add(key)

    async def reconcile(self, key: Key) -> None:
        """Create or delete pods until the number is right; then write the status."""
        replica_set = self._sets.items.get(key)
        if replica_set is None:
            return
        pods = [pod for pod in owned_by(self._pods, replica_set) if is_active(pod)]
        if not replica_set["metadata"].get("deletionTimestamp"):
            await self._scale(replica_set, pods)
            pods = [pod for pod in owned_by(self._pods, replica_set) if is_active(pod)]
        await self._write_status(key, replica_set, pods)

    async def _scale(self, replica_set: Object, pods: list[Object]) -> None:
        missing = int(replica_set["spec"].get("replicas", 1)) - len(pods)
        owner = owner_of_events(replica_set, **_KIND)
        if missing > 0:
            link = owner_reference(replica_set, **_KIND)
            name = replica_set["metadata"]["name"]
            body = from_template(replica_set["spec"]["template"], link, prefix=name)
            await self._control.create([body] * missing, owner)
        elif missing < 0:
            await self._control.delete(deletion_order(pods)[:-missing], owner)

    async def _write_status(self, key: Key, replica_set: Object, pods: list[Object]) -> None:
        now = self._shared.clock.time()
        wait = int(replica_set["spec"].get("minReadySeconds") or 0)
        since = [moment for moment in map(ready_since, pods) if moment is not None]
        young = [moment + wait - now for moment in since if moment + wait > now] if wait else []
        if young:
            self.queue.add_later(key, min(young))
        status = {
            "replicas": len(pods),
            "fullyLabeledReplicas": len(pods),
            "readyReplicas": len(since),
            "availableReplicas": len(since) - len(young),
            "observedGeneration": replica_set["metadata"].get("generation", 1),
        }
        if _differs(status, replica_set.get("status") or {}):
            await self._shared.client.patch(REPLICA_SETS.path(*key, subresource="status"), {"status": status})


def _differs(wanted: dict[str, Any], present: dict[str, Any]) -> bool:
    """Tell whether a status has to be written; zero and absent are the same."""
    return any((present.get(name) or 0) != value for name, value in wanted.items())
