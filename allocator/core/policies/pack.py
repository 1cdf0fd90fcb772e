"""Pack: fill GPUs that are in use before touching another one.

For clusters that want whole GPUs and whole nodes free, to give them back to the cloud or to keep them for large
jobs: first the fullest GPU that has room, then the fullest node. CPU does not count.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from allocator.core.arrays import Floats
from allocator.core.demand import Shape
from allocator.core.policies.base import Rows, tightest
from allocator.core.state import NodeState
from allocator.core.table import Table


class Pack:
    """The fullest GPU, then the fullest node."""

    name = "pack"

    def epoch(self, table: Table) -> Hashable:
        """The widest node is the measure."""
        return table.largest_gpus

    def rate(self, rows: Rows) -> Floats:
        """Nothing free on the GPU is best; the node's other GPUs decide among equals."""
        milli = rows.table.milli[rows.rows]
        best = np.where(rows.fits, milli, 1001).min(axis=1)
        result: Floats = -(best + milli.sum(axis=1) / (rows.table.largest_gpus + 1))
        return result

    def order(self, node: NodeState, shape: Shape, gpus: Sequence[int]) -> Sequence[int]:
        """The fullest GPU first."""
        del shape
        return tightest(node, gpus)
