"""Whose turn it is on a GPU: the timetable that turns shares of time into windows of a recurring cycle.

Busy processes are time-sliced equally by the hardware, whatever share anybody was promised. So a share is kept by
taking turns: each tenant has windows of its own in a cycle, and launches only in them. The agent publishes one table
per GPU; the interposer reads it (native/src/windows.h states the format). Windows of one GPU never overlap, and those
of a container with several GPUs open on all of them at once, because kernels of such a container wait for each other.

A cycle is long enough for the longest unit of work that runs on its GPUs, since a unit cannot be interrupted, and no
longer, since whoever is not on turn waits. Pure: values in, values out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from allocator.core.spans import Span, common, joined, length_of, take, without

MILLISECOND: Final = 1_000_000
SHORTEST_CYCLE: Final = 40 * MILLISECOND
LONGEST_CYCLE: Final = 1000 * MILLISECOND
UNITS_PER_CYCLE: Final = 20
LEAST_REST: Final = 2
"""Percent of a cycle that tenants without a share have together, where there are any and all time is promised:
without it, they would stop for ever. The promised windows shrink by as much."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One container that uses GPUs.

    Attributes:
        name: `<allocation id>/<container>`, as its allocation line says behind `tenant=`.
        cores: share in percent of each of its GPUs; by UUID; 0: none.
        burst: GPUs on which it may use what others leave idle (lending.py). Without a share it always may.
    """

    name: str
    cores: Mapping[str, int]
    burst: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Timetable:
    """The windows of one GPU.

    Attributes:
        cycle: its length in nanoseconds.
        windows: each capped tenant's, by name.
        rest: what is left for tenants without a share.
    """

    cycle: int
    windows: Mapping[str, tuple[Span, ...]]
    rest: tuple[Span, ...]

    def to_text(self) -> str:
        """The file that the interposer reads."""
        lines = ["format 1", "epoch 0", f"cycle {self.cycle}"]
        for name in sorted(self.windows):
            lines += [f"window {name} {start} {end - start}" for start, end in self.windows[name]]
        lines += [f"rest {start} {end - start}" for start, end in self.rest]
        return "\n".join(lines) + "\n"


def cycle_for(longest_unit: int) -> int:
    """The cycle for a longest unit of work, both in nanoseconds.

    The shortest one doubled until it holds UNITS_PER_CYCLE of them: a change of the unit's length by a little does
    not move anybody's window.
    """
    cycle = SHORTEST_CYCLE
    while cycle < LONGEST_CYCLE and cycle < UNITS_PER_CYCLE * longest_unit:
        cycle *= 2
    return min(cycle, LONGEST_CYCLE)


def build(tenants: Iterable[Tenant], longest_units: Mapping[str, int]) -> dict[str, Timetable]:
    """The tables of a node.

    Args:
        tenants: all containers with slices on the node.
        longest_units: per GPU the longest unit of work seen, in nanoseconds; 0 or absent: unknown.

    Returns:
        By UUID, a table for each GPU on which somebody has a share. The others need none: nobody has to wait.
    """
    everyone = sorted(tenants, key=lambda one: one.name)
    tables: dict[str, Timetable] = {}
    for group in _groups(everyone):
        members = [one for one in everyone if not group.isdisjoint(one.cores)]
        if any(any(one.cores.values()) for one in members):
            cycle = cycle_for(max((longest_units.get(uuid, 0) for uuid in group), default=0))
            tables |= _group_tables(members, sorted(group), cycle)
    return {uuid: table for uuid, table in tables.items() if table.windows}


def _groups(tenants: Sequence[Tenant]) -> list[set[str]]:
    """GPUs that share a cycle, because a container uses them together."""
    groups: list[set[str]] = []
    for one in tenants:
        together = set(one.cores)
        apart = []
        for group in groups:
            if group.isdisjoint(together):
                apart.append(group)
            else:
                together |= group
        groups = [*apart, together] if together else apart
    return groups


def _group_tables(tenants: Sequence[Tenant], uuids: Sequence[str], cycle: int) -> dict[str, Timetable]:
    free: dict[str, list[Span]] = {uuid: [(0, cycle)] for uuid in uuids}
    windows: dict[str, dict[str, tuple[Span, ...]]] = {uuid: {} for uuid in uuids}
    scale = {uuid: _scale(tenants, uuid) for uuid in uuids}
    # Those with the most GPUs first: they are the hardest to fit in phase.
    for one in sorted(tenants, key=lambda one: (-len(one.cores), one.name)):
        capped = {uuid: cores for uuid, cores in one.cores.items() if cores}
        shared = common([free[uuid] for uuid in capped])
        for uuid, cores in capped.items():
            length = cycle * cores * scale[uuid] // 10_000
            taken = take(shared, length)
            missing = length - length_of(taken)
            if missing:
                taken = joined([*taken, *take(without(free[uuid], taken), missing)])
            windows[uuid][one.name] = tuple(taken)
            free[uuid] = without(free[uuid], taken)
    return {uuid: Timetable(cycle=cycle, windows=windows[uuid], rest=tuple(free[uuid])) for uuid in uuids}


def _scale(tenants: Sequence[Tenant], uuid: str) -> int:
    """Percent of its promise that each share on a GPU gets."""
    shares = [one.cores[uuid] for one in tenants if uuid in one.cores]
    promised = sum(shares)
    most = 100 - LEAST_REST if 0 in shares else 100
    return 100 if promised <= most else most * 100 // promised
