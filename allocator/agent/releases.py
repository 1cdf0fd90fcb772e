"""Confirms that nothing is left of a pod that vanished without its containers having been seen to end.

After a forced deletion the API server knows no pod, while its processes may live on and hold their memory. The
allocator keeps such a grant and marks it `releasing`; the agent lists it as `released` once it is certain that

  - no process of the host is in the pod's control groups,
  - the driver has answered, lists no process of it, and no process at all that cannot be found on this node,
  - the kubelet has cleaned up the pod's folder. While the folder stands, the kubelet may start a container again,
    at the latest after its longest pause between two tries: after that long without a process it counts as gone too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from allocator.api.grant import Grant

LOOKS: Final = 2
"""So many looks in a row have to find nothing: one may fall between the end of a process and the start of another."""
KUBELET_PAUSE: Final = 330.0
"""Seconds; the kubelet waits 300 between two starts of a container that keeps failing."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What of a pod is still there.

    Attributes:
        alive: UIDs of pods of which a process lives.
        doubtful: GPUs whose processes are not all known; `*`: none are.
        folders: UIDs of pods that have a folder; None: the kubelet's folder cannot be seen.
    """

    alive: frozenset[str]
    doubtful: frozenset[str] = frozenset()
    folders: frozenset[str] | None = frozenset()


@dataclass(slots=True)
class Releases:
    """How long nothing has been seen of each pod whose grant is to be released."""

    _quiet: dict[str, tuple[float, int]] = field(default_factory=dict)

    def look(self, grants: Iterable[Grant], signs: Signs, *, now: float) -> frozenset[str]:
        """Take in what a look at `now`, in seconds, found; the ids of the allocations that are free."""
        quiet: dict[str, tuple[float, int]] = {}
        free = set()
        for grant in grants:
            key = grant.allocation.id
            if _lives(grant, signs):
                continue
            since, looks = self._quiet.get(key, (now, 0))
            quiet[key] = (since, looks + 1)
            cleaned = signs.folders is not None and grant.uid not in signs.folders
            if looks + 1 >= LOOKS and (cleaned or now - since >= KUBELET_PAUSE):
                free.add(key)
        self._quiet = quiet
        return frozenset(free)


def releasing(grants: Mapping[str, Grant]) -> tuple[Grant, ...]:
    """The grants that wait for a confirmation. Without a UID there is no pod that could be looked for."""
    return tuple(grant for grant in grants.values() if grant.releasing is not None and grant.uid)


def _lives(grant: Grant, signs: Signs) -> bool:
    """Whether something of the pod lives, or might."""
    gpus = {*grant.allocation.uuids(), "*"}
    return grant.uid in signs.alive or not signs.doubtful.isdisjoint(gpus)
