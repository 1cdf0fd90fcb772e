"""An entry of a node's ledger: who holds what.

The ledger is a ConfigMap per GPU node with one key per grant, the allocation's id. `kubectl describe` shows it
as it is stored. Written by the allocator only, each write a compare-and-swap on the ConfigMap's resourceVersion.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from allocator.api.allocation import Allocation, Slice
from allocator.api.errors import FormatError

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Grant:
    """One pod's hold on a node's GPUs.

    Attributes:
        allocation: the slices.
        namespace: the pod's.
        pod: its name; while unknown (generateName at admission) the prefix with a `*` behind it.
        uid: its UID; empty until the pod has been seen.
        owner: `Kind/name/uid` of its controller; empty for a bare pod.
        granted: when, in whole seconds, UTC.
        shape: digest of the request, by which a repeated create of one owner finds its unused grant.
    """

    allocation: Allocation
    namespace: str
    pod: str
    granted: datetime
    uid: str = ""
    owner: str = ""
    shape: str = ""

    def seen(self, *, name: str, uid: str) -> "Grant":
        """The same grant, bound to the pod that has appeared with its id."""
        return replace(self, pod=name, uid=uid)

    def to_text(self) -> str:
        """The ledger's value."""
        lines = [f"pod: {_one_line(self.namespace)}/{_one_line(self.pod)}"]
        for name, value in (("uid", self.uid), ("owner", self.owner), ("shape", self.shape)):
            if value:
                lines.append(f"{name}: {_one_line(value)}")
        lines.append(f"granted: {self.granted.astimezone(UTC).strftime(_TIME)}")
        for container, slices in self.allocation.containers.items():
            lines.extend(f"slice: {_one_line(container)} {one.shown()}" for one in slices)
        return "\n".join(lines) + "\n"

    @classmethod
    def from_text(cls, allocation_id: str, text: str, *, node: str) -> "Grant":
        """Read a ledger's value.

        Raises:
            FormatError: it cannot be read; says why. Such an entry still blocks what it names, never frees it.
        """
        fields: dict[str, str] = {}
        containers: dict[str, list[Slice]] = {}
        for line in text.splitlines():
            name, colon, value = line.partition(": ")
            if not colon:
                raise FormatError(f"grant {allocation_id}: cannot read the line {line[:80]!r}")
            if name == "slice":
                container, _, rest = value.partition(" ")
                containers.setdefault(container, []).append(Slice.parse(rest))
            else:
                fields[name] = value
        if not containers:
            raise FormatError(f"grant {allocation_id}: it holds nothing")
        try:
            namespace, _, pod = fields["pod"].partition("/")
            granted = datetime.strptime(fields["granted"], _TIME).replace(tzinfo=UTC)
            allocation = Allocation(
                id=allocation_id, node=node, containers={key: tuple(value) for key, value in containers.items()}
            )
        except (KeyError, ValueError) as reason:
            raise FormatError(f"grant {allocation_id}: {reason}") from None
        return cls(
            allocation=allocation,
            namespace=namespace,
            pod=pod,
            granted=granted,
            uid=fields.get("uid", ""),
            owner=fields.get("owner", ""),
            shape=fields.get("shape", ""),
        )


def _one_line(value: str) -> str:
    """A name without white space. At admission names are not validated yet: none may forge a line of the ledger."""
    return "".join(value.split()) or "-"
