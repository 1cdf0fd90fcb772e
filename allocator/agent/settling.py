"""Slices that were made smaller, and whose containers know it and keep within it. Pure.

The ledger goes on counting the old size of a slice until it is certain that nobody uses it any more. What makes it
certain: the kubelet has written the new size into the container's allocation file, the container's processes have read
it there (their region says so), and neither the driver nor the region sees more in use. All of it twice in a row:
the driver is asked first, and a process that read the old size a moment ago may still take it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from allocator.agent.judge import Key
from allocator.agent.kubelet import Container
from allocator.api.allocation import Slice
from allocator.api.grant import Grant
from allocator.api.isolation import NOBODY
from allocator.api.settled import Settled


@dataclass(slots=True)
class Settling:
    """What the last look found settled."""

    _last: frozenset[Settled] = frozenset()

    def look(self, found: tuple[Settled, ...]) -> tuple[Settled, ...]:
        """Take in what a look found settled; what the one before it found as well."""
        certain = tuple(one for one in found if one in self._last)
        self._last = frozenset(found)
        return certain


def settled(
    there: Iterable[Container], grants: Mapping[str, Grant], held: Mapping[tuple[Key, str], int]
) -> tuple[Settled, ...]:
    """The slices of which that is so.

    Args:
        there: containers as the kubelet describes them.
        grants: by pod UID.
        held: bytes that the driver says each container holds, by container and GPU.
    """
    found = []
    for one in there:
        grant = grants.get(one.uid)
        if grant is None or one.problem or one.tenant != f"{grant.allocation.id}/{one.name}":
            continue
        granted = {part.uuid: part for part in grant.allocation.containers.get(one.name, ())}
        for part in one.slices:
            before = granted.get(part.uuid)
            # What a process of the pod holds whose container is not known may be this one's.
            holds = sum(held.get(((one.uid, name), part.uuid), 0) for name in (one.name, NOBODY))
            if before is not None and _smaller(part, before) and _within(one, part, holds):
                known = Settled(grant.allocation.id, one.name, uuid=part.uuid, memory=part.memory, cores=part.cores)
                found.append(replace(known, revision=part.revision))
    return tuple(sorted(found))


def _smaller(now: Slice, before: Slice) -> bool:
    return now.memory.count < before.memory.count or now.cores < before.cores


def _within(one: Container, part: Slice, held: int) -> bool:
    """Whether nobody sees more in use than the new size, and the container's processes have read it."""
    limit = part.memory.count
    uses = [gpu for gpu in one.region.gpus if gpu.uuid == part.uuid] if one.region else []
    return held <= limit and all(gpu.limit <= limit and gpu.total + gpu.pending <= limit for gpu in uses)
