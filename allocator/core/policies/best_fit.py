"""Best fit: the node where the least is left over.

The baseline of every packing study. As in FGD's evaluation (USENIX ATC'23, section 6, "BestFit"): what a node has
left after the pod, each resource as a share of the largest node's, added up. CPU and GPUs count; node memory is
no part of it, it is never what runs out on a GPU node.
"""

from collections.abc import Hashable, Sequence

from allocator.core.arrays import Floats
from allocator.core.demand import Shape
from allocator.core.policies.base import Move, Rows, tightest
from allocator.core.state import NodeState
from allocator.core.table import Table


class BestFit:
    """Least left over on the node, then on the GPU."""

    name = "best-fit"

    def prefer(self, node: NodeState, gpus: Sequence[int]) -> Sequence[int]:
        """The fullest GPU first."""
        return tightest(node, gpus)

    def score(self, move: Move) -> float:
        """For a single move: GPUs and cores left over, negated."""
        taken = sum(
            part.memory / max(1, move.node.gpus[part.gpu].capacity) for parts in move.assignment for part in parts
        )
        free = sum(state.milli for state in move.node.gpus) / 1000 - taken
        return -free - (move.node.free.cpu - move.shape.usage.cpu) / 1e6

    def epoch(self, table: Table) -> Hashable:
        """The largest node is the measure."""
        return (table.largest_cpu, table.largest_gpus)

    def rate(self, rows: Rows) -> Floats:
        """What is left over, negated."""
        return -left_over(rows)

    def order(self, node: NodeState, shape: Shape, gpus: Sequence[int]) -> Sequence[int]:
        """The fullest GPU first."""
        del shape
        return self.prefer(node, gpus)


def left_over(rows: Rows) -> Floats:
    """What each row has left after the pod, 0 (nothing) to 2 (an empty largest node)."""
    table = rows.table
    gpus = table.milli[rows.rows].sum(axis=1) - rows.milli()
    cpu = table.cpu[rows.rows] - rows.shape.usage.cpu
    result: Floats = gpus / table.largest_gpus + cpu / table.largest_cpu
    return result
