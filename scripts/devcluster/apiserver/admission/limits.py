"""LimitRanger: a namespace's default requests and limits, and its minima and maxima, for containers."""

from collections.abc import Iterator
from typing import Any

from devcluster.apiserver.admission.lifecycle import refusal
from devcluster.apiserver.machine import Attributes, Machine
from devcluster.apiserver.quantity import parse

Json = dict[str, Any]
_ANNOTATION = "kubernetes.io/limit-ranger"


def _rules(namespace: str, machine: Machine) -> Iterator[Json]:
    for entry in machine.store.collection("/limitranges").entries(namespace):
        yield from (
            item for item in (entry.obj.get("spec") or {}).get("limits") or () if item.get("type") == "Container"
        )


def _containers(pod: Json) -> Iterator[tuple[str, Json]]:
    for key, word in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(key) or ():
            yield word, container


def set_defaults(attributes: Attributes, machine: Machine) -> None:
    """Fill in what containers leave out."""
    pod = attributes.obj or {}
    notes: list[str] = []
    for rule in _rules(attributes.namespace, machine):
        for word, container in _containers(pod):
            resources = container.setdefault("resources", {})
            for source, target, shown in (("defaultRequest", "requests", "request"), ("default", "limits", "limit")):
                added = _merge(resources, target, rule.get(source) or {})
                if added:
                    notes.append(f"{', '.join(added)} {shown} for {word} {container['name']}")
    if notes:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[_ANNOTATION] = "LimitRanger plugin set: " + "; ".join(notes)


def _merge(resources: Json, target: str, defaults: Json) -> list[str]:
    present = resources.get(target) or {}
    added = {name: value for name, value in defaults.items() if name not in present}
    if added:
        resources[target] = {**present, **added}
    return sorted(added)


def check(attributes: Attributes, machine: Machine) -> None:
    """Refuse containers outside the limits.

    Raises:
        ApiError: 403 with every violation.
    """
    wrong = [
        message
        for rule in _rules(attributes.namespace, machine)
        for _, container in _containers(attributes.obj or {})
        for message in _violations(container.get("resources") or {}, rule)
    ]
    if wrong:
        raise refusal(attributes, wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]")


def _violations(resources: Json, rule: Json) -> Iterator[str]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, most in (rule.get("max") or {}).items():
        if name not in limits:
            yield f"maximum {name} usage per Container is {most}.  No limit is specified"
        elif parse(limits[name]) > parse(most):
            yield f"maximum {name} usage per Container is {most}, but limit is {limits[name]}"
    for name, least in (rule.get("min") or {}).items():
        if name not in requests:
            yield f"minimum {name} usage per Container is {least}.  No request is specified"
        elif parse(requests[name]) < parse(least):
            yield f"minimum {name} usage per Container is {least}, but request is {requests[name]}"
