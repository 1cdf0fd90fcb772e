"""What a packing policy is.

A policy never decides whether a pod fits, only which of the places where it fits is best. It is a pure function
of a move: the node as it is, and the slices that the pod would take of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from allocator.core.demand import Shape
from allocator.core.fitting import Assignment
from allocator.core.state import NodeState


@dataclass(frozen=True, slots=True)
class Move:
    """A pod of this shape taking these slices of this node."""

    node: NodeState
    shape: Shape
    assignment: Assignment


class Policy(Protocol):
    """How to choose among what fits."""

    @property
    def name(self) -> str:
        """How users ask for it."""

    def prefer(self, node: NodeState, gpus: Sequence[int]) -> Sequence[int]:
        """Positions of the node's GPUs, the one to be filled first in front."""

    def score(self, move: Move) -> float:
        """How good a move is; larger is better. Equal scores go to the node first by name."""
