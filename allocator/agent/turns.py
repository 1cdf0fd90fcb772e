"""Publishes the timetable of each GPU of the node: who may launch when.

Tenants are the containers that hold a grant in the node's ledger, and what they are allowed is the ledger's word.
Their own are the length of their units of work, which is bounded, and the moment of their latest launch, by which
they may only be generous or not with their own idle time. A table is replaced by rename and only when it changes. It
needs no agent to stay valid.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from allocator.agent.interposer import replace
from allocator.agent.kubelet import Container
from allocator.api import names
from allocator.api.quantities import CoresPolicy
from allocator.core.lending import Watch, could_lend, lend
from allocator.core.timetable import LONGEST_CYCLE, Tenant, Timetable, build

LONGEST_UNIT: Final = LONGEST_CYCLE
"""A tenant that claims longer units of work is not believed: it would only lengthen everybody's cycle."""


@dataclass(slots=True)
class Timetables:
    """Keeps `<host_dir>/gpus/<uuid>` true.

    Attributes:
        host_dir: the folder that containers mount.
        look: lists the node's containers that hold a grant; None while it is not known who does: tables stay as
            they are then.
        activity: when a container last launched anything, by GPU; quick to ask.
        now: the clock of those moments, CLOCK_MONOTONIC in nanoseconds.
    """

    host_dir: Path
    look: Callable[[], Iterable[Container] | None]
    activity: Callable[[Container], Mapping[str, int]]
    now: Callable[[], int]
    _published: dict[str, Timetable] = field(default_factory=dict)
    _plain: dict[str, Timetable] = field(default_factory=dict)
    _tenants: tuple[Tenant, ...] = ()
    _there: list[Container] | None = None
    _units: dict[str, int] = field(default_factory=dict)
    _watched: tuple[tuple[Container, frozenset[str]], ...] = ()
    _watches: dict[tuple[str, str], Watch] = field(default_factory=dict)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    @property
    def lending(self) -> bool:
        """Whether on some GPU somebody could lend and somebody could borrow, so that `lend` has anything to do."""
        return bool(self._watched)

    def update(self) -> None:
        """Look at the node, publish what has changed, remove what nobody needs any more.

        Raises:
            OSError: the folder cannot be written; the next call tries again.
        """
        with self._one_at_a_time:
            found = self.look()
            if found is None:
                return
            there = list(found)
            if there == self._there and not self._watched:
                return
            known, units = tuple(tenants_of(there)), longest_units(there)
            if (known, units) != (self._tenants, self._units):
                self._tenants, self._units = known, units
                self._plain = build(known, units)
            shared = frozenset(uuid for uuid in self._plain if could_lend(self._tenants, uuid))
            watched = ((one, shared.intersection(part.uuid for part in one.slices)) for one in there if one.tenant)
            self._watched = tuple((one, uuids) for one, uuids in watched if uuids)
            self._publish()
            self._there = there  # not before: what could not be written is tried again
            folder = self.host_dir / names.HOST_TIMETABLES
            for left in self._listed(folder) - self._plain.keys():
                (folder / left).unlink(missing_ok=True)
                self._published.pop(left, None)

    def lend(self) -> None:
        """Look at who is busy, lend what is idle, take back what its owner wants.

        Raises:
            OSError: as `update`.
        """
        with self._one_at_a_time:
            self._publish()

    def _publish(self) -> None:
        for uuid, table in lend(self._plain, self._tenants, self._idle()).items():
            if self._published.get(uuid) != table:
                replace(self.host_dir / names.HOST_TIMETABLES / uuid, table.to_text().encode(), durable=False)
                self._published[uuid] = table

    def _idle(self) -> dict[str, set[str]]:
        """Who has nothing to do, by GPU."""
        now = self.now()
        watches: dict[tuple[str, str], Watch] = {}
        idle: dict[str, set[str]] = {}
        for one, uuids in self._watched:
            active = self.activity(one)
            for uuid in uuids:
                key = (one.tenant, uuid)
                before = self._watches.get(key, Watch())
                watch = before.look(now=now, active=active.get(uuid, 0), cycle=self._plain[uuid].cycle)
                watches[key] = watch
                if watch.idle:
                    idle.setdefault(uuid, set()).add(one.tenant)
        self._watches = watches
        return idle

    def _listed(self, folder: Path) -> set[str]:
        """GPUs that have a table now, also those that an agent before this one left."""
        with contextlib.suppress(FileNotFoundError):
            return {one.name for one in folder.iterdir() if not one.name.startswith(".")}
        return set()


def tenants_of(containers: Iterable[Container]) -> Iterable[Tenant]:
    """The containers as the timetable sees them. One without a name could not find its windows."""
    for one in (named for named in containers if named.tenant):
        yield Tenant(
            name=one.tenant,
            cores={part.uuid: part.cores for part in one.slices},
            burst=frozenset(part.uuid for part in one.slices if part.policy is CoresPolicy.BURST),
        )


def longest_units(containers: Iterable[Container]) -> dict[str, int]:
    """By GPU the longest kernel or graph that a container of the node admits to, in nanoseconds."""
    longest: dict[str, int] = {}
    for one in containers:
        for gpu in one.region.gpus if one.region else ():
            longest[gpu.uuid] = max(longest.get(gpu.uuid, 0), min(gpu.longest_unit, LONGEST_UNIT))
    return longest
