"""The kubelet's folder, looked at again and again: what has not changed is not read again.

A node with 250 pods is looked at twice a second. Listing and parsing everything each time would cost several percent
of a core; here a quick look costs one `stat` while pods neither come nor go, and a thorough one, every few seconds,
a `stat` per pod, a `readlink` per container with slices, and the regions, which change all the time.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

from allocator.agent.kubelet import ALLOCATIONS, Container, container_of, named_pods, read_allocation, read_region
from allocator.agent.region import MOST_SLOTS
from allocator.api import names
from allocator.api.errors import FormatError
from allocator.api.request import MOST_CONTAINERS

_FRESH: Final = 10**9
"""Nanoseconds: a folder that changed so shortly before it was listed may have changed again within its clock's tick."""


MOST_PROCESSES: Final = MOST_SLOTS
"""Of one pod, over all its regions: what they name is kept in memory, and is its tenant's to write."""
CROWDED: Final = "region: those of its pod name more processes than a pod has"
_YOUNG: Final = 120 * 10**9
"""Nanoseconds for which the volumes of a new pod may still be made."""


Whose = Callable[[list[Container]], Iterable[Container]]
"""Some of the containers."""


def everybody(containers: list[Container]) -> list[Container]:
    """All of them."""
    return containers


@dataclass(slots=True)
class _Listing:
    """What a folder held, and when it had last changed then; 0: list it again."""

    changed: int = 0
    held: tuple[str, ...] = ()


@dataclass(slots=True)
class _Seen:
    """A container, and the version of its allocation file that it was read from."""

    version: str
    container: Container
    problem: str


@dataclass(slots=True)
class NodeFolder:
    """The containers with slices of a node.

    Attributes:
        kubelet: the kubelet's folder.
        logs: the folder of pods' logs, which tells their names.
        now: the clock that the file system uses, in nanoseconds.
    """

    kubelet: Path
    logs: Path
    now: Callable[[], int] = time.time_ns
    _pods: _Listing = field(default_factory=_Listing)
    _logs: _Listing = field(default_factory=_Listing)
    _names: dict[str, str] = field(default_factory=dict)
    _volumes: dict[str, _Listing] = field(default_factory=dict)
    _seen: dict[tuple[str, str], _Seen] = field(default_factory=dict)
    _before: tuple[str, ...] | None = None
    _settled: int = 0

    def containers(self, *, regions: bool, whose: Whose = everybody) -> list[Container]:
        """All containers with slices, by pod UID and name; of one pod no more than may have slices.

        Args:
            regions: look whether their allocations have changed, and read what they use. Without it they come with
                what was read last, if they were there.
            whose: picks those whose regions are worth reading. Any pod may have volumes that are named like ours, and
                reading a region takes as long as its owner makes it.
        """
        pods = self.pods()
        if pods is not self._before:
            self._before, self._settled = pods, self.now() + _YOUNG
        elif not regions and self.now() >= self._settled:
            return [seen.container for seen in self._seen.values()]
        known = self.names()
        there: dict[tuple[str, str], _Seen] = {}
        for pod in pods:
            volumes = (one for one in self._allocations(pod) if one.startswith(names.VOLUME_ALLOCATION_PREFIX))
            for volume in islice(volumes, MOST_CONTAINERS):
                there[pod, volume] = self._current((pod, volume), shown=known.get(pod, pod), thorough=regions)
        self._seen = there
        if regions:
            counts = {(one.uid, one.name) for one in whose([seen.container for seen in there.values()])}
            processes: Counter[str] = Counter()
            for seen in there.values():
                if (seen.container.uid, seen.container.name) in counts:
                    self._use(seen, processes)
        return [seen.container for seen in there.values()]

    def pods(self) -> tuple[str, ...]:
        """UIDs of the pods that the kubelet has on this node, or has not cleaned up yet."""
        return self._list(self._pods, f"{self.kubelet}/pods")

    def names(self) -> Mapping[str, str]:
        """`namespace/name` of pods, by UID."""
        before = self._logs.held
        held = self._list(self._logs, os.fspath(self.logs))
        if held is not before:
            self._names = named_pods(held)
        return self._names

    def _allocations(self, pod: str) -> tuple[str, ...]:
        listing = self._volumes.setdefault(pod, _Listing())
        held = self._list(listing, f"{self.kubelet}/pods/{pod}/{ALLOCATIONS}")
        if len(self._volumes) > 2 * len(self._pods.held) + 64:
            self._volumes = {uid: self._volumes[uid] for uid in self._pods.held if uid in self._volumes}
        return held

    def _list(self, listing: _Listing, folder: str) -> tuple[str, ...]:
        """What a folder holds, sorted; nothing where there is none."""
        try:
            changed = os.stat(folder).st_mtime_ns  # noqa: PTH116 - a Path costs ten times as much
            if changed == listing.changed:
                return listing.held
            now = self.now()
            with os.scandir(folder) as entries:
                held = tuple(sorted(one.name for one in entries))
        except OSError:
            listing.changed = 0
            held = ()
        else:
            listing.changed = changed if now - changed > _FRESH else 0
        if held != listing.held:
            listing.held = held
        return listing.held

    def _current(self, key: tuple[str, str], *, shown: str, thorough: bool) -> _Seen:
        """A container, by its pod and its volume, as the kubelet describes it now."""
        folder = f"{self.kubelet}/pods/{key[0]}/{ALLOCATIONS}/{key[1]}"
        before = self._seen.get(key)
        if before is not None and before.container.pod != shown:
            before.container = replace(before.container, pod=shown)
        if before is not None and before.version and not thorough:
            return before
        version = ""
        with contextlib.suppress(OSError):
            # Another one with each change, as the kubelet writes.
            version = os.readlink(f"{folder}/..data")  # noqa: PTH115 - as above
        if before is not None and version and before.version == version:
            return before
        problem = tenant = ""
        slices = before.container.slices if before else ()
        try:
            slices, tenant = read_allocation(Path(folder))
        except (FormatError, OSError) as reason:
            problem, version = str(reason), ""  # and tried again at the next look
        region = before.container.region if before else None
        name = container_of(key[1], tenant or (before.container.tenant if before else ""))
        container = Container(
            uid=key[0], name=name, pod=shown, slices=slices, region=region, problem=problem, tenant=tenant
        )
        return _Seen(version=version, container=container, problem=problem)

    def _use(self, seen: _Seen, processes: Counter[str]) -> None:
        """Read what a container uses; `processes` counts by pod what its regions name."""
        one, problem, region = seen.container, seen.problem, None
        try:
            region = read_region(self.kubelet, one.uid, one.name)
        except (FormatError, OSError) as reason:
            problem = problem or str(reason)
        if region is not None and processes[one.uid] + len(region.processes) > MOST_PROCESSES:
            region, problem = None, problem or CROWDED
        elif region is not None:
            processes[one.uid] += len(region.processes)
        if region != one.region or problem != one.problem:
            seen.container = replace(one, region=region, problem=problem)
