"""Spread: the emptiest GPU of the emptiest node.

For few pods on many GPUs, where neighbours that share a GPU's time and memory bandwidth hurt more than scattered
leftovers do.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from allocator.core.arrays import Floats
from allocator.core.demand import Shape
from allocator.core.policies.base import Rows, tightest
from allocator.core.state import NodeState
from allocator.core.table import Table


class Spread:
    """The emptiest GPU, then the emptiest node."""

    name = "spread"

    def epoch(self, table: Table) -> Hashable:
        """The widest node is the measure."""
        return table.largest_gpus

    def rate(self, rows: Rows) -> Floats:
        """Most free on the GPU is best; the node's other GPUs decide among equals."""
        milli = rows.table.milli[rows.rows]
        best = np.where(rows.fits, milli, -1).max(axis=1)
        result: Floats = best + milli.sum(axis=1) / (rows.table.largest_gpus + 1)
        return result

    def order(self, node: NodeState, shape: Shape, gpus: Sequence[int]) -> Sequence[int]:
        """The emptiest GPU first."""
        del shape
        return tightest(node, gpus)[::-1]
