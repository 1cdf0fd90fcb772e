"""Fragmentation: how much of what is free nobody of the usual pods could use.

From FGD ("Beware of Fragmentation", USENIX ATC'23, section 3): for a node n and a kind of pod m, all free GPU
capacity is a fragment if m does not fit n at all, else that of the GPUs with less free than m needs of one.
A node's fragmentation is the mean over the mix. Here a GPU's free capacity is the scarcer of its memory and its
time, in thousandths of a GPU.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from allocator.core.arrays import Bools, Floats, Ints
from allocator.core.demand import slice_milli
from allocator.core.mix import Epoch
from allocator.core.table import Table

WHOLE: Final = 1000
"""A GPU, in thousandths."""


@dataclass(frozen=True, slots=True)
class Typical:
    """The usual pods, as seen from one kind of GPU.

    Kinds that need equally much of equally many GPUs differ in CPU alone, so they are kept as one group: there are ten
    times fewer groups than kinds, and the arrays that a decision goes through are as much smaller. Kinds that may not
    use the GPU are in no group: to them, all that is free is a fragment.

    Attributes:
        milli: needed of one GPU, by group.
        gpus: GPUs needed, by group.
        steps: the amounts of CPU that any kind needs, ascending.
        within: by steps that a node's free CPU reaches (0: none) and group, the share of all pods that it suffices for.
    """

    milli: Ints
    gpus: Ints
    steps: Ints
    within: Floats

    @classmethod
    def of(cls, epoch: Epoch, *, capacity: int, model: str) -> "Typical":
        """A mix as seen from a kind of GPU."""
        groups: dict[tuple[int, int], dict[int, float]] = {}
        for one, share in zip(epoch.kinds, epoch.shares.tolist(), strict=True):
            milli = slice_milli(one.ask, capacity)
            if one.models.allows(model) and milli <= WHOLE:
                group = groups.setdefault((milli, one.ask.gpus), {})
                group[one.usage.cpu] = group.get(one.usage.cpu, 0.0) + share
        steps = sorted({cpu for group in groups.values() for cpu in group})
        within = np.zeros((len(steps) + 1, len(groups)))
        for at, group in enumerate(groups.values()):
            within[1:, at] = np.cumsum([group.get(cpu, 0.0) for cpu in steps])
        return cls(
            milli=np.asarray([milli for milli, _ in groups], dtype=np.int64),
            gpus=np.asarray([gpus for _, gpus in groups], dtype=np.int64),
            steps=np.asarray(steps, dtype=np.int64),
            within=within,
        )

    def shares(self, cpu: Ints) -> Floats:
        """By node and group the share of all pods whose CPU a node with this much free has."""
        result: Floats = self.within[np.searchsorted(self.steps, cpu, side="right")]
        return result


def typical_pods(table: Table, kind: int) -> Typical:
    """The usual pods as seen from a kind of GPU of the table."""
    capacity, number = next(key for key, value in table.kind_numbers.items() if value == kind)
    model = next((name for name, value in table.model_numbers.items() if value == number), "")
    return Typical.of(table.mix.epoch, capacity=capacity, model=model)


def fragments(pods: Typical, *, milli: Ints, cpu: Ints) -> Floats:
    """Fragmentation of nodes with this much free: GPUs by row and column, CPU by row.

    All that is free, less what each kind of pod that fits could use of it.
    """
    roomy: Bools = milli[:, :, None] >= pods.milli
    useful = np.where(roomy, milli[:, :, None], 0).sum(axis=1)
    fitting = np.where(roomy.sum(axis=1) >= pods.gpus, useful, 0)
    result: Floats = milli.sum(axis=1) - (fitting * pods.shares(cpu)).sum(axis=1)
    return result


def strands(pods: Typical, *, milli: Ints, cpu: Ints) -> Floats:
    """The same by GPU: what is free of each and of no use; a node's add up to its fragmentation."""
    roomy: Bools = milli[:, :, None] >= pods.milli
    fitting: Bools = roomy & (roomy.sum(axis=1) >= pods.gpus)[:, None, :]
    useful: Floats = (fitting * pods.shares(cpu)[:, None, :]).sum(axis=2)
    result: Floats = milli * (1 - useful)
    return result


@dataclass(frozen=True, slots=True)
class Fragmentation:
    """Of all GPUs of one model, in GPUs.

    Attributes:
        total: how many there are.
        free: what is free of them.
        stranded: what of that the usual pods cannot use.
    """

    total: float
    free: float
    stranded: float


def by_model(table: Table) -> Mapping[str, Fragmentation]:
    """Fragmentation per GPU model; while nobody knows yet what pods are usual here, nothing counts as stranded."""
    names = {number: name for name, number in table.model_numbers.items()}
    result: dict[str, Fragmentation] = {}
    for kind in sorted(set(table.kinds[list(table.rows.values())].tolist())):
        rows = np.asarray([row for row in table.rows.values() if table.kinds[row] == kind], dtype=np.int64)
        rows = rows[table.capacity[rows, 0] > 0]
        if not len(rows):
            continue
        # Nodes in equal states strand equally much; a large fleet has few different states.
        _, first, times = np.unique(table.states[rows], return_index=True, return_counts=True)
        some = rows[first]
        milli = table.milli[rows]
        pieces = fragments(typical_pods(table, kind), milli=table.milli[some], cpu=table.cpu[some])
        stranded = pieces @ times / 1000 if table.mix.epoch.kinds else 0.0
        model = names[int(table.models[rows[0], 0])]
        before = result.get(model, Fragmentation(0.0, 0.0, 0.0))
        result[model] = Fragmentation(
            total=before.total + float((table.capacity[rows] > 0).sum()),
            free=before.free + float(milli.sum()) / 1000,
            stranded=round(before.stranded + float(stranded), 9),  # sums of shares are off in the last places
        )
    return result


def by_gpu(table: Table) -> Callable[[], dict[str, list[float]]]:
    """What is stranded of each GPU, in GPUs, by node and in the order of its inventory; none while nothing is known.

    Takes down what it needs and leaves the counting, which for a large fleet takes a while, to whoever calls the
    result: that may be another thread, later.
    """
    found: list[tuple[Typical, list[str], Ints]] = []
    if not table.mix.epoch.kinds:
        return dict
    for kind in sorted(set(table.kinds[list(table.rows.values())].tolist())):
        named = [(name, row) for name, row in table.rows.items() if table.kinds[row] == kind and table.capacity[row, 0]]
        rows = np.asarray([row for _, row in named], dtype=np.int64)
        if not len(rows):
            continue
        free: Ints = np.concatenate([table.milli[rows], table.cpu[rows][:, None]], axis=1)
        found.append((typical_pods(table, kind), [name for name, _ in named], free))

    def count() -> dict[str, list[float]]:
        result: dict[str, list[float]] = {}
        for pods, names, free in found:
            # Nodes with the same free strand the same; a large fleet has few different ones.
            different, where = np.unique(free, axis=0, return_inverse=True)
            stranded = (strands(pods, milli=different[:, :-1], cpu=different[:, -1]) / 1000).round(9)
            result |= zip(names, stranded[where.reshape(-1)].tolist(), strict=True)
        return result

    return count
