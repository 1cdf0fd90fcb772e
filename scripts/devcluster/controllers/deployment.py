"""Deployments: one ReplicaSet per pod template, and the way from the old ones to the new."""

from typing import Any

from devcluster.client import DEPLOYMENTS, REPLICA_SETS, ApiError
from devcluster.clock import timestamp
from devcluster.controllers.pods import owner_of_events
from devcluster.controllers.rollout import HASH_LABEL, Fleet, next_scale, template_hash
from devcluster.controllers.shared import Shared, owned_by, owner_key, owner_reference
from devcluster.controllers.workqueue import WorkQueue
from devcluster.informer import Key, Object, key_of

_KIND = {"api_version": "apps/v1", "kind": "Deployment"}
_REVISION = "deployment.kubernetes.io/revision"
_HISTORY = 10
_WORDS = {
    "MinimumReplicasAvailable": "Deployment has minimum availability.",
    "MinimumReplicasUnavailable": "Deployment does not have minimum availability.",
    "NewReplicaSetAvailable": "ReplicaSet has successfully progressed.",
    "ReplicaSetUpdated": "ReplicaSet is progressing.",
}


class Deployments:
    """The controller of Deployments."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._deployments = shared.informer(DEPLOYMENTS)
        self._sets = shared.informer(REPLICA_SETS)
        self._recorder = shared.recorder("deployment-controller")
        self.queue = WorkQueue("deployment", self.reconcile, clock=shared.clock)
        self._deployments.on_change(lambda before, after: self.queue.add(key_of(after or before or {})))
        self._sets.on_change(self._on_set)

    def _on_set(self, before: Object | None, after: Object | None) -> None:
        key = owner_key(after or before or {}, "Deployment")
        if key is not None:
            self.queue.add(key)

    async def reconcile(self, key: Key) -> None:
        """Take the next step of the rollout and write the status."""
        deployment = self._deployments.items.get(key)
        if deployment is None:
            return
        if not deployment["metadata"].get("deletionTimestamp") and not deployment["spec"].get("paused"):
            new = await self._new_set(deployment)
            await self._scale(deployment, new)
            await self._drop_history(deployment)
        await self._write_status(key, deployment)

    async def _new_set(self, deployment: Object) -> Object:
        """Return the ReplicaSet of the present template, creating it if needed."""
        name = f"{deployment['metadata']['name']}-{template_hash(deployment['spec']['template'])}"
        namespace = deployment["metadata"]["namespace"]
        found = self._sets.items.get((namespace, name))
        others = [each for each in owned_by(self._sets, deployment) if each["metadata"]["name"] != name]
        revision = str(max([0, *map(_revision, others)]) + 1)
        if found is None:
            body = _replica_set(deployment, name=name, revision=revision)
            try:
                found = await self._shared.client.create(REPLICA_SETS.path(namespace), body)
            except ApiError as error:
                if error.code != 409:
                    raise
                found = await self._shared.client.get(REPLICA_SETS.path(namespace, name))
            self._sets.assume(found)
        elif _revision(found) < int(revision):
            note = {"metadata": {"annotations": {_REVISION: revision}}}
            found = await self._shared.client.patch(REPLICA_SETS.path(namespace, name), note)
            self._sets.assume(found)
        if (deployment["metadata"].get("annotations") or {}).get(_REVISION) != revision:
            note = {"metadata": {"annotations": {_REVISION: revision}}}
            await self._shared.client.patch(DEPLOYMENTS.path(*key_of(deployment)), note)
        return found

    async def _scale(self, deployment: Object, new: Object) -> None:
        sets = {each["metadata"]["name"]: each for each in owned_by(self._sets, deployment)}
        name = new["metadata"]["name"]
        old = sorted((each for other, each in sets.items() if other != name), key=_revision)
        spec = deployment["spec"]
        changes = next_scale(
            _fleet(new), [_fleet(each) for each in old], replicas=spec.get("replicas", 1), strategy=spec.get("strategy")
        )
        for target, wanted in changes.items():
            before = sets.get(target, new)["spec"].get("replicas", 1)
            path = REPLICA_SETS.path(deployment["metadata"]["namespace"], target)
            self._sets.assume(await self._shared.client.patch(path, {"spec": {"replicas": wanted}}))
            way = "up" if wanted > before else "down"
            message = f"Scaled {way} replica set {target} from {before} to {wanted}"
            self._recorder.emit(owner_of_events(deployment, **_KIND), reason="ScalingReplicaSet", message=message)

    async def _drop_history(self, deployment: Object) -> None:
        limit = deployment["spec"].get("revisionHistoryLimit", _HISTORY)
        empty = [each for each in owned_by(self._sets, deployment) if not _fleet(each).wanted + _fleet(each).present]
        current = template_hash(deployment["spec"]["template"])
        done = sorted((each for each in empty if each["metadata"]["labels"].get(HASH_LABEL) != current), key=_revision)
        for each in done[: max(0, len(done) - limit)]:
            await self._shared.client.delete(REPLICA_SETS.path(*key_of(each)))

    async def _write_status(self, key: Key, deployment: Object) -> None:
        sets = owned_by(self._sets, deployment)
        current = template_hash(deployment["spec"]["template"])
        status = deployment_status(deployment, sets, current=current, now=timestamp(self._shared.clock.time()))
        present = deployment.get("status") or {}
        if any((present.get(name) or 0) != value for name, value in status.items() if value or present.get(name)):
            await self._shared.client.patch(DEPLOYMENTS.path(*key, subresource="status"), {"status": status})


def deployment_status(deployment: Object, sets: list[Object], *, current: str, now: str) -> dict[str, Any]:
    """Return a Deployment's status from those of its ReplicaSets."""
    replicas = int(deployment["spec"].get("replicas", 1))
    updated = [each for each in sets if each["metadata"]["labels"].get(HASH_LABEL) == current]
    total, fresh = _count(sets, "replicas"), _count(updated, "replicas")
    available = _count(sets, "availableReplicas")
    complete = fresh == replicas == available == total
    enough = available >= replicas
    conditions = [
        _condition(
            deployment, "Available", "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable", now
        ),
        _condition(deployment, "Progressing", "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated", now),
    ]
    return {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "replicas": total,
        "updatedReplicas": fresh,
        "readyReplicas": _count(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, max(total, replicas) - available),
        "conditions": conditions,
    }


def _condition(deployment: Object, kind: str, reason: str, now: str) -> dict[str, str]:
    status = "False" if reason == "MinimumReplicasUnavailable" else "True"
    for old in (deployment.get("status") or {}).get("conditions") or []:
        if old["type"] == kind and old["status"] == status:
            since = old["lastTransitionTime"]
            updated = old["lastUpdateTime"] if old["reason"] == reason else now
            break
    else:
        since = updated = now
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": _WORDS[reason],
        "lastTransitionTime": since,
        "lastUpdateTime": updated,
    }


def _replica_set(deployment: Object, *, name: str, revision: str) -> Object:
    spec = deployment["spec"]
    label = {HASH_LABEL: template_hash(spec["template"])}
    meta = spec["template"].get("metadata") or {}
    labels = {**(meta.get("labels") or {}), **label}
    selector = {**spec["selector"], "matchLabels": {**(spec["selector"].get("matchLabels") or {}), **label}}
    body = {
        "replicas": 0,
        "selector": selector,
        "template": {**spec["template"], "metadata": {**meta, "labels": labels}},
        "minReadySeconds": spec.get("minReadySeconds", 0),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {_REVISION: revision},
            "ownerReferences": [owner_reference(deployment, **_KIND)],
        },
        "spec": body,
    }


def _revision(replica_set: Object) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(_REVISION, "0"))


def _fleet(replica_set: Object) -> Fleet:
    status = replica_set.get("status") or {}
    return Fleet(
        name=replica_set["metadata"]["name"],
        wanted=replica_set["spec"].get("replicas", 1),
        present=status.get("replicas", 0),
        available=status.get("availableReplicas", 0),
    )


def _count(sets: list[Object], field: str) -> int:
    return sum((each.get("status") or {}).get(field) or 0 for each in sets)
