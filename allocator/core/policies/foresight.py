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

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from allocator.core.arrays import Floats
from allocator.core.demand import Shape
from allocator.core.policies.base import Rows, slice_milli, tightest
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
        self._mark: tuple[int, int] = (-1, -1)

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

    def refine(self, table: Table, shape: Shape, rows: Sequence[tuple[int, tuple[int, ...]]]) -> list[Choice]:
        """Look closely at some rows.

        Args:
            table: the fleet.
            shape: what is asked.
            rows: rows, best first, each with the GPUs that the shape may use.

        Returns:
            The ways to place it, best first; equal ones in the order of `rows`.
        """
        self._follow(table)
        plans = [(row, gpus, self._afters(table, shape, row, gpus)) for row, gpus in rows]
        self._value(table, plans)
        scarce = self._reserve.scarce(table)
        found = []
        for row, gpus, afters in plans:
            node = table.nodes[row]
            if node is None or not afters:
                continue
            kind = int(table.kinds[row])
            before = _state(table, row)
            stranded = self._values[kind, before]
            scored = [
                (self._values[kind, after] - stranded + _broken(scarce, before, after, shape), first)
                for first, after in afters
            ]
            adds, first = min(scored, key=lambda one: one[0])
            rest = [at for at in tightest(node, gpus) if at != first]
            found.append(Choice(row=row, gpus=(first, *rest) if first >= 0 else tuple(rest), score=-adds))
        return sorted(found, key=lambda one: -one.score)

    def _follow(self, table: Table) -> None:
        mark = (id(table), table.mix.epoch.number)
        if mark != self._mark or len(self._values) > _MOST_REMEMBERED:
            self._mark = mark
            self._streams.clear()
            self._values.clear()

    def _value(self, table: Table, plans: Iterable[tuple[int, tuple[int, ...], list[tuple[int, State]]]]) -> None:
        """Simulate every state that has not been met yet, all of one kind of GPU together."""
        new: dict[int, dict[State, None]] = {}
        for row, _, afters in plans:
            kind = int(table.kinds[row])
            for state in (_state(table, row), *(after for _, after in afters)):
                if (kind, state) not in self._values:
                    new.setdefault(kind, {})[state] = None
        for kind, states in new.items():
            listed = list(states)
            stranded = self._streams_of(table, kind).stranded(listed).tolist()
            self._values.update(((kind, state), value) for state, value in zip(listed, stranded, strict=True))

    def _streams_of(self, table: Table, kind: int) -> Streams:
        if kind not in self._streams:
            capacity, number = next(key for key, value in table.kind_numbers.items() if value == kind)
            model = next((name for name, value in table.model_numbers.items() if value == number), "")
            self._streams[kind] = Streams(table.mix.epoch, capacity=capacity, model=model, draws=self._draws)
        return self._streams[kind]

    @staticmethod
    def _afters(table: Table, shape: Shape, row: int, gpus: Sequence[int]) -> list[tuple[int, State]]:
        """The states that the node may be in afterwards, with the GPU taken first; GPUs in equal states once."""
        node = table.nodes[row]
        if node is None:
            return []
        cpu = node.free.cpu - shape.usage.cpu
        memory = (node.free.memory - shape.usage.memory) // _MIB
        milli = [state.milli for state in node.gpus]
        if len(shape.asks) == 1 and shape.asks[0].gpus == 1:
            ask = shape.asks[0]
            found: dict[int, tuple[int, State]] = {}
            for at in tightest(node, gpus):
                state = node.gpus[at]
                if milli[at] in found or state.free_memory < ask.on(state.capacity) or state.free_cores < ask.cores:
                    continue
                after = [*milli[:at], max(0, milli[at] - slice_milli(ask, state.capacity)), *milli[at + 1 :]]
                found[milli[at]] = (at, State(cpu=cpu, memory=memory, milli=tuple(sorted(after))))
            return list(found.values())
        for ask in shape.asks:
            roomy = [at for at in tightest(node, gpus) if milli[at] >= slice_milli(ask, node.gpus[at].capacity)]
            for at in roomy[: ask.gpus]:
                milli[at] -= slice_milli(ask, node.gpus[at].capacity)
        return [(-1, State(cpu=cpu, memory=memory, milli=tuple(sorted(milli))))]


def _state(table: Table, row: int) -> State:
    node = table.nodes[row]
    if node is None:
        return State(cpu=0, memory=0, milli=())
    return State(
        cpu=node.free.cpu,
        memory=node.free.memory // _MIB,
        milli=tuple(sorted(state.milli for state in node.gpus)),
    )


def _broken(scarce: Iterable[Size], before: State, after: State, shape: Shape) -> float:
    """What is lost, in thousandths of a GPU, by breaking scarce places; a pod may use one of its own size."""
    own = max((ask.gpus for ask in shape.asks), default=0)
    lost = 0.0
    for size in scarce:
        broken = size.places(cpu=before.cpu, memory=before.memory, milli=before.milli)
        broken -= size.places(cpu=after.cpu, memory=after.memory, milli=after.milli)
        lost += max(0, broken - (own == size.gpus)) * size.gpus * size.milli
    return lost
