"""What only one replica may do at a time: give back, serve the queue, write Events. Behind a Lease."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from allocator.api import names
from allocator.controller.dispatcher import Dispatcher
from allocator.controller.engine import Engine
from allocator.controller.evictor import Evictor
from allocator.controller.inspector import Inspector
from allocator.controller.mover import Mover
from allocator.controller.reaper import Reaper
from allocator.controller.resizer import Resizer
from allocator.controller.strays import Strays
from allocator.kube import CONFIGMAPS, Election, ElectionSettings, EventRecorder, KubeError

_log = structlog.get_logger(__name__)
COMPONENT: Final = "vramshare"
_FAREWELL: Final = 2.0
"""Seconds that a stop may wait for an API server that does not answer."""


class Duties:
    """All replicas run them; only the leader's have any effect."""

    def __init__(self, engine: Engine) -> None:
        settings = engine.settings
        self._engine = engine
        self._led = False
        self._caught_up = False
        self._term = asyncio.Event()
        self._election = Election(
            engine.client,
            ElectionSettings(
                namespace=settings.namespace,
                name=settings.leader.lease,
                identity=settings.identity,
                duration=settings.leader.duration,
                renew_within=settings.leader.renew_within,
                retry=settings.leader.retry,
            ),
            clock=engine.clock,
        )
        self.recorder = EventRecorder(
            engine.client,
            component=COMPONENT,
            instance=settings.identity,
            clock=engine.clock,
            per_second=settings.events_per_second,
            burst=settings.events_burst,
        )
        self.reaper = Reaper(engine, self.recorder, leading=self._leads)
        self.evictor = Evictor(engine, self.recorder, leading=self._leads)
        self.mover = Mover(engine, self.recorder, leading=self._leads)
        self.inspector = Inspector(engine, self.recorder, leading=self._leads)
        self.resizer = Resizer(engine, self.recorder, leading=self._leads)
        self.strays = Strays(engine, self.recorder, leading=self._leads)
        self.dispatcher = Dispatcher(engine, self.recorder, leading=self._leads)
        signals = engine.world.signals
        signals.carrier = self._carried
        signals.grants = self._listed
        signals.claim = self._claimed
        signals.resized = engine.world.accounts.resized
        signals.inventory = self._reported
        signals.room = self._room
        signals.queue = self._queue

    @property
    def leading(self) -> bool:
        """Whether this replica may do them now."""
        return self._leads()

    def runners(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """The coroutine functions to be run for ever, by name."""
        found: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("events", self.recorder.run),
            ("give back", self.reaper.follow),
            ("sweep", self.reaper.sweep_for_ever),
            ("first look", self.first_look),
            ("evictions", self.evictor.follow),
            ("nudge evictions", self.evictor.nudge),
            ("unbound pods", self.mover.look_for_ever),
            ("inspect", self.inspect),
            ("resize", self.resizer.follow),
            ("sweep resizes", self.resizer.sweep_for_ever),
            ("strays", self.strays.follow),
            ("sweep strays", self.strays.sweep_for_ever),
            ("queue", self.dispatcher.follow),
            ("nudge the queue", self.dispatcher.nudge),
        ]
        if self._engine.settings.leader.candidate:
            found.append(("election", self.campaign))
        return found

    async def campaign(self) -> None:
        """Win or keep leadership for ever."""
        await self._engine.world.wait_synced()
        while True:
            await self.step()
            await self._engine.clock.sleep(self._election.pause())

    async def first_look(self) -> None:
        """A new leader looks at everything once; beside the election, for a Lease must not wait for a long look."""
        while True:
            await self._term.wait()
            self._term.clear()
            self.inspector.look_at_all()
            await self.strays.sweep()
            await self.resizer.sweep()
            await self.reaper.sweep()

    async def inspect(self) -> None:
        """Look at what is under the grants now and again: most trouble is told when an inventory changes."""
        while True:
            await self._engine.clock.sleep(self._engine.settings.give_back.sweep)
            self.inspector.look_at_all()

    async def step(self) -> None:
        """One attempt to win or keep leadership. Who has just won it leads once it has seen what there is."""
        self._caught_up = self._caught_up and self._election.leading  # else another may have led since
        try:
            if await self._election.step() and not self._caught_up:
                await self._catch_up()
        except KubeError as reason:
            _log.warning("leadership not renewed", reason=str(reason))
        leads = self._leads()
        self._engine.metrics.leading.set(leads)
        if leads and not self._led:
            _log.info("leading", identity=self._engine.settings.identity)
            self._term.set()
            self.evictor.begin()
            self.dispatcher.stirred()
        self._led = leads

    async def _catch_up(self) -> None:
        """Read the ledgers as they stand now: our watch may not show yet what the former leader wrote last.

        Raises:
            KubeError: they could not be read; we do not lead yet.
        """
        engine, labels = self._engine, f"{names.KIND_LABEL}={names.KIND_LEDGER}"
        found, _ = await engine.client.list(CONFIGMAPS, namespace=engine.settings.namespace, labels=labels)
        for ledger in found:
            engine.world.ledgers.put(f"{engine.settings.namespace}/{ledger['metadata']['name']}", ledger)
        self._caught_up = True

    async def resign(self) -> None:
        """Let the next leader start at once. Call when the tasks have ended."""
        try:
            async with asyncio.timeout(_FAREWELL):
                await self._election.resign()
        except (KubeError, TimeoutError) as reason:
            _log.warning("leadership not given up, it runs out by itself", reason=str(reason))

    def _carried(self, grant_id: str) -> None:
        self._engine.world.accounts.appeared(grant_id)
        self.reaper.touched(grant_id)

    def _room(self) -> None:
        self._engine.line.stirred(queue=False)
        self.dispatcher.stirred()

    def _queue(self) -> None:
        self._engine.line.stirred()
        self.dispatcher.stirred()

    def _listed(self, gone: set[str], new: set[str]) -> None:
        self._engine.world.accounts.listed(gone, new)
        self.reaper.listed(gone, new)
        self.strays.gone(gone)
        self._engine.line.listed(new)

    def _claimed(self, key: str) -> None:
        self.strays.touched(key)
        self.resizer.touched(key)

    def _reported(self, node: str) -> None:
        self.reaper.reported(node)
        self.evictor.reported(node)
        self.inspector.look_at(node)
        self.resizer.reported(node)

    def _leads(self) -> bool:
        return self._caught_up and self._election.leading
