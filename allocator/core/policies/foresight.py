"""Foresight, the default: the place that leaves least stranded once the usual pods have filled it up.

Two steps. The nodes where best fit leaves least are looked at closely, `CLOSE_LOOKS` of them in different states.
For each of their GPUs with room, the node is valued as it is and as it would be, by what stays stranded after
sequences of usual pods (`allocator.core.streams`); the pod goes where it adds least. Breaking a place for pods
with several GPUs counts in full where such places are scarce (`allocator.core.reserve`). Values depend on a
node's state alone and are remembered for the mix' epoch.

Where it comes from: FGD showed that packing should look at what the next pods can use; it asks each kind of pod
singly. Rollouts of a simple policy to value the states of a better one are Bertsekas' ("Rollout Algorithms for
Combinatorial Optimization", 1997). docs/packing.md has the measurements.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from allocator.core.arrays import Floats
from allocator.core.demand import Shape, slice_milli
from allocator.core.policies.base import Rows, tightest
from allocator.core.policies.best_fit import left_over
from allocator.core.reserve import Reserve, Size
from allocator.core.state import NodeState
from allocator.core.streams import State, Streams, draws
from allocator.core.table import Table

CLOSE_LOOKS: Final = 16
"""Nodes valued per decision. Half as many pack worse, twice as many no better; it bounds a decision's time."""
_MOST_REMEMBERED: Final = 500_000
_MIB: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Choice:
    """A row, the order in which its GPUs are to be filled, and the score."""

    row: int
    gpus: tuple[int, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Option:
    """A way to take a node.

    Attributes:
        first: free capacity of the GPU to be taken first; -1: as best fit would.
        after: the state afterwards.
        adds: what it strands, in thousandths of a GPU.
        free: GPUs free on the node afterwards, in thousandths.
        breaks: for each size of the reserve, what the places that it breaks are worth, in thousandths of a GPU.
    """

    first: int
    after: State
    adds: float
    free: int
    breaks: tuple[float, ...]


_Gpus = tuple[int, ...] | None
"""Positions of the GPUs that may be used; None: all."""
_Plans = dict[tuple[int, _Gpus], tuple[Option, ...]]
"""Options by state of the node and by the GPUs that may be used."""


class Foresight:
    """Least stranded in the end."""

    name = "foresight"
    looks = CLOSE_LOOKS

    def __init__(self, *, seed: int = 0) -> None:
        """Fix the policy's random numbers; replicas with equal seeds decide alike."""
        self._draws = draws(seed)
        self._reserve = Reserve()
        self._streams: dict[int, Streams] = {}
        self._values: dict[tuple[int, State], float] = {}
        self._plans: dict[Shape, _Plans] = {}
        self._mark: tuple[int, int, int] = (-1, -1, -1)

    def epoch(self, table: Table) -> Hashable:
        """Best fit's measure: the close look has its own memory."""
        return (table.largest_cpu, table.largest_gpus)

    def rate(self, rows: Rows) -> Floats:
        """Which rows deserve a close look: best fit's."""
        return -left_over(rows)

    def order(self, node: NodeState, shape: Shape, gpus: Sequence[int]) -> Sequence[int]:
        """Without a close look: best fit's order."""
        del shape
        return tightest(node, gpus)

    def refine(
        self, table: Table, shape: Shape, rows: Sequence[tuple[int, tuple[int, ...] | None]]
    ) -> Iterator[Choice]:
        """Look closely at some rows.

        Args:
            table: the fleet.
            shape: what is asked.
            rows: rows, best first, each with the GPUs that the shape may use; None: all.

        Returns:
            The ways to place it, best first. Of equal ones, which are many for a pod that takes no GPU, the node
            with the fewest GPUs free, then with the least CPU: what is left there cannot be spoilt.
        """
        self._follow(table)
        scarce = self._reserve.scarce(table)
        plans = self._plans.setdefault(shape, {})
        self._plan(table, shape, rows, plans)
        found = []
        for row, gpus in rows:
            options = plans[int(table.states[row]), gpus]
            if options:
                keys = [(one.adds + sum(one.breaks[at] for at in scarce), one.free, one.after.cpu) for one in options]
                best = min(range(len(keys)), key=keys.__getitem__)
                found.append((keys[best], row, gpus, options[best].first))
        for key, row, gpus, first in sorted(found, key=lambda one: one[0]):
            yield Choice(row=row, gpus=_order(table, row, gpus, first), score=-key[0])

    def _follow(self, table: Table) -> None:
        mark = (id(table), table.mix.epoch.number, table.generation)
        if mark != self._mark or len(self._values) > _MOST_REMEMBERED:
            self._mark = mark
            self._streams.clear()
            self._values.clear()
            self._plans.clear()

    def _plan(self, table: Table, shape: Shape, rows: Iterable[tuple[int, _Gpus]], plans: _Plans) -> None:
        """Work out the options of rows in states not met yet, all of one kind of GPU together."""
        ways: dict[int, list[tuple[tuple[int, _Gpus], State, list[tuple[int, State]]]]] = {}
        for row, gpus in rows:
            key = (int(table.states[row]), gpus)
            node = table.nodes[row]
            if node is not None and key not in plans:
                plans[key] = ()
                ways.setdefault(int(table.kinds[row]), []).append((key, _state(node), _afters(node, shape, gpus)))
        own = max((ask.gpus for ask in shape.asks), default=0)
        for kind, found in ways.items():
            self._value(table, kind, [state for _, before, some in found for state in (before, *(s for _, s in some))])
            for key, before, afters in found:
                worth = self._values[kind, before]
                plans[key] = tuple(
                    Option(
                        first=first,
                        after=after,
                        adds=self._values[kind, after] - worth,
                        free=sum(after.milli),
                        breaks=tuple(_broken(size, before, after, own) for size in self._reserve.sizes),
                    )
                    for first, after in afters
                )

    def _value(self, table: Table, kind: int, states: Iterable[State]) -> None:
        """Simulate the states that have not been met yet."""
        new = list(dict.fromkeys(state for state in states if (kind, state) not in self._values))
        if new:
            stranded = self._streams_of(table, kind).stranded(new).tolist()
            self._values.update(((kind, state), value) for state, value in zip(new, stranded, strict=True))

    def _streams_of(self, table: Table, kind: int) -> Streams:
        if kind not in self._streams:
            capacity, number = next(key for key, value in table.kind_numbers.items() if value == kind)
            model = next((name for name, value in table.model_numbers.items() if value == number), "")
            self._streams[kind] = Streams(table.mix.epoch, capacity=capacity, model=model, draws=self._draws)
        return self._streams[kind]


def _state(node: NodeState) -> State:
    return State(
        cpu=node.free.cpu,
        memory=node.free.memory // _MIB,
        milli=tuple(sorted(state.milli for state in node.gpus)),
    )


def _afters(node: NodeState, shape: Shape, gpus: Sequence[int] | None) -> list[tuple[int, State]]:
    """The states that a node may be in afterwards, each with the free capacity of the GPU taken first."""
    ordered = tightest(node, range(len(node.gpus)) if gpus is None else gpus)
    cpu = node.free.cpu - shape.usage.cpu
    memory = (node.free.memory - shape.usage.memory) // _MIB
    milli = [state.milli for state in node.gpus]
    if len(shape.asks) == 1 and shape.asks[0].gpus == 1:
        found: dict[int, State] = {}
        for at in ordered:
            need = slice_milli(shape.asks[0], node.gpus[at].capacity)
            if milli[at] >= need and milli[at] not in found:
                after = [*milli[:at], milli[at] - need, *milli[at + 1 :]]
                found[milli[at]] = State(cpu=cpu, memory=memory, milli=tuple(sorted(after)))
        return list(found.items())
    for ask in shape.asks:
        roomy = [at for at in ordered if milli[at] >= slice_milli(ask, node.gpus[at].capacity)]
        for at in roomy[: ask.gpus]:
            milli[at] -= slice_milli(ask, node.gpus[at].capacity)
    return [(-1, State(cpu=cpu, memory=memory, milli=tuple(sorted(milli))))]


def _order(table: Table, row: int, gpus: Sequence[int] | None, first: int) -> tuple[int, ...]:
    """The GPUs in best fit's order, but those with so much free in front."""
    node = table.nodes[row]
    if node is None:
        return ()
    ordered = tightest(node, range(len(node.gpus)) if gpus is None else gpus)
    return tuple(sorted(ordered, key=lambda at: node.gpus[at].milli != first))


def _broken(size: Size, before: State, after: State, own: int) -> float:
    """What the places that a step breaks are worth, in thousandths of a GPU; a pod may use one of its own size."""
    broken = size.places(cpu=before.cpu, memory=before.memory, milli=before.milli)
    broken -= size.places(cpu=after.cpu, memory=after.memory, milli=after.milli)
    return max(0, broken - (own == size.gpus)) * size.gpus * size.milli
