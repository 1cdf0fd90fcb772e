"""Binding a pod to the node of its grant by required node affinity.

`matchFields metadata.name In [node]` in every term: terms are alternatives, and any term without it would be a way
around it. The scheduler still checks CPU, memory, taints and volumes.
"""

from collections.abc import Mapping
from typing import Any, Final

_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_FIELD: Final = "metadata.name"


def pinned_affinity(affinity: Mapping[str, Any] | None, node: str) -> dict[str, Any]:
    """The pod's affinity with the pin added to each term; what the user wrote stays. Pinning twice changes nothing.

    Args:
        affinity: `spec.affinity`, or None.
        node: the node's name.
    """
    result = dict(affinity or {})
    node_affinity = dict(result.get("nodeAffinity") or {})
    required = dict(node_affinity.get(_REQUIRED) or {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [_pinned(term, node) for term in terms]
    node_affinity[_REQUIRED] = required
    result["nodeAffinity"] = node_affinity
    return result


def _pinned(term: Mapping[str, Any], node: str) -> dict[str, Any]:
    pin = {"key": _FIELD, "operator": "In", "values": [node]}
    fields = list(term.get("matchFields") or ())
    return {**term, "matchFields": fields if pin in fields else [*fields, pin]}
