"""Downward API values: what ``fieldRef`` and ``resourceFieldRef`` mean for a pod. Pure."""

import math
import re
from collections.abc import Mapping
from typing import Any

from devcluster.quantities import parse

_KEYED = re.compile(r"metadata\.(annotations|labels)\['(.+)'\]")


class FieldError(ValueError):
    """A path that no downward API offers."""


def field_value(pod: Mapping[str, Any], path: str) -> str:
    """Return the value at ``path`` of a pod; what is not set is empty, as in a real kubelet.

    Raises:
        FieldError: the path is not offered.
    """
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    keyed = _KEYED.fullmatch(path)
    if keyed:
        return str((meta.get(keyed[1]) or {}).get(keyed[2], ""))
    simple = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta.get("namespace", ""),
        "metadata.uid": meta.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": status.get("podIP", ""),
        "status.podIPs": ",".join(each["ip"] for each in status.get("podIPs") or []),
        "status.hostIP": status.get("hostIP", ""),
        "status.hostIPs": ",".join(each["ip"] for each in status.get("hostIPs") or []),
    }
    if path in simple:
        return str(simple[path])
    if path in {"metadata.labels", "metadata.annotations"}:
        values = meta.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f'{name}="{_escaped(values[name])}"' for name in sorted(values))
    raise FieldError(f"unsupported fieldPath: {path}")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_value(pod: Mapping[str, Any], reference: Mapping[str, Any], allocatable: Mapping[str, str]) -> str:
    """Return a container's request or limit, divided and rounded up; an unset limit is what the node can allocate.

    Raises:
        FieldError: the container or the resource is unknown.
    """
    spec = pod["spec"]
    name = reference.get("containerName")
    found = [each for each in [*spec["containers"], *(spec.get("initContainers") or [])] if each["name"] == name]
    if not found:
        raise FieldError(f"container {name} not found")
    kind, _, resource = reference["resource"].partition(".")
    if kind not in {"limits", "requests"}:
        raise FieldError(f"unsupported container resource : {reference['resource']}")
    resources = found[0].get("resources") or {}
    amount = (resources.get(kind) or {}).get(resource)
    if amount is None:
        amount = allocatable.get(resource, "0") if kind == "limits" else "0"
    divisor = parse(reference.get("divisor") or "1") or parse("1")
    return str(math.ceil(parse(amount) / divisor))
