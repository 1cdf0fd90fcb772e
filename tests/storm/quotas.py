"""What namespaces may hold, counted anew at every write of a ledger: granted, growing, and not settled yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from allocator.api import names
from allocator.kube import LEASES
from tests.invariants import Entry, entries, ledger_node
from tests.storm.truth import Truth

Amount = tuple[int, int, int]
"""Bytes, percent of one GPU's time, slices."""
Limits = tuple[int | None, int | None, int | None]
"""The same, each None where there is no limit."""
KINDS = ("bytes", "percent of time", "slices")
FREE: Limits = (None, None, None)
BELIEF = 60.0
"""Seconds for which a leader may not have seen a quota, or what another process wrote while it led itself."""
_LEADER = "vramshare-leader"


@dataclass(frozen=True)
class Growth:
    """A write after which a grant takes more than before."""

    at: float
    writer: str
    namespace: str
    id: str
    amount: Amount


@dataclass
class Quotas:
    """Looks at each write of a ledger with the eyes of its writer.

    Whoever leads has to know what stood in the ledgers when it took over, and what it has written itself since. Of
    what a former leader had under way it cannot know before a watch shows it.
    """

    truth: Truth
    _limits: dict[str, list[tuple[float, Limits]]] = field(default_factory=dict)
    _leads_since: dict[str, float] = field(default_factory=dict)
    _growths: list[Growth] = field(default_factory=list)

    def allow(self, namespace: str, limits: Limits) -> None:
        """From now on a namespace may hold so much."""
        self._limits.setdefault(namespace, []).append((self.truth.now(), limits))

    def limits(self, namespace: str) -> Limits:
        """What a namespace may hold now."""
        return self._limits.get(namespace, [(0.0, FREE)])[-1][1]

    def namespaces(self) -> list[str]:
        """Those that have a quota, or had one."""
        return list(self._limits)

    def used(self, namespace: str) -> Amount:
        """What the ledgers say that a namespace holds."""
        return total(takes(entry) for entry in self.truth.everything().values() if home(entry) == namespace)

    def changed(self, key: tuple[str, str, str], before: dict | None, after: dict | None) -> None:
        """An object has changed."""
        if key[0] == LEASES.plural and key[2] == _LEADER and after:
            holder = after["spec"].get("holderIdentity") or ""
            if holder != ((before or {}).get("spec") or {}).get("holderIdentity"):
                self._leads_since[holder] = self.truth.now()
        node = ledger_node(after or {})
        if node and after is not None:
            self._written(entries(node, (before or {}).get("data")), entries(node, after["data"]))

    # --- inside ----------------------------------------------------------------------------------------------

    def _written(self, before: Mapping[str, Entry], after: Mapping[str, Entry]) -> None:
        writer, now = self.truth.api.writer, self.truth.now()
        grown: dict[str, list[Amount]] = {}
        for key, entry in after.items():
            was = takes(before[key]) if key in before else (0, 0, 0)
            more = tuple(max(0, one - other) for one, other in zip(takes(entry), was, strict=True))
            if any(more) and key not in self.truth.amnesty:
                grown.setdefault(home(entry), []).append(more)
                self._growths.append(Growth(now, writer, home(entry), key, more))
        for namespace in grown.keys() & self._limits.keys():
            self._judge(namespace, writer, total(grown[namespace]))

    def _judge(self, namespace: str, writer: str, more: Amount) -> None:
        unseen = total(one.amount for one in self._growths if one.namespace == namespace and self._unseen(one, writer))
        seen = tuple(one - other for one, other in zip(self.used(namespace), unseen, strict=True))
        for kind, held, added, limit in zip(KINDS, seen, more, self._believable(namespace), strict=True):
            if limit is not None and added and held > limit:
                self.truth.wrong(f"{writer} lets {namespace} hold {held} {kind}, its quota is {limit}")

    def _unseen(self, one: Growth, writer: str) -> bool:
        """Whether the writer need not know of it: another wrote it lately, when this one led already."""
        lately = max(self._leads_since.get(writer, -BELIEF), self.truth.now() - BELIEF)
        return one.writer != writer and one.at >= lately and one.id in self.truth.everything()

    def _believable(self, namespace: str) -> Limits:
        """The widest limits that the writer may believe in."""
        history = self._limits[namespace]
        widest = list(history[-1][1])
        for at, (_, limits) in enumerate(history[:-1]):
            if history[at + 1][0] > self.truth.now() - BELIEF:
                widest = [None if None in pair else max(pair) for pair in zip(widest, limits, strict=True)]
        return widest[0], widest[1], widest[2]


def takes(entry: Entry) -> Amount:
    """What a grant takes of a quota."""
    return sum(one.memory for one in entry.slices), sum(one.cores for one in entry.slices), len(entry.slices)


def home(entry: Entry) -> str:
    """The namespace of a grant."""
    return entry.pod.partition("/")[0]


def total(amounts: object) -> Amount:
    """The sum."""
    rows = [*amounts]
    return sum(row[0] for row in rows), sum(row[1] for row in rows), sum(row[2] for row in rows)


def quota_annotations(limits: Limits) -> dict[str, str]:
    """A namespace's annotations that say so."""
    memory, cores, gpus = limits
    found = {
        names.QUOTA_MEMORY: None if memory is None else f"{memory >> 20}Mi",
        names.QUOTA_CORES: None if cores is None else str(cores),
        names.QUOTA_GPUS: None if gpus is None else str(gpus),
    }
    return {key: value for key, value in found.items() if value is not None}


def quota_hard(limits: Limits) -> dict[str, str]:
    """A ResourceQuota's hard limits that say so."""
    keys = (names.RESOURCE_QUOTA_MEMORY, names.RESOURCE_QUOTA_CORES, names.RESOURCE_QUOTA_GPUS[0])
    memory, cores, gpus = limits
    values = (None if memory is None else memory >> 20, cores, gpus)
    return {key: str(value) for key, value in zip(keys, values, strict=True) if value is not None}
