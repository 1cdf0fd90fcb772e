"""The pods that wait for capacity: who they are, who comes first, and what turns one into a granted pod."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from allocator.api import names
from allocator.api.allocation import Allocation, result_annotations
from allocator.api.inventory import Inventory
from allocator.core.giveback import ENDED
from allocator.core.pin import pinned_affinity

JsonPatch = list[dict[str, Any]]
_ANNOTATIONS: Final = "/metadata/annotations"
_LATEST: Final = "~"
"""Sorts behind every time stamp."""
_WAITING: Final = frozenset({names.REASON, names.RESERVED})
"""Annotations that only a waiting pod has."""
_WALL: Final = (names.VOLUME_LIBRARY, names.VOLUME_PRELOAD, names.VOLUME_REGION)


@dataclass(frozen=True, order=True, slots=True)
class Turn:
    """A pod's place in the order: priority first, then age; the UID settles equal ages for every replica alike.

    Attributes:
        rank: minus the priority.
        created: the creation time as the API server wrote it, which sorts as text.
        uid: the pod's.
    """

    rank: int
    created: str
    uid: str = ""

    @classmethod
    def newcomer(cls, priority: int) -> "Turn":
        """The place of a pod that is being created: behind all that wait with its priority or a higher one."""
        return cls(rank=-priority, created=_LATEST)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pod behind our gate.

    Attributes:
        uid: its UID.
        priority: of its PriorityClass; larger goes first.
        created: its creation time as the API server wrote it, which sorts as text.
        pod: the Pod as JSON.
    """

    uid: str
    priority: int
    created: str
    pod: Mapping[str, Any]

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> "Waiting | None":
        """A pod as a waiting one; None if it does not wait for us: no gate of ours, ended, or being deleted."""
        metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
        ended = (pod.get("status") or {}).get("phase") in ENDED
        if names.GATE not in gates(spec) or metadata.get("deletionTimestamp") or ended:
            return None
        return cls(
            uid=str(metadata.get("uid", "")),
            priority=priority_of(pod),
            created=str(metadata.get("creationTimestamp", "")),
            pod=pod,
        )

    @property
    def name(self) -> str:
        """Its name."""
        return str((self.pod.get("metadata") or {}).get("name", ""))

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str((self.pod.get("metadata") or {}).get("namespace", ""))

    @property
    def turn(self) -> Turn:
        """Its place in the order."""
        return Turn(rank=-self.priority, created=self.created, uid=self.uid)

    @property
    def reserved(self) -> str:
        """What its annotations say of the room that is kept for it."""
        return str(_annotations(self.pod).get(names.RESERVED, ""))

    def same(self, other: "Waiting") -> bool:
        """Whether nothing differs that matters to placing it, or to who may change it: vramshare's own words do not."""
        mine, others = self.pod, other.pod
        return (
            self.uid == other.uid
            and mine["metadata"].get("labels") == others["metadata"].get("labels")
            and mine.get("spec") == others.get("spec")
            and _asking(mine) == _asking(others)
            and self.reserved == other.reserved
        )

    @property
    def reason(self) -> str:
        """What its annotations say of why it waits."""
        return str(_annotations(self.pod).get(names.REASON, ""))

    def age(self, now: datetime) -> float:
        """Seconds since its creation; 0 where that cannot be read."""
        try:
            return max(0.0, (now - datetime.fromisoformat(self.created)).total_seconds())
        except (ValueError, TypeError):
            return 0.0

    @property
    def foreign_gates(self) -> tuple[str, ...]:
        """Gates of others. A grant would lie idle behind them, so ours is the last to go."""
        return tuple(gate for gate in gates(self.pod.get("spec") or {}) if gate != names.GATE)


def in_order(waiting: Iterable[Waiting]) -> list[Waiting]:
    """Priority first, then age; the UID settles equal ages, so that every replica sees one order."""
    # The same as by `turn`, but queues are long and tuples compare fastest.
    return sorted(waiting, key=lambda one: (-one.priority, one.created, one.uid))


def priority_of(pod: Mapping[str, Any]) -> int:
    """A pod's priority, which the API server has resolved from its PriorityClass before any webhook is asked."""
    return int((pod.get("spec") or {}).get("priority") or 0)


def gates(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a pod's scheduling gates."""
    return tuple(str(gate.get("name", "")) for gate in spec.get("schedulingGates") or ())


def unwalled(pod: Mapping[str, Any], containers: Iterable[str]) -> str | None:
    """The first of these containers without vramshare's files; None: all have them.

    Anyone may write our gate and our marks into a pod that the webhook does not see: of a namespace that did not opt
    in, or with the label that opts out. What was granted to it would have no wall.
    """
    wanted = set(containers)
    spec = pod.get("spec") or {}
    for one in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        name = str(one.get("name", ""))
        mounted = {mount.get("name") for mount in one.get("volumeMounts") or ()}
        if name in wanted and not mounted >= {*_WALL, names.allocation_volume(name)}:
            return name
    return None


def admission_patch(pod: Mapping[str, Any], *, allocation: Allocation, inventory: Inventory) -> JsonPatch:
    """The one JSON patch that turns a waiting pod into a granted one.

    It holds for this version of the pod only: users may edit a gated pod, and what was decided was decided for
    what we have read.

    Args:
        pod: the waiting pod.
        allocation: its grant.
        inventory: of the grant's node.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    annotations = _annotations(pod)
    preloads = {
        key.removeprefix(names.PRELOAD_PREFIX): value
        for key, value in annotations.items()
        if key.startswith(names.PRELOAD_PREFIX)
    }
    kept = {key: value for key, value in annotations.items() if key not in _WAITING}
    library = annotations.get(names.LIBRARY, "")
    results = result_annotations(allocation, inventory=inventory, preloads=preloads, library=library)
    affinity = pinned_affinity(spec.get("affinity"), allocation.node)
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "add", "path": _ANNOTATIONS, "value": {**kept, **results}},
        {"op": "add", "path": "/spec/affinity", "value": affinity},
        _without_gate(spec),
    ]


def _without_gate(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Take our gate away and leave others' in place."""
    found = list(spec.get("schedulingGates") or ())
    rest = [gate for gate in found if gate.get("name") != names.GATE]
    if not rest:
        return {"op": "remove", "path": "/spec/schedulingGates"}
    return {"op": "replace", "path": "/spec/schedulingGates", "value": rest}


def _asking(pod: Mapping[str, Any]) -> dict[str, str]:
    """The annotations that say what a pod asks."""
    return {key: value for key, value in _annotations(pod).items() if key not in _WAITING}


def _annotations(pod: Mapping[str, Any]) -> Mapping[str, str]:
    return (pod.get("metadata") or {}).get("annotations") or {}
