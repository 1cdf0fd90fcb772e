"""Watch streams: initial events, changes, bookmarks, expiry, as objects or as tables."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from devcluster.apiserver import events, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.rest import reading
from devcluster.apiserver.store import Entry, Event

Json = dict[str, Any]
Show = Callable[[Entry], bytes]
_BOOKMARK_EVERY = 60.0  # seconds
_DEFAULT_TIMEOUT = 1800  # seconds
_END = {"k8s.io/initial-events-end": "true"}
_WRONG_MATCH = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"


class Watch:
    """One client's stream. Made (and so subscribed) before the answer starts: nothing falls in between."""

    def __init__(self, call: Call, machine: Machine, *, show: Show) -> None:
        self._call = call
        self._machine = machine
        self._show = show
        self._filter = reading.filter_of(call)
        self._resource = call.resource
        self._namespace = None if call.target.all_namespaces or not call.resource.namespaced else call.target.namespace
        self._pending: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._bookmarks = call.flag("allowWatchBookmarks")
        self._expired = False
        self._initial = self._start()
        self._collection = machine.collection(call.resource)
        self._collection.listeners.add(self._notice)

    def close(self) -> None:
        """Stop listening."""
        self._collection.listeners.discard(self._notice)

    def _notice(self, event: Event) -> None:
        self._pending.append(event)
        self._wake.set()

    def _start(self) -> list[bytes]:
        """What to send first; what happens from now on comes by notice.

        A revision out of the window is told by an ERROR event, as a real server does, and ends the stream.

        Raises:
            ApiError: 422 for options that contradict each other, 504 for a revision from the future.
        """
        call, machine = self._call, self._machine
        initial = call.query.get("sendInitialEvents")
        given = call.query.get("resourceVersion", "")
        if initial is not None and call.query.get("resourceVersionMatch") != "NotOlderThan":
            cause = status.Cause("resourceVersionMatch", _WRONG_MATCH, "FieldValueForbidden")
            raise status.invalid("meta.k8s.io", "ListOptions", "", [cause])
        asked, current = call.number("resourceVersion") or 0, machine.store.revision
        if asked > current:
            raise status.too_large_version(asked, current)
        collection = machine.collection(self._resource)
        if call.flag("sendInitialEvents") or (initial is None and given in {"", "0"}):
            entries = collection.entries(self._namespace)
            lines = [self._line("ADDED", entry) for entry in entries if self._filter(entry.obj)]
            if call.flag("sendInitialEvents") and self._bookmarks:
                lines.append(self._bookmark(current, ended=True))
            return lines
        try:
            past = collection.since(asked if given not in {"", "0"} else current)
        except status.ApiError as error:
            self._expired = True
            return [orjson.dumps({"type": "ERROR", "object": error.as_json()}) + b"\n"]
        return [line for event in past if (line := self._translate(event))]

    async def lines(self) -> AsyncIterator[bytes]:
        """The stream, several events at a time, until the client's timeout."""
        if self._initial:
            yield b"".join(self._initial)
            self._initial = []
        if self._expired:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._call.number("timeoutSeconds") or _DEFAULT_TIMEOUT)
        bookmark_at = loop.time() + _BOOKMARK_EVERY
        while (now := loop.time()) < deadline:
            try:
                async with asyncio.timeout(min(deadline, bookmark_at) - now):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            chunk = self._drain()
            if self._bookmarks and loop.time() >= bookmark_at:
                chunk += self._bookmark(self._machine.store.revision)
                bookmark_at = loop.time() + _BOOKMARK_EVERY
            if chunk:
                yield chunk
        if self._bookmarks:
            yield self._bookmark(self._machine.store.revision)

    def _drain(self) -> bytes:
        found = []
        while self._pending:
            event = self._pending.popleft()
            if line := self._translate(event):
                found.append(line)
        return b"".join(found)

    def _translate(self, event: Event) -> bytes | None:
        """The event as this client's selectors make it: entering is ADDED, leaving is DELETED."""
        entry = event.entry
        if self._namespace is not None and entry.namespace != self._namespace:
            return None
        if self._filter.open:
            return self._line(event.kind, entry)
        now = event.kind != "DELETED" and self._filter(entry.obj)
        before = event.previous is not None and self._filter(event.previous.obj)
        if event.kind == "DELETED" or (before and not now):
            if not before or event.previous is None:
                return None
            return self._line("DELETED", entry if event.kind == "DELETED" else _last_seen(event.previous, event))
        if not now:
            return None
        return self._line("MODIFIED" if before else "ADDED", entry)

    def _line(self, kind: str, entry: Entry) -> bytes:
        shown = events.to_view(entry) if self._resource.group == events.GROUP else entry
        return b'{"type":"' + kind.encode() + b'","object":' + self._show(shown) + b"}\n"

    def _bookmark(self, revision: int, *, ended: bool = False) -> bytes:
        meta: Json = {"resourceVersion": str(revision)}
        if ended:
            meta["annotations"] = _END
        obj = {"kind": self._resource.kind, "apiVersion": self._resource.group_version, "metadata": meta}
        return orjson.dumps({"type": "BOOKMARK", "object": obj}) + b"\n"


def _last_seen(previous: Entry, event: Event) -> Entry:
    """The object as the client knew it, at the revision at which it left the selection."""
    meta = {**previous.obj["metadata"], "resourceVersion": str(event.revision)}
    obj = {**previous.obj, "metadata": meta}
    return Entry(previous.namespace, previous.name, obj, orjson.dumps(obj), event.revision)
