"""Makes room for a waiting pod of high priority by evicting pods of lower priority. Off unless the settings say so.

First the place is chosen and written into the waiting pod, so that every replica keeps it free; only when that is to
be seen are the victims asked to go, by the Eviction API. Their grants return as they end, and the pod gets the place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from allocator.api.grant import Grant
from allocator.controller.engine import Engine
from allocator.controller.notes import preempted_note
from allocator.core.demand import PodDemand
from allocator.core.giveback import holder
from allocator.core.preempt import Preemption, Victim, cheapest, never_preempts
from allocator.core.queue import Waiting
from allocator.core.quota import held
from allocator.kube import EventRecorder, KubeError
from allocator.kube.eviction import Outcome, evict

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Pods:
    """Pods with grants as one round sees them: who may have to go, and by node the grants of those that are going."""

    victims: list[Victim]
    going: dict[str, set[str]]


class Preemptor:
    """Chooses victims in a round, and asks them to go at its end."""

    def __init__(self, engine: Engine, recorder: EventRecorder) -> None:
        self._engine = engine
        self._recorder = recorder
        self._asked: dict[str, Victim] = {}
        self._spared: dict[str, float] = {}
        self._due: dict[str, tuple[Victim, int]] = {}
        self._seen: _Pods | None = None

    def begin(self) -> None:
        """A round begins."""
        self._seen = None

    def find(self, one: Waiting, demand: PodDemand) -> Preemption | None:
        """Who would have to go so that a pod fits. None: preemption is off, not for this pod, or of no help.

        What is kept for pods behind this one must not count at the moment.
        """
        spec: Mapping[str, object] = one.pod.get("spec") or {}
        if not self._engine.settings.queue.preempt or never_preempts(spec):
            return None
        seen, fleet = self._look(), self._engine.world.fleet
        node = one.reserved.partition(":")[0]
        there = [victim for victim in seen.victims if victim.node == node]
        going = {name: ids for name, ids in seen.going.items() if name == node}
        found = cheapest(fleet, demand, there, priority=one.priority, going=going)
        if found is None:  # nothing was chosen yet, or that place is no longer any good
            found = cheapest(fleet, demand, seen.victims, priority=one.priority, going=seen.going)
        return found

    def order(self, one: Waiting, preemption: Preemption) -> None:
        """Have the victims asked to go, once the place is known to be kept."""
        seen = self._look()
        gone = {victim.uid for victim in preemption.victims}
        seen.victims = [victim for victim in seen.victims if victim.uid not in gone]
        for victim in preemption.victims:
            seen.going.setdefault(victim.node, set()).add(victim.grant_id)
            if one.reserved == preemption.spot.to_text():
                self._due[victim.uid] = (victim, one.priority)

    async def flush(self) -> None:
        """Ask those chosen in this round to go."""
        due, self._due = self._due, {}
        for victim, priority in due.values():
            await self._ask(victim, priority)

    async def _ask(self, victim: Victim, priority: int) -> None:
        about = {"pod": victim.name, "namespace": victim.namespace, "node": victim.node}
        try:
            outcome = await evict(self._engine.client, namespace=victim.namespace, name=victim.name, uid=victim.uid)
        except KubeError as reason:
            _log.warning("victim not evicted", reason=str(reason), **about)
            outcome = Outcome.LATER
        self._engine.metrics.evictions.labels("preempted", outcome.value).inc()
        if outcome is Outcome.LATER:
            self._spared[victim.uid] = self._engine.clock.monotonic() + self._engine.settings.queue.spare
            _log.info("victim is protected for now, another is looked for", **about)
            return
        self._asked[victim.uid] = victim
        if outcome is Outcome.EVICTED:
            self._recorder.record(preempted_note(victim, priority=priority))
            _log.info("evicted for a pod of higher priority", priority=priority, **about)

    def _look(self) -> _Pods:
        """The pods with grants, once per round."""
        if self._seen is None:
            now = self._engine.clock.monotonic()
            self._spared = {uid: until for uid, until in self._spared.items() if until > now}
            grants = self._engine.world.ledgers.grants()
            uids = {grant.uid for grant in grants}
            self._asked = {uid: victim for uid, victim in self._asked.items() if uid in uids}
            self._seen = self._sorted(grants)
        return self._seen

    def _sorted(self, grants: Iterable[Grant]) -> _Pods:
        found = _Pods(victims=[], going={})
        pods = self._engine.world.pods
        for grant in grants:
            allocation = grant.allocation
            standing = pods.standing(grant) if grant.uid and grant.releasing is None else None
            carrier = holder(grant, pods.carriers(allocation.id))
            if standing is None or carrier is None or carrier.ended:
                continue
            priority, leaving = standing
            if leaving or grant.uid in self._asked:
                found.going.setdefault(allocation.node, set()).add(allocation.id)
            elif grant.uid not in self._spared:
                found.victims.append(
                    Victim(
                        grant_id=allocation.id,
                        node=allocation.node,
                        namespace=grant.namespace,
                        name=grant.pod,
                        uid=grant.uid,
                        priority=priority,
                        memory=held(grant).memory,
                    )
                )
        return found
