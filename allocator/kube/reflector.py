"""A handler that is kept in step with a collection of the API server: list once, then watch for ever.

The rules, each of which a plain watch loop breaks sooner or later:

- A watch starts at the resourceVersion that the list or the last event or bookmark gave.
- 410 (as a status or as an ERROR event) means that changes were missed: list again, and tell the handler the
  whole, so that it can work out what vanished meanwhile.
- A stream that ends is normal; the next starts where it stopped. Failures are followed by growing waits.
- An API server that was restored from a backup counts from an older version. A watch from ours would be silent until
  it gets there: so before each stream the server's version is compared with ours, and if it is behind, all is listed.
- The handler is called synchronously. Whoever reads its state between two awaits reads one moment of the past,
  never half of a change.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

import structlog

from allocator.kube.backoff import Backoff
from allocator.kube.client import Client
from allocator.kube.clock import Clock
from allocator.kube.errors import ExpiredError, KubeError, from_status
from allocator.kube.resources import JsonObject, Resource

_log = structlog.get_logger(__name__)


class Handler(Protocol):
    """Who wants to know. Must not fail on odd content: an exception ends the process that watches."""

    def replaced(self, items: list[JsonObject]) -> None:
        """These are all objects there are; anything else known before is gone."""

    def applied(self, item: JsonObject) -> None:
        """This object is new or has changed."""

    def removed(self, item: JsonObject) -> None:
        """This object is gone; its last state."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to watch: a kind, where, and by which selectors; empty strings select everything."""

    resource: Resource
    namespace: str = ""
    labels: str = ""
    fields: str = ""

    def query(self) -> dict[str, str]:
        """The selectors as query parameters."""
        found = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How to watch.

    Attributes:
        seconds: after which the server is asked to close a stream; up to twice that by chance, so that many
            watchers do not return at once.
        backoff: waits after failures.
    """

    seconds: float = 240.0
    backoff: Backoff = field(default_factory=Backoff)


class Reflector:
    """Feeds one handler with one selection. `run` it in a task of its own."""

    def __init__(
        self,
        client: Client,
        selection: Selection,
        handler: Handler,
        *,
        clock: Clock,
        random: Random,
        settings: WatchSettings | None = None,
        after: Callable[[], None] = lambda: None,
        reverted: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare.

        Args:
            client: the session to use.
            selection: what to watch.
            handler: whom to tell.
            clock: time for ages and waits.
            random: jitter.
            settings: how to watch.
            after: called after each change that was told, once per batch.
            reverted: called before the handler is told everything of a server whose versions went back.
        """
        self._client = client
        self._selection = selection
        self._handler = handler
        self._clock = clock
        self._random = random
        self._settings = settings or WatchSettings()
        self._after = after
        self._reverted = reverted
        self._version = ""
        self._failures = 0
        self._streaming = False
        self._contact: float | None = None
        self.synced = asyncio.Event()
        """Set once the first list has been told."""

    def age(self) -> float:
        """Seconds since the handler was last known to be in step; 0 while a stream is open, infinite before.

        An open stream is a live one: the session's keepalives see to that.
        """
        if self._contact is None:
            return float("inf")
        return 0.0 if self._streaming else max(0.0, self._clock.monotonic() - self._contact)

    async def run(self) -> None:
        """Keep the handler in step until cancelled."""
        while True:
            try:
                if self._version and await self._went_back():
                    self._version = ""
                    self._reverted()
                if not self._version:
                    await self._list()
                await self._watch()
            except ExpiredError:
                self._version = ""
                _log.info("watch too old, listing again", resource=self._selection.resource.plural)
                await self._pause()
            except KubeError as reason:
                _log.warning("watch failed", resource=self._selection.resource.plural, reason=str(reason))
                await self._pause()

    async def _list(self) -> None:
        chosen = self._selection
        items, version = await self._client.list(
            chosen.resource, namespace=chosen.namespace, labels=chosen.labels, fields=chosen.fields
        )
        self._handler.replaced(items)
        self._version = version
        self._good()
        self.synced.set()
        self._after()

    async def _went_back(self) -> bool:
        """Whether the server is at an older version than we have seen: it was restored from a backup."""
        chosen = self._selection
        page = await self._client.page(
            chosen.resource, namespace=chosen.namespace, query={**chosen.query(), "limit": "1"}
        )
        version = str((page.get("metadata") or {}).get("resourceVersion", ""))
        if not (version.isdecimal() and self._version.isdecimal() and int(version) < int(self._version)):
            return False
        _log.error(
            "the API server went back in time: restored from a backup? listing again",
            resource=chosen.resource.plural,
            version=version,
            known=self._version,
        )
        return True

    async def _watch(self) -> None:
        """One stream, from open to end."""
        chosen = self._selection
        query = {**chosen.query(), "resourceVersion": self._version}
        seconds = self._settings.seconds * (1 + self._random.random())
        try:
            async with self._client.watch(
                chosen.resource, namespace=chosen.namespace, query=query, seconds=seconds
            ) as events:
                self._streaming = True
                async for event in events:
                    self._tell(event)
        finally:
            if self._streaming:
                self._contact = self._clock.monotonic()
            self._streaming = False

    def _tell(self, event: JsonObject) -> None:
        kind, item = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise from_status(
                int(item.get("code") or 0), message=str(item.get("message", "")), reason=str(item.get("reason", ""))
            )
        version = (item.get("metadata") or {}).get("resourceVersion")
        if kind in ("ADDED", "MODIFIED"):
            self._handler.applied(item)
        elif kind == "DELETED":
            self._handler.removed(item)
        if version:
            self._version = str(version)
        self._good()
        if kind != "BOOKMARK":
            self._after()

    def _good(self) -> None:
        self._contact = self._clock.monotonic()
        self._failures = 0

    async def _pause(self) -> None:
        wait = self._settings.backoff.wait(self._failures, self._random)
        self._failures += 1
        await self._clock.sleep(wait)
