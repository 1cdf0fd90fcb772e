"""One run of the packing benchmark: a policy, a trace, a seed."""

import resource
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from openb import GPU_MEMORY, NodeRow, PodRow, fleet_of

from allocator.api.allocation import Allocation
from allocator.api.grant import Grant
from allocator.core.fleet import Fleet
from allocator.core.placement import Placement, place
from allocator.core.policies import Policy, Rater

_GRANTED = datetime(2026, 1, 1, tzinfo=UTC)


class Books:
    """The benchmark's own count of what is free, against which refusals are checked."""

    def __init__(self, nodes: Sequence[NodeRow]) -> None:
        self._index = {node.name: at for at, node in enumerate(nodes)}
        self._cpu = np.asarray([node.cpu for node in nodes])
        self._memory = np.asarray([node.memory for node in nodes])
        widest = max(node.gpus for node in nodes)
        self._milli = np.asarray([[1000] * node.gpus + [-1] * (widest - node.gpus) for node in nodes])
        self._models = np.asarray([node.model.casefold() for node in nodes])

    def fits(self, pod: PodRow) -> bool:
        """Whether any node has room."""
        shape = pod.demand.shape
        room = (self._cpu >= shape.usage.cpu) & (self._memory * 1024**2 >= shape.usage.memory)
        if shape.models.include:
            room &= np.isin(self._models, list(shape.models.include))
        for ask in shape.asks:
            room &= (self._milli >= pod.milli // pod.gpus).sum(axis=1) >= ask.gpus
        return bool(room.any())

    def book(self, pod: PodRow, found: Placement, *, sign: int = 1) -> None:
        """Take what a pod was given, or give it back (-1); fails where something is given twice."""
        at = self._index[found.node]
        usage = pod.demand.shape.usage
        self._cpu[at] -= sign * usage.cpu
        self._memory[at] -= sign * usage.memory // 1024**2
        for slices in found.containers.values():
            for one in slices:
                gpu = int(one.uuid.rpartition("-")[2])
                self._milli[at, gpu] -= sign * one.memory.count * 1000 // GPU_MEMORY.count
        if min(self._cpu[at], self._memory[at]) < 0 or self._milli[at].min() < -1:
            raise AssertionError(f"{found.node} is overbooked by {pod.name}")


@dataclass(slots=True)
class Outcome:
    """What a run showed. Shares are of the cluster's GPUs, in percent.

    Attributes:
        at_100, at_130: GPUs allocated when arrivals had asked for 100 % and for all of it.
        refused_multi: share of the demand of pods with several GPUs that was refused.
        refused_wrongly: pods refused that would have fitted somewhere; must be 0.
        times: seconds of processor time of each decision, the fleet's update included. Nothing in it waits.
    """

    at_100: float = 0.0
    at_130: float = 0.0
    refused_multi: float = 0.0
    refused_wrongly: int = 0
    times: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """The outcome as numbers."""
        times = np.asarray(self.times)
        return {
            "at_100": self.at_100,
            "at_130": self.at_130,
            "refused_multi": self.refused_multi,
            "refused_wrongly": self.refused_wrongly,
            "decisions_per_s": len(times) / times.sum(),
            "p50_ms": float(np.percentile(times, 50)) * 1e3,
            "p99_ms": float(np.percentile(times, 99)) * 1e3,
            "max_ms": float(times.max()) * 1e3,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


class Cluster:
    """A fleet and the benchmark's own books, kept together."""

    def __init__(self, nodes: Sequence[NodeRow], policy: Policy | Rater) -> None:
        self.capacity = 1000 * sum(node.gpus for node in nodes)
        self.fleet: Fleet = fleet_of(nodes)
        self.books = Books(nodes)
        self.policy = policy
        self.times: list[float] = []
        self._number = 0

    def decide(self, pod: PodRow, *, first: bool = True) -> tuple[Placement, str] | None:
        """Place a pod and book it; None: nothing fits. `first`: it has not been tried before."""
        shape = pod.demand.shape
        self._number += 1
        grant_id = f"g{self._number}"
        start = time.thread_time()
        found = place(self.fleet, pod.demand, self.policy)
        if isinstance(found, Placement):
            allocation = Allocation(id=grant_id, node=found.node, containers=found.containers)
            grant = Grant(allocation=allocation, namespace="bench", pod=pod.name, granted=_GRANTED)
            self.fleet.assume(grant, shape.usage, shape=shape)
        elif first:
            self.fleet.observe(shape)
        self.times.append(time.thread_time() - start)
        if not isinstance(found, Placement):
            return None
        self.books.book(pod, found)
        return found, grant_id

    def end(self, pod: PodRow, found: Placement, grant_id: str) -> None:
        """A pod has ended."""
        self.fleet.forget(found.node, grant_id)
        self.books.book(pod, found, sign=-1)


def run(nodes: Sequence[NodeRow], pods: Iterable[PodRow], policy: Policy | Rater) -> Outcome:
    """Arrivals only, one try each."""
    cluster = Cluster(nodes, policy)
    outcome = Outcome()
    asked = used = multi = multi_refused = 0
    for pod in pods:
        if asked < cluster.capacity <= asked + pod.milli:
            outcome.at_100 = 100 * used / cluster.capacity
        asked += pod.milli
        multi += pod.milli if pod.gpus > 1 else 0
        if cluster.decide(pod) is not None:
            used += pod.milli
        else:
            multi_refused += pod.milli if pod.gpus > 1 else 0
            outcome.refused_wrongly += cluster.books.fits(pod)
    outcome.at_130 = 100 * used / cluster.capacity
    outcome.refused_multi = 100 * multi_refused / multi if multi else 0.0
    outcome.times = cluster.times
    return outcome
