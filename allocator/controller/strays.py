"""Pods whose allocation the ledger does not have, or has otherwise. The leader's duty.

A pod may come after its grant has been given back; a ledger may have been edited or restored from a backup; somebody
may have found a way to write what only vramshare writes. What cannot be is stopped, what can be is booked, and what
runs already is booked whatever the room: see allocator.core.claims.
"""

from collections.abc import Callable

import structlog

from allocator.api import names
from allocator.api.grant import Grant
from allocator.controller.claims import Claimed
from allocator.controller.desk import RefusedError
from allocator.controller.engine import Engine
from allocator.controller.recovery_notes import restored_note, stopped_note
from allocator.controller.shelf import read
from allocator.controller.touched import Touched
from allocator.core.claims import Fate, claim_of, covers, fate, implausible, may_have_started
from allocator.core.giveback import PodFacts, made_for
from allocator.kube import CONFIGMAPS, PODS, EventRecorder, JsonObject, KubeError, NotFoundError, StaleError

_log = structlog.get_logger(__name__)
_SETTLE = 0.5
"""Seconds that a pod may be ahead of the ledger's watch before anybody asks the API server."""


class Strays:
    """Looks at a pod when what it claims has changed or its grant has gone, and at all of them now and again."""

    def __init__(self, engine: Engine, recorder: EventRecorder, *, leading: Callable[[], bool]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._leading = leading
        self._touched = Touched()

    def touched(self, key: str) -> None:
        """The claim of the pod with this `namespace/name` is new or has changed."""
        if self._doubtful(key):
            self._touched.add(key)

    def gone(self, grant_ids: set[str]) -> None:
        """These grants have gone from a ledger; their pods may be here still."""
        for grant_id in grant_ids:
            for facts in self._engine.world.pods.carriers(grant_id):
                if not facts.ended:
                    self.touched(f"{facts.namespace}/{facts.name}")

    async def follow(self) -> None:
        """Act on what happens, as long as it happens."""
        while True:
            await self._touched.wait()
            await self._engine.clock.sleep(_SETTLE)
            await self.look_at(self._touched.take())

    async def sweep_for_ever(self) -> None:
        """Look at everything now and again: what had to wait is found by this."""
        while True:
            await self._engine.clock.sleep(self._engine.settings.give_back.sweep)
            await self.sweep()

    async def sweep(self) -> None:
        """Look at everything that any pod claims."""
        claims = self._engine.world.claims
        await self.look_at({key for node in claims.nodes() for key in claims.on(node)})

    async def look_at(self, keys: set[str]) -> None:
        """Judge these pods, oldest grants first: what was granted first has the better right to room."""
        claims = {key: claim for key in keys if (claim := self._engine.world.claims.get(key)) is not None}
        for key in sorted(claims, key=lambda key: (claims[key].grant.granted, key)):
            if not (self._leading() and self._engine.world.synced):
                return
            if self._doubtful(key):
                try:
                    await self._judge(key, claims[key])
                except KubeError as reason:
                    _log.warning("stray pod not looked into", pod=key, reason=str(reason))

    def _doubtful(self, key: str) -> bool:
        """Whether what this pod claims is not what the ledger has, as far as the caches tell."""
        world = self._engine.world
        claim = world.claims.get(key)
        if claim is None or not world.namespaces.opted_in(claim.grant.namespace):
            return False
        grant_id, node = claim.grant.allocation.id, claim.grant.allocation.node
        if grant_id in world.ledgers.get(node).ledger.unreadable:
            return False  # a newer version wrote it, and knows
        held = world.ledgers.find(grant_id)
        facts = PodFacts(claim.grant.namespace, claim.grant.pod, claim.grant.uid)
        return held is None or not (made_for(held, facts) and covers(held, claim.grant))

    async def _judge(self, key: str, claim: Claimed) -> None:
        """Find out from the API server what is true, and act on it."""
        node, grant_id = claim.grant.allocation.node, claim.grant.allocation.id
        world = self._engine.world
        before = await self._pod(claim.grant)
        await self._refresh(node)
        after = await self._pod(claim.grant)
        if before is None or after is None or before["metadata"]["uid"] != after["metadata"]["uid"]:
            return
        said = claim_of(after, owner=claim.grant.owner)
        if said is None or claim_of(before, owner=claim.grant.owner) != said:
            return  # it changes under our eyes: its next event brings it back here
        inventory = world.inventories.get(node)
        if inventory is None or grant_id in inventory.released or self._engine.committer.leaving(grant_id, node):
            return  # not known, on its way out, or its agent has not forgotten yet that it was: the next sweep sees
        bound = (after.get("spec") or {}).get("nodeName") or ""
        problem = implausible(said, inventory, bound=bound)
        held = world.ledgers.find(grant_id)
        fits = not world.ledgers.get(node).ledger.admit([said], inventory)[1]
        what, why = fate(said, held, problem=problem, fits=fits, started=may_have_started(after))
        if what is not Fate.STOP or not claim.leaving:
            await self._act(said, what, why)
        if what is Fate.FINE and why:
            _log.error("pod runs on what nobody can book", pod=key, problem=why)

    async def _act(self, grant: Grant, what: Fate, why: str) -> None:
        allocation = grant.allocation
        about = {"pod": grant.pod, "namespace": grant.namespace, "allocation": allocation.id, "node": allocation.node}
        if what is Fate.STOP:
            await self._stop(grant, why)
        elif what is Fate.REINSTATE:
            _log.error("pod runs without a grant; booked again whatever the room", **about)
            self._engine.committer.restore(allocation.node, grant)
            self._recorder.record(restored_note(grant))
        elif what is Fate.RESTORE:
            try:
                await self._engine.committer.add(grant)
            except RefusedError as reason:
                _log.info("grant not restored, looking again", reason=str(reason), **about)
                self._touched.add(f"{grant.namespace}/{grant.pod}")
            else:
                _log.warning("pod came after its grant had gone; granted again", **about)
                self._recorder.record(restored_note(grant))

    async def _stop(self, grant: Grant, why: str) -> None:
        _log.error("pod stopped", pod=grant.pod, namespace=grant.namespace, reason=why)
        self._recorder.record(stopped_note(grant, why))
        try:
            await self._engine.client.delete(PODS, grant.pod, namespace=grant.namespace, uid=grant.uid)
        except (NotFoundError, StaleError):
            return  # it has gone by itself

    async def _pod(self, grant: Grant) -> JsonObject | None:
        """The pod as it is now; None: it is gone."""
        try:
            pod = await self._engine.client.get(PODS, grant.pod, namespace=grant.namespace)
        except NotFoundError:
            return None
        return pod if pod["metadata"]["uid"] == grant.uid else None

    async def _refresh(self, node: str) -> None:
        """Read a node's ledger now; one that is not there is written anew with all that is claimed of the node."""
        name, world = names.ledger_name(node), self._engine.world
        before = world.ledgers.get(node).version
        try:
            found = await self._engine.client.get(CONFIGMAPS, name, namespace=self._engine.settings.namespace)
        except NotFoundError:
            world.ledgers.vanished(node)
            self._engine.committer.renew(node)
        else:
            world.ledgers.keep(node, read(node, found), despite=before)
