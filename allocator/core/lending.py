"""Lending GPU time that its owners leave idle, and taking it back.

A table with loans has further windows in it: those of idle tenants, cut into equal parts for whoever wants time and may
have more than a share, which are tenants with the policy `burst` and tenants without a share. The owner keeps its
windows, so it never waits for the loan to end: it shares them until the next table is read. A tenant with the policy
`hard` never gets more than its own.

Who is idle is told by the moment of its latest launch. A tenant that comes back soon after its time was lent is given
more patience the next time, so that work in bursts does not make the tables flap. Pure: moments in, decisions out.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from allocator.core.spans import Span, common, joined, length_of, take, without
from allocator.core.timetable import MILLISECOND, Tenant, Timetable

LEAST_PATIENCE: Final = 1000 * MILLISECOND
MOST_PATIENCE: Final = 16_000 * MILLISECOND
PATIENT_CYCLES: Final = 2
"""A tenant may wait for nearly a cycle between two signs of life."""
SOON: Final = 4
"""Coming back within so many times one's patience is soon."""
MOST_WINDOWS: Final = 16
"""Windows of one tenant that the interposer takes (native/src/windows.h)."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What is known of one tenant's activity on one GPU. Times in nanoseconds of one clock.

    Attributes:
        idle: whether its time may be lent.
        since: when it became idle, if it is.
        patience: quiet time after which it counts as idle.
    """

    idle: bool = False
    since: int = 0
    patience: int = LEAST_PATIENCE

    def look(self, *, now: int, active: int, cycle: int) -> "Watch":
        """What is known after a look.

        Args:
            now: when it was looked.
            active: the latest moment at which the tenant launched or waited; 0: never.
            cycle: of the GPU's table.
        """
        quiet = now - active
        if self.idle and quiet < now - self.since:
            soon = active and active - self.since < SOON * self.patience
            return Watch(patience=min(2 * self.patience, MOST_PATIENCE) if soon else LEAST_PATIENCE)
        if not self.idle and (not active or quiet >= max(self.patience, PATIENT_CYCLES * cycle)):
            return replace(self, idle=True, since=now)
        return self


def could_lend(tenants: Iterable[Tenant], uuid: str) -> bool:
    """Whether a GPU has anybody to whom time could be lent, beside somebody else who has a share."""
    members = [one for one in tenants if uuid in one.cores]
    owners = {one.name for one in members if one.cores[uuid]}
    return any(owners - {one.name} for one in members if _borrows(one, uuid))


def lend(
    tables: Mapping[str, Timetable], tenants: Iterable[Tenant], idle: Mapping[str, Collection[str]]
) -> dict[str, Timetable]:
    """Tables with what is idle lent to those who are not.

    Args:
        tables: what `timetable.build` made of the tenants.
        tenants: the same tenants.
        idle: per GPU the names of the tenants that have nothing to do there.
    """
    everyone = sorted(tenants, key=lambda one: (-len(one.cores), one.name))
    spare = {uuid: _spare(table, everyone, uuid, idle.get(uuid, ())) for uuid, table in tables.items()}
    wanting = {
        uuid: [one for one in everyone if _borrows(one, uuid) and one.name not in idle.get(uuid, ())] for uuid in tables
    }
    parts = {uuid: length_of(spare[uuid]) // max(1, len(wanting[uuid])) for uuid in tables}
    windows = {uuid: dict(table.windows) for uuid, table in tables.items()}
    for one in everyone:
        gpus = [uuid for uuid in tables if one in wanting[uuid] and one.cores[uuid]]
        if not gpus:
            continue
        # In phase on all its GPUs, or not at all: its kernels may wait for each other.
        lent = take(common([spare[uuid] for uuid in gpus]), min(parts[uuid] for uuid in gpus))
        for uuid in gpus:
            spare[uuid] = without(spare[uuid], lent)
            windows[uuid][one.name] = _fitting(windows[uuid][one.name], lent)
    result = {}
    for uuid, table in tables.items():
        uncapped = sum(not one.cores[uuid] for one in wanting[uuid])
        lent = take(spare[uuid], min(parts[uuid] * uncapped, length_of(spare[uuid])))
        result[uuid] = replace(table, windows=windows[uuid], rest=_fitting(table.rest, lent))
    return result


def _borrows(one: Tenant, uuid: str) -> bool:
    return uuid in one.cores and (not one.cores[uuid] or uuid in one.burst)


def _spare(table: Timetable, tenants: Sequence[Tenant], uuid: str, idle: Collection[str]) -> list[Span]:
    """The time that nobody uses: of idle owners, and what is left for tenants without a share if none is busy."""
    found = [span for name in idle for span in table.windows.get(name, ())]
    if all(one.name in idle for one in tenants if one.cores.get(uuid) == 0):
        found += table.rest
    return joined(found)


def _fitting(own: Sequence[Span], lent: Sequence[Span]) -> tuple[Span, ...]:
    """One's own windows and the longest of those lent, as many as a tenant may have."""
    longest = sorted(lent, key=lambda span: span[0] - span[1])
    found = tuple(joined([*own, *longest]))
    while len(found) > MOST_WINDOWS and longest:
        longest.pop()
        found = tuple(joined([*own, *longest]))
    return found
