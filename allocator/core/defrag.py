"""Which pods to move so that another one fits, or so that the largest free slice grows.

Only pods whose controller makes them anew can be moved, and only where each of them then fits again: a move that
leaves its pod waiting is no gain. Fewest moves first; the search ends after `MOST_TRIES` sets of pods.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from allocator.api.allocation import Allocation
from allocator.api.grant import Grant
from allocator.api.quantities import Memory
from allocator.core.demand import PodDemand, Shape, SliceAsk
from allocator.core.fleet import Fleet
from allocator.core.placement import Placement, place
from allocator.core.policies import Policy, Rater
from allocator.core.resources import NOTHING
from allocator.core.state import PodOnNode

MOST_MOVES: Final = 3
MOST_TRIES: Final = 5_000


@dataclass(frozen=True, slots=True)
class Movable:
    """A pod that may be evicted: its grant, what it asks, and what it counts for on its node."""

    grant: Grant
    demand: PodDemand
    pod: PodOnNode


@dataclass(frozen=True, slots=True)
class Step:
    """One eviction, and where the pod would go then. Where it really goes is decided when it comes back."""

    namespace: str
    pod: str
    uid: str
    node: str
    to: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What to move and what it brings.

    Attributes:
        steps: evictions; empty: none needed.
        node: where the room is made.
        largest_before, largest_after: the largest slice that any pod could get.
    """

    steps: tuple[Step, ...]
    node: str
    largest_before: Memory
    largest_after: Memory


def advise(
    fleet: Fleet, movable: Sequence[Movable], policy: Policy | Rater, *, wanted: PodDemand | None = None
) -> Advice | None:
    """The fewest evictions that admit a pod, or that raise the largest free slice most. None: none do.

    Args:
        fleet: the cluster; tried on and left as it was, so it must not be in use by anybody else.
        movable: pods that may be evicted.
        policy: how evicted pods will be placed.
        wanted: the pod to be admitted; None: raise the largest free slice.
    """
    before = largest_free(fleet)
    if wanted is not None and isinstance(found := place(fleet, wanted, policy), Placement):
        return Advice(steps=(), node=found.node, largest_before=before, largest_after=before)
    best: Advice | None = None
    moves = 0
    for tries, chosen in enumerate(_sets(movable)):
        if tries >= MOST_TRIES or (best is not None and len(chosen) > moves):
            break
        advice = _try(fleet, chosen, policy, wanted or _slice_of(before.count + 1))
        if advice is not None and (best is None or advice.largest_after > best.largest_after):
            best, moves = advice, len(chosen)
            if wanted is not None:
                break
    return best


def largest_free(fleet: Fleet) -> Memory:
    """The largest slice that a pod without other wishes could get."""
    usable = (node for node in fleet.nodes() if node.info is not None and node.obstacle() is None)
    free = (gpu.free_memory for node in usable for gpu in node.gpus if gpu.gpu.healthy)
    return Memory(max(0, *free, 0))


def _slice_of(count: int) -> PodDemand:
    return PodDemand(shape=Shape(asks=(SliceAsk(gpus=1, memory=Memory(count)),)), containers=("largest",))


def _sets(movable: Sequence[Movable]) -> Iterator[tuple[Movable, ...]]:
    """Sets of pods of one node, the smallest sets first, in them the smallest pods."""
    by_node: dict[str, list[Movable]] = {}
    for one in movable:
        by_node.setdefault(one.grant.allocation.node, []).append(one)
    for count in range(1, MOST_MOVES + 1):
        for _, pods in sorted(by_node.items()):
            yield from combinations(sorted(pods, key=_size), count)


def _size(one: Movable) -> tuple[int, str]:
    totals = one.grant.allocation.totals()
    return sum(part.memory.count for part in totals.values()), one.grant.pod


def _try(fleet: Fleet, chosen: Sequence[Movable], policy: Policy | Rater, wanted: PodDemand) -> Advice | None:
    """What evicting these pods brings. The fleet is as before afterwards."""
    before = largest_free(fleet)
    for one in chosen:
        fleet.forget(one.grant.allocation.node, one.grant.allocation.id)
        fleet.remove_pod(one.pod.key)
    after = largest_free(fleet)
    trial: list[Grant] = []
    steps: list[Step] = []
    node = ""
    for number, demand in enumerate([wanted, *(one.demand for one in chosen)]):
        found = place(fleet, demand, policy)
        if not isinstance(found, Placement):
            break
        allocation = Allocation(id=f"trial-{number}", node=found.node, containers=found.containers)
        trial.append(Grant(allocation=allocation, namespace="", pod="", granted=chosen[0].grant.granted))
        fleet.assume(trial[-1], demand.shape.usage)
        if number == 0:
            node = found.node
        else:
            grant, pod = chosen[number - 1].grant, chosen[number - 1].pod
            steps.append(
                Step(namespace=grant.namespace, pod=grant.pod, uid=pod.key, node=grant.allocation.node, to=found.node)
            )
    for grant in trial:
        fleet.forget(grant.allocation.node, grant.allocation.id)
    for one in chosen:
        fleet.assume(one.grant, NOTHING)
        fleet.apply_pod(one.pod)
    if len(steps) < len(chosen):
        return None
    return Advice(steps=tuple(steps), node=node, largest_before=before, largest_after=after)
