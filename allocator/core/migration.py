"""From HAMi's way to ask to vramshare's, one object at a time. Pure.

The sizes that result are those that `parse_pod` reads from the original, so a migrated pod gets what the unchanged
one would get. What has no counterpart is left where it does no harm, and told.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from allocator.api import names
from allocator.api.request import PodRequest, gpu_resources, normalised_annotations, parse_pod

Json = dict[str, Any]

_CHOICES: Final = {
    "nvidia.com/use-gputype": (names.MODELS, ""),
    "nvidia.com/nouse-gputype": (names.MODELS, "!"),
    "nvidia.com/use-gpuuuid": (names.UUIDS, ""),
    "nvidia.com/nouse-gpuuuid": (names.UUIDS, "!"),
}
_POLICIES: Final = {"binpack": "pack", "spread": "spread"}
_POLICY_ANNOTATIONS: Final = ("hami.io/gpu-scheduler-policy", "hami.io/node-scheduler-policy")
_IGNORE_LABEL: Final = "hami.io/webhook"
_OTHER_PREFIXES: Final = ("hami.io/", "nvidia.com/vgpu-mode")
_VARIABLES: Final = {
    "CUDA_DISABLE_CONTROL": "no container can switch its wall off; use the pod label vramshare.io/inject: disabled",
    "CUDA_OVERSUBSCRIBE": "memory is never handed out twice",
    "GPU_CORE_UTILIZATION_POLICY": f"write the annotation {names.CORES_POLICY}: burst where idle time may be borrowed",
}


@dataclass(slots=True)
class Outcome:
    """What became of an object.

    Attributes:
        changed: whether anything did.
        notes: what the reader should know, one sentence each.
        namespaces: in which pods ask for GPUs; empty string: whichever the manifest is applied to.
    """

    changed: bool = False
    notes: list[str] = field(default_factory=list)
    namespaces: set[str] = field(default_factory=set)


def migrate(document: Mapping[str, Any], outcome: Outcome) -> Json:
    """The object in vramshare's terms; itself where nothing in it is HAMi's.

    Raises:
        RequestError: it asks in a way that cannot be understood, in either syntax.
    """
    name = (document.get("metadata") or {}).get("name", "?")
    where = f"{document.get('kind', 'object')} {name}"
    namespace = str((document.get("metadata") or {}).get("namespace", ""))
    return _walk(document, where, namespace, outcome)


def _walk(node: Mapping[str, Any], where: str, namespace: str, outcome: Outcome) -> Json:
    """Into lists of objects and templates, down to what holds containers."""
    if isinstance(node.get("items"), list):
        return {**node, "items": [migrate(one, outcome) for one in node["items"]]}
    spec = node.get("spec")
    if not isinstance(spec, Mapping):
        return dict(node)
    for key in ("jobTemplate", "template"):
        if isinstance(spec.get(key), Mapping):
            return {**node, "spec": {**spec, key: _walk(spec[key], where, namespace, outcome)}}
    return _pod(node, where, namespace, outcome) if isinstance(spec.get("containers"), list) else dict(node)


def _pod(pod: Mapping[str, Any], where: str, namespace: str, outcome: Outcome) -> Json:
    request = parse_pod(pod)
    if request is not None:
        outcome.namespaces.add(namespace)
    metadata, spec = dict(pod.get("metadata") or {}), dict(pod["spec"])
    annotations = dict(metadata.get("annotations") or {})
    kept = {key: value for key, value in annotations.items() if not _of_hami(key)}
    wanted = kept | _choices(annotations, where, outcome)
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    if request is not None and any(gpu_resources(one) for one in containers):
        wanted |= _sizes(request, pod)
    for key in ("initContainers", "containers"):
        if key in spec:
            spec[key] = [_container(one, where, outcome) for one in spec[key]]
    if spec.get("schedulerName") == names.HAMI_SCHEDULER:
        del spec["schedulerName"]
    labels = _labels(metadata.get("labels") or {})
    if wanted != annotations:
        metadata["annotations"] = wanted
    if labels != (metadata.get("labels") or {}):
        metadata["labels"] = labels
    made = {**pod, **({"metadata": metadata} if metadata else {}), "spec": spec}
    outcome.changed = outcome.changed or made != pod
    return made


def _sizes(request: PodRequest, pod: Mapping[str, Any]) -> dict[str, str]:
    """The request's sizes; pod-wide where the pod's default container alone has any, which is how people write it."""
    if len(request.containers) == 1:
        (one,) = request.containers
        wide = {names.MEMORY: str(one.memory)}
        if one.cores is not None:
            wide[names.CORES] = str(one.cores)
        if one.gpus != 1:
            wide[names.GPUS] = str(one.gpus)
        bare = {**pod, "metadata": {"annotations": {**_plain(pod), **wide}}, "spec": _without_resources(pod["spec"])}
        again = parse_pod(bare)
        if again is not None and again.containers == request.containers:
            return wide
    return normalised_annotations(request)


def _plain(pod: Mapping[str, Any]) -> dict[str, str]:
    """The annotations that are nobody's request."""
    found = (pod.get("metadata") or {}).get("annotations") or {}
    return {key: value for key, value in found.items() if not names.is_request(key)}


def _without_resources(spec: Mapping[str, Any]) -> Json:
    """The spec without GPU resources."""
    cut = {key: [_cut(one) for one in spec.get(key) or ()] for key in ("initContainers", "containers")}
    return {**spec, **cut}


def _container(container: Mapping[str, Any], where: str, outcome: Outcome) -> Json:
    for variable in container.get("env") or ():
        if (why := _VARIABLES.get(variable.get("name", ""))) is not None:
            outcome.notes.append(
                f"{where}: container {container.get('name')}: {variable['name']} means nothing here: {why}"
            )
    return _cut(container)


def _cut(container: Mapping[str, Any]) -> Json:
    """The container without GPU resources."""
    resources = container.get("resources")
    if not isinstance(resources, Mapping):
        return dict(container)
    left = {
        part: {name: value for name, value in amounts.items() if name not in names.HAMI_RESOURCES}
        if isinstance(amounts, Mapping)
        else amounts
        for part, amounts in resources.items()
    }
    left = {part: amounts for part, amounts in left.items() if amounts or not resources[part]}
    made = {key: value for key, value in container.items() if key != "resources"}
    return {**made, "resources": left} if left or not resources else made


def _choices(annotations: Mapping[str, str], where: str, outcome: Outcome) -> dict[str, str]:
    """HAMi's annotations that have a counterpart."""
    found: dict[str, list[str]] = {}
    for key, (ours, sign) in _CHOICES.items():
        if key in annotations:
            found.setdefault(ours, []).extend(
                f"{sign}{one.strip()}" for one in annotations[key].split(",") if one.strip()
            )
    if names.MODELS in found:
        outcome.notes.append(
            f"{where}: {names.MODELS} takes whole model names, HAMi took parts of them; compare with "
            "`kubectl -n vramshare-system describe configmaps -l vramshare.io/kind=inventory`"
        )
    result = {ours: ",".join(values) for ours, values in found.items()}
    policies = [annotations[key].strip().lower() for key in _POLICY_ANNOTATIONS if key in annotations]
    if policies and policies[0] in _POLICIES:
        result[names.POLICY] = _POLICIES[policies[0]]
    for key in annotations:
        if _of_hami(key) and key not in _CHOICES and key not in _POLICY_ANNOTATIONS:
            outcome.notes.append(f"{where}: annotation {key} has no counterpart and was removed")
    return result


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    """HAMi's opt-out as ours."""
    made = {key: value for key, value in labels.items() if key != _IGNORE_LABEL}
    if labels.get(_IGNORE_LABEL) == "ignore":
        made[names.INJECT_LABEL] = names.INJECT_DISABLED
    return made


def _of_hami(key: str) -> bool:
    return key in _CHOICES or key.startswith(_OTHER_PREFIXES)
