"""How an own policy, which looks at one move at a time, takes part: every row that has changed is asked singly."""

from collections.abc import Hashable, Sequence

import numpy as np

from allocator.core.arrays import Floats
from allocator.core.demand import Shape
from allocator.core.fitting import assign
from allocator.core.policies.base import Move, Policy, Rater, Rows
from allocator.core.state import NodeState
from allocator.core.table import Table


class OneByOne:
    """A policy of single moves, as a rater."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @property
    def name(self) -> str:
        """The policy's."""
        return self.policy.name

    def epoch(self, table: Table) -> Hashable:
        """Never changes: a policy is a pure function of the move."""
        del table
        return 0

    def rate(self, rows: Rows) -> Floats:
        """Each row's score; minus infinity where the asks do not fit together."""
        scores = [self._score(rows, int(row), at) for at, row in enumerate(rows.rows)]
        return np.asarray(scores, dtype=np.float64)

    def order(self, node: NodeState, shape: Shape, gpus: Sequence[int]) -> Sequence[int]:
        """The policy's preference."""
        del shape
        return self.policy.prefer(node, gpus)

    def _score(self, rows: Rows, row: int, at: int) -> float:
        node = rows.table.nodes[row]
        if node is None:
            return -np.inf
        allowed = rows.fits[at] if len(rows.shape.asks) == 1 else rows.table.capacity[row] > 0
        gpus = np.flatnonzero(allowed).tolist()
        assignment = assign(node, rows.shape, self.policy.prefer(node, gpus))
        if assignment is None:
            return -np.inf
        return self.policy.score(Move(node=node, shape=rows.shape, assignment=assignment))


def as_rater(policy: "Policy | Rater") -> Rater:
    """A policy as a rater. Of a class that can both ways, what its own class or the nearest parent says counts."""
    if isinstance(policy, Rater) and _depth(policy, "rate") <= _depth(policy, "score"):
        return policy
    if isinstance(policy, Policy):
        return OneByOne(policy)
    raise TypeError(f"{policy!r} is no packing policy: it has neither `prefer` and `score` nor `rate` and `order`")


def _depth(policy: object, method: str) -> int:
    """How many classes up a method is defined."""
    lineage = type(policy).__mro__
    return next((depth for depth, one in enumerate(lineage) if method in vars(one)), len(lineage))
