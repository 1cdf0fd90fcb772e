"""Granted pods that get no node: says why, and has those moved that a controller creates anew. The leader's duty."""

from collections.abc import Callable

import structlog

from allocator.controller.engine import Engine
from allocator.controller.lookups import Lookups
from allocator.controller.notes import stuck_note
from allocator.core.giveback import made_for
from allocator.core.stuck import Pace, Unbound
from allocator.kube import EventRecorder, KubeError, Outcome, evict

_log = structlog.get_logger(__name__)


class Mover:
    """Looks now and again: nothing tells of time that passes."""

    def __init__(self, engine: Engine, recorder: EventRecorder, *, leading: Callable[[], bool]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._leading = leading
        self._told: dict[str, str] = {}
        self._paces: dict[str, Pace] = {}

    async def look_for_ever(self) -> None:
        """A look every few seconds."""
        while True:
            await self._engine.clock.sleep(self._engine.settings.bind.look)
            await self.look()

    async def look(self) -> None:
        """See to every granted pod that has waited for a node too long."""
        engine, settings = self._engine, self._engine.settings.bind
        if not (self._leading() and engine.world.synced):
            return
        now = engine.clock.monotonic()
        unbound = engine.world.pods.unbound()
        uids = {pod.uid for pod in unbound}
        self._told = {uid: said for uid, said in self._told.items() if uid in uids}
        self._paces = {owner: pace for owner, pace in self._paces.items() if not pace.settled(now)}
        lookups = Lookups(engine)
        for pod, since in unbound.items():
            if not self._leading():
                return
            if now - since >= settings.patience and self._holds(pod):
                await self._see_to(pod, now - since, lookups)

    def _holds(self, pod: Unbound) -> bool:
        """Whether the pod holds the grant that it carries; what a stray carries is not our concern here."""
        grant = self._engine.world.ledgers.find(pod.allocation)
        carriers = self._engine.world.pods.carriers(pod.allocation)
        return grant is not None and any(one.uid == pod.uid and made_for(grant, one) for one in carriers)

    async def _see_to(self, pod: Unbound, waited: float, lookups: Lookups) -> None:
        about = {"pod": pod.name, "namespace": pod.namespace, "node": pod.node}
        try:
            problem = pod.problem(node_gone=await lookups.node_gone(pod.node))
            self._tell(pod, problem, waited)
            if not (problem and pod.owner and self._pace(pod).allows(self._engine.clock.monotonic())):
                return  # a scheduler that has said nothing may be about to bind it
            outcome = await evict(self._engine.client, namespace=pod.namespace, name=pod.name, uid=pod.uid)
            self._engine.metrics.evictions.labels("unbound", outcome.value).inc()
        except KubeError as reason:
            _log.warning("granted pod without a node not seen to", error=str(reason), **about)
            return
        if outcome is not Outcome.LATER:
            self._paces[pod.owner] = self._pace(pod).moved(self._engine.clock.monotonic())
            _log.warning("granted pod without a node evicted", problem=problem, owner=pod.owner, **about)

    def _tell(self, pod: Unbound, problem: str, waited: float) -> None:
        """An Event, when there is something new to say."""
        if self._told.get(pod.uid) != problem:
            self._told[pod.uid] = problem
            self._recorder.record(stuck_note(pod, problem, waited=waited))

    def _pace(self, pod: Unbound) -> Pace:
        settings = self._engine.settings.bind
        return self._paces.get(pod.owner) or Pace(first=settings.pause, longest=settings.longest)
