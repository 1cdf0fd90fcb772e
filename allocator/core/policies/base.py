"""What a packing policy is.

A policy never decides whether a pod fits, only which of the places where it fits is best. It is a pure function
of what it is shown.

There are two ways to write one. `Policy` looks at one move at a time: enough for an own policy, and for a few
hundred nodes. A `Rater` looks at many rows of the fleet's table in one go; the policies here are raters.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from allocator.core.arrays import Bools, Floats, Ints
from allocator.core.demand import Shape, slice_milli
from allocator.core.fitting import Assignment
from allocator.core.state import NodeState
from allocator.core.table import Table


@dataclass(frozen=True, slots=True)
class Move:
    """A pod of this shape taking these slices of this node."""

    node: NodeState
    shape: Shape
    assignment: Assignment


@runtime_checkable
class Policy(Protocol):
    """How to choose among what fits, one move at a time."""

    @property
    def name(self) -> str:
        """How users ask for it."""

    def prefer(self, node: NodeState, gpus: Sequence[int]) -> Sequence[int]:
        """Positions of the node's GPUs, the one to be filled first in front."""

    def score(self, move: Move) -> float:
        """How good a move is; larger is better. Equal scores go to the node first by name."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the table that have room for a shape.

    Attributes:
        table: the fleet.
        shape: what is asked.
        rows: numbers of the rows.
        fits: for each of the rows, which of its GPUs have room for the shape's first ask.
    """

    table: Table
    shape: Shape
    rows: Ints
    fits: Bools

    def milli(self) -> int:
        """What the shape takes of all GPUs together, in thousandths of a GPU, on the first row's kind of GPU."""
        capacity = int(self.table.capacity[self.rows[0], 0])
        return sum(ask.gpus * slice_milli(ask, capacity) for ask in self.shape.asks)


@runtime_checkable
class Rater(Protocol):
    """How to choose among what fits, many rows at a time."""

    @property
    def name(self) -> str:
        """How users ask for it."""

    def epoch(self, table: Table) -> Hashable:
        """What rates depend on besides a row's own state; rates of another epoch are not compared."""

    def rate(self, rows: Rows) -> Floats:
        """How good each row is; larger is better."""

    def order(self, node: NodeState, shape: Shape, gpus: Sequence[int]) -> Sequence[int]:
        """Positions of the node's GPUs, the one to be filled first in front."""


def tightest(node: NodeState, gpus: Sequence[int]) -> list[int]:
    """The fullest GPU first."""
    return sorted(gpus, key=lambda at: (node.gpus[at].free_memory, node.gpus[at].free_cores, at))
