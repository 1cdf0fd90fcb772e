"""Best fit: where the least is left over.

The baseline of every packing study: of all places, the one that the pod fills most. CPU, memory and GPUs count
alike, each as a share of what the node has.
"""

from collections.abc import Sequence

from allocator.core.policies.base import Move
from allocator.core.state import NodeState


class BestFit:
    """Least left over on the node, then on the GPU."""

    name = "best-fit"

    def prefer(self, node: NodeState, gpus: Sequence[int]) -> Sequence[int]:
        """The fullest GPU first."""
        return sorted(gpus, key=lambda at: (node.gpus[at].free_memory, node.gpus[at].free_cores, at))

    def score(self, move: Move) -> float:
        """Shares of GPU memory, CPU and memory that stay free, negated."""
        node, shape = move.node, move.shape
        if node.info is None:
            return 0.0
        capacity = sum(state.capacity for state in node.gpus)
        taken = sum(part.memory for parts in move.assignment for part in parts)
        free = sum(max(0, state.free_memory) for state in node.gpus) - taken
        total = node.info.allocatable
        return -(
            free / max(1, capacity)
            + (node.free.cpu - shape.usage.cpu) / max(1, total.cpu)
            + (node.free.memory - shape.usage.memory) / max(1, total.memory)
        )
