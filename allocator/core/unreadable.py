"""Entries of a ledger that cannot be read: a newer version wrote them, or somebody edited them.

Such an entry is kept as it stands and goes on blocking: the slices it names where they can be read, else the whole
of each GPU it names, else the whole node. It never frees anything.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from allocator.api.allocation import Allocation, Slice
from allocator.api.errors import FormatError
from allocator.api.grant import Grant
from allocator.api.quantities import NO_MEMORY

_UUID: Final = re.compile(r"\b(?:GPU|MIG)-[0-9A-Za-z-]+")
_SLICE: Final = "slice: "


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry that is no grant.

    Attributes:
        text: as it stands; written back unchanged.
        problem: why it cannot be read.
        slices: what it surely names.
        blocked: GPUs that it names without saying how much; wholly taken.
        closed: it names nothing at all: the whole node is taken.
    """

    text: str
    problem: str
    slices: tuple[Slice, ...] = ()
    blocked: frozenset[str] = frozenset()
    closed: bool = False


def read_unreadable(text: str, problem: str) -> Unreadable:
    """What can be told of an entry that is no grant."""
    slices: list[Slice] = []
    named: set[str] = set()
    for line in text.splitlines():
        one = _slice(line)
        if one is None:
            named |= set(_UUID.findall(line))
        else:
            slices.append(one)
    return Unreadable(
        text=text,
        problem=problem,
        slices=tuple(slices),
        blocked=frozenset(named),
        closed=not slices and not named,
    )


def _slice(line: str) -> Slice | None:
    """The slice that a ledger line surely names; None for any other line."""
    if not line.startswith(_SLICE):
        return None
    try:
        one = Slice.parse(line.removeprefix(_SLICE).partition(" ")[2])
    except (FormatError, ValueError):
        return None
    return one if one.memory != NO_MEMORY else None


def stand_in(key: str, node: str, slices: Sequence[Slice]) -> Grant:
    """A grant of nobody, by which the fleet counts what an entry blocks."""
    containers = {str(at): (one,) for at, one in enumerate(slices)}
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    allocation = Allocation(id=f"unreadable-{digest}", node=node, containers=containers)
    return Grant(allocation=allocation, namespace="", pod="", granted=datetime.fromtimestamp(0, UTC))
