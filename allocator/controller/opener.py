"""Turns decisions about waiting pods into granted pods: the ledgers first, then one patch per pod.

Pods of a group are granted together: no gate is opened before all their grants stand in the ledgers, and where one
cannot be written the others are taken back. A leader that dies in between leaves grants that name their pods by UID;
the next one finds them and goes on from there (allocator.controller.dispatcher).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import structlog

from allocator.api import names
from allocator.api.errors import NotReadyError
from allocator.controller.engine import Engine
from allocator.controller.notes import granted_note, refused_note
from allocator.controller.public import Granted
from allocator.core.queue import Waiting, admission_patch
from allocator.kube import (
    JSON_PATCH,
    PODS,
    BusyError,
    EventRecorder,
    ExpiredError,
    InvalidError,
    JsonObject,
    KubeError,
    NotFoundError,
    StaleError,
)

_log = structlog.get_logger(__name__)
_PATCHES: Final = 5
"""How often one pod that its user keeps editing is read and patched again."""
_REASON: Final = f"/metadata/annotations/{names.REASON.replace('/', '~1')}"
_UNAUTHORIZED: Final = 401
_UNWRITABLE: Final = 5.0
"""Seconds before pods whose ledger cannot be written are tried again."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A pod and its grant.

    Attributes:
        one: the pod.
        granted: the grant.
        fresh: whether the grant has still to be written.
    """

    one: Waiting
    granted: Granted
    fresh: bool


class Fate(Enum):
    """What became of a patch.

    TAKEN: the pod has its grant.
    GONE: the pod is gone, or asks for something else now.
    REFUSED: the API server does not let us write it.
    UNKNOWN: nobody knows; the next round looks again.
    """

    TAKEN = "taken"
    GONE = "gone"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class _Rest:
    """A pod that is left alone until it changes, and until when on our clock at the latest."""

    one: Waiting
    until: float


class Opener:
    """Writes grants and opens gates. Only the leader's has anything to do."""

    def __init__(self, engine: Engine, recorder: EventRecorder, *, leading: Callable[[], bool]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._leading = leading
        self._resting: dict[str, _Rest] = {}

    def forget_all_but(self, uids: Iterable[str]) -> None:
        """Remember only these pods."""
        kept = set(uids)
        self._resting = {uid: rest for uid, rest in self._resting.items() if uid in kept}

    def resting(self, one: Waiting) -> bool:
        """Whether a pod has been patched or has refused its patch, and has not changed since."""
        rest = self._resting.get(one.uid)
        return rest is not None and rest.one.same(one) and self._engine.clock.monotonic() < rest.until

    async def open(self, openings: Sequence[Opening]) -> None:
        """Grant these pods together, or none of them."""
        try:
            if not await self._commit(openings) or not self._leading():
                return
            first, *rest = openings
            fate = await self._admit(first)
            if fate is Fate.REFUSED:
                # What refuses one of a group refuses them all, most often: before another gate opens, let go.
                await asyncio.gather(*(self.let_go(one) for one in rest))
            elif fate is not Fate.UNKNOWN:
                await asyncio.gather(*(self._admit(one) for one in rest))
        finally:
            self._engine.line.serving.difference_update(one.one.uid for one in openings)

    async def _commit(self, openings: Sequence[Opening]) -> bool:
        """Write the grants; whether all stand. If one does not, the others that were new are taken back.

        Those that stood before are written too, as taken up: a former leader may be about to give them back.
        """
        fresh = [one.granted for one in openings if one.fresh]
        before = [one.granted.grant for one in openings if not one.fresh]
        results, taken_up = await asyncio.gather(
            asyncio.gather(*(self._engine.commit(one) for one in fresh), return_exceptions=True),
            asyncio.gather(*(self._engine.committer.reuse(one) for one in before)),
        )
        if all(taken_up) and all(result is True for result in results):
            self._engine.metrics.grants.labels("granted").inc(len(fresh))
            return True
        for granted, result in zip(fresh, results, strict=True):
            if result is True:
                self._release(granted)
            elif isinstance(result, NotReadyError):
                _log.warning("queued pod not granted", pod=granted.grant.pod, reason=str(result))
                for one in openings:  # what is taken back here would stir the queue, and all of it begin anew at once
                    self._rest(one.one, _UNWRITABLE)
            elif isinstance(result, BaseException):
                raise result
        self._engine.metrics.ledger_conflicts.inc()
        return False

    async def _admit(self, opening: Opening) -> Fate:
        """Write a grant into its pod and open the gate; give the grant back if the pod does not take it."""
        one, granted = opening.one, opening.granted
        about = {"pod": one.name, "namespace": one.namespace, "allocation": granted.grant.allocation.id}
        try:
            fate = await self._patch(one, granted)
        except KubeError as reason:
            if not _refusal(reason):
                # It may have been applied. The grant carries the pod's UID and is found in the next round.
                _log.warning("queued pod not patched yet", reason=str(reason), **about)
                return Fate.UNKNOWN
            fate = Fate.REFUSED
            _log.warning("queued pod refuses its grant", reason=str(reason), **about)
            self._recorder.record(refused_note(granted.grant, str(reason)))
        self._rest(one, self._engine.settings.queue.refused_again if fate is Fate.REFUSED else float("inf"))
        if fate is Fate.TAKEN:
            self._engine.metrics.queue_wait.observe(one.age(self._engine.clock.now()))
            self._recorder.record(granted_note(granted.grant, pod=one.name, uid=one.uid))
            _log.info("granted from the queue", **about)
        else:
            await self.let_go(opening)
        return fate

    async def let_go(self, opening: Opening) -> None:
        """Give a grant back that its pod does not take.

        One that stood in the ledger before may have been taken long ago: our picture of the pod may be older than
        that. So only a pod that is still there without it lets it go; of one that is gone, the reaper decides.
        """
        if not opening.fresh:
            try:
                current = await self._again(opening.one)
            except KubeError as reason:
                _log.warning("queued pod not read", pod=opening.one.name, reason=str(reason))
                return
            if current is None or carries(current, opening.granted.grant.allocation.id):
                return
            if not await self._fenced(opening, current):
                return  # the next round looks again
        self._release(opening.granted)

    async def _fenced(self, opening: Opening, current: JsonObject) -> bool:
        """Change a pod, so that no patch for the version before it comes late and gives it what is given back.

        A former leader may have sent one. Whether none can: where the API server refuses ours, it refuses that as well.
        """
        one, allocation = opening.one, opening.granted.grant.allocation
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version_of(current)},
            {"op": "add", "path": _REASON, "value": f"waits again; its grant {allocation.id} is given back"},
        ]
        try:
            await self._engine.client.patch(PODS, one.name, patch, namespace=one.namespace, kind=JSON_PATCH)
        except KubeError as reason:
            _log.info("queued pod not changed", pod=one.name, namespace=one.namespace, reason=str(reason))
            if not isinstance(reason, InvalidError):
                return _refusal(reason) and not isinstance(reason, NotFoundError)
        else:
            return True
        try:  # the test or a policy has failed
            after = await self._again(one)
        except KubeError:
            return False
        return after is not None and version_of(after) == version_of(current)

    def _rest(self, one: Waiting, seconds: float) -> None:
        self._resting[one.uid] = _Rest(one=one, until=self._engine.clock.monotonic() + seconds)

    def _release(self, granted: Granted) -> None:
        allocation = granted.grant.allocation
        self._engine.committer.release(allocation.node, allocation.id)

    async def _patch(self, one: Waiting, granted: Granted) -> Fate:
        """Patch the pod, reading it again when it has changed.

        Raises:
            KubeError: it was refused, or nobody knows; `_refusal` tells which.
        """
        pod, allocation = one.pod, granted.grant.allocation
        for _ in range(_PATCHES):
            patch = admission_patch(pod, allocation=allocation, inventory=granted.inventory)
            try:
                await self._engine.client.patch(PODS, one.name, patch, namespace=one.namespace, kind=JSON_PATCH)
            except (InvalidError, StaleError, NotFoundError) as reason:
                _log.info("patch refused", pod=one.name, namespace=one.namespace, reason=str(reason))
                refusal = reason
            else:
                return Fate.TAKEN
            current = await self._again(one)
            if carries(current, allocation.id):
                return Fate.TAKEN  # an earlier patch, whose answer was lost
            if current is None or not self._wants_still(one, Waiting.of(current)):
                return Fate.GONE
            if isinstance(refusal, InvalidError) and version_of(current) == version_of(pod):
                raise refusal
            if not self._leading() or self._engine.world.ledgers.find(allocation.id) is None:
                raise StaleError("another leads by now, and the grant may be given back")
            pod = current
        raise StaleError(f"pod {one.namespace}/{one.name} is being edited all the time")

    def _wants_still(self, one: Waiting, current: Waiting | None) -> bool:
        """Whether an edited pod still waits, for the same: a grant fits the constraints that it was made for."""
        if current is None or current.uid != one.uid:
            return False
        before, after = self._engine.line.reader.fresh(one), self._engine.line.reader.fresh(current)
        return not isinstance(before, str) and not isinstance(after, str) and before.demand == after.demand

    async def _again(self, one: Waiting) -> JsonObject | None:
        """The pod as it is now; None: it is gone."""
        try:
            pod = await self._engine.client.get(PODS, one.name, namespace=one.namespace)
        except NotFoundError:
            return None
        return pod if pod["metadata"]["uid"] == one.uid else None


def carries(pod: JsonObject | None, grant_id: str) -> bool:
    """Whether a pod holds this grant already."""
    annotations = (pod or {}).get("metadata", {}).get("annotations") or {}
    return bool(annotations.get(names.ALLOCATION_ID) == grant_id)


def version_of(pod: Mapping[str, Any]) -> str:
    """Its resourceVersion."""
    return str(pod["metadata"]["resourceVersion"])


def _refusal(reason: KubeError) -> bool:
    """Whether the API server understood and said no: a policy, another webhook, a missing right."""
    passing = isinstance(reason, BusyError | StaleError | ExpiredError) or reason.status == _UNAUTHORIZED
    return not passing and 400 <= reason.status < 500
