"""Writes the ledgers: one compare-and-swap per write, all concurrent changes to one node together.

While a write to a node is under way, what arrives for it waits and goes into the next. So a burst of grants costs
few writes, and this replica never races against itself.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from random import Random
from typing import Final, Self

import structlog

from allocator.api import names
from allocator.api.errors import NotReadyError
from allocator.api.grant import Grant
from allocator.controller.desk import Desk
from allocator.controller.metrics import Metrics
from allocator.controller.nodes import InventoryBook
from allocator.controller.settings import CommitSettings
from allocator.controller.shelf import Kept, LedgerShelf, own_metadata, read
from allocator.core.ledger import Changes, ledger_object
from allocator.kube import (
    CONFIGMAPS,
    AlreadyExistsError,
    Backoff,
    BusyError,
    Client,
    Clock,
    KubeError,
    NotFoundError,
    StaleError,
    UnknownOutcomeError,
    UnreachableError,
)

_log = structlog.get_logger(__name__)
_BACKOFF: Final = Backoff(first=0.02, most=5.0)


class Committer:
    """An asynchronous context manager; leaving it drops what is not written yet."""

    def __init__(
        self,
        client: Client,
        shelf: LedgerShelf,
        inventories: InventoryBook,
        *,
        namespace: str,
        settings: CommitSettings,
        clock: Clock,
        random: Random,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._shelf = shelf
        self._inventories = inventories
        self._namespace = namespace
        self._settings = settings
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._desks: dict[str, Desk] = {}
        self._timers: set[asyncio.Task[None]] = set()
        self._written = float("-inf")
        self._took = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._timers, *(desk.task for desk in self._desks.values() if desk.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def add(self, grant: Grant) -> None:
        """Write a grant; returns when it stands in the ledger.

        A caller that is cancelled meanwhile leaves nothing behind: the grant is taken out again.

        Raises:
            RefusedError: the ledger has no room for it any more.
            NotReadyError: the API server does not let us write.
        """
        node, key = grant.allocation.node, grant.allocation.id
        desk = self._desk(node)
        future = asyncio.get_running_loop().create_future()
        desk.adds[key] = (grant, future)
        self._kick(node)
        try:
            await future
        except asyncio.CancelledError:
            self._abandon(node, key)
            raise

    async def reuse(self, grant: Grant) -> bool:
        """Give a grant to a further taker; whether it could be.

        That is a further create of a pod that has not appeared yet, or a leader that goes on with what an earlier one
        wrote for a queued pod. The ledger tells of it, so that nobody gives the grant back for the earlier taker any
        more, however late: not the former leader either.
        """
        node, key = grant.allocation.node, grant.allocation.id
        desk = self._desk(node)
        if key not in desk.reuses:
            desk.reuses[key] = (grant.reused + 1, grant.uid, asyncio.get_running_loop().create_future())
        future = desk.reuses[key][2]
        self._kick(node)
        return await asyncio.shield(future)

    async def remove(self, grant: Grant) -> None:
        """Give a grant back whose pod will not be; returns when that has happened, and goes on if cancelled.

        One that several creates of its pod were given stays: another of them may still be under way.
        """
        if not grant.reused:
            node, key = grant.allocation.node, grant.allocation.id
            self.release(node, key, reused=0)
            await asyncio.shield(self._desk(node).removes[key])

    def release(self, node: str, grant_id: str, *, reused: int | None = None) -> None:
        """Give a grant back, without waiting.

        Args:
            node: whose ledger.
            grant_id: the grant's.
            reused: how often it had been reused when this was decided; None: as far as is known now.
        """
        if reused is None:
            grant = self._shelf.find(grant_id)
            reused = 0 if grant is None else grant.reused
        desk = self._desk(node)
        desk.made.setdefault(grant_id, reused)
        desk.removes.setdefault(grant_id, asyncio.get_running_loop().create_future())
        self._kick(node)

    async def resize(self, grant: Grant) -> None:
        """Change the size of a grant to this one's, from the revision before its own; returns when the ledger shows it.

        Raises:
            NoRoomError: there is no room for it, or its size has been changed by somebody else.
        """
        node, key = grant.allocation.node, grant.allocation.id
        desk = self._desk(node)
        future = desk.resizes.ask(grant)
        self._kick(node)
        try:
            await future
        except asyncio.CancelledError:
            desk.resizes.drop(key)
            raise

    async def written(self, node: str) -> None:
        """Return when what is being written to a node has come or not: a caller who gave up does not stop a write."""
        async with self._desk(node).writing:
            return

    def doubt(self, node: str, grant_id: str, since: datetime | None) -> None:
        """Note in the ledger that a grant is being released and waits for its agent; None: that it is not."""
        self._desk(node).releasing[grant_id] = since
        self._kick(node)

    def mark(self, node: str, grant_id: str, *, pod: str, uid: str) -> None:
        """Note in the ledger which pod has appeared with a grant, when it is convenient."""
        desk = self._desk(node)
        desk.seen[grant_id] = (pod, uid)
        if not desk.timer:
            desk.timer = True
            self._later(node, desk)

    def restore(self, node: str, grant: Grant) -> None:
        """Book a grant whatever room there is: its pod runs."""
        self._desk(node).restore[grant.allocation.id] = grant
        self._kick(node)

    def recover(self, node: str, grants: Iterable[Grant]) -> None:
        """Write a ledger anew that somebody deleted. Where another replica did so first, with what has room in it."""
        self._desk(node).lost |= {grant.allocation.id: grant for grant in grants}
        self._kick(node)

    def renew(self, node: str) -> None:
        """Write a ledger that is not there with what pods claim to hold of the node, if any does."""
        self._desk(node).anew = True
        self._kick(node)

    def leaving(self, grant_id: str, node: str) -> bool:
        """Whether a grant is about to be given back."""
        desk = self._desks.get(node)
        return desk is not None and grant_id in desk.removes

    # --- inside ----------------------------------------------------------------------------------------------

    def _desk(self, node: str) -> Desk:
        return self._desks.setdefault(node, Desk())

    def _kick(self, node: str) -> None:
        desk = self._desk(node)
        if desk.task is None or desk.task.done():
            desk.task = asyncio.create_task(self._drain(node, desk), name=f"ledger of {node}")

    def _later(self, node: str, desk: Desk) -> None:
        async def wait() -> None:
            await self._clock.sleep(self._settings.lazy)
            desk.timer = False
            desk.due = True
            self._kick(node)

        timer = asyncio.create_task(wait(), name=f"marks for {node}")
        self._timers.add(timer)
        timer.add_done_callback(self._timers.discard)

    def _abandon(self, node: str, key: str) -> None:
        """Nobody waits for this grant any more."""
        desk = self._desk(node)
        desk.adds.pop(key, None)
        if key in desk.flying or key in self._shelf.get(node).ledger.grants:
            self.release(node, key, reused=0)
        else:
            self._shelf.fleet.forget(node, key)

    async def _drain(self, node: str, desk: Desk) -> None:
        """Write until nothing urgent is left."""
        while desk.urgent:
            # Whoever is ready to ask for more on this node may join this write; in a burst, of which the node's first
            # grant may be one, it is worth a wait.
            burst = self._clock.monotonic() - self._written < self._settings.burst
            await self._clock.sleep(min(self._took, self._settings.company) if burst else 0)
            written = await self._write_safely(node, desk)
            desk.failures = 0 if written else desk.failures + 1
            if not desk.seen:
                desk.due = False
            if desk.failures > 1:
                await self._clock.sleep(_BACKOFF.wait(desk.failures - 2, self._random))

    async def _write_safely(self, node: str, desk: Desk) -> bool:
        """`_write`, whatever goes wrong in it: what waits on the desk must not wait for ever."""
        try:
            return await self._write(node, desk)
        except Exception:  # noqa: BLE001  # whatever it is, removals must not be lost, and it is logged
            _log.exception("ledger write failed, trying again", node=node)
            return False

    async def _write(self, node: str, desk: Desk) -> bool:
        """One write at most; whether the ledger now stands as asked."""
        self._settle(node, desk)  # the watch may have shown what a lost answer did not
        kept = self._shelf.get(node)
        claims = None
        if kept.metadata is None:  # a node's first ledger, or one that was deleted while nobody ran to remember it
            claims = {one.allocation.id: one for one in self._shelf.claims(node)}
        changes, after = desk.batch(kept.ledger, self._inventories.get(node), claims=claims)
        settled = after.data == kept.ledger.data and (kept.metadata is not None or not after.data)
        if settled:
            desk.anew = False
            self._settle(node, desk)
            return True
        started = self._clock.monotonic()
        desk.flying = frozenset(grant.allocation.id for grant in changes.add)
        try:
            async with desk.writing:
                return await self._put(node, Kept(ledger=after, metadata=kept.metadata), desk, changes)
        finally:
            desk.flying = frozenset()
            self._written = self._clock.monotonic()
            self._took = self._written - started
            self._settle(node, desk)

    async def _put(self, node: str, wanted: Kept, desk: Desk, changes: Changes) -> bool:
        """Write a ledger, and take over what the API server then has."""
        body = ledger_object(wanted.ledger, namespace=self._namespace, metadata=wanted.metadata)
        try:
            if wanted.metadata is None:
                answer = await self._client.create(CONFIGMAPS, body, namespace=self._namespace)
            else:
                answer = await self._client.replace(CONFIGMAPS, body)
        except (StaleError, AlreadyExistsError, NotFoundError, UnknownOutcomeError) as reason:
            conflict = not isinstance(reason, UnknownOutcomeError)
            self._metrics.ledger_writes.labels("conflict" if conflict else "unknown").inc()
            _log.info("ledger write lost", node=node, reason=str(reason))
            await self._refresh(node)
            return conflict
        except (BusyError, UnreachableError) as reason:
            self._metrics.ledger_writes.labels("busy").inc()
            _log.warning("ledger not written", node=node, reason=str(reason))
            return False
        except KubeError as reason:
            self._metrics.ledger_writes.labels("refused").inc()
            _log.error("ledger refused", node=node, reason=str(reason))
            desk.refused(changes, NotReadyError(f"the ledger of {node} cannot be written: {reason}"))
            return False
        self._metrics.ledger_writes.labels("written").inc()
        self._shelf.keep(node, Kept(ledger=wanted.ledger, metadata=own_metadata(answer)))
        return True

    async def _refresh(self, node: str) -> None:
        """Read a ledger whose state is in doubt. On failure the next write finds out."""
        before = self._shelf.get(node).version
        try:
            found = await self._client.get(CONFIGMAPS, names.ledger_name(node), namespace=self._namespace)
        except NotFoundError:
            self._shelf.vanished(node)
        except KubeError as reason:
            _log.warning("ledger not read", node=node, reason=str(reason))
        else:
            self._shelf.keep(node, read(node, found), despite=before)

    def _settle(self, node: str, desk: Desk) -> None:
        kept = self._shelf.get(node)
        for key in desk.settle(kept.ledger, stored=kept.metadata is not None):
            self._shelf.fleet.forget(node, key)
