"""The API server of a storm: a FakeApi that stops, starts, forgets and is restored from backups."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from allocator.kube import Resource, errors
from tests.unit.kube.fakeapi import FakeApi, Key, copied, selected

BUMP = 1_000_000
"""By how much a restored server raises its versions, as `etcdutl snapshot restore --bump-revision` does."""


@dataclass(frozen=True)
class Backup:
    """All objects of one moment."""

    objects: dict[Key, dict]
    version: int


class StormApi(FakeApi):
    """In memory; clients reach it through their `Line` only.

    Attributes:
        down: whether it takes no requests.
        epoch: grows when all watches end and all requests under way are lost.
        writer: the process whose request is being carried out; empty: nobody's, such as a user's.
        evicted: told of a pod that was asked to go, as it was before, and whose doing that is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.epoch = 0
        self.writer = ""
        self.evicted: Callable[[dict, str], None] = lambda *_: None
        self._watchers: dict[str, list[asyncio.Future[None]]] = {}

    async def act(self, resource, name, subresource, body, *, namespace=""):
        """See FakeApi."""
        pod = self.see(resource, name, namespace=namespace)
        answer = await super().act(resource, name, subresource, body, namespace=namespace)
        self.evicted(copied(pod), self.writer)
        return answer

    # --- watches ---------------------------------------------------------------------------------------------

    async def news(self, resource: Resource, at: int, *, seconds: float) -> None:
        """Return when something of a kind may have changed after a version, or the server stops; or after a time."""
        if self.version > at and any(key[0] == resource.plural for _, _, key, _ in self.since(at)):
            return
        loop = asyncio.get_running_loop()
        waits = loop.create_future()
        self._watchers.setdefault(resource.plural, []).append(waits)
        ends = loop.call_later(seconds, _done, waits)
        await waits
        ends.cancel()

    def events(self, resource: Resource, *, namespace: str, labels: str, at: int) -> Iterator[dict]:
        """What has happened to the objects selected after a version."""
        for _, kind, key, item in self.since(at):
            if selected(key, item, resource, namespace, labels):
                yield {"type": kind, "object": copied(item)}

    def begin_watch(self, version: str) -> int:
        """The version from which a watch goes on.

        Raises:
            ExpiredError: what happened since then is forgotten.
        """
        start = int(version)
        if start < self.oldest:
            raise errors.ExpiredError("too old", status=410)
        return start

    # --- what befalls it -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """All connections break."""
        self.down = True
        self.epoch += 1
        for plural in list(self._watchers):
            self._announce(plural)

    def start(self) -> None:
        """It serves again. A restarted server's cache of events is empty."""
        self.down = False
        self.oldest = self.version

    def forget(self) -> None:
        """Compact: every version seen so far is too old to resume from."""
        self.version += 1
        self.oldest = self.version

    def backup(self) -> Backup:
        """Save everything."""
        return Backup(objects={key: copied(item) for key, item in self.objects.items()}, version=self.version)

    def restore(self, backup: Backup) -> None:
        """Everything is as it was at the backup; nobody hears of it but by listing anew. Stop the server first."""
        self.objects = {key: copied(item) for key, item in backup.objects.items()}
        self.version += BUMP
        self.history.clear()
        self.oldest = self.version

    # --- inside ----------------------------------------------------------------------------------------------

    async def _turn(self, verb, path, body) -> None:
        """Give way to nobody: the line does that, before and after."""

    def _announce(self, plural: str = "") -> None:
        for waits in self._watchers.pop(plural, ()):
            _done(waits)


def _done(waits: "asyncio.Future[None]") -> None:
    if not waits.done():
        waits.set_result(None)
