"""Gives grants back whose pods have ended, are gone, or never came. The leader's duty.

What a pod that was deleted by force held goes on counting until its node's agent confirms that nothing of it is
left, or its node is gone. There is no time-out: memory that may still be held is never promised to another pod.
"""

from collections.abc import Callable
from datetime import timedelta

import structlog

from allocator.api.grant import Grant
from allocator.controller.engine import Engine
from allocator.controller.lookups import Lookups
from allocator.controller.notes import granted_note, releasing_note
from allocator.controller.touched import Touched
from allocator.core.giveback import Verdict, holder, made_for, verdict
from allocator.kube import EventRecorder, KubeError

_log = structlog.get_logger(__name__)


class Reaper:
    """Looks at single grants when something happened to their pods, and at all of them now and again."""

    def __init__(self, engine: Engine, recorder: EventRecorder, *, leading: Callable[[], bool]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._leading = leading
        self._touched = Touched()
        self._told: set[str] = set()

    def touched(self, grant_id: str) -> None:
        """Something happened to the pod of this grant."""
        self._touched.add(grant_id)

    def listed(self, gone: set[str], new: set[str]) -> None:
        """Grants have gone from a ledger, or appeared in it; their pods may be here already."""
        for grant_id in gone:
            self._engine.world.pods.forget(grant_id)
        self._engine.world.pods.arrived(new)
        self._touched.add(*(grant_id for grant_id in new if self._engine.world.pods.carriers(grant_id)))

    def reported(self, node: str) -> None:
        """A node's agent has something new to say; it may confirm what is being released."""
        grants = self._engine.world.ledgers.get(node).ledger.grants
        self._touched.add(*(key for key, one in grants.items() if one.releasing))

    async def follow(self) -> None:
        """Act on what happens, as long as it happens."""
        while True:
            await self._touched.wait()
            self.look_at_touched()

    async def sweep_for_ever(self) -> None:
        """Look at all grants now and again."""
        while True:
            await self._engine.clock.sleep(self._engine.settings.give_back.sweep)
            self._engine.world.judge_agents()
            await self.sweep()

    def look_at_touched(self) -> None:
        """Decide on the grants whose pods have changed. Needs no question to the API server."""
        touched = self._touched.take()
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
        grants = self._engine.world.ledgers.grants()
        doubtful = [grant for grant in grants if self._decide(grant) is Verdict.ASK or grant.releasing]
        self._told &= {grant.allocation.id for grant in doubtful}
        lookups = Lookups(self._engine)
        for grant in doubtful:
            if not self._leading():
                return
            try:
                if grant.releasing:
                    await self._look_after(grant, lookups)
                else:
                    self._act(grant, await lookups.judge(grant), why="deleted" if grant.uid else "never seen")
            except KubeError as reason:
                _log.warning("not looked up", allocation=grant.allocation.id, reason=str(reason))

    async def _look_after(self, grant: Grant, lookups: Lookups) -> None:
        """A grant waits for its node's agent: the node may be gone, and somebody should know if it takes long."""
        allocation = grant.allocation
        if await lookups.node_gone(allocation.node):
            self._act(grant, Verdict.RELEASE, why="node gone")
            return
        waits = (self._engine.clock.now() - grant.releasing).total_seconds() if grant.releasing else 0.0
        if waits < self._engine.settings.give_back.agent_slow or allocation.id in self._told:
            return
        self._told.add(allocation.id)
        _log.warning("grant waits for its node's agent", allocation=allocation.id, node=allocation.node, pod=grant.pod)
        self._recorder.record(releasing_note(grant))

    def _decide(self, grant: Grant) -> Verdict:
        """Act on what the caches prove."""
        engine, grant_id = self._engine, grant.allocation.id
        pod = holder(grant, engine.world.pods.carriers(grant_id))
        inventory = engine.world.inventories.get(grant.allocation.node)
        found = verdict(
            grant,
            pod,
            known=engine.world.ledgers.known_for(grant_id),
            grace=timedelta(seconds=engine.settings.give_back.grace),
            confirmed=inventory is not None and grant_id in inventory.released,
        )
        self._act(grant, found, why="confirmed" if grant.releasing else "ended")
        if found is Verdict.MARK and pod is not None:
            engine.committer.mark(grant.allocation.node, grant_id, pod=pod.name, uid=pod.uid)
            self._recorder.record(granted_note(grant, pod=pod.name, uid=pod.uid))
        return found

    def _name(self, grant: Grant) -> None:
        """Note which pod had the grant, though it is gone: its agent looks for that pod's processes."""
        for pod in self._engine.world.pods.carriers(grant.allocation.id):
            if made_for(grant, pod) and not pod.stopped:
                self._engine.committer.mark(grant.allocation.node, grant.allocation.id, pod=pod.name, uid=pod.uid)

    def _act(self, grant: Grant, found: Verdict, *, why: str) -> None:
        """Do what was decided, as far as it ends a grant or begins to."""
        allocation, committer = grant.allocation, self._engine.committer
        about = {"allocation": allocation.id, "node": allocation.node, "pod": grant.pod}
        if committer.leaving(allocation.id, allocation.node):
            return
        if found is Verdict.CONFIRM and not grant.uid:
            self._name(grant)
        if found is Verdict.RELEASE:
            _log.info("giving back", why=why, **about)
            self._engine.metrics.released.labels(why.replace(" ", "_")).inc()
            committer.release(allocation.node, allocation.id, reused=grant.reused)
        elif found is Verdict.CONFIRM:
            _log.info("pod is gone, its end was not seen; waiting for the node's agent", **about)
            committer.doubt(allocation.node, allocation.id, self._engine.clock.now().replace(microsecond=0))
        elif found is Verdict.REVIVE:
            _log.warning("pod of a grant that was being released lives", **about)
            committer.doubt(allocation.node, allocation.id, None)
