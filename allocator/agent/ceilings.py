"""Slices that were made smaller while more of them was in use. Pure.

Lowering a limit takes nothing away: what is in use stays, and new requests are refused until use has fallen. That is
no breach, so for that long the container is measured by what it was allowed before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from allocator.agent.judge import Key, allowed
from allocator.api.grant import Grant


@dataclass(slots=True)
class Ceilings:
    """The highest slice of each container and GPU since it last fitted into its slice, in bytes."""

    highest: dict[tuple[Key, str], int] = field(default_factory=dict)

    def look(self, grants: Mapping[str, Grant], held: Mapping[tuple[Key, str], int]) -> None:
        """Take in what pods (by UID) are granted and what their containers hold.

        An agent that has just started does not know what a slice was before. Where the ledger says that it was
        changed, what is held at the first look counts as having been allowed.
        """
        now: dict[tuple[Key, str], int] = {}
        for uid, grant in grants.items():
            for container, slices in grant.allocation.containers.items():
                for one in slices:
                    key = ((uid, container), one.uuid)
                    limit, holds = one.memory.count, held.get(key, 0)
                    before = self.highest.get(key, holds if grant.revision else 0)
                    now[key] = limit if holds <= allowed(limit) else max(limit, before)
        self.highest = now
