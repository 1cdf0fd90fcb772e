"""The packing benchmark with departures: pods come and go at the trace's times, and wait where nothing fits."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from openb import NodeRow, PodRow
from packing_run import Cluster

from allocator.core.placement import Placement
from allocator.core.policies import Policy, Rater


@dataclass(slots=True)
class Timeline:
    """What a run with departures showed.

    Attributes:
        moments: seconds at which something changed.
        allocated: GPUs allocated from then on, in thousandths.
        queued: pods waiting from then on.
        waits: seconds that each placed pod waited.
        capacity: the cluster's GPUs, in thousandths.
    """

    capacity: int
    moments: list[int] = field(default_factory=list)
    allocated: list[int] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)

    def figures(self, parts: int = 10) -> dict[str, Any]:
        """Means over time, of all and of equal parts of it."""
        moments = np.asarray(self.moments)
        spans = np.diff(moments, append=moments[-1])
        share = 100 * np.asarray(self.allocated) / self.capacity
        queued = np.asarray(self.queued)

        def mean(values: "np.ndarray[Any, Any]", chosen: "np.ndarray[Any, Any]") -> float:
            weight = spans[chosen].sum()
            return float((values[chosen] * spans[chosen]).sum() / weight) if weight else 0.0

        edges = np.linspace(moments[0], moments[-1], parts + 1)
        chosen = [(moments >= low) & (moments < high) for low, high in pairwise(edges)]
        waits = np.asarray(self.waits or [0])
        everything = np.ones(len(moments), dtype=bool)
        return {
            "allocated": mean(share, everything),
            "allocated_over_time": [mean(share, part) for part in chosen],
            "allocated_peak": float(share.max()),
            "queued": mean(queued, everything),
            "queued_over_time": [mean(queued, part) for part in chosen],
            "queued_peak": int(queued.max()),
            "queued_at_end": int(queued[-1]),
            "waited": float((waits > 0).mean() * 100),
            "wait_mean_s": float(waits.mean()),
            "wait_p99_s": float(np.percentile(waits, 99)),
        }


class _Churn:
    """The running simulation. The queue is tried in order of arrival; equal shapes wait behind each other."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.timeline = Timeline(capacity=cluster.capacity)
        self.ends: list[tuple[int, int, PodRow, Placement, str]] = []
        self.queue: list[PodRow] = []
        self.used = 0

    def arrive(self, pod: PodRow) -> None:
        self.leave(until=pod.created)
        if not self.start(pod, now=pod.created, first=True):
            self.queue.append(pod)
        self.note(pod.created)

    def leave(self, *, until: int) -> None:
        """Let pods end whose time is up, and try the queue each time."""
        while self.ends and self.ends[0][0] <= until:
            now = self.ends[0][0]
            while self.ends and self.ends[0][0] == now:
                _, _, pod, found, grant_id = heapq.heappop(self.ends)
                self.cluster.end(pod, found, grant_id)
                self.used -= pod.milli
            self.retry(now)
            self.note(now)

    def retry(self, now: int) -> None:
        hopeless: set[int] = set()
        waiting = []
        for pod in self.queue:
            if id(pod.demand) in hopeless or not self.start(pod, now=now, first=False):
                hopeless.add(id(pod.demand))
                waiting.append(pod)
        self.queue = waiting

    def start(self, pod: PodRow, *, now: int, first: bool) -> bool:
        found = self.cluster.decide(pod, first=first)
        if found is None:
            return False
        lasts = max(0, pod.ended - pod.created)
        heapq.heappush(self.ends, (now + lasts, len(self.cluster.times), pod, *found))
        self.used += pod.milli
        self.timeline.waits.append(now - pod.created)
        return True

    def note(self, now: int) -> None:
        self.timeline.moments.append(now)
        self.timeline.allocated.append(self.used)
        self.timeline.queued.append(len(self.queue))


def squeezed(pods: Iterable[PodRow], *, load: int) -> list[PodRow]:
    """The pods as drawn, at even distances, such that on average they ask for `load` thousandths at once.

    In the trace itself nearly all of the cluster is idle until its last days. How long pods last is left as it is.
    """
    drawn = list(pods)
    distance = sum(pod.milli * (pod.ended - pod.created) for pod in drawn) / load / len(drawn)
    moved = []
    for number, pod in enumerate(drawn):
        start = round(number * distance)
        moved.append(replace(pod, created=start, ended=start + pod.ended - pod.created))
    return moved


def running(pods: Sequence[PodRow], *, load: int, seed: int) -> list[PodRow]:
    """Who is there when watching begins: pods that ask for `load` thousandths together.

    At a moment in a long-lived cluster a pod is met with a chance in proportion to how long it lasts, and at any point
    of its life (the stationary state of a renewal process). Without this, lifetimes as unequal as the trace's would
    leave the cluster nearly empty for as long as the longest of them.
    """
    random = np.random.default_rng(seed)
    lasting = [pod for pod in pods if pod.ended > pod.created and pod.milli]
    times = np.asarray([pod.ended - pod.created for pod in lasting], dtype=float)
    found: list[PodRow] = []
    while load > 0 and lasting:
        pod = lasting[int(random.choice(len(lasting), p=times / times.sum()))]
        left = int((pod.ended - pod.created) * random.random())
        found.append(replace(pod, created=0, ended=left))
        load -= pod.milli
    return found


def churn(
    nodes: Sequence[NodeRow], pods: Iterable[PodRow], policy: Policy | Rater, *, load: int, seed: int
) -> tuple[Timeline, list[float]]:
    """Let pods come, so closely that they ask for `load` thousandths at once, and go; begin with those already there.

    Returns:
        What happened, and the seconds of each decision.
    """
    cluster = Cluster(nodes, policy)
    simulation = _Churn(cluster)
    drawn = list(pods)
    for pod in [*running(drawn, load=load, seed=seed), *squeezed(drawn, load=load)]:
        simulation.arrive(pod)
    return simulation.timeline, cluster.times
