"""Invariants 1 and 2 of the ledger as checks that run at every write of one, in whatever test writes it.

1. Grants never exceed a GPU's memory nor 100 % of its time, those that wait for their node's agent included.
2. A grant is given back for a cause, and for nothing else; it does not change its owner or its place.

The ledger's text is read here anew, not by the code under test: a mistake there must not blind its own check.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from allocator.api import names

FULL_TIME = 100
_UNITS = {"": 1, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}
_MEMORY = re.compile(r"(\d+)([KMGT]i)?")


@dataclass(frozen=True)
class Slice:
    """What one container has of one GPU: bytes and percent of its time."""

    container: str
    uuid: str
    memory: int
    cores: int


@dataclass(frozen=True)
class Entry:
    """One grant, as its text in the ledger says.

    Attributes:
        node: whose ledger.
        id: the allocation's.
        pod: `namespace/name`.
        uid: the pod's; empty until it was seen.
        slices: what it holds.
        releasing: whether the node's agent is being waited for.
        revision: how often it was resized.
    """

    node: str
    id: str
    pod: str
    uid: str
    slices: tuple[Slice, ...]
    releasing: bool = False
    revision: int = 0

    @classmethod
    @lru_cache(maxsize=4096)
    def of(cls, node: str, key: str, text: str) -> "Entry":
        """Read one."""
        fields: dict[str, str] = {}
        slices = []
        for line in text.splitlines():
            name, _, value = line.partition(": ")
            if name == "slice":
                container, uuid, *tokens = value.split()
                given = dict(token.split("=", 1) for token in tokens)
                slices.append(Slice(container, uuid, bytes_of(given["memory"]), int(given.get("cores", "0"))))
            else:
                fields[name] = value
        return cls(
            node=node,
            id=key,
            pod=fields.get("pod", ""),
            uid=fields.get("uid", ""),
            slices=tuple(slices),
            releasing="releasing" in fields,
            revision=int(fields.get("revision", "0")),
        )


def bytes_of(text: str) -> int:
    """A quantity of memory."""
    found = _MEMORY.fullmatch(text)
    assert found, f"no memory: {text!r}"
    return int(found[1]) * _UNITS[found[2] or ""]


def entries(node: str, data: Mapping[str, str] | None) -> dict[str, Entry]:
    """All grants of a ledger; what is no grant is passed over."""
    return {key: Entry.of(node, key, text) for key, text in (data or {}).items() if "slice: " in text}


def uses(ledger: Mapping[str, Entry]) -> dict[str, tuple[int, int]]:
    """Bytes and percent that grants add up to, by GPU."""
    found: dict[str, tuple[int, int]] = {}
    for entry in ledger.values():
        for one in entry.slices:
            memory, cores = found.get(one.uuid, (0, 0))
            found[one.uuid] = (memory + one.memory, cores + one.cores)
    return found


def crowded(
    after: Mapping[str, Entry], capacities: Mapping[str, int], *, before: Mapping[str, Entry] | None = None
) -> Iterator[str]:
    """Invariant 1: a sentence for every GPU with more grants than it can bear.

    Args:
        after: the ledger.
        capacities: bytes by GPU.
        before: the ledger before; a GPU that shrank under its grants is no mistake as long as it gets no more.
    """
    former = uses(before or {})
    for uuid, (memory, cores) in uses(after).items():
        was = former.get(uuid, (0, 0))
        if memory > max(capacities.get(uuid, 0), was[0]):
            yield f"{uuid} has {capacities.get(uuid, 0)} bytes and grants for {memory}"
        if cores > max(FULL_TIME, was[1]):
            yield f"{uuid} has grants for {cores}% of its time"
    for entry in after.values():
        places = [(one.container, one.uuid) for one in entry.slices]
        if len(set(places)) != len(places):
            yield f"grant {entry.id} gives a container one GPU twice"


def unjust(before: Mapping[str, Entry], after: Mapping[str, Entry], excuse: Callable[[Entry], str]) -> Iterator[str]:
    """Invariant 2: a sentence for every grant that went without a cause, or became another.

    Args:
        before: the ledger before a write.
        after: and after it.
        excuse: why a grant must not go; empty where it may.
    """
    for key, was in before.items():
        now = after.get(key)
        if now is None:
            if objection := excuse(was):
                yield f"grant {key} of {was.pod} was dropped: {objection}"
        elif now.slices != was.slices and now.revision <= was.revision:
            yield f"grant {key} of {was.pod} has other slices than before: {was.slices} -> {now.slices}"
        elif was.uid and now.uid != was.uid:
            yield f"grant {key} of {was.pod} went from pod {was.uid} to {now.uid or 'nobody'}"


@dataclass
class Watchdog:
    """Sees every write of every ledger, and keeps what is wrong with it.

    Attributes:
        capacities: bytes by GPU of a node that any replica may still believe in.
        excuse: see `unjust`.
        problems: sentences; empty: all is well.
        writes: how many it has seen.
        seen: ids of all grants that ever stood in one.
    """

    capacities: Callable[[str], Mapping[str, int]]
    excuse: Callable[[Entry], str] = lambda _: ""
    problems: list[str] = field(default_factory=list)
    writes: int = 0
    seen: set[str] = field(default_factory=set)

    def changed(self, _key: object, before: dict | None, after: dict | None) -> None:
        """An object has changed, whichever."""
        node = ledger_node(after or before or {})
        if node and after is not None:
            self.writes += 1
            then = entries(node, (before or {}).get("data"))
            self.problems += [f"{node}: {problem}" for problem in self._wrong(node, then, entries(node, after["data"]))]

    def _wrong(self, node: str, before: dict[str, Entry], after: dict[str, Entry]) -> Iterator[str]:
        yield from crowded(after, self.capacities(node), before=before)
        yield from unjust(before, after, self.excuse)
        self.seen |= after.keys()


def ledger_node(item: Mapping) -> str:
    """Whose ledger an object is; empty: it is none."""
    metadata = item.get("metadata") or {}
    if (metadata.get("labels") or {}).get(names.KIND_LABEL) != names.KIND_LEDGER:
        return ""
    return (metadata.get("annotations") or {}).get(names.NODE, "")
