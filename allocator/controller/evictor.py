"""Has pods evicted that their node's agent found outside their wall. The leader's duty.

An agent may speak for its own node only, and about pods that hold a grant there; a pod is asked to go once. Where a
disruption budget forbids it, again after a pause.
"""

import asyncio
from collections.abc import Callable, Iterator

import structlog

from allocator.api.grant import Grant
from allocator.api.isolation import Eviction
from allocator.controller.engine import Engine
from allocator.controller.notes import eviction_note
from allocator.kube import EventRecorder, KubeError, Outcome, evict

_log = structlog.get_logger(__name__)


class Evictor:
    """Goes through what agents ask when an inventory changes, and again while something is left to do."""

    def __init__(self, engine: Engine, recorder: EventRecorder, *, leading: Callable[[], bool]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._leading = leading
        self._done: set[str] = set()
        self._told: set[tuple[str, Outcome]] = set()
        self._pending = False
        self._wake = asyncio.Event()

    def reported(self, node: str) -> None:
        """A node's agent has something new to say."""
        inventory = self._engine.world.inventories.get(node)
        if inventory is not None and inventory.evictions:
            self._wake.set()

    def begin(self) -> None:
        """We lead from now on: look at what was asked before."""
        self._wake.set()

    async def follow(self) -> None:
        """Act on what agents ask, as long as they ask."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.round()

    async def nudge(self) -> None:
        """Look again now and then: a budget may have something to give, a grant may have been noted meanwhile."""
        while True:
            await self._engine.clock.sleep(self._engine.settings.evictions.retry)
            if self._pending or any(True for _ in self._all()):
                self._wake.set()

    async def round(self) -> None:
        """Ask every such pod to go, each once."""
        everything = list(self._all())
        asked = {one.uid for _, one in everything}
        self._done &= asked
        self._told = {told for told in self._told if told[0] in asked}
        self._pending = False
        for node, eviction in everything:
            if not (self._leading() and self._engine.world.synced):
                return
            if eviction.uid in self._done:
                continue
            grant = self._entitled(node, eviction)
            if grant is None:
                _log.info("eviction not asked: no such pod holds a grant there", node=node, pod=eviction.pod)
                continue
            await self._serve(grant, eviction)

    def _all(self) -> Iterator[tuple[str, Eviction]]:
        for node in self._engine.world.inventories.nodes():
            inventory = self._engine.world.inventories.get(node)
            for one in inventory.evictions if inventory else ():
                yield node, one

    def _entitled(self, node: str, asked: Eviction) -> Grant | None:
        """The grant that the pod holds on the agent's node."""
        for grant in self._engine.world.ledgers.get(node).ledger.grants.values():
            if grant.uid == asked.uid and f"{grant.namespace}/{grant.pod}" == asked.pod:
                return grant
        return None

    async def _serve(self, grant: Grant, asked: Eviction) -> None:
        uid = asked.uid
        about = {"pod": grant.pod, "namespace": grant.namespace, "reason": asked.reason}
        try:
            outcome = await evict(self._engine.client, namespace=grant.namespace, name=grant.pod, uid=uid)
            self._engine.metrics.evictions.labels("isolation", outcome.value).inc()
        except KubeError as reason:
            self._pending = True
            _log.warning("pod not evicted", error=str(reason), **about)
            return
        _log.warning("pod is not isolated, its eviction was asked", outcome=outcome.value, **about)
        if outcome is Outcome.LATER:
            self._pending = True
        else:
            self._done.add(uid)
        if outcome is not Outcome.GONE and (uid, outcome) not in self._told:
            self._told.add((uid, outcome))
            self._recorder.record(eviction_note(grant, asked.reason, now=outcome is Outcome.EVICTED))
