"""What there is to see of a cluster's GPUs: nodes, their GPUs, the slices on them, and who waits. Pure.

The web page, `vramshare map` and `vramshare top` all draw this, so that they cannot tell different stories. It is
made node by node, so that whoever follows a large fleet need look only at what has changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from allocator.api.errors import RequestError
from allocator.api.grant import Grant
from allocator.api.inventory import HEALTHY
from allocator.api.quantities import CoresPolicy
from allocator.api.request import ContainerRequest, parse_pod
from allocator.core.fleet import Fleet
from allocator.core.fragmentation import Fragmentation, by_model
from allocator.core.queue import Waiting
from allocator.core.state import NodeState

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """One container's slice of a GPU.

    Attributes:
        grant: the allocation's id.
        namespace: the pod's; empty for an entry of the ledger that cannot be read.
        pod: its name; a prefix with `*` until it has been seen.
        container: the container's name.
        memory: bytes.
        cores: percent of the GPU's time; 0: neither reserved nor capped.
        burst: whether it may use more time while others leave theirs idle.
    """

    grant: str
    namespace: str
    pod: str
    container: str
    memory: int
    cores: int
    burst: bool

    def to_json(self) -> Json:
        """For a browser or a script."""
        return {
            "grant": self.grant,
            "namespace": self.namespace,
            "pod": self.pod,
            "container": self.container,
            "memory": self.memory,
            "cores": self.cores,
            "burst": self.burst,
        }


@dataclass(frozen=True, slots=True)
class GpuPicture:
    """One GPU.

    Attributes:
        uuid: NVML's.
        index: on its node, for people.
        model: product name.
        memory: bytes in all.
        capacity: bytes that grants may add up to.
        foreign: bytes that others than vramshare's pods hold.
        problem: why it takes no new grants; empty where it does.
        held: its slices, by namespace and pod.
    """

    uuid: str
    index: int
    model: str
    memory: int
    capacity: int
    foreign: int
    problem: str
    held: tuple[Held, ...]

    @property
    def granted(self) -> int:
        """Bytes that are granted."""
        return sum(one.memory for one in self.held)

    @property
    def cores(self) -> int:
        """Percent of its time that is granted."""
        return sum(one.cores for one in self.held)

    @property
    def free(self) -> int:
        """Bytes that a new grant could have."""
        return 0 if self.problem else max(0, self.capacity - self.foreign - self.granted)

    def to_json(self) -> Json:
        """For a browser or a script."""
        return {
            "uuid": self.uuid,
            "index": self.index,
            "model": self.model,
            "memory": self.memory,
            "capacity": self.capacity,
            "foreign": self.foreign,
            "problem": self.problem,
            "held": [one.to_json() for one in self.held],
        }


@dataclass(frozen=True, slots=True)
class NodePicture:
    """One node.

    Attributes:
        name: its name.
        problem: why it takes nothing new; empty where it does.
        gpus: its GPUs, in their order there.
    """

    name: str
    problem: str
    gpus: tuple[GpuPicture, ...]

    def to_json(self) -> Json:
        """For a browser or a script."""
        return {"name": self.name, "problem": self.problem, "gpus": [one.to_json() for one in self.gpus]}


@dataclass(frozen=True, slots=True)
class WaitingPicture:
    """A pod in the queue.

    Attributes:
        namespace: the pod's.
        pod: its name.
        priority: of its PriorityClass; larger goes first.
        since: when it was created, as the API server wrote it.
        asks: what it asks, in words.
        reason: why it waits.
    """

    namespace: str
    pod: str
    priority: int
    since: str
    asks: str
    reason: str

    def to_json(self) -> Json:
        """For a browser or a script."""
        return {
            "namespace": self.namespace,
            "pod": self.pod,
            "priority": self.priority,
            "since": self.since,
            "asks": self.asks,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it.

    Attributes:
        nodes: those with GPUs, by name.
        queue: who waits, first come first.
        models: how much of each GPU model is free, and how much of that is of no use.
    """

    nodes: tuple[NodePicture, ...]
    queue: tuple[WaitingPicture, ...]
    models: Mapping[str, Fragmentation]

    def to_json(self) -> Json:
        """For a browser or a script."""
        return {
            "nodes": [one.to_json() for one in self.nodes],
            "queue": [one.to_json() for one in self.queue],
            "models": models_json(self.models),
        }


def picture(fleet: Fleet, waiting: Iterable[Waiting]) -> Picture:
    """The picture of this moment."""
    return Picture(
        nodes=tuple(found for node in fleet.nodes() if (found := draw_node(node)) is not None),
        queue=tuple(draw_waiting(one) for one in waiting),
        models=by_model(fleet.table),
    )


def draw_node(node: NodeState) -> NodePicture | None:
    """One node; None: it has no GPUs that anybody knows of."""
    if not node.gpus:
        return None
    held: dict[str, list[Held]] = {one.gpu.uuid: [] for one in node.gpus}
    for grant in [*node.ledger.values(), *node.assumed.values()]:
        for uuid, one in _held(grant):
            if uuid in held:
                held[uuid].append(one)
    return NodePicture(
        name=node.name,
        problem=_problem(node),
        gpus=tuple(
            GpuPicture(
                uuid=one.gpu.uuid,
                index=one.gpu.index,
                model=one.gpu.model,
                memory=one.gpu.memory.count,
                capacity=one.capacity,
                foreign=one.gpu.foreign.count,
                problem="" if one.gpu.health == HEALTHY else one.gpu.health,
                held=tuple(sorted(held[one.gpu.uuid], key=_order)),
            )
            for one in node.gpus
        ),
    )


def draw_waiting(waiting: Waiting) -> WaitingPicture:
    """One pod of the queue."""
    return WaitingPicture(
        namespace=waiting.namespace,
        pod=waiting.name,
        priority=waiting.priority,
        since=waiting.created,
        asks=_asks(waiting),
        reason=waiting.reason,
    )


def models_json(models: Mapping[str, Fragmentation]) -> Json:
    """Fragmentation by model, in GPUs."""
    return {
        name: {"total": round(one.total, 3), "free": round(one.free, 3), "stranded": round(one.stranded, 3)}
        for name, one in sorted(models.items())
    }


def _problem(node: NodeState) -> str:
    """Why a node takes nothing new, as a sentence without its subject."""
    if (obstacle := node.obstacle()) is not None:
        return obstacle
    if node.info is None:
        return "is no node of the cluster"
    if node.info.unschedulable:
        return "is cordoned"
    return "" if node.info.ready else "is not ready"


def _held(grant: Grant) -> Iterable[tuple[str, Held]]:
    """A grant's slices with their GPUs."""
    for container, slices in grant.allocation.containers.items():
        for one in slices:
            yield (
                one.uuid,
                Held(
                    grant=grant.allocation.id,
                    namespace=grant.namespace,
                    pod=grant.pod,
                    container=container,
                    memory=one.memory.count,
                    cores=one.cores,
                    burst=one.policy is CoresPolicy.BURST,
                ),
            )


def _order(one: Held) -> tuple[str, str, str, str]:
    return one.namespace, one.pod, one.container, one.grant


def _asks(waiting: Waiting) -> str:
    """What a waiting pod asks, such as `worker: 2 x 20 %, 25 % of the time`. Users may edit a pod that waits."""
    try:
        request = parse_pod(waiting.pod)
    except RequestError as reason:
        return str(reason)
    return "; ".join(f"{one.container}: {_asked(one)}" for one in (request.containers if request else ()))


def _asked(one: ContainerRequest) -> str:
    """What one container asks, in words."""
    times = f"{one.gpus} x " if one.gpus != 1 else ""
    return f"{times}{one.memory}" + (f", {one.cores}% of the time" if one.cores else "")
