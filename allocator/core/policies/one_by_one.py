"""How an own policy, which looks at one move at a time, takes part: every row that has changed is asked singly."""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Final, cast

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


_RATES: Final[dict[type, bool]] = {}
"""Whether a class of policies is to be used as a rater."""


def as_rater(policy: "Policy | Rater") -> Rater:
    """A policy as a rater. Of a class that can both ways, what its own class or the nearest parent says counts."""
    kind = type(policy)
    if kind not in _RATES:
        _RATES[kind] = isinstance(policy, Rater) and _depth(kind, "rate") <= _depth(kind, "score")
        if not _RATES[kind] and not isinstance(policy, Policy):
            raise TypeError(f"{policy!r} is no packing policy: it needs `prefer` and `score`, or `rate` and `order`")
    return cast("Rater", policy) if _RATES[kind] else _one_by_one(cast("Hashable", policy))


@lru_cache(maxsize=64)
def _one_by_one(policy: Hashable) -> OneByOne:
    """The same rater for the same policy, so that what is remembered for it is found again."""
    return OneByOne(cast("Policy", policy))


def _depth(kind: type, method: str) -> int:
    """How many classes up a method is defined."""
    lineage = kind.__mro__
    return next((depth for depth, one in enumerate(lineage) if method in vars(one)), len(lineage))
