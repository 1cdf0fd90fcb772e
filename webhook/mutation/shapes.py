"""Helpers for raw pods: typed access to what may be absent, and lists changed in place of what they name.

The mutation never changes what it was given. It makes new mappings along the path of a change and shares the rest,
so that finding the differences afterwards costs little.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Json = dict[str, Any]

CONTAINER_LISTS: Final = ("initContainers", "containers", "ephemeralContainers")


def annotations_of(pod: Mapping[str, Any]) -> Mapping[str, str]:
    """The pod's annotations; empty where there are none."""
    return (pod.get("metadata") or {}).get("annotations") or {}


def labels_of(pod: Mapping[str, Any]) -> Mapping[str, str]:
    """The pod's labels; empty where there are none."""
    return (pod.get("metadata") or {}).get("labels") or {}


def spec_of(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pod's spec; empty where there is none."""
    return pod.get("spec") or {}


def with_annotations(pod: Mapping[str, Any], annotations: Mapping[str, str]) -> Json:
    """The pod with exactly these annotations. None at all leaves no empty mapping behind where none was."""
    metadata = dict(pod.get("metadata") or {})
    if annotations or metadata.get("annotations"):
        metadata["annotations"] = dict(annotations)
    return {**pod, "metadata": metadata}


def with_spec(pod: Mapping[str, Any], **changes: Any) -> Json:
    """The pod with fields of its spec replaced; a field set to None or to an empty list is left out.

    A field that was empty before and is to be empty now stays as it was.
    """
    spec = dict(spec_of(pod))
    for name, value in changes.items():
        if value is None or value == []:
            if spec.get(name):
                del spec[name]
        else:
            spec[name] = value
    return {**pod, "spec": spec}


def with_containers(pod: Mapping[str, Any], change: Callable[[str, Json], Json]) -> Json:
    """The pod with every container changed: init, main and ephemeral ones.

    Args:
        pod: the pod.
        change: called with the name of the list and a container; returns the container wanted.
    """
    spec = spec_of(pod)
    changed = {
        kind: [change(kind, container) for container in containers]
        for kind in CONTAINER_LISTS
        if (containers := spec.get(kind))
    }
    return {**pod, "spec": {**spec, **changed}} if changed else dict(pod)


def put(items: Iterable[Json] | None, wanted: Iterable[Json], *, key: str) -> list[Json]:
    """A list in which each wanted item stands once.

    It takes the place of the first item of the same key; later ones of that key go. A new one is appended, so that
    the others' positions, which may carry meaning, stay.
    """
    rest = {item[key]: item for item in wanted}
    names = set(rest)
    result = []
    for item in items or ():
        if item.get(key) not in names:
            result.append(item)
        elif item[key] in rest:
            result.append(rest.pop(item[key]))
    return [*result, *rest.values()]
