"""Fragmentation: how much of what is free nobody of the usual pods could use.

From FGD ("Beware of Fragmentation", USENIX ATC'23, section 3): for a node n and a kind of pod m, all free GPU
capacity is a fragment if m does not fit n at all, else that of the GPUs with less free than m needs of one.
A node's fragmentation is the mean over the mix. Here a GPU's free capacity is the scarcer of its memory and its
time, in thousandths of a GPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allocator.core.arrays import Bools, Floats, Ints
from allocator.core.demand import slice_milli
from allocator.core.mix import Epoch
from allocator.core.table import Table


@dataclass(frozen=True, slots=True)
class Typical:
    """The usual pods, as seen from one kind of GPU. All arrays have one entry per kind of pod.

    Attributes:
        milli: needed of one GPU; more than 1000 where the GPU may not be used or is too small.
        gpus: GPUs needed.
        cpu: needed of the node.
        shares: of all pods; they add up to 1.
    """

    milli: Ints
    gpus: Ints
    cpu: Ints
    shares: Floats

    @classmethod
    def of(cls, epoch: Epoch, *, capacity: int, model: str) -> "Typical":
        """A mix as seen from a kind of GPU."""
        kinds = epoch.kinds
        return cls(
            milli=np.asarray(
                [slice_milli(one.ask, capacity) if one.models.allows(model) else 1001 for one in kinds], dtype=np.int64
            ),
            gpus=np.asarray([one.ask.gpus for one in kinds], dtype=np.int64),
            cpu=np.asarray([one.usage.cpu for one in kinds], dtype=np.int64),
            shares=epoch.shares,
        )


def typical_pods(table: Table, kind: int) -> Typical:
    """The usual pods as seen from a kind of GPU of the table."""
    capacity, number = next(key for key, value in table.kind_numbers.items() if value == kind)
    model = next((name for name, value in table.model_numbers.items() if value == number), "")
    return Typical.of(table.mix.epoch, capacity=capacity, model=model)


def fragments(pods: Typical, *, milli: Ints, cpu: Ints) -> Floats:
    """Fragmentation of nodes with this much free: GPUs by row and column, CPU by row."""
    roomy: Bools = milli[:, :, None] >= pods.milli
    useless = np.where(roomy, 0, milli[:, :, None]).sum(axis=1)
    able = (roomy.sum(axis=1) >= pods.gpus) & (cpu[:, None] >= pods.cpu)
    result: Floats = np.where(able, useless, milli.sum(axis=1)[:, None]) @ pods.shares
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
    """Fragmentation per GPU model."""
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
        stranded = fragments(typical_pods(table, kind), milli=table.milli[some], cpu=table.cpu[some]) @ times / 1000
        model = names[int(table.models[rows[0], 0])]
        before = result.get(model, Fragmentation(0.0, 0.0, 0.0))
        result[model] = Fragmentation(
            total=before.total + float((table.capacity[rows] > 0).sum()),
            free=before.free + float(milli.sum()) / 1000,
            stranded=before.stranded + float(stranded),
        )
    return result
