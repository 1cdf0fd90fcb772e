"""Serves the queue: pods behind our gate get their grants in order, in one patch each. The leader's duty."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from allocator.api import names
from allocator.api.errors import ConflictError, NoCapacityError, NotReadyError, RequestError
from allocator.api.request import parse_pod
from allocator.controller.engine import Engine
from allocator.controller.notes import granted_note, waiting_note
from allocator.controller.public import Granted, GrantRequest, owner_of
from allocator.core.queue import Waiting, admission_patch, unwalled
from allocator.kube import (
    JSON_PATCH,
    PODS,
    EventRecorder,
    InvalidError,
    JsonObject,
    KubeError,
    NotFoundError,
    StaleError,
)

_log = structlog.get_logger(__name__)
_PATCHES = 5
"""How often one pod that its user keeps editing is read and patched again in one round."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What a waiting pod asks, as read from one version of it.

    Attributes:
        pod: that version.
        asked: the request; or what is wrong with it, in a sentence for its user.
        key: equal for pods that fit or fail alike.
    """

    pod: Mapping[str, Any]
    asked: GrantRequest | str
    key: object = None


@dataclass(frozen=True, slots=True)
class _Told:
    """What a waiting pod was last told, and when on our clock."""

    sentence: str
    since: float


class Dispatcher:
    """Goes through the waiting pods whenever something happened that may let one in."""

    def __init__(self, engine: Engine, recorder: EventRecorder, *, leading: Callable[[], bool]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._leading = leading
        self._told: dict[str, _Told] = {}
        self._read: dict[str, _Read] = {}
        self._done: dict[str, Mapping[str, Any]] = {}
        self._wake = asyncio.Event()

    def stirred(self) -> None:
        """Something happened: room was made, or the queue changed."""
        self._wake.set()

    async def follow(self) -> None:
        """A round for every stir, and one now and again while pods wait."""
        settings = self._engine.settings.queue
        while True:
            await self._wake.wait()
            await self._engine.clock.sleep(settings.settle)
            self._wake.clear()
            await self.round()

    async def nudge(self) -> None:
        """Stir now and again, in case a chance was missed."""
        while True:
            await self._engine.clock.sleep(self._engine.settings.queue.retry)
            if self._engine.world.pods.depth():
                self.stirred()

    async def round(self) -> None:
        """Try every waiting pod once, first come first."""
        waiting = self._engine.world.pods.waiting()
        uids = {one.uid for one in waiting}
        self._done = {uid: pod for uid, pod in self._done.items() if uid in uids}
        self._told = {uid: told for uid, told in self._told.items() if uid in uids}
        self._read = {uid: read for uid, read in self._read.items() if uid in uids}
        refused: dict[object, str] = {}
        for one in waiting:
            if not (self._leading() and self._engine.world.fresh):
                return
            if self._done.get(one.uid) is not one.pod and not one.foreign_gates:
                await self._try(one, refused)
                await self._engine.clock.sleep(0)

    async def _try(self, one: Waiting, refused: dict[object, str]) -> None:
        """Grant one pod, or tell it why not. Equal pods after a refused one need no second look."""
        read = self._understood(one)
        if isinstance(read.asked, str):
            await self._tell(one, read.asked)
            return
        if read.key in refused:
            await self._tell(one, refused[read.key])
            return
        try:
            granted = await self._grant(one, read.asked)
        except NoCapacityError as reason:
            refused[read.key] = str(reason)
            await self._tell(one, str(reason))
        except RequestError as reason:
            await self._tell(one, str(reason))
        except (ConflictError, NotReadyError) as reason:
            # The next nudge, or whatever stirs before it, tries again.
            _log.warning("queued pod not granted", pod=one.name, namespace=one.namespace, reason=str(reason))
        else:
            await self._admit(one, granted)

    def _understood(self, one: Waiting) -> _Read:
        """What a pod asks; read once per version of it, for a queue may be long and rounds many."""
        found = self._read.get(one.uid)
        if found is None or found.pod is not one.pod:
            asked = _asked(one)
            if isinstance(asked, str):
                found = _Read(pod=one.pod, asked=asked)
            else:
                demand = self._engine.demand(asked)
                found = _Read(pod=one.pod, asked=asked, key=(demand.shape, demand.policy))
            self._read[one.uid] = found
        return found

    async def _grant(self, one: Waiting, asked: GrantRequest) -> Granted:
        """The grant that this pod already has, from a leader that stopped half-way, or a new one."""
        world = self._engine.world
        grant = world.ledgers.made_for(one.uid)
        inventory = None if grant is None else world.inventories.get(grant.allocation.node)
        leaving = grant is not None and self._engine.committer.leaving(grant.allocation.id, grant.allocation.node)
        if grant is not None and inventory is not None and not leaving:
            return Granted(grant=grant, inventory=inventory)
        granted, how = await self._engine.grant(asked)
        self._engine.metrics.grants.labels(how).inc()
        return granted

    async def _admit(self, one: Waiting, granted: Granted) -> None:
        """Write the grant into the pod and open the gate; give the grant back if the pod does not take it."""
        allocation = granted.grant.allocation
        about = {"pod": one.name, "namespace": one.namespace, "allocation": allocation.id}
        try:
            taken = await self._patch(one, granted)
        except KubeError as reason:
            # It may have been applied. The grant carries the pod's UID and is found in the next round.
            _log.warning("queued pod not patched yet", reason=str(reason), **about)
            return
        self._done[one.uid] = one.pod
        if taken:
            self._engine.metrics.queue_wait.observe(one.age(self._engine.clock.now()))
            self._recorder.record(granted_note(granted.grant, pod=one.name, uid=one.uid))
            _log.info("granted from the queue", **about)
        else:
            _log.warning("queued pod does not take its grant", **about)
            self._engine.committer.release(allocation.node, allocation.id)

    async def _patch(self, one: Waiting, granted: Granted) -> bool:
        """Patch the pod, reading it again when it has changed; False: it is gone, or refuses the patch.

        Raises:
            KubeError: nobody knows.
        """
        pod, allocation = one.pod, granted.grant.allocation
        for _ in range(_PATCHES):
            patch = admission_patch(pod, allocation=allocation, inventory=granted.inventory)
            try:
                await self._engine.client.patch(PODS, one.name, patch, namespace=one.namespace, kind=JSON_PATCH)
            except (InvalidError, StaleError, NotFoundError) as reason:
                _log.info("patch refused", pod=one.name, namespace=one.namespace, reason=str(reason))
                invalid = isinstance(reason, InvalidError)
            else:
                return True
            current = await self._again(one)
            if carries(current, allocation.id):
                return True  # an earlier patch, whose answer was lost
            if current is None or not self._wants_still(one, Waiting.of(current)):
                return False
            if invalid and version_of(current) == version_of(pod):
                return False
            pod = current
        raise StaleError(f"pod {one.namespace}/{one.name} is being edited all the time")

    def _wants_still(self, one: Waiting, current: Waiting | None) -> bool:
        """Whether an edited pod still waits, for the same: a grant fits the constraints that it was made for."""
        if current is None:
            return False
        before, after = self._understood(one).asked, _asked(current)
        if isinstance(before, str) or isinstance(after, str):
            return False
        return self._engine.demand(before) == self._engine.demand(after)

    async def _again(self, one: Waiting) -> JsonObject | None:
        """The pod as it is now; None: it is gone."""
        try:
            pod = await self._engine.client.get(PODS, one.name, namespace=one.namespace)
        except NotFoundError:
            return None
        return pod if pod["metadata"]["uid"] == one.uid else None

    async def _tell(self, one: Waiting, sentence: str) -> None:
        """Update Event and annotation, when there is something new to say and not too often."""
        now, told = self._engine.clock.monotonic(), self._told.get(one.uid)
        news = told is None or told.sentence != sentence
        recent = told is not None and now - told.since < self._engine.settings.queue.retell
        if recent or not (news or one.reason != sentence):
            return
        self._told[one.uid] = _Told(sentence=sentence, since=now)
        if news:
            self._recorder.record(waiting_note(one, sentence))
        if one.reason == sentence:
            return
        patch = {"metadata": {"uid": one.uid, "annotations": {names.REASON: sentence}}}
        try:
            await self._engine.client.patch(PODS, one.name, patch, namespace=one.namespace)
        except KubeError as reason:
            # Said again in a later round, for the annotation still says something else.
            _log.info("reason not written", pod=one.name, namespace=one.namespace, reason=str(reason))


def carries(pod: JsonObject | None, grant_id: str) -> bool:
    """Whether a pod holds this grant already."""
    annotations = (pod or {}).get("metadata", {}).get("annotations") or {}
    return bool(annotations.get(names.ALLOCATION_ID) == grant_id)


def version_of(pod: Mapping[str, Any]) -> str:
    """Its resourceVersion."""
    return str(pod["metadata"]["resourceVersion"])


def _asked(one: Waiting) -> GrantRequest | str:
    """A waiting pod's request; or what is wrong with it, in a sentence for its user."""
    try:
        request = parse_pod(one.pod)
    except RequestError as reason:
        return str(reason)
    if request is None:
        return "waits for a GPU but asks for none any more; delete the pod and create it again"
    bare = unwalled(one.pod, [asking.container for asking in request.containers])
    if bare is not None:
        return (
            f"has vramshare's gate, but container {bare!r} lacks its files: the webhook did not see the pod; "
            f"create it again in a namespace labelled {names.INJECT_LABEL}={names.INJECT_ENABLED}, not opted out"
        )
    return GrantRequest(
        request=request,
        pod=one.pod,
        namespace=one.namespace,
        pod_name=one.name,
        owner=owner_of(one.pod),
        uid=one.uid,
    )
