"""An entry of a node's ledger: who holds what.

The ledger is a ConfigMap per GPU node with one key per grant, the allocation's id. `kubectl describe` shows it
as it is stored. Written by the allocator only, each write a compare-and-swap on the ConfigMap's resourceVersion.
Lines that a version does not know stay when it writes an entry anew: versions work side by side during an upgrade.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from allocator.api.allocation import Allocation, Slice
from allocator.api.errors import FormatError

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_SLICE: Final = "slice"
_KNOWN: Final = frozenset({"pod", "uid", "owner", "shape", "granted", "releasing", "revision", "reused", _SLICE})


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
        releasing: since when the pod is gone without its containers having been seen to end; the node's agent has
            to confirm that nothing of it is left. Until then it counts like any other. None: not so.
        revision: how often its size has been changed.
        reused: how often it has been taken up by a further create of the same pod, or by a leader that goes on with a
            queued pod. Whoever gives it back for one of the takers must know of no other.
    """

    allocation: Allocation
    namespace: str
    pod: str
    granted: datetime
    uid: str = ""
    owner: str = ""
    shape: str = ""
    releasing: datetime | None = None
    revision: int = 0
    reused: int = 0

    def seen(self, *, name: str, uid: str) -> "Grant":
        """The same grant, bound to the pod that has appeared with its id."""
        return replace(self, pod=name, uid=uid)

    def to_text(self, *, over: str = "") -> str:
        """The ledger's value.

        Args:
            over: the value that it replaces; what this version does not know of it stays.
        """
        lines = [f"pod: {_one_line(self.namespace)}/{_one_line(self.pod)}"]
        for name, value in (("uid", self.uid), ("owner", self.owner), ("shape", self.shape)):
            if value:
                lines.append(f"{name}: {_one_line(value)}")
        lines.append(f"granted: {_stamp(self.granted)}")
        if self.releasing is not None:
            lines.append(f"releasing: {_stamp(self.releasing)}")
        if self.revision:
            lines.append(f"revision: {self.revision}")
        if self.reused:
            lines.append(f"reused: {self.reused}")
        return "".join(f"{line}\n" for line in [*lines, *self._slice_lines(over), *_unknown_lines(over)])

    def _slice_lines(self, over: str) -> list[str]:
        """The slices; as they stand in `over` if these are the same, for a line may hold more than we know."""
        lines = [
            f"{_SLICE}: {_one_line(container)} {one.shown()}"
            for container, slices in self.allocation.containers.items()
            for one in slices
        ]
        written = [line for line in over.splitlines() if line.startswith(f"{_SLICE}: ")]
        try:
            same = _slices(lines) == _slices(written)
        except FormatError:
            return lines
        return written if same else lines

    @classmethod
    def from_text(cls, allocation_id: str, text: str, *, node: str) -> "Grant":
        """Read a ledger's value.

        Raises:
            FormatError: it cannot be read; says why. Such an entry still blocks what it names, never frees it.
        """
        fields: dict[str, str] = {}
        for line in text.splitlines():
            name, colon, value = line.partition(": ")
            if not colon:
                raise FormatError(f"grant {allocation_id}: cannot read the line {line[:80]!r}")
            fields[name] = value
        containers = _slices(text.splitlines())
        if not containers:
            raise FormatError(f"grant {allocation_id}: it holds nothing")
        try:
            namespace, _, pod = fields["pod"].partition("/")
            granted = _time(fields["granted"])
            releasing = _time(fields["releasing"]) if "releasing" in fields else None
            revision, reused = int(fields.get("revision", "0")), int(fields.get("reused", "0"))
            allocation = Allocation(id=allocation_id, node=node, containers=containers)
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
            releasing=releasing,
            revision=revision,
            reused=reused,
        )


def _slices(lines: list[str]) -> dict[str, tuple[Slice, ...]]:
    """The slices that some lines hold, by container.

    Raises:
        FormatError: one cannot be read.
    """
    found: dict[str, tuple[Slice, ...]] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name == _SLICE:
            container, _, rest = value.partition(" ")
            found[container] = (*found.get(container, ()), Slice.parse(rest))
    return found


def _unknown_lines(text: str) -> list[str]:
    """The lines of an entry that a newer version wrote for itself."""
    return [line for line in text.splitlines() if ": " in line and line.partition(": ")[0] not in _KNOWN]


def _stamp(when: datetime) -> str:
    return when.astimezone(UTC).strftime(_TIME)


def _time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def _one_line(value: str) -> str:
    """A name without white space. At admission names are not validated yet: none may forge a line of the ledger."""
    return "".join(value.split()) or "-"
