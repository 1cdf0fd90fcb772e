"""Memory that others than vramshare's pods hold, as it goes into the inventory: rounded, and without flutter. Pure.

A display, monitoring, a program that somebody started by hand on the node, a pod that uses a GPU without a grant:
the allocator must not promise what they hold. The figure rises as soon as two looks agree and falls when it has been
lower for a while, in steps, so that a process that comes and goes is not a write each time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from allocator.api.quantities import MIB, Memory

STEP: Final = 64 * MIB
CALM: Final = 60.0
"""Seconds for which it has to be lower before the lower figure counts."""


@dataclass(slots=True)
class Foreign:
    """Foreign memory by GPU."""

    _last: dict[str, int] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)
    _lower: dict[str, tuple[float, int]] = field(default_factory=dict)

    def recall(self, told: Mapping[str, Memory]) -> None:
        """Take over what an earlier agent told."""
        self._told = {uuid: memory.count for uuid, memory in told.items() if memory.count}

    def look(self, held: Mapping[str, int], *, now: float) -> dict[str, Memory]:
        """Take in what a look found at `now`, in seconds; what is to be told by GPU."""
        for uuid in {*held, *self._told, *self._last}:
            found = -(-held.get(uuid, 0) // STEP) * STEP
            told = self._told.get(uuid, 0)
            certain = min(found, self._last.get(uuid, 0))
            if certain > told:
                self._told[uuid] = certain
            if found >= told:
                self._lower.pop(uuid, None)
            else:
                since, highest = self._lower.get(uuid, (now, 0))
                self._lower[uuid] = (since, max(highest, found))
                if now - since >= CALM:
                    self._told[uuid] = max(highest, found)
                    del self._lower[uuid]
            self._last[uuid] = found
        return {uuid: Memory(count) for uuid, count in self._told.items() if count}
