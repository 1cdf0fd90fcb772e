"""The ledger of one node as a value: which grants it holds, what they take, and what a batch of changes makes of it.

Everything here fails closed; allocator.core.unreadable says what happens to entries that are no grants.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from allocator.api import names
from allocator.api.allocation import Slice
from allocator.api.errors import FormatError
from allocator.api.grant import Grant
from allocator.api.inventory import Inventory
from allocator.core.unreadable import Unreadable, read_unreadable, stand_in

LARGEST: Final = 1_000_000
"""Bytes of data in one ledger; the API server refuses a ConfigMap of more than 1 MiB."""
FULL_CORES: Final = 100


@dataclass(frozen=True, slots=True)
class Use:
    """What is taken of one GPU: bytes of memory, percent of time, and whether it is wholly blocked."""

    memory: int = 0
    cores: int = 0
    blocked: bool = False

    def plus(self, one: Slice) -> "Use":
        """With one more slice."""
        return replace(self, memory=self.memory + one.memory.count, cores=self.cores + one.cores)


@dataclass(frozen=True)
class Changes:
    """A batch of changes to one ledger, written together.

    Attributes:
        add: new grants; one with a known id replaces it.
        remove: ids of grants that are given back.
        seen: pod name and UID by the id of the grant with which the pod has appeared.
        releasing: by id, since when a grant's pod is gone without having been seen to end; None: it lives after all.
        reused: by id, the how manyth further taker a grant is given to, and the pod's UID that it must still name:
            none for a further create of a pod that has not appeared, a queued pod's for a leader that goes on with it.
    """

    add: tuple[Grant, ...] = ()
    remove: frozenset[str] = frozenset()
    seen: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    releasing: Mapping[str, datetime | None] = field(default_factory=dict)
    reused: Mapping[str, tuple[int, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """All entries of one node's ledger.

    Attributes:
        node: the node's name.
        data: the ConfigMap's `data`; entries that nobody touches are written back as they were read.
        grants: by allocation id.
        unreadable: entries that could not be read, by key.
    """

    node: str
    data: Mapping[str, str] = field(default_factory=dict)
    grants: Mapping[str, Grant] = field(default_factory=dict)
    unreadable: Mapping[str, Unreadable] = field(default_factory=dict)

    @classmethod
    def from_data(cls, node: str, data: Mapping[str, str] | None) -> "Ledger":
        """Read a ConfigMap's `data`. Never fails: see the module."""
        grants: dict[str, Grant] = {}
        unreadable: dict[str, Unreadable] = {}
        for key, text in (data or {}).items():
            try:
                grants[key] = Grant.from_text(key, text, node=node)
            except (FormatError, ValueError) as reason:
                unreadable[key] = read_unreadable(text, str(reason))
        return cls(node=node, data=dict(data or {}), grants=grants, unreadable=unreadable)

    @cached_property
    def uses(self) -> Mapping[str, Use]:
        """What is taken of each GPU that an entry names."""
        found: dict[str, Use] = {}
        for one in self._slices():
            found[one.uuid] = found.get(one.uuid, Use()).plus(one)
        for entry in self.unreadable.values():
            for uuid in entry.blocked:
                found[uuid] = replace(found.get(uuid, Use()), blocked=True)
        return found

    @cached_property
    def closed(self) -> str:
        """Why the node takes no grants at all; empty where it does."""
        for key, entry in self.unreadable.items():
            if entry.closed:
                return f"entry {key} of its ledger cannot be read: {entry.problem}"
        return ""

    def apply(self, changes: Changes) -> "Ledger":
        """The ledger after a batch. Removing or marking what is not there changes nothing."""
        grants, data = dict(self.grants), dict(self.data)
        for key in changes.remove & grants.keys():
            del grants[key], data[key]
        for key, (pod, uid) in changes.seen.items():
            if key in grants and not grants[key].uid:
                grants[key] = grants[key].seen(name=pod, uid=uid)
                data[key] = grants[key].to_text(over=data[key])
        for key, since in changes.releasing.items():
            if key in grants and (grants[key].releasing is None) != (since is None):
                grants[key] = replace(grants[key], releasing=since)
                data[key] = grants[key].to_text(over=data[key])
        for key, (count, uid) in changes.reused.items():
            grant = grants.get(key)
            if grant is not None and grant.uid == uid and not grant.releasing and grant.reused < count:
                grants[key] = replace(grant, reused=count)
                data[key] = grants[key].to_text(over=data[key])
        for grant in changes.add:
            grants[grant.allocation.id] = grant
            data[grant.allocation.id] = grant.to_text(over=data.get(grant.allocation.id, ""))
        return replace(self, data=data, grants=grants)

    def admit(self, asked: Iterable[Grant], inventory: Inventory) -> tuple[tuple[Grant, ...], dict[str, str]]:
        """Which grants may be added, first come first served, without breaking invariant 1.

        The last check before every write, whatever a packing policy believed.

        Returns:
            The grants that may, and by id why the others may not.
        """
        capacities = {gpu.uuid: gpu.capacity.count for gpu in inventory.gpus}
        uses = dict(self.uses)
        admitted: list[Grant] = []
        refused: dict[str, str] = {}
        for grant in asked:
            reason = self._obstacle(grant) or next(
                filter(None, (_excess(one, uses, capacities) for one in grant.allocation.totals().values())), ""
            )
            if reason:
                refused[grant.allocation.id] = f"node {self.node}: {reason}"
                continue
            admitted.append(grant)
            for one in grant.allocation.totals().values():
                uses[one.uuid] = uses.get(one.uuid, Use()).plus(one)
        return tuple(admitted), refused

    def holds(self, inventory: Inventory | None) -> list[Grant]:
        """All grants, and for entries that cannot be read stand-ins that take what these block."""
        found = list(self.grants.values())
        gpus = {gpu.uuid: gpu for gpu in (inventory.gpus if inventory else ())}
        for key, entry in self.unreadable.items():
            whole = set(gpus) if entry.closed else entry.blocked & gpus.keys()
            slices = [one for one in entry.slices if one.uuid not in whole]
            slices += [Slice(uuid=uuid, memory=gpus[uuid].memory, cores=FULL_CORES) for uuid in sorted(whole)]
            found.append(stand_in(key, self.node, slices))
        return found

    def _obstacle(self, grant: Grant) -> str:
        key = grant.allocation.id
        if key in self.grants or key in self.unreadable:
            return f"the ledger has an entry {key} already"
        return self.closed

    def _slices(self) -> Iterable[Slice]:
        for grant in self.grants.values():
            for slices in grant.allocation.containers.values():
                yield from slices
        for entry in self.unreadable.values():
            yield from entry.slices


def overbooked(ledger: Ledger, inventory: Inventory) -> list[str]:
    """Invariant 1 as an executable check: a sentence for every GPU whose grants exceed it. Empty: all is well."""
    capacities = {gpu.uuid: gpu.capacity.count for gpu in inventory.gpus}
    found = []
    for uuid, use in ledger.uses.items():
        capacity = capacities.get(uuid, 0)
        if use.memory > capacity:
            found.append(f"{ledger.node}: {uuid} has {capacity} bytes and grants for {use.memory}")
        if use.cores > FULL_CORES:
            found.append(f"{ledger.node}: {uuid} has grants for {use.cores}% of its time")
    for key, grant in ledger.grants.items():
        for container, slices in grant.allocation.containers.items():
            if len({one.uuid for one in slices}) != len(slices):
                found.append(f"{ledger.node}: grant {key} gives container {container} one GPU twice")
    return found


def too_large(data: Mapping[str, str]) -> bool:
    """Whether the API server would refuse this much data in one ConfigMap."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in data.items()) > LARGEST


def ledger_object(ledger: Ledger, *, namespace: str, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The ConfigMap of a ledger.

    Args:
        ledger: what it holds.
        namespace: the system namespace.
        metadata: of the ConfigMap as read, with its resourceVersion; None for one that is to be created.
    """
    found = dict(metadata or {})
    labels = {**(found.get("labels") or {}), names.KIND_LABEL: names.KIND_LEDGER, names.PART_OF_LABEL: names.PART_OF}
    annotations = {**(found.get("annotations") or {}), names.NODE: ledger.node}
    found |= {"namespace": namespace, "name": names.ledger_name(ledger.node)}
    found |= {"labels": labels, "annotations": annotations}
    data = dict(sorted(ledger.data.items()))
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": found, "data": data}


def node_of(configmap: Mapping[str, Any]) -> str:
    """Whose ledger a ConfigMap is; empty where it does not say."""
    metadata = configmap.get("metadata") or {}
    return str((metadata.get("annotations") or {}).get(names.NODE, ""))


def _excess(taken: Slice, uses: Mapping[str, Use], capacities: Mapping[str, int]) -> str:
    """Why one GPU cannot give so much more; empty if it can."""
    capacity = capacities.get(taken.uuid)
    if capacity is None:
        return f"no GPU {taken.uuid}"
    use = uses.get(taken.uuid, Use())
    if use.blocked:
        return f"{taken.uuid} is blocked by an entry of the ledger that cannot be read"
    if use.memory + taken.memory.count > capacity:
        return f"{taken.uuid} has {capacity - use.memory} bytes left of {capacity}"
    if use.cores + taken.cores > FULL_CORES:
        return f"{taken.uuid} has {FULL_CORES - use.cores}% of its time left"
    return ""
