"""What a pod needs, of GPUs and of its node, as one value.

Two pods of one Deployment have equal shapes. Everything that is remembered per shape (which nodes refuse it,
how good each node is for it) is then computed once for all of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from allocator.api.quantities import Memory, MemoryAsk, MemoryShare
from allocator.api.request import Choice, PodRequest
from allocator.core.filters import ANYWHERE, NodeFilter, Toleration
from allocator.core.resources import NOTHING, Usage, pod_usage

ANY: Final = Choice()
"""Every GPU will do."""


@dataclass(frozen=True, slots=True)
class SliceAsk:
    """What one container asks: `gpus` slices of one size, each on a different GPU. `cores` 0: no reservation."""

    gpus: int
    memory: MemoryAsk
    cores: int = 0

    def on(self, capacity: int) -> int:
        """Bytes of each slice on a GPU of this capacity."""
        return resolve(self.memory, capacity)


@dataclass(frozen=True, slots=True)
class Shape:
    """All of a demand that decides where it fits.

    Attributes:
        asks: what each container asks of GPUs, in the pod's order.
        usage: what the pod takes of its node.
        models: which GPU models may be used.
        uuids: which single GPUs may be used.
        filter: the pod's constraints on nodes.
    """

    asks: tuple[SliceAsk, ...]
    usage: Usage = NOTHING
    models: Choice = ANY
    uuids: Choice = ANY
    filter: NodeFilter = ANYWHERE


@dataclass(frozen=True, slots=True)
class PodDemand:
    """A pod that is to be placed.

    Attributes:
        shape: what decides where it fits.
        containers: names of the containers with slices, one per ask of the shape.
        policy: the packing policy that the pod asks for; None: the cluster's.
    """

    shape: Shape
    containers: tuple[str, ...]
    policy: str | None = None

    @classmethod
    def from_pod(
        cls,
        pod: Mapping[str, Any],
        request: PodRequest,
        *,
        runtime: Mapping[str, Any] | None = None,
        tolerations: Iterable[Toleration] = (),
    ) -> "PodDemand":
        """Join a pod's GPU request with what its spec asks of nodes.

        Args:
            pod: the Pod as JSON.
            request: `allocator.api.request.parse_pod` of it.
            runtime: its RuntimeClass as JSON; its selector, tolerations and overhead reach the pod later.
            tolerations: what the webhook will add.
        """
        spec = pod.get("spec") or {}
        overhead = ((runtime or {}).get("overhead") or {}).get("podFixed")
        shape = Shape(
            asks=tuple(SliceAsk(gpus=one.gpus, memory=one.memory, cores=one.cores or 0) for one in request.containers),
            usage=pod_usage(spec, overhead=overhead),
            models=request.models,
            uuids=request.uuids,
            filter=NodeFilter.from_spec(spec, runtime=runtime, tolerations=tolerations),
        )
        return cls(shape=shape, containers=tuple(one.container for one in request.containers), policy=request.policy)


@lru_cache(maxsize=4096)
def resolve(ask: MemoryAsk, capacity: int) -> int:
    """Bytes that an ask means on a GPU of this capacity."""
    return ask.of(Memory(capacity)).count if isinstance(ask, MemoryShare) else ask.count


@lru_cache(maxsize=4096)
def slice_milli(ask: SliceAsk, capacity: int) -> int:
    """The larger of the shares of memory and of time that a slice takes, in thousandths of the GPU."""
    memory = -(-resolve(ask.memory, capacity) * 1000 // capacity) if capacity else 0
    return max(memory, ask.cores * 10)
