"""FGD: fragmentation gradient descent ("Beware of Fragmentation", Weng et al., USENIX ATC'23, section 4).

The pod goes where fragmentation (see `allocator.core.fragmentation`) grows least. As published, the growth is
squeezed into a whole score from 0 to 100 by a sigmoid, so that many places are equal; among equals the fullest
node wins, which is half of the policy's worth: with random ties it packs worse than best fit.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from allocator.core.arrays import Floats, Ints
from allocator.core.demand import Shape, slice_milli
from allocator.core.fragmentation import Typical, fragments, typical_pods
from allocator.core.policies.base import Rows, tightest
from allocator.core.state import NodeState
from allocator.core.table import Table

_CHUNK = 512
"""Rows rated at a time, to stay inside the processor's cache."""


class Fgd:
    """Least growth of fragmentation."""

    name = "fgd"

    def __init__(self) -> None:
        self._typical: dict[int, Typical] = {}
        self._epoch = -1
        self._table: Table | None = None

    def epoch(self, table: Table) -> Hashable:
        """The mix decides what is a fragment."""
        if self._epoch != table.mix.epoch.number or self._table is not table:
            self._typical = {}
            self._epoch = table.mix.epoch.number
            self._table = table
        return self._epoch

    def rate(self, rows: Rows) -> Floats:
        """Whole scores; behind the point, how full the node will be. Rows in equal states are rated once."""
        table = rows.table
        _, first, back = np.unique(table.states[rows.rows], return_index=True, return_inverse=True)
        result = np.zeros(len(first))
        some = rows.rows[first]
        for kind in np.unique(table.kinds[some]).tolist():
            members = np.flatnonzero(table.kinds[some] == kind)
            for start in range(0, len(members), _CHUNK):
                part = members[start : start + _CHUNK]
                chosen = Rows(table=table, shape=rows.shape, rows=some[part], fits=rows.fits[first[part]])
                result[part] = self._rate_kind(chosen, self._pods(table, kind))
        return result[back]

    def order(self, node: NodeState, shape: Shape, gpus: Sequence[int]) -> Sequence[int]:
        """The GPU first that makes the fewest fragments; equal ones in order of fullness."""
        ordered = tightest(node, gpus)
        alike = len({node.gpus[at].milli for at in gpus}) < 2
        if self._table is None or alike or len(shape.asks) != 1 or shape.asks[0].gpus != 1:
            return ordered
        row = self._table.rows[node.name]
        scores = self._scores(
            milli=self._table.milli[[row]],
            cpu=self._table.cpu[[row]],
            needs=(slice_milli(shape.asks[0], int(self._table.capacity[row, 0])), shape.usage.cpu),
            pods=self._pods(self._table, int(self._table.kinds[row])),
        )[0]
        return sorted(ordered, key=lambda at: -scores[at])

    def _pods(self, table: Table, kind: int) -> Typical:
        if kind not in self._typical:
            self._typical[kind] = typical_pods(table, kind)
        return self._typical[kind]

    def _rate_kind(self, rows: Rows, pods: Typical) -> Floats:
        """Rate rows of one kind of GPU."""
        table, shape = rows.table, rows.shape
        milli, cpu = table.milli[rows.rows], table.cpu[rows.rows]
        if len(shape.asks) == 1 and shape.asks[0].gpus == 1:
            capacity = int(table.capacity[rows.rows[0], 0])
            needs = (slice_milli(shape.asks[0], capacity), shape.usage.cpu)
            options = self._scores(milli=milli, cpu=cpu, needs=needs, pods=pods)
            scores = np.where(rows.fits, options, -1.0).max(axis=1)
        else:
            after = taken(rows)
            growth = fragments(pods, milli=after, cpu=cpu - shape.usage.cpu) - fragments(pods, milli=milli, cpu=cpu)
            scores = whole_score(growth)
        full = (milli.sum(axis=1) - rows.milli()) / (table.largest_gpus + 1)
        result: Floats = scores - full * 0.999 - (cpu - shape.usage.cpu) / table.largest_cpu * 1e-5
        return result

    def _scores(self, *, milli: Ints, cpu: Ints, needs: tuple[int, int], pods: Typical) -> Floats:
        """Scores by row and by which GPU takes the one slice; of GPUs without room they mean nothing."""
        need, need_cpu = needs
        free = milli[:, :, None]
        roomy = free >= pods.milli
        useful = np.where(roomy, free, 0)
        count, usable = roomy.sum(axis=1), useful.sum(axis=1)
        before = (np.where(count >= pods.gpus, usable, 0) * pods.shares(cpu)).sum(axis=1)
        rest = free - need
        still = rest >= pods.milli
        count_after = (count[:, None, :] - roomy) + still
        usable_after = (usable[:, None, :] - useful) + np.where(still, rest, 0)
        fitting = np.where(count_after >= pods.gpus, usable_after, 0)
        after = np.einsum("rgk,rk->rg", fitting, pods.shares(cpu - need_cpu))
        # What is free shrinks by the need itself; what of it is of no use grows by the rest.
        return whole_score(before[:, None] - after - need)


def taken(rows: Rows) -> Ints:
    """Free GPU capacity after the pod, each ask taking the fullest GPUs with room."""
    table = rows.table
    milli = table.milli[rows.rows].copy()
    for ask in rows.shape.asks:
        need = slice_milli(ask, int(table.capacity[rows.rows[0], 0]))
        keys = np.where(milli >= need, milli, 2000)
        chosen = np.argsort(keys, axis=1, kind="stable")[:, : ask.gpus]
        np.put_along_axis(milli, chosen, np.take_along_axis(milli, chosen, axis=1) - need, axis=1)
    result: Ints = np.maximum(milli, 0)
    return result


def whole_score(growth: Floats) -> Floats:
    """Growth in thousandths of a GPU as a whole score, 0 to 100; less growth scores more."""
    result: Floats = np.floor(100 / (1 + np.exp(growth / 1000)))
    return result
