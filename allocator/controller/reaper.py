"""Gives grants back whose pods have ended, are gone, or never came. The leader's duty."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from allocator.api import names
from allocator.api.grant import Grant
from allocator.controller.engine import Engine
from allocator.controller.notes import granted_note
from allocator.core.giveback import ENDED, Verdict, holder, verdict
from allocator.kube import PODS, EventRecorder, KubeError, NotFoundError

_log = structlog.get_logger(__name__)


class Reaper:
    """Looks at single grants when something happened to their pods, and at all of them now and again."""

    def __init__(self, engine: Engine, recorder: EventRecorder, *, leading: Callable[[], bool]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._leading = leading
        self._touched: set[str] = set()
        self._wake = asyncio.Event()

    def touched(self, grant_id: str) -> None:
        """Something happened to the pod of this grant."""
        self._touched.add(grant_id)
        self._wake.set()

    def listed(self, gone: set[str], new: set[str]) -> None:
        """Grants have gone from a ledger, or appeared in it; their pods may be here already."""
        for grant_id in gone:
            self._engine.world.pods.forget(grant_id)
        self._engine.world.pods.arrived(new)
        known = [grant_id for grant_id in new if self._engine.world.pods.carriers(grant_id)]
        self._touched.update(known)
        if known:
            self._wake.set()

    async def follow(self) -> None:
        """Act on what happens, as long as it happens."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self.look_at_touched()

    async def sweep_for_ever(self) -> None:
        """Look at all grants now and again."""
        while True:
            await self._engine.clock.sleep(self._engine.settings.give_back.sweep)
            self._engine.world.judge_agents()
            await self.sweep()

    def look_at_touched(self) -> None:
        """Decide on the grants whose pods have changed. Needs no question to the API server."""
        touched, self._touched = self._touched, set()
        world = self._engine.world
        if not world.synced:
            return
        for grant_id in touched:
            grant = world.ledgers.find(grant_id)
            if grant is None:
                world.pods.forget(grant_id)
            elif self._leading():
                self._decide(grant)

    async def sweep(self) -> None:
        """Decide on every grant, asking the API server about those whose pods are not to be seen."""
        if not (self._leading() and self._engine.world.synced):
            return
        doubtful = [grant for grant in self._engine.world.ledgers.grants() if self._decide(grant) is Verdict.ASK]
        listed: dict[str, set[str]] = {}
        for grant in doubtful:
            if not self._leading():
                return
            try:
                if not await self._exists(grant, listed):
                    self._release(grant, why="deleted" if grant.uid else "never seen")
            except KubeError as reason:
                _log.warning("pod not looked up", allocation=grant.allocation.id, reason=str(reason))

    def _decide(self, grant: Grant) -> Verdict:
        """Act on what the caches prove."""
        engine, grant_id = self._engine, grant.allocation.id
        pod = holder(grant, engine.world.pods.carriers(grant_id))
        grace = timedelta(seconds=engine.settings.give_back.grace)
        found = verdict(grant, pod, known=engine.world.ledgers.known_for(grant_id), grace=grace)
        if found is Verdict.RELEASE:
            self._release(grant, why="ended")
        elif found is Verdict.MARK and pod is not None:
            engine.committer.mark(grant.allocation.node, grant_id, pod=pod.name, uid=pod.uid)
            self._recorder.record(granted_note(grant, pod=pod.name, uid=pod.uid))
        return found

    def _release(self, grant: Grant, *, why: str) -> None:
        allocation = grant.allocation
        if self._engine.committer.leaving(allocation.id, allocation.node):
            return
        _log.info("giving back", allocation=allocation.id, node=allocation.node, pod=grant.pod, why=why)
        self._engine.metrics.released.labels(why.replace(" ", "_")).inc()
        self._engine.committer.release(allocation.node, allocation.id)

    async def _exists(self, grant: Grant, listed: dict[str, set[str]]) -> bool:
        """Ask the API server whether a grant's pod lives.

        Args:
            grant: the grant.
            listed: ids that pods carry, by namespace, as listed in this sweep so far.
        """
        client = self._engine.client
        if not grant.uid:
            if grant.namespace not in listed:
                pods, _ = await client.list(PODS, namespace=grant.namespace)
                listed[grant.namespace] = {
                    (pod["metadata"].get("annotations") or {}).get(names.ALLOCATION_ID, "")
                    for pod in pods
                    if (pod.get("status") or {}).get("phase") not in ENDED
                }
            return grant.allocation.id in listed[grant.namespace]
        try:
            pod = await client.get(PODS, grant.pod, namespace=grant.namespace)
        except NotFoundError:
            return False
        if pod["metadata"]["uid"] != grant.uid or (pod.get("status") or {}).get("phase") in ENDED:
            return False
        carried = (pod["metadata"].get("annotations") or {}).get(names.ALLOCATION_ID, "")
        other = self._engine.world.ledgers.find(carried)
        # A queued pod that was granted twice holds the one that it carries; nothing else makes it lose this one.
        return other is None or other.uid != grant.uid or carried == grant.allocation.id
