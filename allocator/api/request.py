"""What a pod asks of GPUs, from either syntax, as one value.

A pod asks by vramshare's annotations or by HAMi's container resources, never both. `parse_pod` is the only
reader of either. `normalised_annotations` writes the answer back in annotations, so that the request survives
the removal of the resources from the spec and a restart of everything.

An init container's slice is added to the others': a grant lives as long as its pod.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from allocator.api import names
from allocator.api.errors import RequestError
from allocator.api.group import Group, parse_group
from allocator.api.quantities import (
    CoresPolicy,
    MemoryAsk,
    QuantityError,
    parse_cores,
    parse_cores_policy,
    parse_memory_ask,
)
from allocator.api.resources import MOST_GPUS, WHOLE, sizes_from

T = TypeVar("T")

LONGEST_VALUE: Final = 4096
"""Characters of one request annotation; a longer one is a mistake or an attack."""
MOST_CONTAINERS: Final = 64
"""Of one pod, that have slices. A grant is kept in its node's ledger, which all pods of the node share and which holds
1 MiB at most."""
_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"


class WhenFull(StrEnum):
    """What happens to a pod that fits nowhere now."""

    QUEUE = "queue"
    REJECT = "reject"


class Syntax(StrEnum):
    """How the user asked."""

    ANNOTATIONS = "annotations"
    RESOURCES = "resources"


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """What one container asks.

    Attributes:
        container: its name.
        gpus: slices, each on a different GPU of one node.
        memory: VRAM of each slice, in bytes or as a share of the GPU.
        cores: GPU time of each slice in percent of one GPU, reserved and capped; None: neither.
        cores_policy: whether it may use more while others leave theirs idle; of no effect without `cores`.
    """

    container: str
    gpus: int
    memory: MemoryAsk
    cores: int | None
    cores_policy: CoresPolicy = CoresPolicy.HARD


@dataclass(frozen=True, slots=True)
class Choice:
    """Which GPUs may be used, by model or by UUID: any of `include` (empty: all) and none of `exclude`."""

    include: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()

    def allows(self, name: str) -> bool:
        """Whether a GPU of this name may be used. Names compare without regard to case."""
        folded = name.casefold()
        return folded not in self.exclude and (not self.include or folded in self.include)


@dataclass(frozen=True, slots=True)
class PodRequest:
    """What a pod asks, over all its containers.

    Attributes:
        containers: one entry per container with slices, in the pod's own order, init containers first.
        models: which GPU models may be used.
        uuids: which single GPUs may be used.
        policy: the packing policy asked for; None: the cluster's.
        when_full: whether to wait or to be refused where nothing fits now.
        syntax: how the user asked.
        group: the pods with which it is granted together; None: it is granted alone.
    """

    containers: tuple[ContainerRequest, ...]
    models: Choice = Choice()
    uuids: Choice = Choice()
    policy: str | None = None
    when_full: WhenFull = WhenFull.QUEUE
    syntax: Syntax = Syntax.ANNOTATIONS
    group: Group | None = None


def parse_pod(pod: Mapping[str, Any]) -> PodRequest | None:
    """Read a pod's request.

    Args:
        pod: a Pod as JSON, before or after vramshare's own changes.

    Returns:
        The request, or None for a pod that asks for no GPU.

    Raises:
        RequestError: asked in a way that cannot be understood; says which field, and what to write instead.
    """
    annotations: Mapping[str, str] = (pod.get("metadata") or {}).get("annotations") or {}
    asked = {key: value for key, value in annotations.items() if names.is_request(key)}
    containers = _containers(pod)
    resources = {name: found for name, spec in containers.items() if (found := gpu_resources(spec))}
    if not asked and not resources:
        return None
    for key, value in asked.items():
        if len(value) > LONGEST_VALUE:
            raise _annotation_error(key, value, "far too long", f"write at most {LONGEST_VALUE} characters")
    by_annotations = any(key in asked for key in _SIZES) or any(k.startswith(names.SIZE_PREFIXES) for k in asked)
    if resources and by_annotations and not _is_ours(annotations):
        _refuse_both(asked, resources)
    if not resources and not by_annotations:
        key = min(asked)
        problem = "it says how a GPU is chosen, but the pod asks for none"
        raise _annotation_error(key, asked[key], problem, f"add {names.MEMORY}: 2Gi (or remove it)")
    if resources and not by_annotations:
        requests = tuple(_from_resources(name, found) for name, found in resources.items())
        requests = tuple(request for request in requests if request.gpus)
        syntax = Syntax.RESOURCES
        if names.CONTAINERS in asked:
            raise _annotation_error(
                names.CONTAINERS,
                asked[names.CONTAINERS],
                "the containers are already named by their own resources",
                "remove the annotation, or ask by annotations alone",
            )
    else:
        requests = _from_annotations(asked, pod, list(containers), settled=_is_ours(annotations))
        syntax = Syntax.ANNOTATIONS
    if not requests:
        return None
    if len(requests) > MOST_CONTAINERS:
        raise RequestError(
            where="pod",
            value=f"{len(requests)} containers with GPU slices",
            problem=f"a pod has at most {MOST_CONTAINERS}",
            remedy="let several pods ask",
        )
    return PodRequest(
        containers=_with_policies(requests, asked, list(containers)),
        models=_choice(asked, names.MODELS),
        uuids=_choice(asked, names.UUIDS),
        policy=asked.get(names.POLICY, "").strip() or None,
        when_full=_when_full(asked),
        syntax=syntax,
        group=parse_group(asked),
    )


def normalised_annotations(request: PodRequest) -> dict[str, str]:
    """The request's sizes as annotations, one set per container, from which `parse_pod` reads the same sizes."""
    result: dict[str, str] = {}
    for one in request.containers:
        result[names.memory_annotation(one.container)] = str(one.memory)
        if one.cores is not None:
            result[names.cores_annotation(one.container)] = str(one.cores)
        if one.gpus != 1:
            result[names.gpus_annotation(one.container)] = str(one.gpus)
        if one.cores_policy != CoresPolicy.HARD:
            result[names.cores_policy_annotation(one.container)] = str(one.cores_policy)
    return result


def gpu_resources(container: Mapping[str, Any]) -> dict[str, str]:
    """The GPU resources that a container's spec names, limits before requests, as written."""
    resources = container.get("resources") or {}
    found: dict[str, str] = {}
    for part in ("limits", "requests"):
        for name, value in (resources.get(part) or {}).items():
            if name in names.HAMI_RESOURCES:
                found.setdefault(name, str(value))
    return found


def _containers(pod: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All containers that may have slices, by name, init containers first."""
    spec = pod.get("spec") or {}
    ordered = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return {one.get("name", ""): one for one in ordered}


def _is_ours(annotations: Mapping[str, str]) -> bool:
    """Whether the webhook has answered this pod before.

    An in-tree plugin may have added a stripped resource again since (LimitRanger does, from its defaults):
    what the annotations say then holds.
    """
    return names.STATUS in annotations


def _refuse_both(asked: Mapping[str, str], resources: Mapping[str, Mapping[str, str]]) -> None:
    container, found = next(iter(resources.items()))
    resource, value = next(iter(found.items()))
    annotation = next(key for key in asked if key in _SIZES or key.startswith(names.SIZE_PREFIXES))
    raise RequestError(
        where=f"resource {resource}",
        value=value,
        problem=f"the pod also asks by annotation {annotation}",
        remedy="ask by annotations or by resources, not both",
        container=container,
    )


def _from_resources(container: str, found: Mapping[str, str]) -> ContainerRequest:
    """One container's request from its resources."""
    gpus, memory, cores = sizes_from(found, container=container)
    return ContainerRequest(container=container, gpus=gpus, memory=memory, cores=cores)


# --- The policy of GPU time, with either syntax -------------------------------------------------------------


def _with_policies(
    requests: tuple[ContainerRequest, ...], asked: Mapping[str, str], known: list[str]
) -> tuple[ContainerRequest, ...]:
    """The requests, each with its container's own policy, else the pod's."""
    members = set(known)
    for key, value in asked.items():
        name = key.removeprefix(names.CORES_POLICY_PREFIX)
        if name != key and name not in members:
            raise _annotation_error(key, value, f"the pod has no container {name!r}", _name_one(known))
    found = []
    for one in requests:
        own = names.cores_policy_annotation(one.container)
        policy = _value(asked, own, names.CORES_POLICY, parse_cores_policy, one.container)
        found.append(replace(one, cores_policy=policy or CoresPolicy.HARD))
    return tuple(found)


# --- vramshare's annotations -------------------------------------------------------------------------------

_SIZES: Final = (names.MEMORY, names.CORES, names.GPUS, names.CONTAINERS)


def _from_annotations(
    asked: Mapping[str, str], pod: Mapping[str, Any], known: list[str], *, settled: bool
) -> tuple[ContainerRequest, ...]:
    """The containers' requests from annotations: pod-wide sizes, overridden by each container's own.

    Once settled, each container with slices has sizes of its own, and those alone count: a sidecar that was put in
    front of the others meanwhile is the first container now, and pod-wide sizes were never meant for it.
    """
    own = _own_containers(asked, known)
    wide = any(key in asked for key in _SIZES) and not (settled and own)
    chosen = _chosen(asked, pod, known) if wide or not own else []
    having = own.union(chosen)
    members = [name for name in known if name in having]
    result = []
    for name in members:
        pod_wide = name in chosen
        memory = _value(
            asked, names.memory_annotation(name), names.MEMORY if pod_wide else None, parse_memory_ask, name
        )
        cores = _value(asked, names.cores_annotation(name), names.CORES if pod_wide else None, parse_cores, name)
        gpus = _value(asked, names.gpus_annotation(name), names.GPUS, _parse_gpus, name)
        if memory is None and cores is None:
            cores = 100  # a whole GPU, as `nvidia.com/gpu: 1` alone
        result.append(ContainerRequest(container=name, gpus=gpus or 1, memory=memory or WHOLE, cores=cores))
    return tuple(result)


def _own_containers(asked: Mapping[str, str], known: Iterable[str]) -> set[str]:
    """Containers with annotations of their own; each must exist."""
    known = list(known)
    members = set(known)
    own = set()
    for key, value in asked.items():
        for prefix in names.SIZE_PREFIXES:
            if key.startswith(prefix):
                name = key.removeprefix(prefix)
                if name not in members:
                    raise _annotation_error(key, value, f"the pod has no container {name!r}", _name_one(known))
                own.add(name)
    return own


def _chosen(asked: Mapping[str, str], pod: Mapping[str, Any], known: list[str]) -> list[str]:
    """The containers that the pod-wide sizes are meant for."""
    text = asked.get(names.CONTAINERS)
    if text is not None:
        listed, members = _list(names.CONTAINERS, text), set(known)
        for name in listed:
            if name not in members:
                raise _annotation_error(names.CONTAINERS, text, f"the pod has no container {name!r}", _name_one(known))
        return listed
    mains = [one.get("name", "") for one in (pod.get("spec") or {}).get("containers") or ()]
    default = ((pod.get("metadata") or {}).get("annotations") or {}).get(_DEFAULT_CONTAINER)
    return [default] if default in mains and default is not None else mains[:1]


def _value(asked: Mapping[str, str], own: str, wide: str | None, parse: Callable[[str], T], container: str) -> T | None:
    """A container's value: its own annotation, else the pod-wide one, else None."""
    key = own if own in asked else wide
    if key is None or key not in asked:
        return None
    try:
        return parse(asked[key])
    except QuantityError as reason:
        raise _annotation_error(key, asked[key], reason.problem, reason.remedy, container=container) from None


def _parse_gpus(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not 1 <= int(text) <= MOST_GPUS:
        raise QuantityError(f"a number of GPUs is a whole number from 1 to {MOST_GPUS}", "write for example 1")
    return int(text)


def _choice(asked: Mapping[str, str], key: str) -> Choice:
    """Read `Tesla T4,NVIDIA L40S` or `!Tesla T4`."""
    if key not in asked:
        return Choice()
    include: set[str] = set()
    exclude: set[str] = set()
    for entry in _list(key, asked[key]):
        name = entry.removeprefix("!").strip().casefold()
        if not name:
            raise _annotation_error(key, asked[key], "an exclamation mark with no name", "write for example !Tesla T4")
        (exclude if entry.startswith("!") else include).add(name)
    if both := include & exclude:
        raise _annotation_error(key, asked[key], f"{min(both)!r} is both wanted and excluded", "keep one of the two")
    return Choice(include=frozenset(include), exclude=frozenset(exclude))


def _when_full(asked: Mapping[str, str]) -> WhenFull:
    text = asked.get(names.WHEN_FULL, WhenFull.QUEUE).strip()
    try:
        return WhenFull(text)
    except ValueError:
        raise _annotation_error(names.WHEN_FULL, text, "not a choice", "write queue or reject") from None


def _list(key: str, text: str) -> list[str]:
    """Entries of a comma-separated list; none empty, none twice."""
    entries = [entry.strip() for entry in text.split(",")]
    for entry in entries:
        if not entry:
            raise _annotation_error(
                key, text, "an entry of the list is empty", "write names separated by single commas"
            )
        if entries.count(entry) > 1:
            raise _annotation_error(key, text, f"{entry!r} stands there twice", "name each once")
    return entries


def _name_one(known: list[str]) -> str:
    return f"name one of: {', '.join(known[:10])}"


def _annotation_error(key: str, value: str, problem: str, remedy: str, *, container: str | None = None) -> RequestError:
    return RequestError(where=f"annotation {key}", value=value, problem=problem, remedy=remedy, container=container)
