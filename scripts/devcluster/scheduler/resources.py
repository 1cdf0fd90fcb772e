"""What pods ask for and nodes have, in thousandths, so that CPU is exact and everything is an integer. Pure."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from devcluster.quantities import parse

Amounts = dict[str, int]


@functools.lru_cache(maxsize=4096)
def thousandths(quantity: str) -> int:
    """Return a quantity in thousandths of its unit, rounded up."""
    return int(-(-parse(quantity) * 1000 // 1))


def amounts(resources: Mapping[str, Any] | None) -> Amounts:
    """Return a resource list in thousandths."""
    return {name: thousandths(str(value)) for name, value in (resources or {}).items()}


def pod_requests(spec: Mapping[str, Any]) -> Amounts:
    """Return what a pod needs while it runs, one place for a pod included.

    Containers and sidecars run together; a plain init container runs with the sidecars started before it; of each
    resource the largest need counts. Overhead comes on top.
    """
    together = _sum(_requests(container) for container in spec["containers"])
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or []:
        asked = _requests(container)
        if container.get("restartPolicy") == "Always":
            sidecars = _sum([sidecars, asked])
            peak = _maximum(peak, sidecars)
        else:
            peak = _maximum(peak, _sum([sidecars, asked]))
    needed = _maximum(_sum([together, sidecars]), peak)
    return _sum([needed, amounts(spec.get("overhead")), {"pods": 1000}])


def _requests(container: Mapping[str, Any]) -> Amounts:
    resources = container.get("resources") or {}
    return {**amounts(resources.get("limits")), **amounts(resources.get("requests"))}


def _sum(parts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _maximum(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one.keys() | other.keys()}
