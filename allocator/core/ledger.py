"""The ledger of one node as a value: which grants it holds, what they take, and what a batch of changes makes of it.

Everything here fails closed. An entry that cannot be read (a newer version wrote it, somebody edited it) is kept
as it stands and goes on blocking: the slices it names where they can be read, else the whole of each GPU it names,
else the whole node. It never frees anything.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from allocator.api import names
from allocator.api.allocation import Slice
from allocator.api.errors import FormatError
from allocator.api.grant import Grant
from allocator.api.inventory import Inventory
from allocator.api.quantities import NO_MEMORY

_UUID: Final = re.compile(r"\b(?:GPU|MIG)-[0-9A-Za-z-]+")
_SLICE: Final = "slice: "
LARGEST: Final = 1_000_000
"""Bytes of data in one ledger; the API server refuses a ConfigMap of more than 1 MiB."""
FULL_CORES: Final = 100


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry that is no grant.

    Attributes:
        text: as it stands; written back unchanged.
        problem: why it cannot be read.
        slices: what it surely names.
        blocked: GPUs that it names without saying how much; wholly taken.
        closed: it names nothing at all: the whole node is taken.
    """

    text: str
    problem: str
    slices: tuple[Slice, ...] = ()
    blocked: frozenset[str] = frozenset()
    closed: bool = False


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
class Ledger:
    """All entries of one node's ledger.

    Attributes:
        node: the node's name.
        grants: by allocation id.
        unreadable: entries that could not be read, by key.
    """

    node: str
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
                unreadable[key] = _unreadable(text, str(reason))
        return cls(node=node, grants=grants, unreadable=unreadable)

    def to_data(self) -> dict[str, str]:
        """The ConfigMap's `data`, in the order of keys, so that equal ledgers are equal texts."""
        data = {key: one.text for key, one in self.unreadable.items()}
        data |= {key: grant.to_text() for key, grant in self.grants.items()}
        return dict(sorted(data.items()))

    @cached_property
    def uses(self) -> Mapping[str, Use]:
        """What is taken of each GPU that an entry names."""
        found: dict[str, Use] = {}
        for one in self._slices():
            found[one.uuid] = found.get(one.uuid, Use()).plus(one)
        for entry in self.unreadable.values():
            for uuid in entry.blocked:
                found[uuid] = replace(found.get(uuid, Use()), blocked=True)
        return MappingProxyType(found)

    @cached_property
    def closed(self) -> str:
        """Why the node takes no grants at all; empty where it does."""
        for key, entry in self.unreadable.items():
            if entry.closed:
                return f"entry {key} of its ledger cannot be read: {entry.problem}"
        return ""

    def apply(self, changes: "Changes") -> "Ledger":
        """The ledger after a batch. Removing or marking what is not there changes nothing."""
        grants = {key: grant for key, grant in self.grants.items() if key not in changes.remove}
        for key, (pod, uid) in changes.seen.items():
            if key in grants and not grants[key].uid:
                grants[key] = grants[key].seen(name=pod, uid=uid)
        for grant in changes.add:
            grants[grant.allocation.id] = grant
        return replace(self, grants=grants)

    def refusal(self, grant: Grant, inventory: Inventory) -> str:
        """Why a grant cannot be added without breaking invariant 1; empty if it can.

        The last check before every write, whatever a packing policy believed.
        """
        if self.closed:
            return self.closed
        capacities = {gpu.uuid: gpu.capacity.count for gpu in inventory.gpus}
        for uuid, taken in grant.allocation.totals().items():
            if uuid not in capacities:
                return f"node {self.node} has no GPU {uuid}"
            use = self.uses.get(uuid, Use())
            if use.blocked:
                return f"{uuid} is blocked by an entry of the ledger that cannot be read"
            if use.memory + taken.memory.count > capacities[uuid]:
                return f"{uuid} has {capacities[uuid] - use.memory} bytes left of {capacities[uuid]}"
            if use.cores + taken.cores > FULL_CORES:
                return f"{uuid} has {FULL_CORES - use.cores}% of its time left"
        return ""

    def _slices(self) -> Iterable[Slice]:
        for grant in self.grants.values():
            for slices in grant.allocation.containers.values():
                yield from slices
        for entry in self.unreadable.values():
            yield from entry.slices


@dataclass(frozen=True)
class Changes:
    """A batch of changes to one ledger, written together.

    Attributes:
        add: new grants; one with a known id replaces it.
        remove: ids of grants that are given back.
        seen: pod name and UID by the id of the grant with which the pod has appeared.
    """

    add: tuple[Grant, ...] = ()
    remove: frozenset[str] = frozenset()
    seen: Mapping[str, tuple[str, str]] = field(default_factory=dict)


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
    found |= {
        "namespace": namespace,
        "name": names.ledger_name(ledger.node),
        "labels": labels,
        "annotations": annotations,
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": found, "data": ledger.to_data()}


def node_of(configmap: Mapping[str, Any]) -> str:
    """Whose ledger a ConfigMap is; empty where it does not say."""
    metadata = configmap.get("metadata") or {}
    return str((metadata.get("annotations") or {}).get(names.NODE, ""))


def _unreadable(text: str, problem: str) -> Unreadable:
    """What can be told of an entry that is no grant."""
    slices: list[Slice] = []
    named: set[str] = set()
    for line in text.splitlines():
        uuids = set(_UUID.findall(line))
        try:
            if not line.startswith(_SLICE):
                raise FormatError("not a slice")
            one = Slice.parse(line.removeprefix(_SLICE).partition(" ")[2])
            if one.memory == NO_MEMORY:
                raise FormatError("no amount")
            slices.append(one)
        except (FormatError, ValueError):
            named |= uuids
    return Unreadable(
        text=text,
        problem=problem,
        slices=tuple(slices),
        blocked=frozenset(named),
        closed=not slices and not named,
    )
