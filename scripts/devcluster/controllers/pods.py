"""What controllers ask about pods, and how they make and remove them."""

import asyncio
import copy
from collections.abc import Mapping, Sequence
from typing import Any

from devcluster.client import PODS, ApiError
from devcluster.clock import parse_timestamp
from devcluster.controllers.shared import Shared
from devcluster.events import Recorder, reference
from devcluster.informer import Object, key_of


def is_active(pod: Mapping[str, Any]) -> bool:
    """Whether a pod counts: neither ended nor being deleted."""
    ended = (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
    return not ended and not pod["metadata"].get("deletionTimestamp")


def ready_since(pod: Mapping[str, Any]) -> float | None:
    """Return since when a pod is ready, in seconds since 1970; None if it is not."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "Ready" and condition["status"] == "True":
            return parse_timestamp(condition["lastTransitionTime"])
    return None


def from_template(template: Mapping[str, Any], owner: Mapping[str, Any], *, prefix: str) -> Object:
    """Return a pod to create from a controller's template."""
    meta = template.get("metadata") or {}
    kept = {part: dict(meta[part]) for part in ("labels", "annotations") if meta.get(part)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**kept, "generateName": f"{prefix}-", "ownerReferences": [dict(owner)]},
        "spec": copy.deepcopy(dict(template["spec"])),
    }


def deletion_order(pods: Sequence[Object]) -> list[Object]:
    """Return pods with those first that are missed least: unbound, then not ready, then youngest."""
    youngest_first = sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)
    return sorted(youngest_first, key=lambda pod: (bool(pod["spec"].get("nodeName")), ready_since(pod) is not None))


class PodControl:
    """Creates and deletes pods for a controller, and tells about it on the owner."""

    def __init__(self, shared: Shared, recorder: Recorder) -> None:
        self._shared = shared
        self._recorder = recorder

    async def create(self, bodies: Sequence[Object], owner: Mapping[str, str]) -> None:
        """Create pods in batches of 1, 2, 4, …: a refusal that hits all of them is met once, not a hundred times.

        Raises:
            ApiError: a pod was refused; the batches after it were not tried.
        """
        done, size = 0, 1
        while done < len(bodies):
            batch = bodies[done : done + size]
            results = await asyncio.gather(*(self._create(body, owner) for body in batch), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            done, size = done + size, size * 2

    async def _create(self, body: Object, owner: Mapping[str, str]) -> None:
        try:
            made = await self._shared.client.create(PODS.path(owner["namespace"]), body)
        except ApiError as error:
            self._recorder.emit(owner, reason="FailedCreate", message=f"Error creating: {error}", warning=True)
            raise
        self._shared.informer(PODS).assume(made)
        self._recorder.emit(owner, reason="SuccessfulCreate", message=f"Created pod: {made['metadata']['name']}")

    async def delete(self, pods: Sequence[Object], owner: Mapping[str, str]) -> None:
        """Delete pods; one that is gone already is no failure."""
        await asyncio.gather(*(self._delete(pod, owner) for pod in pods))

    async def _delete(self, pod: Object, owner: Mapping[str, str]) -> None:
        try:
            gone = await self._shared.client.delete(
                PODS.path(*key_of(pod)), {"preconditions": {"uid": pod["metadata"]["uid"]}}
            )
        except ApiError as error:
            if not error.missing:
                raise
            return
        if gone.get("kind") == "Pod":
            self._shared.informer(PODS).assume(gone)
        self._recorder.emit(owner, reason="SuccessfulDelete", message=f"Deleted pod: {pod['metadata']['name']}")


def owner_of_events(item: Mapping[str, Any], *, api_version: str, kind: str) -> dict[str, str]:
    """Return the reference under which a controller's Events appear."""
    return reference(item, kind=kind, api_version=api_version)
