"""Room for pods that need several GPUs of one node: how much there is, and how much will be wanted.

A node with all its GPUs free is worth more than their sum as long as pods may come that need them all. The
reserve counts, for every size of such pods, the places left and the pods of that size to be expected before the
fleet is full; where places get scarce, breaking one costs what the pod would have used.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from allocator.core.arrays import Ints
from allocator.core.demand import resolve, slice_milli
from allocator.core.mix import Epoch, Kind
from allocator.core.table import Table

_SIGMAS: Final = 3.0
"""Standard deviations of the number of arrivals (which is a Poisson count) that are provided for."""
_MIB: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Size:
    """Pods that need this many GPUs of one node.

    Attributes:
        gpus: how many.
        share: of all pods.
        cpu, memory: what such a pod takes of its node on average; memory in MiB.
        milli: what it takes of one GPU on average, in thousandths.
    """

    gpus: int
    share: float
    cpu: float
    memory: float
    milli: int

    def places(self, *, cpu: int, memory: int, milli: tuple[int, ...]) -> int:
        """How many such pods a node has room for."""
        gpus = sum(1 for free in milli if free >= self.milli) // self.gpus
        return max(0, min(gpus, int(cpu / max(1.0, self.cpu)), int(memory / max(1.0, self.memory))))

    def all_places(self, table: Table, rows: Ints) -> Ints:
        """The same for many rows."""
        gpus = (table.milli[rows] >= self.milli).sum(axis=1) // self.gpus
        cpu = (table.cpu[rows] / max(1.0, self.cpu)).astype(np.int64)
        memory = (table.memory[rows] // _MIB / max(1.0, self.memory)).astype(np.int64)
        found: Ints = np.minimum(np.minimum(gpus, cpu), memory)
        return np.where(table.open[rows], np.maximum(found, 0), 0)


class Reserve:
    """Counts places; follows the table by its log."""

    def __init__(self) -> None:
        self.sizes: tuple[Size, ...] = ()
        self._mean = 1.0
        self._places: list[Ints] = []
        self._free: Ints = np.zeros(0, dtype=np.int64)
        self._mark: tuple[int, int] = (-1, -1)
        self._seen = 0

    def scarce(self, table: Table) -> tuple[int, ...]:
        """Positions of the sizes of which there are no more places than pods to be expected."""
        self._follow(table)
        pods = float(self._free.sum()) / self._mean
        found = []
        for at, size in enumerate(self.sizes):
            expected = size.share * pods
            if self._places[at].sum() < expected + _SIGMAS * expected**0.5:
                found.append(at)
        return tuple(found)

    def _follow(self, table: Table) -> None:
        mark = (table.generation, table.mix.epoch.number)
        if mark != self._mark:
            capacity = int(table.capacity.max(initial=0))
            self.sizes = sizes_of(table.mix.epoch, capacity)
            self._mean = max(1.0, mean_demand(table.mix.epoch, capacity))
            self._places = [np.zeros(table.size, dtype=np.int64) for _ in self.sizes]
            self._free = np.zeros(table.size, dtype=np.int64)
            rows = np.arange(len(table.nodes), dtype=np.int64)
        elif self._seen < len(table.log):
            rows = np.unique(np.asarray(table.log[self._seen :], dtype=np.int64))
        else:
            return
        self._mark, self._seen = mark, len(table.log)
        self._free[rows] = np.where(table.open[rows], table.milli[rows].sum(axis=1), 0)
        for size, places in zip(self.sizes, self._places, strict=True):
            places[rows] = size.all_places(table, rows)


def mean_demand(epoch: Epoch, capacity: int) -> float:
    """What a pod of the mix takes on average, in thousandths of a GPU of this capacity."""
    shares: list[float] = epoch.shares.tolist()
    return sum(share * _milli(kind, capacity) * kind.ask.gpus for kind, share in zip(epoch.kinds, shares, strict=True))


def sizes_of(epoch: Epoch, capacity: int) -> tuple[Size, ...]:
    """The sizes of pods with several GPUs in a mix."""
    groups: dict[int, list[tuple[Kind, float]]] = {}
    for kind, share in zip(epoch.kinds, epoch.shares.tolist(), strict=True):
        if kind.ask.gpus > 1:
            groups.setdefault(kind.ask.gpus, []).append((kind, share))
    found = []
    for gpus, members in sorted(groups.items()):
        total = sum(share for _, share in members)
        found.append(
            Size(
                gpus=gpus,
                share=total,
                cpu=sum(share * kind.usage.cpu for kind, share in members) / total,
                memory=sum(share * kind.usage.memory for kind, share in members) / total / _MIB,
                milli=round(sum(share * _milli(kind, capacity) for kind, share in members) / total),
            )
        )
    return tuple(found)


def _milli(kind: Kind, capacity: int) -> int:
    """A kind's slice on the largest GPU there is."""
    return min(1000, slice_milli(kind.ask, max(capacity, resolve(kind.ask.memory, capacity))))
