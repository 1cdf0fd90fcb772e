"""An API server in memory with the client's own face: compare-and-swap, watches, and failures on demand.

Deterministic: it gives way to others once per request and nowhere else, so that a test drives the interleaving.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import jsonpatch
import orjson

from allocator.kube import JSON_PATCH, PODS, errors

Fault = Callable[[str, str, Any], None]
Key = tuple[str, str, str]
Listener = Callable[[Key, dict | None, dict | None], None]


class FakeApi:
    """Keeps objects by kind, namespace and name.

    Attributes:
        before: called with verb, path and body before a request is carried out; may raise.
        after: the same after it was carried out: what it raises, the client sees instead of the answer.
        changed: told of every change there is: the key, and the object before and after it.
        writes: verb and path of every write that was carried out.
        protected: names of pods that a disruption budget keeps from being evicted.
    """

    def __init__(self) -> None:
        self.objects: dict[Key, dict] = {}
        self.version = 0
        self.history: list[tuple[int, str, Key, dict]] = []
        self.oldest = 0
        self.before: Fault = lambda *_: None
        self.after: Fault = lambda *_: None
        self.changed: Listener = lambda *_: None
        self.writes: list[tuple[str, str]] = []
        self.protected: set[str] = set()
        self.held: asyncio.Event | None = None
        self._news = asyncio.Event()
        self._epoch = 0

    # --- the client's face -----------------------------------------------------------------------------------

    async def get(self, resource, name, *, namespace=""):
        """Read one."""
        return await self._do("GET", resource, namespace, name, None, self._found)

    async def list(self, resource, *, namespace="", labels="", fields=""):
        """Read all that match."""
        assert not fields, "the allocator selects by labels only"
        await self._turn("LIST", resource.path(namespace=namespace), None)
        found = [item for key, item in self.objects.items() if selected(key, item, resource, namespace, labels)]
        return copied(found), str(self.version)

    async def page(self, resource, *, namespace="", query):
        """How far the server has come; no objects, for nobody asks for them so."""
        assert query["limit"] == "1"
        await self._turn("PAGE", resource.path(namespace=namespace), None)
        return {"metadata": {"resourceVersion": str(self.version)}, "items": []}

    async def create(self, resource, body, *, namespace=""):
        """Create one."""

        def act(key: Key) -> dict:
            if key in self.objects:
                raise errors.AlreadyExistsError("exists", status=409, reason="AlreadyExists")
            made = copied(body)
            made["metadata"] |= {"namespace": namespace} if namespace else {}
            made["metadata"].setdefault("uid", f"uid-{self.version + 1}")
            return self._keep("ADDED", key, made)

        return await self._do("POST", resource, namespace, body["metadata"]["name"], body, act)

    async def replace(self, resource, body):
        """Compare and swap one."""

        def act(key: Key) -> dict:
            self._swap(self._found(key), body["metadata"])
            return self._keep("MODIFIED", key, copied(body))

        metadata = body["metadata"]
        return await self._do("PUT", resource, metadata.get("namespace", ""), metadata["name"], body, act)

    async def patch(self, resource, name, patch, *, namespace="", kind=""):
        """Patch one, by JSON patch or merge patch."""

        def act(key: Key) -> dict:
            current = self._found(key)
            if kind == JSON_PATCH:
                try:
                    return self._keep("MODIFIED", key, jsonpatch.apply_patch(copied(current), patch, in_place=True))
                except jsonpatch.JsonPatchException as reason:
                    raise errors.InvalidError(str(reason), status=422, reason="Invalid") from None
            self._swap(current, patch.get("metadata") or {})
            return self._keep("MODIFIED", key, _merged(copied(current), patch))

        return await self._do("PATCH", resource, namespace, name, patch, act)

    async def delete(self, resource, name, *, namespace="", uid=""):
        """Remove one, or let it end."""

        def act(key: Key) -> dict:
            return self._end(key, uid)

        return await self._do("DELETE", resource, namespace, name, None, act)

    async def act(self, resource, name, subresource, body, *, namespace=""):
        """Post to a subresource; there is eviction alone."""
        assert subresource == "eviction"

        def act(key: Key) -> dict:
            self._found(key)
            if name in self.protected:
                raise errors.BusyError("a disruption budget forbids it", status=429)
            return self._end(key, body["deleteOptions"]["preconditions"]["uid"])

        return await self._do("POST", resource, namespace, name, body, act, subresource=f"/{subresource}")

    @asynccontextmanager
    async def watch(self, resource, *, namespace="", query, seconds) -> AsyncIterator[AsyncIterator[dict]]:
        """Events since a version, and further ones as they come, until `disconnect`."""
        await self._turn("WATCH", resource.path(namespace=namespace), seconds)
        start = int(query["resourceVersion"])
        if start < self.oldest:
            raise errors.ExpiredError("too old", status=410)
        yield self._stream(resource, namespace, query.get("labelSelector", ""), start)

    # --- for tests -------------------------------------------------------------------------------------------

    def put(self, resource, body, *, namespace="") -> dict:
        """Make or change an object behind everybody's back, at once."""
        key = (resource.plural, namespace, body["metadata"]["name"])
        made = copied(body)
        made["metadata"] |= {"namespace": namespace} if namespace else {}
        before = self.objects.get(key)
        made["metadata"].setdefault("uid", before["metadata"]["uid"] if before else f"uid-{self.version + 1}")
        return self._keep("MODIFIED" if before else "ADDED", key, made)

    def drop(self, resource, name, *, namespace="") -> None:
        """Remove an object behind everybody's back, at once."""
        key = (resource.plural, namespace, name)
        self._lose(key)

    def see(self, resource, name, *, namespace="") -> dict | None:
        """Look at an object."""
        return self.objects.get((resource.plural, namespace, name))

    def since(self, version: int) -> Sequence[tuple[int, str, Key, dict]]:
        """What has happened after a version."""
        return self.history[bisect_right(self.history, version, key=lambda one: one[0]) :]

    def disconnect(self, *, forget: bool = False) -> None:
        """End all watches; with `forget`, make every version seen so far too old to resume from."""
        self._epoch += 1
        if forget:
            self.version += 1
            self.oldest = self.version
        self._announce()

    def hold_watches(self) -> None:
        """Keep events back until `release_watches`."""
        self.held = self.held or asyncio.Event()

    def release_watches(self) -> None:
        """Let held events through."""
        if self.held is not None:
            self.held.set()
        self.held = None

    # --- inside ----------------------------------------------------------------------------------------------

    async def _do(self, verb, resource, namespace, name, body, act, *, subresource=""):
        path = resource.path(namespace=namespace, name=name) + subresource
        await self._turn(verb, path, body)
        result = copied(act((resource.plural, namespace if resource.namespaced else "", name)))
        if verb != "GET":
            self.writes.append((verb, path))
        self.after(verb, path, body)
        return result

    async def _turn(self, verb, path, body) -> None:
        await asyncio.sleep(0)
        self.before(verb, path, body)

    async def _stream(self, resource, namespace, labels, start):
        at, epoch = start, self._epoch
        while epoch == self._epoch:
            if self.held is not None:
                await self.held.wait()
            news = self._news
            for version, kind, key, item in self.since(at):
                at = version
                if selected(key, item, resource, namespace, labels):
                    yield {"type": kind, "object": copied(item)}
            if news is self._news:
                await news.wait()

    def _end(self, key: Key, uid: str) -> dict:
        """A deletion: a pod with a node is given its time to end, anything else is gone at once."""
        current = self._found(key)
        self._swap(current, {"uid": uid})
        if key[0] == PODS.plural and (current.get("spec") or {}).get("nodeName"):
            going = copied(current)
            going["metadata"].setdefault("deletionTimestamp", "2026-01-01T12:00:00Z")
            return self._keep("MODIFIED", key, going)
        self._lose(key)
        return current

    def _found(self, key: Key) -> dict:
        if key not in self.objects:
            raise errors.NotFoundError(f"no {key}", status=404)
        return self.objects[key]

    def _swap(self, current: dict, wanted: dict) -> None:
        for name in ("resourceVersion", "uid"):
            if wanted.get(name) and wanted[name] != current["metadata"][name]:
                raise errors.StaleError("changed", status=409, reason="Conflict")

    def _keep(self, kind: str, key: Key, item: dict) -> dict:
        before = self.objects.get(key)
        self.objects[key] = item
        self._note(kind, key, item)
        self.changed(key, before, item)
        return item

    def _lose(self, key: Key) -> None:
        before = self.objects.pop(key)
        self._note("DELETED", key, copied(before))
        self.changed(key, before, None)

    def _note(self, kind: str, key: Key, item: dict) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((self.version, kind, key, copied(item)))
        self._announce(key[0])

    def _announce(self, _plural: str = "") -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def copied(item: Any) -> Any:
    """The same JSON, shared with nobody."""
    return orjson.loads(orjson.dumps(item))


def selected(key: Key, item: dict, resource, namespace: str, labels: str) -> bool:
    """Whether an object is of a kind, in a namespace, and has a label."""
    if key[0] != resource.plural or (namespace and key[1] != namespace):
        return False
    name, _, value = labels.partition("=")
    return not labels or (item["metadata"].get("labels") or {}).get(name) == value


def _merged(target: dict, patch: dict) -> dict:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            target[key] = _merged(target.get(key) or {}, value)
        else:
            target[key] = value
    return target
