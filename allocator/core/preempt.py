"""Whom to evict so that a pod of higher priority fits: as few as will do, of low priority, holding little.

Pure. Only pods of lower priority are ever looked at. Whether an eviction is allowed is the API server's to say:
disruption budgets hold.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from allocator.core.demand import PodDemand, Shape
from allocator.core.fitting import Assignment, assign, node_refusal, usable
from allocator.core.fleet import Fleet
from allocator.core.placement import slices_of
from allocator.core.reservation import Spot
from allocator.core.state import NodeState

_MOST_TRIES: Final = 3_000
"""Sets of pods tried for one decision, over all nodes."""
_MOST_AT_ONCE: Final = 3
"""Up to so many victims the cheapest set is looked for; beyond, pods are spared one by one."""
_MOST_CANDIDATES: Final = 24
"""Pods of one node that may be in such a set: those of lowest priority, then those that free most."""
_NOBODY: Final[Mapping[str, Collection[str]]] = {}


@dataclass(frozen=True, slots=True)
class Victim:
    """A pod with a grant that may have to go.

    Attributes:
        grant_id: its grant.
        node: where it runs.
        namespace, name, uid: who it is.
        priority: of its PriorityClass.
        memory: bytes that it holds.
    """

    grant_id: str
    node: str
    namespace: str
    name: str
    uid: str
    priority: int
    memory: int


@dataclass(frozen=True, slots=True)
class Preemption:
    """Who goes, and what the pod gets then."""

    victims: tuple[Victim, ...]
    spot: Spot


@dataclass(frozen=True, slots=True)
class _Node:
    """A node, and the grants there that will soon be given back anyway."""

    state: NodeState
    going: frozenset[str]


def never_preempts(spec: object) -> bool:
    """Whether a pod's PriorityClass says `preemptionPolicy: Never`."""
    return isinstance(spec, dict) and spec.get("preemptionPolicy") == "Never"


def cheapest(
    fleet: Fleet,
    demand: PodDemand,
    victims: Iterable[Victim],
    *,
    priority: int,
    going: Mapping[str, Collection[str]] = _NOBODY,
) -> Preemption | None:
    """The set of victims that costs least: fewest, then of lowest priority, then holding least memory.

    Args:
        fleet: the cluster, with what is kept for others ahead.
        demand: the pod.
        victims: who may be evicted; those of the pod's own priority or a higher one are passed over.
        priority: the pod's.
        going: by node, grants whose pods are on their way out already.

    Returns:
        The victims, all of one node, and the place. No victims: it is enough to wait for those that are going. None:
        even all of them would not help.
    """
    by_node: dict[str, list[Victim]] = {name: [] for name in going}
    for one in victims:
        if one.priority < priority:
            by_node.setdefault(one.node, []).append(one)
    tries = iter(range(_MOST_TRIES))
    best: tuple[tuple[int, int, int, str], Preemption] | None = None
    for name, able in sorted(by_node.items(), key=lambda item: (len(item[1]), item[0])):
        found = fleet.node(name)
        if found is None:
            continue
        node = _Node(found, frozenset(going.get(name, ())))
        if _fits(node, able, demand.shape) is None:
            continue
        chosen = _fewest(node, able, demand.shape, tries)
        place = _fits(node, chosen, demand.shape)
        if place is None:
            continue
        cost = (*_cost(chosen), name)
        if best is None or cost < best[0]:
            spot = Spot(node=name, containers=slices_of(node.state, demand, place))
            best = (cost, Preemption(victims=tuple(chosen), spot=spot))
        if next(tries, None) is None:
            break
    return None if best is None else best[1]


def _cost(chosen: Sequence[Victim]) -> tuple[int, int, int]:
    highest = max((one.priority for one in chosen), default=0)
    return (len(chosen), highest, sum(one.memory for one in chosen))


def _fewest(node: _Node, able: Sequence[Victim], shape: Shape, tries: Iterator[int]) -> Sequence[Victim]:
    """The cheapest set of few; where no few suffice, all but those that can be spared, the dearest spared first."""
    few = sorted(able, key=lambda one: (one.priority, -one.memory, one.uid))[:_MOST_CANDIDATES]
    for count in range(min(_MOST_AT_ONCE, len(few)) + 1):
        for chosen in sorted(combinations(few, count), key=_cost):
            if next(tries, None) is None:
                return _spared(node, able, shape)
            if _fits(node, chosen, shape) is not None:
                return chosen
    return _spared(node, able, shape)


def _spared(node: _Node, able: Sequence[Victim], shape: Shape) -> Sequence[Victim]:
    """A set of which nobody can be spared."""
    chosen = list(able)
    for one in sorted(able, key=lambda victim: (victim.priority, victim.memory), reverse=True):
        rest = [other for other in chosen if other is not one]
        if _fits(node, rest, shape) is not None:
            chosen = rest
    return chosen


def _fits(node: _Node, gone: Iterable[Victim], shape: Shape) -> Assignment | None:
    """The pod's place on a node without these; None: it has none."""
    left = node.state.without([*node.going, *(one.grant_id for one in gone)])
    if node_refusal(left, shape) is not None:
        return None
    able = [at for at, state in enumerate(left.gpus) if usable(state, shape)]
    able.sort(key=lambda at: (left.gpus[at].free_memory, left.gpus[at].free_cores, at))
    return assign(left, shape, able)
