"""The freshest state known of each ledger, from our own writes and from the watch, whichever is newer.

resourceVersions of one collection are compared as numbers, as the API server's own caches do. Where one is no
number the newcomer wins: at worst a write is lost to a conflict and read again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import structlog

from allocator.api import names
from allocator.api.grant import Grant
from allocator.controller.nodes import InventoryBook
from allocator.controller.signals import Signals
from allocator.core.fleet import Fleet
from allocator.core.ledger import Ledger, node_of
from allocator.kube import Clock, JsonObject

_log = structlog.get_logger(__name__)
_OLDEST = "1"
"""A version that everything is newer than and no object still has: a write with it conflicts."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A ledger and the ConfigMap that it stands in.

    Attributes:
        ledger: what it holds.
        metadata: of the ConfigMap; None: there is none.
    """

    ledger: Ledger
    metadata: Mapping[str, Any] | None = None

    @property
    def version(self) -> str:
        """The resourceVersion; empty where there is no ConfigMap."""
        return str((self.metadata or {}).get("resourceVersion", ""))


@dataclass(slots=True)
class LedgerShelf:
    """All ledgers. The watch puts and drops, the committer keeps what it wrote or read.

    Attributes:
        fleet: told what is held.
        inventories: for what an entry that cannot be read blocks.
        signals: told of grants that went or came, and of ledgers deleted under us.
        clock: by which it is told how long a grant has been known.
        claims: what pods say that they hold of a node, for when there is no ledger of it.
    """

    fleet: Fleet
    inventories: InventoryBook
    signals: Signals
    clock: Clock
    claims: Callable[[str], Iterable[Grant]] = lambda _: ()
    _kept: dict[str, Kept] = field(default_factory=dict)
    _nodes: dict[str, str] = field(default_factory=dict)
    _where: dict[str, str] = field(default_factory=dict)
    _unseen: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _uids: dict[str, str] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)

    def get(self, node: str) -> Kept:
        """A node's ledger; an empty one where there is none."""
        return self._kept.get(node) or Kept(ledger=Ledger(node=node))

    def grants(self) -> list[Grant]:
        """All grants of all ledgers."""
        return [grant for kept in self._kept.values() for grant in kept.ledger.grants.values()]

    def find(self, grant_id: str) -> Grant | None:
        """A grant by its id."""
        node = self._where.get(grant_id)
        return None if node is None else self.get(node).ledger.grants.get(grant_id)

    def known_for(self, grant_id: str) -> timedelta:
        """How long a grant has been in a ledger under our eyes, whatever the clock of whoever granted it said."""
        now = self.clock.monotonic()
        return timedelta(seconds=now - self._since.get(grant_id, now))

    def unseen(self, namespace: str, pod: str) -> list[Grant]:
        """Grants made for a pod of this name (as it stood at admission) that no pod has appeared with yet."""
        found = [self.find(grant_id) for grant_id in self._unseen.get((namespace, pod), ())]
        grants = [grant for grant in found if grant is not None and not grant.uid]
        return sorted(grants, key=lambda grant: grant.granted)

    def made_for(self, uid: str) -> Grant | None:
        """The grant made for a pod that existed already, a queued one."""
        return self.find(self._uids.get(uid, ""))

    def keep(self, node: str, kept: Kept, *, despite: str = "") -> bool:
        """Take over a state unless a newer one is known; says whether it did.

        Args:
            node: whose.
            kept: the state.
            despite: the version known before it was asked for. A read is never older than what was known before it,
                but where the API server has been restored from a backup: then what we know never was.
        """
        before = self.get(node)
        known = kept.metadata is not None and before.metadata is not None and not _newer(kept.version, before.version)
        restored = known and despite == before.version != kept.version
        if known and not restored:
            return False
        if restored:
            _log.error(
                "ledger went back in time: restored from a backup?", node=node, version=kept.version, was=despite
            )
        self._kept[node] = kept
        if kept.metadata is not None:
            self._nodes[_key(kept.metadata)] = node
        gone = before.ledger.grants.keys() - kept.ledger.grants.keys()
        new = kept.ledger.grants.keys() - before.ledger.grants.keys()
        for grant_id in gone:
            self._unlist(before.ledger.grants[grant_id])
        for grant_id in new:
            self._list(kept.ledger.grants[grant_id])
        resized = {
            grant_id
            for grant_id in before.ledger.grants.keys() & kept.ledger.grants.keys()
            if self._amend(before.ledger.grants[grant_id], kept.ledger.grants[grant_id])
        }
        self.book(node)
        self.signals.grants(set(gone), set(new))
        if resized:
            self.signals.resized(resized)
        if gone or resized:
            self.signals.room()
        return True

    def book(self, node: str) -> None:
        """Tell the fleet what is held of a node; again after its inventory has changed."""
        self.fleet.apply_grants(node, self.get(node).ledger.holds(self.inventories.get(node)))

    def put(self, key: str, configmap: JsonObject) -> None:
        """The watch shows a ledger."""
        node = node_of(configmap)
        if key.partition("/")[2] != names.ledger_name(node):
            _log.error("ledger passed over: its annotation names another node", configmap=key, node=node)
            return
        if not _newer(str(configmap["metadata"].get("resourceVersion", "")), self.get(node).version):
            return
        self.keep(node, read(node, configmap))

    def revert(self) -> None:
        """The API server was restored from a backup: whatever it shows next is newer than what we know."""
        for node, kept in self._kept.items():
            if kept.metadata is not None:
                metadata = {**kept.metadata, "resourceVersion": _OLDEST}
                self._kept[node] = replace(kept, metadata=metadata)

    def drop(self, key: str) -> None:
        """The watch shows that a ledger was deleted. What it held is still held."""
        node = self._nodes.pop(key, None)
        if node is not None:
            self.vanished(node)

    def vanished(self, node: str) -> None:
        """There is no ConfigMap any more: nothing is freed by that, whoever deleted it."""
        before = self.get(node)
        if before.metadata is None:
            return
        self._kept[node] = replace(before, metadata=None)
        if before.ledger.data:
            _log.error("ledger deleted by somebody; writing it anew", node=node, grants=len(before.ledger.grants))
            self.signals.lost(node, list(before.ledger.grants.values()))

    def _amend(self, before: Grant, after: Grant) -> bool:
        """A grant may have changed; whether it has another size."""
        if after.uid and not before.uid:
            self._no_longer_unseen(before)
        if after.reused != before.reused:
            self._since[after.allocation.id] = self.clock.monotonic()  # a further create has all a first one's time
        return after.revision != before.revision

    def _list(self, grant: Grant) -> None:
        """A grant is new."""
        grant_id = grant.allocation.id
        self._where[grant_id] = grant.allocation.node
        self._since[grant_id] = self.clock.monotonic()
        if grant.uid:
            self._uids[grant.uid] = grant_id
        else:
            self._unseen.setdefault((grant.namespace, grant.pod), set()).add(grant_id)

    def _unlist(self, grant: Grant) -> None:
        """A grant is gone, and with it all that is remembered of it."""
        grant_id = grant.allocation.id
        self._where.pop(grant_id, None)
        self._since.pop(grant_id, None)
        if self._uids.get(grant.uid) == grant_id:
            del self._uids[grant.uid]
        self._no_longer_unseen(grant)

    def _no_longer_unseen(self, grant: Grant) -> None:
        listed = self._unseen.get((grant.namespace, grant.pod))
        if listed is not None:
            listed.discard(grant.allocation.id)
            if not listed:
                del self._unseen[grant.namespace, grant.pod]


def read(node: str, configmap: JsonObject) -> Kept:
    """A node's ledger as its ConfigMap holds it."""
    return Kept(ledger=Ledger.from_data(node, configmap.get("data")), metadata=own_metadata(configmap))


def own_metadata(configmap: JsonObject) -> dict[str, Any]:
    """The metadata to write back; the server keeps the managed fields by itself, and they are long."""
    return {key: value for key, value in configmap["metadata"].items() if key != "managedFields"}


def _newer(version: str, than: str) -> bool:
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than


def _key(metadata: Mapping[str, Any]) -> str:
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
