"""Running pods whose owners ask for another size: grants the difference, or says what is missing. The leader's duty.

The order of writes is that of allocator.core.resize. What waits for room is tried again now and then; the request
stands until it is met or withdrawn.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from allocator.api import names
from allocator.api.allocation import Allocation, allocation_text, tenant_name
from allocator.api.errors import RequestError
from allocator.api.grant import Grant
from allocator.controller.engine import Engine
from allocator.controller.recovery_notes import resized_note, waiting_resize_note
from allocator.controller.resizes import NoRoomError
from allocator.controller.touched import Touched
from allocator.core.claims import claim_of, covers
from allocator.core.giveback import PodFacts, made_for
from allocator.core.quota import held
from allocator.core.resize import covering, current, grows, marked, settled, wanted
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
_ANNOTATIONS = "/metadata/annotations"


@dataclass(frozen=True, slots=True)
class _Pod:
    """A pod as just read, what its annotations show, and its grant.

    Attributes:
        json: the pod.
        shown: the allocation that its container is told.
        grant: as the ledger has it.
    """

    json: JsonObject
    shown: Allocation
    grant: Grant

    @property
    def annotations(self) -> Mapping[str, str]:
        """The pod's."""
        found: Mapping[str, str] = self.json["metadata"]["annotations"]
        return found


class Resizer:
    """Looks at a pod when its annotations change, and now and again at all that wait or shrink."""

    def __init__(self, engine: Engine, recorder: EventRecorder, *, leading: Callable[[], bool]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._leading = leading
        self._touched = Touched()

    def touched(self, key: str) -> None:
        """What the pod with this `namespace/name` claims, or whether it wants another size, has changed."""
        if self._concerns(key):
            self._touched.add(key)

    def reported(self, node: str) -> None:
        """A node's agent has something new to say."""
        for key in self._engine.world.claims.on(node):
            self.touched(key)

    async def follow(self) -> None:
        """Act on what happens, as long as it happens."""
        while True:
            await self._touched.wait()
            await self._look_at(self._touched.take())

    async def sweep_for_ever(self) -> None:
        """Look at all that waits or shrinks now and again."""
        while True:
            await self._engine.clock.sleep(self._engine.settings.give_back.sweep)
            await self.sweep()

    async def sweep(self) -> None:
        """Look at all that waits or shrinks."""
        claims = self._engine.world.claims
        await self._look_at({key for node in claims.nodes() for key in claims.on(node) if self._concerns(key)})

    # --- inside ----------------------------------------------------------------------------------------------

    def _concerns(self, key: str) -> bool:
        """Whether a pod wants another size, or holds more in the ledger than it shows."""
        claim = self._engine.world.claims.get(key)
        if claim is None or claim.leaving:
            return False
        grant = self._engine.world.ledgers.find(claim.grant.allocation.id)
        if grant is None:
            return False
        return bool(claim.resize) or grant.allocation.containers != claim.grant.allocation.containers

    async def _look_at(self, keys: set[str]) -> None:
        for key in sorted(keys):
            if not (self._leading() and self._engine.world.fresh):
                return
            try:
                pod = await self._read(key)
                if pod is None:
                    continue
                if names.RESIZE not in pod.annotations or await self._refused(pod):
                    await self._keep(pod)
            except (KubeError, TimeoutError, NoRoomError) as reason:
                # A patch may have been applied. What came of it is read again at the next look.
                _log.warning("size not changed yet", pod=key, reason=str(reason))

    async def _read(self, key: str) -> _Pod | None:
        """The pod as it is now with its grant; None: it is gone, or what it carries is not its grant."""
        namespace, _, name = key.partition("/")
        claim = self._engine.world.claims.get(key)
        grant = None if claim is None else self._engine.world.ledgers.find(claim.grant.allocation.id)
        if grant is None or grant.releasing or self._leaves(grant):
            return None
        # After the ledger: whoever wrote this revision of it had read a version of the pod no newer than this one.
        try:
            pod = await self._engine.client.get(PODS, name, namespace=namespace)
        except NotFoundError:
            return None
        said = claim_of(pod, owner=grant.owner)
        facts = PodFacts.of(pod)
        if said is None or not made_for(grant, facts) or not covers(grant, said):
            return None
        return _Pod(json=pod, shown=said.allocation, grant=replace(grant, pod=facts.name, uid=facts.uid))

    async def _refused(self, pod: _Pod) -> bool:
        """Give the pod the size that it asks for; whether it cannot have it, and has been told so."""
        allocation = pod.grant.allocation
        inventory = self._engine.world.inventories.get(allocation.node)
        if inventory is None:
            return False
        try:
            asked = wanted(pod.annotations, pod.shown, inventory)
            revision = pod.grant.revision
            if asked != pod.shown or allocation != pod.shown:
                revision = await self._book(pod, asked)
        except (RequestError, NoRoomError) as reason:
            return not await self._wait(pod, str(reason))
        if await self._show(pod, marked(asked, revision), done=True) and asked != pod.shown:
            _log.info("resized", pod=pod.grant.pod, namespace=pod.grant.namespace, allocation=allocation.id)
            self._recorder.record(resized_note(pod.grant, pod.shown, asked))
        return False

    async def _keep(self, pod: _Pod) -> None:
        """The pod stays as it is: what is booked beyond that comes free, be it of a wish that was given up or refused.

        Raises:
            NoRoomError: its grant has changed meanwhile.
        """
        if pod.grant.allocation == pod.shown or current(pod.grant, pod.shown):
            await self._settle(pod)
        else:  # booked for a growth that was never shown: what is shown is shown again, to be settled
            revision = await self._book(pod, pod.shown)
            await self._show(pod, marked(pod.shown, revision), done=False)

    async def _book(self, pod: _Pod, asked: Allocation) -> int:
        """Have the ledger count the larger of all sizes that the container may use; the revision at which it does.

        Raises:
            NoRoomError: it cannot.
        """
        grant, engine = pod.grant, self._engine
        larger = replace(grant, allocation=covering(grant.allocation, pod.shown, asked), revision=grant.revision + 1)
        quota = engine.world.quotas.get(grant.namespace)
        if quota is not None:
            over = quota.excess(engine.world.accounts.used(grant.namespace), held(larger) - held(grant))
            if over and grows(grant.allocation, larger.allocation):
                raise NoRoomError(over)
        with engine.world.accounts.growing(larger):  # the queue counts meanwhile, too
            try:
                async with asyncio.timeout(engine.settings.commit.patience):
                    await engine.committer.resize(larger)
            except TimeoutError:  # the write may arrive all the same, and counts until then
                await engine.committer.written(grant.allocation.node)
                raise
        return larger.revision

    async def _show(self, pod: _Pod, asked: Allocation, *, done: bool) -> bool:
        """Write a size into the pod's annotations, with `done` as the one that was wanted; whether it took it."""
        changes: dict[str, str | None] = {
            names.allocation_annotation(container): allocation_text(slices, tenant=tenant_name(asked.id, container))
            for container, slices in asked.containers.items()
        }
        mark: dict[str, str | None] = {names.RESIZE: None} if done else {}
        return await self._patch(pod, changes | mark)

    async def _wait(self, pod: _Pod, sentence: str) -> bool:
        """Tell the pod why it has its old size, once for each reason; whether that was to be done, or tried."""
        if pod.annotations[names.RESIZE] == sentence:
            return False
        if await self._patch(pod, {names.RESIZE: sentence}):
            self._recorder.record(waiting_resize_note(pod.grant, sentence))
        return True

    async def _patch(self, pod: _Pod, changes: Mapping[str, str | None]) -> bool:
        """Change annotations of just this version of a pod; False: it has another by now, which brings it back here."""
        metadata = pod.json["metadata"]
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
        ]
        for key, value in changes.items():
            path = f"{_ANNOTATIONS}/{key.replace('~', '~0').replace('/', '~1')}"
            patch.append(
                {"op": "remove", "path": path} if value is None else {"op": "add", "path": path, "value": value}
            )
        try:
            await self._engine.client.patch(
                PODS, metadata["name"], patch, namespace=metadata["namespace"], kind=JSON_PATCH
            )
        except (InvalidError, StaleError, NotFoundError) as reason:
            _log.info("size not written into pod", pod=metadata["name"], reason=str(reason))
            return False
        return True

    async def _settle(self, pod: _Pod) -> None:
        """Count the smaller size once the node's agent says that the container keeps within it."""
        grant = pod.grant
        inventory = self._engine.world.inventories.get(grant.allocation.node)
        if inventory is None or not settled(grant, pod.shown, inventory.settled):
            return
        smaller = replace(grant, allocation=replace(grant.allocation, containers=pod.shown.containers))
        try:
            async with asyncio.timeout(self._engine.settings.commit.patience):
                await self._engine.committer.resize(replace(smaller, revision=grant.revision + 1))
        except NoRoomError as reason:
            _log.info("size not settled, looking again", allocation=grant.allocation.id, reason=str(reason))
        else:
            _log.info("smaller size settled", allocation=grant.allocation.id, pod=grant.pod)

    def _leaves(self, grant: Grant) -> bool:
        return self._engine.committer.leaving(grant.allocation.id, grant.allocation.node)
