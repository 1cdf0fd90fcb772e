"""Who may use this node's GPUs: the node's ledger, and which of the kubelet's containers it speaks of. Pure.

The kubelet's folder alone proves nothing. A pod of a namespace that never opted in can bring a volume named like
ours with whatever it likes in it. What counts is the ledger, which only the allocator writes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from allocator.agent.kubelet import Container
from allocator.api.allocation import Slice
from allocator.api.errors import FormatError
from allocator.api.grant import Grant


@dataclass(frozen=True, slots=True)
class Ledger:
    """The node's ledger at one moment.

    Attributes:
        grants: by allocation id.
        unreadable: ids of entries that this version cannot read: somebody holds something, nobody can say who.
    """

    grants: Mapping[str, Grant] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()

    @classmethod
    def from_data(cls, data: Mapping[str, str], *, node: str) -> "Ledger":
        """Read a ConfigMap's `data`."""
        grants: dict[str, Grant] = {}
        unreadable = set()
        for key, text in data.items():
            try:
                grants[key] = Grant.from_text(key, text, node=node)
            except FormatError:
                unreadable.add(key)
        return cls(grants=grants, unreadable=frozenset(unreadable))

    def slices(self) -> Iterator[Slice]:
        """All slices of all grants."""
        for grant in self.grants.values():
            for slices in grant.allocation.containers.values():
                yield from slices


class LedgerView:
    """The ledger as the watch tells it; a handler of one ConfigMap."""

    def __init__(self, node: str) -> None:
        self._node = node
        self.ledger: Ledger | None = None
        """None until it has been read once; the last known one while the API server is away."""

    def replaced(self, items: list[dict[str, Any]]) -> None:
        """The first reading, or another after a gap. No ConfigMap is a node without grants."""
        self.ledger = Ledger()
        for item in items:
            self.applied(item)

    def applied(self, item: dict[str, Any]) -> None:
        """It is new or has changed."""
        self.ledger = Ledger.from_data(item.get("data") or {}, node=self._node)

    def removed(self, _item: dict[str, Any]) -> None:
        """Somebody deleted it. The allocator writes it anew from memory, so nobody's grant has ended by that."""


def holders(ledger: Ledger, containers: Iterable[Container]) -> dict[str, Grant]:
    """The grant of each pod that has one, by UID.

    A grant made at admission learns its pod's UID a moment later. Until then the pod is known by its allocation's id,
    and by the name that the grant was made for.
    """
    found = {grant.uid: grant for grant in ledger.grants.values() if grant.uid}
    for one in containers:
        grant = ledger.grants.get(one.tenant.partition("/")[0])
        if grant is not None and not grant.uid and fnmatchcase(one.pod, f"{grant.namespace}/{grant.pod}"):
            found.setdefault(one.uid, grant)
    return found


def tenants(ledger: Ledger, containers: Iterable[Container]) -> list[Container]:
    """The containers that really hold a grant, with the slices that the ledger gives them.

    One whose entry cannot be read is taken at the kubelet's word: it holds something.
    """
    there = list(containers)
    by_uid = holders(ledger, there)
    found = []
    for one in there:
        allocation, _, name = one.tenant.partition("/")
        grant = by_uid.get(one.uid)
        if allocation in ledger.unreadable:
            found.append(one)
        elif grant is not None and (allocation, name) == (grant.allocation.id, one.name):
            slices = grant.allocation.containers.get(name)
            if slices:
                found.append(one if one.slices == slices else replace(one, slices=slices))
    return found


@dataclass(slots=True)
class Tenancy:
    """`tenants`, which is asked twice a second, worked out anew only where something has changed."""

    _ledger: Ledger | None = None
    _there: list[Container] = field(default_factory=list)
    _found: list[Container] = field(default_factory=list)

    def of(self, ledger: Ledger, there: list[Container]) -> list[Container]:
        """The containers that really hold a grant."""
        if ledger is not self._ledger or there != self._there:
            self._found, self._ledger, self._there = tenants(ledger, there), ledger, there
        return self._found
