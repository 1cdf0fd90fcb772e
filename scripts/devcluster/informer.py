"""List and watch: a local copy of a collection that follows the API server.

The copy is complete once ``synced`` is set. Watches resume where they ended; when the server has forgotten that
point (410), or the stream fails, the collection is listed again and the differences are told as events.
"""

import asyncio
import collections
import contextlib
import random
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from devcluster.client import ApiError, Client, Resource

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace (empty for cluster-wide kinds) and name."""
Handler = Callable[[Object | None, Object | None], None]
"""Called with the object before and after: (None, new) appeared, (old, None) is gone."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
FAILURES = (ApiError, aiohttp.ClientError, TimeoutError, ValueError)
"""What talking to the API server can raise."""


def key_of(item: Mapping[str, Any]) -> Key:
    """Return namespace and name of an object."""
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]


class Informer:
    """Follows one collection, or the part of it that a field selector names."""

    def __init__(self, client: Client, resource: Resource, *, field_selector: str = "") -> None:
        self.resource = resource
        self.items: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        self._client = client
        self._params = {"fieldSelector": field_selector} if field_selector else {}
        self._handlers: list[Handler] = []
        self._version = ""
        self._gone: collections.deque[str] = collections.deque(maxlen=1024)
        self._assumed: set[Key] = set()

    def assume(self, item: Object) -> None:
        """Take in an object that a write of one's own returned, before the watch tells of it.

        Without this a controller that just created a pod could not see it yet and would create another.
        """
        if item["metadata"]["uid"] not in self._gone:
            self.items[key_of(item)] = item
            self._assumed.add(key_of(item))

    def on_change(self, handler: Handler) -> None:
        """Call ``handler`` for every change from now on, in order. Register before :meth:`run`."""
        self._handlers.append(handler)

    async def run(self) -> None:
        """Follow the collection until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            try:
                if not self._version:
                    await self._list()
                    pause = _FIRST_PAUSE
                await self._watch()
            except FAILURES:
                self._version = ""
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _list(self) -> None:
        answer = await self._client.get(self.resource.path(), self._params)
        found = {key_of(item): item for item in answer["items"]}
        for key in self.items.keys() - found.keys():
            self._tell(key, None)
        for key, item in found.items():
            self._tell(key, item)
        self._version = answer["metadata"]["resourceVersion"]
        self.synced.set()

    async def _watch(self) -> None:
        params = {**self._params, "resourceVersion": self._version, "timeoutSeconds": "300"}
        events = self._client.watch(self.resource.path(), params)
        async with contextlib.aclosing(events):  # type: ignore[type-var]  # an async generator, typed as iterator
            async for event in events:
                item = event["object"]
                if event["type"] == "ERROR":
                    raise ApiError(code=item.get("code", 500), reason=item.get("reason", ""), message="watch ended")
                self._version = item["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._tell(key_of(item), None if event["type"] == "DELETED" else item)

    def _tell(self, key: Key, item: Object | None) -> None:
        before = self.items.get(key)
        if item is None:
            if before is not None:
                self._gone.append(before["metadata"]["uid"])
            self.items.pop(key, None)
        elif before is not None and key not in self._assumed and _same_version(before, item):
            return
        else:
            self.items[key] = item
        self._assumed.discard(key)
        for handler in self._handlers:
            handler(before, item)


def _same_version(one: Object, other: Object) -> bool:
    return bool(one["metadata"]["resourceVersion"] == other["metadata"]["resourceVersion"])
