"""What a pod takes of its node's CPU and memory.

The rule is the scheduler's: the larger of what runs for good and what the heaviest init step needs, plus the
RuntimeClass' overhead (Kubernetes `resourcehelper.PodRequests`, with KEP-753 for sidecars and KEP-2837 for
requests of the whole pod).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from allocator.api.quantities import QuantityError, parse_quantity


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU in thousandths of a core, memory in bytes."""

    cpu: int = 0
    memory: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.cpu + other.cpu, self.memory + other.memory)

    def at_least(self, other: "Usage") -> "Usage":
        """The larger of both in each part."""
        return Usage(max(self.cpu, other.cpu), max(self.memory, other.memory))


NOTHING: Final = Usage()


def usage_from(resources: Mapping[str, Any] | None) -> Usage:
    """Read `{"cpu": "500m", "memory": "1Gi"}`. What cannot be read counts nothing: the API server refuses it."""
    found = resources or {}
    return Usage(cpu=amount(found.get("cpu"), scale=1000), memory=amount(found.get("memory"), scale=1))


def amount(value: object, *, scale: int) -> int:
    """A quantity in whole units of 1/`scale`, rounded up as the scheduler rounds."""
    if value is None:
        return 0
    try:
        exact = parse_quantity(str(value)) * scale
    except QuantityError:
        return 0
    return -int(-exact // 1)


def pod_usage(spec: Mapping[str, Any], *, overhead: Mapping[str, Any] | None = None) -> Usage:
    """What the scheduler counts for a pod.

    Args:
        spec: the pod's spec.
        overhead: of its RuntimeClass, where the spec does not carry it yet.
    """
    running = _sum(spec.get("containers") or ())
    sidecars = NOTHING
    heaviest = NOTHING
    for one in spec.get("initContainers") or ():
        if one.get("restartPolicy") == "Always":
            sidecars += _container(one)
            heaviest = heaviest.at_least(sidecars)
        else:
            heaviest = heaviest.at_least(sidecars + _container(one))
    total = _whole_pod(spec, (running + sidecars).at_least(heaviest))
    return total + usage_from(spec.get("overhead") or overhead)


def _whole_pod(spec: Mapping[str, Any], counted: Usage) -> Usage:
    """Requests stated for the pod as a whole go before those of its containers."""
    resources = spec.get("resources") or {}
    stated = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    found = usage_from(stated)
    return Usage(
        cpu=found.cpu if "cpu" in stated else counted.cpu,
        memory=found.memory if "memory" in stated else counted.memory,
    )


def _container(spec: Mapping[str, Any]) -> Usage:
    """A container's requests; a limit stands in for an absent request, as the API server defaults it."""
    resources = spec.get("resources") or {}
    return usage_from({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _sum(containers: Iterable[Mapping[str, Any]]) -> Usage:
    total = NOTHING
    for one in containers:
        total += _container(one)
    return total
