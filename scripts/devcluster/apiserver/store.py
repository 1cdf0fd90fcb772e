"""The versioned store: current objects, one revision counter, and a window of past events per collection.

Objects are immutable once stored: a write replaces the whole object. An entry carries its encoding, made once
and sent to every reader and watcher. The window of events serves watches and lists at older revisions; what
falls out of it answers 410, as after a compaction.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from devcluster.apiserver import status

Json = dict[str, Any]
Key = tuple[str, str]  # namespace ("" for cluster scope) and name


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One stored version of one object. Never change `obj`."""

    namespace: str
    name: str
    obj: Json
    data: bytes
    revision: int

    @property
    def key(self) -> Key:
        """Where it lives in its collection."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One change. `entry` is the new state (of a deletion: the last state at the deleting revision)."""

    kind: str  # ADDED, MODIFIED, DELETED
    entry: Entry
    previous: Entry | None
    revision: int


Listener = Callable[[Event], None]


class Collection:
    """The objects of one resource."""

    def __init__(self, store: "Store", *, window: int) -> None:
        self._store = store
        self._window = window
        self._namespaces: dict[str, dict[str, Entry]] = {}
        self.events: deque[Event] = deque()
        self.compacted = 0  # changes up to this revision are forgotten
        self.listeners: set[Listener] = set()

    def get(self, namespace: str, name: str) -> Entry | None:
        """The current version, if any."""
        return self._namespaces.get(namespace, {}).get(name)

    def count(self, namespace: str) -> int:
        """How many objects the namespace holds."""
        return len(self._namespaces.get(namespace, ()))

    def entries(self, namespace: str | None = None) -> list[Entry]:
        """Current objects in key order, of one namespace or of all (None)."""
        if namespace is not None:
            objects = self._namespaces.get(namespace, {})
            return [objects[name] for name in sorted(objects)]
        return [
            objects[name]
            for space in sorted(self._namespaces)
            for objects in (self._namespaces[space],)
            for name in sorted(objects)
        ]

    def unsorted(self, namespace: str | None = None) -> Iterator[Entry]:
        """Current objects in no order: for counting and searching."""
        if namespace is not None:
            yield from self._namespaces.get(namespace, {}).values()
            return
        for objects in self._namespaces.values():
            yield from objects.values()

    def entries_at(self, revision: int, namespace: str | None = None) -> list[Entry]:
        """The objects as they were at a past revision, by undoing later events.

        Raises:
            ApiError: 410 when the revision has left the window.
        """
        if revision < self.compacted:
            raise status.expired("The provided resource version is too old to display a consistent list result.")
        undone: dict[Key, Entry | None] = {}
        for event in reversed(self.events):
            if event.revision <= revision:
                break
            undone[event.entry.key] = event.previous
        if not undone:
            return self.entries(namespace)
        kept = {entry.key: entry for entry in self.unsorted(namespace)}
        for key, previous in undone.items():
            if namespace is not None and key[0] != namespace:
                continue
            if previous is None:
                kept.pop(key, None)
            else:
                kept[key] = previous
        return [kept[key] for key in sorted(kept)]

    def since(self, revision: int) -> list[Event]:
        """Events after the revision.

        Raises:
            ApiError: 410 when some of them have left the window.
        """
        if revision < self.compacted:
            raise status.expired(f"too old resource version: {revision} ({self.compacted})")
        found: list[Event] = []
        for event in reversed(self.events):
            if event.revision <= revision:
                break
            found.append(event)
        found.reverse()
        return found

    def write(self, obj: Json, *, namespace: str, name: str, expected: Entry | None) -> Entry | None:
        """Store the object as the next version if `expected` is still the current one, else return None."""
        objects = self._namespaces.setdefault(namespace, {})
        current = objects.get(name)
        if current is not expected:
            return None
        entry = self._entry(obj, namespace, name)
        objects[name] = entry
        self._emit(Event("MODIFIED" if current else "ADDED", entry, current, entry.revision))
        return entry

    def remove(self, expected: Entry, obj: Json | None = None) -> Entry | None:
        """Delete the object if unchanged since `expected`; `obj` is its last state where that differs."""
        objects = self._namespaces.get(expected.namespace, {})
        if objects.get(expected.name) is not expected:
            return None
        del objects[expected.name]
        last = self._entry(obj if obj is not None else expected.obj, expected.namespace, expected.name)
        self._emit(Event("DELETED", last, expected, last.revision))
        return last

    def compact(self, revision: int | None = None) -> None:
        """Forget events up to the revision, or all of them."""
        limit = self._store.revision if revision is None else revision
        while self.events and self.events[0].revision <= limit:
            self.events.popleft()
        self.compacted = max(self.compacted, limit)

    def _entry(self, obj: Json, namespace: str, name: str) -> Entry:
        revision = self._store.next_revision()
        stored = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}
        return Entry(namespace, name, stored, orjson.dumps(stored), revision)

    def _emit(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) > self._window:
            self.compacted = self.events.popleft().revision
        for listener in tuple(self.listeners):
            listener(event)


class Store:
    """All collections behind one revision counter."""

    def __init__(self, *, window: int = 20_000) -> None:
        self.revision = 1
        self._window = window
        self._collections: dict[str, Collection] = {}

    def collection(self, storage: str) -> Collection:
        """The collection of that name, made on first use."""
        found = self._collections.get(storage)
        if found is None:
            found = self._collections[storage] = Collection(self, window=self._window)
        return found

    def next_revision(self) -> int:
        """Count one write."""
        self.revision += 1
        return self.revision

    def compact(self) -> None:
        """Forget all history: every watch from an older version gets 410."""
        for collection in self._collections.values():
            collection.compact()
