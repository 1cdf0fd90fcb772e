"""A pod at its creation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from allocator.api import names
from allocator.api.allocation import result_annotations
from allocator.api.request import PodRequest, gpu_resources, normalised_annotations
from allocator.controller import Granted
from webhook.mutation import environment, files, scheduling
from webhook.mutation.delivery import library_of, with_deliverer
from webhook.mutation.outcome import Notes, Queued
from webhook.mutation.resources import without_gpu_resources
from webhook.mutation.shapes import Json, annotations_of, spec_of, with_annotations, with_containers, with_spec
from webhook.mutation.unknown import tell_unknown
from webhook.settings import Delivery, MutationSettings

_LIMIT_RANGER: Final = "kubernetes.io/limit-ranger"
"""Annotation in which Kubernetes says what it has added from a LimitRange."""
EVICTABLE_VOLUMES: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A pod on its way.

    Attributes:
        pod: with everything that does not depend on the outcome.
        preloads: by GPU container, what its user wants in LD_PRELOAD.
        library: where the pod has an interposer of its own; empty: it uses its node's, or has no GPU.
    """

    pod: Json
    preloads: Mapping[str, str]
    library: str = ""


def prepare(
    pod: Mapping[str, Any],
    request: PodRequest | None,
    *,
    settings: MutationSettings,
    marked: bool,
    notes: Notes,
    delivery: Delivery = Delivery.HOST,
) -> Prepared:
    """Everything that does not depend on where the pod will run.

    Args:
        pod: as it came.
        request: what it asks; None: no GPU.
        settings: what to write.
        marked: whether it carries our valid mark, so that what it has of ours is no surprise.
        notes: warnings are added here.
        delivery: how the interposer comes into the pod, if it has a GPU.
    """
    slices = {one.container for one in request.containers} if request else set()
    annotations = annotations_of(pod)
    if not marked:
        _tell_brought(pod, notes)
        tell_unknown(annotations, notes)

    def change(_kind: str, container: Json) -> Json:
        if (resources := gpu_resources(container)) and not marked:
            notes.add(_replaced(container["name"], resources, annotations))
        container = without_gpu_resources(container)
        if container["name"] in slices:
            container = environment.with_slice(container, notes)
            return _with_mounts(container, files.mounts(container["name"], delivery))
        if container["name"] == names.DELIVER_CONTAINER:
            return container
        return _with_mounts(environment.without_slice(container, annotations, notes), [])

    preloads = {
        container["name"]: environment.users_preload(container, annotations, notes)
        for kind in ("initContainers", "containers")
        for container in spec_of(pod).get(kind) or ()
        if container["name"] in slices
    }
    changed = with_deliverer(pod, delivery if request else None, settings, notes)
    changed = scheduling.with_default_scheduler(with_containers(changed, change), notes)
    if not marked and names.NODE in annotations:
        changed = scheduling.without_pin(changed, annotations[names.NODE])
    in_order = [one.container for one in request.containers] if request else []
    volumes = files.volumes(in_order, settings, delivery) if in_order else []
    changed = with_spec(changed, volumes=files.with_ours(spec_of(changed).get("volumes"), volumes))
    if request:
        changed = scheduling.on_gpu_nodes(changed, settings)
    library = library_of(delivery) if request else ""
    return Prepared(with_annotations(changed, _annotations(annotations, request)), preloads, library)


def finish(prepared: Prepared, outcome: Granted | Queued | None) -> Json:
    """Add the answer.

    Args:
        prepared: the pod so far.
        outcome: the grant, the wait, or None for a pod without GPUs.
    """
    pod = scheduling.with_gate(prepared.pod, closed=isinstance(outcome, Queued))
    if outcome is None:
        return pod
    if isinstance(outcome, Queued):
        answer = {names.STATUS: names.STATUS_QUEUED, names.REASON: outcome.reason}
        answer |= {names.preload_annotation(container): value for container, value in prepared.preloads.items()}
    else:
        allocation = outcome.grant.allocation
        answer = result_annotations(
            allocation, inventory=outcome.inventory, preloads=prepared.preloads, library=prepared.library
        )
        pod = scheduling.with_pin(pod, allocation.node)
    if prepared.library:
        answer[names.LIBRARY] = prepared.library
    return with_annotations(pod, {**annotations_of(pod), **answer})


def with_evictable_volumes(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotations with our volumes named as ones that an autoscaler need not save."""
    listed = [name.strip() for name in annotations.get(EVICTABLE_VOLUMES, "").split(",") if name.strip()]
    missing = [name for name in files.LOCAL_VOLUMES if name not in listed]
    if not missing:
        return dict(annotations)
    return {**annotations, EVICTABLE_VOLUMES: ",".join([*listed, *missing])}


def _annotations(annotations: Mapping[str, str], request: PodRequest | None) -> dict[str, str]:
    """The user's own, and the request in full. What a user wrote is never rewritten, only completed."""
    kept = {key: value for key, value in annotations.items() if not names.is_result(key)}
    if request is None:
        return kept
    return with_evictable_volumes({**normalised_annotations(request), **kept})


def _with_mounts(container: Json, wanted: list[Json]) -> Json:
    mounts = files.with_ours(container.get("volumeMounts"), wanted)
    return {**container, "volumeMounts": mounts} if mounts or container.get("volumeMounts") else container


def _replaced(container: str, resources: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Why a container's GPU resources are not in its spec any more; and who put them there, if its user did not."""
    text = f"container {container!r}: GPU resources are replaced by vramshare's annotations"
    if any(name in annotations.get(_LIMIT_RANGER, "") for name in resources):
        text += "; a LimitRange of this namespace adds them to every pod: take its GPU defaults away"
    return text


def _tell_brought(pod: Mapping[str, Any], notes: Notes) -> None:
    """Warn of what only vramshare may write and the pod brought along."""
    results = sorted(key for key in annotations_of(pod) if names.is_result(key))
    if results:
        notes.add(f"annotation {results[0]} and others of its kind are vramshare's to write; they were dropped")
    if scheduling.gated(pod):
        notes.add(f"scheduling gate {names.GATE} is vramshare's to set; it was dropped")
    volumes = files.brought(spec_of(pod))
    if volumes:
        notes.add(f"volume {volumes[0]} and others of its kind are vramshare's to mount; they were dropped")
