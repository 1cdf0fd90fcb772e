"""A pod that exists already.

Its spec can hardly be changed any more, and a user who applies the first manifest again does not know what was added
to it. So what is ours becomes again what it was; the old object is the truth. Nothing is granted here.
"""

from collections.abc import Mapping
from typing import Any

from allocator.api import names
from webhook.mutation import create, environment, files, resizing, scheduling
from webhook.mutation.conflicts import refuse_device_lists
from webhook.mutation.outcome import Notes
from webhook.mutation.resources import without_gpu_resources
from webhook.mutation.shapes import (
    CONTAINER_LISTS,
    Json,
    annotations_of,
    labels_of,
    spec_of,
    with_annotations,
    with_containers,
    with_spec,
)


def normalise(new: Mapping[str, Any], old: Mapping[str, Any], *, ours: bool, notes: Notes) -> Json:
    """The new object with everything of ours as the old one has it.

    Args:
        new: as it came.
        old: as it is stored.
        ours: whether the change may be the allocator's: then a new answer in it holds, and may open the gate.
        notes: warnings are added here.
    """
    answers = ours and names.STATUS in annotations_of(new) and _results(new) != _results(old)
    pod = _with_deliverer(new, old)
    before = _containers(old)
    pod = with_containers(pod, lambda kind, container: _container(container, before[kind].get(container["name"])))
    old_spec = spec_of(old)
    kept = [volume for volume in old_spec.get("volumes") or () if files.is_reserved(volume.get("name", ""))]
    pod = with_spec(pod, volumes=files.with_ours(spec_of(pod).get("volumes"), kept))
    pod = _scheduling(pod, old)
    if not answers:
        pod = _gate(pod, old, notes)
        pod = _pin(pod, old)
    pod = _inside(pod, old, notes)
    return with_annotations(pod, _annotations(new, old, answers=answers, ours=ours, notes=notes))


def void_new_ephemeral(new: Mapping[str, Any], old: Mapping[str, Any], notes: Notes) -> Json:
    """Ephemeral containers that were not there before see no GPU and none of our volumes.

    Raises:
        RequestError: one chooses GPUs by a mount.
    """
    known = {one.get("name") for one in spec_of(old).get("ephemeralContainers") or ()}

    def change(kind: str, container: Json) -> Json:
        if kind != "ephemeralContainers" or container["name"] in known:
            return container
        refuse_device_lists(container)
        container = environment.without_slice(container, {}, notes)
        mounts = container.get("volumeMounts") or []
        allowed = files.with_ours(mounts, [])
        if len(allowed) == len(mounts):
            return container
        notes.add(f"container {container['name']!r}: mounts of vramshare's volumes were dropped")
        return {**container, "volumeMounts": allowed}

    return with_containers(new, change)


def _with_deliverer(new: Mapping[str, Any], old: Mapping[str, Any]) -> Json:
    """The init container that delivers the interposer as it was, where an applied manifest came without it."""
    kept = next(
        (one for one in spec_of(old).get("initContainers") or () if one["name"] == names.DELIVER_CONTAINER), None
    )
    present = list(spec_of(new).get("initContainers") or ())
    if kept is None or any(one["name"] == names.DELIVER_CONTAINER for one in present):
        return dict(new)
    place = spec_of(old)["initContainers"].index(kept)
    return with_spec(new, initContainers=[*present[:place], kept, *present[place:]])


def _container(new: Json, old: Mapping[str, Any] | None) -> Json:
    if old is None:
        return new
    result = without_gpu_resources(new, keep=old)
    env = environment.restored(new.get("env"), old.get("env"))
    if env or new.get("env"):
        result = {**result, "env": env}
    kept = [mount for mount in old.get("volumeMounts") or () if files.is_reserved(mount.get("name", ""))]
    mounts = files.with_ours(new.get("volumeMounts"), kept)
    if mounts or new.get("volumeMounts"):
        result = {**result, "volumeMounts": mounts}
    return result


def _containers(pod: Mapping[str, Any]) -> dict[str, dict[str, Json]]:
    """The pod's containers, by the name of their list and by their own."""
    return {kind: {one["name"]: one for one in spec_of(pod).get(kind) or ()} for kind in CONTAINER_LISTS}


def _scheduling(pod: Json, old: Mapping[str, Any]) -> Json:
    """Scheduler, runtime class and toleration as they were, where the change came without them."""
    spec, before = spec_of(pod), spec_of(old)
    changes: Json = {}
    if spec.get("schedulerName") == names.HAMI_SCHEDULER and before.get("schedulerName"):
        changes["schedulerName"] = before["schedulerName"]
    if before.get("runtimeClassName") and not spec.get("runtimeClassName"):
        changes["runtimeClassName"] = before["runtimeClassName"]
    tolerations = list(spec.get("tolerations") or ())
    if scheduling.TOLERATION in (before.get("tolerations") or ()) and scheduling.TOLERATION not in tolerations:
        changes["tolerations"] = [*tolerations, dict(scheduling.TOLERATION)]
    return with_spec(pod, **changes)


def _gate(pod: Json, old: Mapping[str, Any], notes: Notes) -> Json:
    """Our gate as it was: only the allocator opens it, and nobody can add it later."""
    closed = scheduling.gated(old)
    if closed and not scheduling.gated(pod):
        notes.add(f"scheduling gate {names.GATE} stays; vramshare opens it when there is capacity")
    return scheduling.with_gate(pod, closed=closed)


def _pin(pod: Json, old: Mapping[str, Any]) -> Json:
    node = annotations_of(old).get(names.NODE)
    return scheduling.with_pin(pod, node) if node and scheduling.is_pinned(old, node) else pod


def _annotations(
    new: Mapping[str, Any], old: Mapping[str, Any], *, answers: bool, ours: bool, notes: Notes
) -> dict[str, str]:
    before, after = annotations_of(old), annotations_of(new)
    results = _results(new if answers else old)
    if not answers and any(names.is_result(key) and before.get(key) != value for key, value in after.items()):
        notes.add("annotations that are vramshare's to write were left as they are")
    kept = {key: value for key, value in after.items() if not names.is_result(key)}
    if names.STATUS in before:
        kept = resizing.with_request(kept, before, ours=ours, notes=notes)
        kept = create.with_evictable_volumes(kept)
    elif any(names.is_request(key) and before.get(key) != value for key, value in after.items()):
        notes.add("this pod was created without a GPU slice and gets none now; delete it and create it anew")
    return {**kept, **results}


def _inside(pod: Json, old: Mapping[str, Any], notes: Notes) -> Json:
    """The pod's way out as it was: with the label, the next update would not be shown to us."""
    labels, before = dict(labels_of(pod)), labels_of(old).get(names.INJECT_LABEL)
    if labels.get(names.INJECT_LABEL) != names.INJECT_DISABLED or before == names.INJECT_DISABLED:
        return pod
    notes.add(f"label {names.INJECT_LABEL} stays as it was: a pod opts out when it is created, not later")
    del labels[names.INJECT_LABEL]
    if before is not None:
        labels[names.INJECT_LABEL] = before
    return {**pod, "metadata": {**pod["metadata"], "labels": labels}}


def _results(pod: Mapping[str, Any]) -> dict[str, str]:
    """What vramshare answered."""
    return {key: value for key, value in annotations_of(pod).items() if names.is_result(key)}
