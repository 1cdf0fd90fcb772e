"""How one grant comes about: place on the snapshot, assume in the cache, commit to the ledger; on a lost race again.

Between placing and assuming nothing is awaited, so this replica never gives the same memory away twice; the
ledger's compare-and-swap keeps the replicas apart.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from allocator.api import names
from allocator.api.allocation import Allocation
from allocator.api.errors import ConflictError, MustWaitError, NoCapacityError, NotReadyError, OverQuotaError
from allocator.api.grant import Grant
from allocator.api.request import WhenFull
from allocator.controller.committer import Committer
from allocator.controller.desk import RefusedError
from allocator.controller.line import Line
from allocator.controller.metrics import Metrics
from allocator.controller.planning import check_names, demand_of, may_reuse, new_grant
from allocator.controller.public import Granted, GrantRequest
from allocator.controller.settings import AllocatorSettings, OverQuota
from allocator.controller.shelf import read
from allocator.controller.world import World
from allocator.core.demand import PodDemand
from allocator.core.fitting import takes_still
from allocator.core.placement import Placement
from allocator.core.policies import Policies
from allocator.core.quota import least
from allocator.kube import CONFIGMAPS, Client, Clock, KubeError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """What every way to a grant shares.

    Attributes:
        client: the session with the API server.
        world: the cluster as seen.
        line: who waits, and what is kept for whom.
        committer: writes ledgers.
        policies: how to pack.
        settings: how to behave.
        metrics: what is counted.
        clock: time.
        new_id: makes allocation ids.
    """

    client: Client
    world: World
    line: Line
    committer: Committer
    policies: Policies
    settings: AllocatorSettings
    metrics: Metrics
    clock: Clock
    new_id: Callable[[], str]

    async def grant(self, asked: GrantRequest) -> tuple[Granted, str]:
        """A grant, and how it came about: granted, reused or planned.

        Raises:
            RequestError, OverQuotaError, NoCapacityError, ConflictError, NotReadyError: see `Allocator.grant`.
        """
        if not self.world.fresh:
            raise NotReadyError("the allocator has not seen the cluster lately; try again shortly")
        check_names(asked)
        demand = self.demand(asked)
        self._refer_to_queue(asked, demand)
        if not asked.dry_run and (reused := await self._reuse(asked, demand)) is not None:
            return reused, "reused"
        if not asked.uid and (obstacle := self._obstacle(asked.namespace)):
            raise MustWaitError(obstacle)
        commit = self.settings.commit
        try:
            async with asyncio.timeout(commit.patience):
                for _ in range(commit.attempts):
                    if (granted := await self._attempt(asked, demand)) is not None:
                        return granted, "planned" if asked.dry_run else "granted"
                    self.metrics.ledger_conflicts.inc()
        except TimeoutError:
            raise ConflictError(
                f"no grant within {commit.patience:g} s: ledgers could not be written; try again"
            ) from None
        raise ConflictError(f"other replicas were faster {commit.attempts} times; try again")

    def _obstacle(self, namespace: str) -> str:
        """Why a pod that nobody has seen yet has to pass the queue; empty: it need not.

        Whoever reaches the webhook can ask for pods of any namespace, and invent namespaces, each of which might hold
        a part of the GPUs for a while. The queue grants to pods that exist.
        """
        if self.settings.unseen.opted_in and not self.world.namespaces.opted_in(namespace):
            return f"passes the queue: namespace {namespace} is not known to have opted in"
        return self.world.accounts.obstacle(namespace, gpus=self.world.fleet.gpus)

    def demand(self, asked: GrantRequest) -> PodDemand:
        """What a pod needs of GPUs and of its node."""
        return demand_of(asked, runtimes=self.world.runtimes.get, settings=self.settings)

    def decide(self, asked: GrantRequest, demand: PodDemand, found: Placement) -> Granted | None:
        """Make a place a grant, and count it from now on, unless it is a dry run. None: the node has just gone.

        What is decided is to be written by `commit`, or forgotten by `undo`.
        """
        inventory = self.world.inventories.get(found.node)
        if inventory is None:
            return None
        grant = new_grant(asked, found, grant_id=self.new_id(), now=self.clock.now())
        if not asked.dry_run:
            self.world.fleet.assume(grant, demand.shape.usage, shape=demand.shape)
            self.world.accounts.expect(grant)
        return Granted(grant=grant, inventory=inventory)

    async def commit(self, granted: Granted) -> bool:
        """Write a decided grant; False: a race was lost, and it counts no longer.

        Raises:
            NotReadyError: the ledger cannot be written. The grant counts no longer.
        """
        grant = granted.grant
        try:
            await self.committer.add(grant)
        except RefusedError as reason:
            self.undo(granted)
            _log.info("planning again", allocation=grant.allocation.id, reason=str(reason))
            return False
        except NotReadyError:
            self.undo(granted)
            raise
        finally:
            self.world.accounts.settled(grant)
        return True

    def undo(self, granted: Granted) -> None:
        """Forget a decision that was not written."""
        allocation = granted.grant.allocation
        self.world.fleet.forget(allocation.node, allocation.id)
        self.world.accounts.settled(granted.grant)

    async def recognise(self, namespace: str, allocation: Allocation) -> Granted | None:
        """See `Allocator.recognise`."""
        grant = self.world.ledgers.find(allocation.id)
        if grant is None and allocation.node in self.world.inventories.nodes():
            grant = await self._look_up(allocation)
        inventory = self.world.inventories.get(allocation.node)
        if grant is None or inventory is None or grant.allocation != allocation:
            return None
        if grant.namespace != namespace or grant.uid or self.world.pods.carriers(allocation.id):
            return None
        return Granted(grant=grant, inventory=inventory)

    def _refer_to_queue(self, asked: GrantRequest, demand: PodDemand) -> None:
        """Refer pods of namespaces with a quota, and those of a group, to the queue, where one replica alone counts.

        Raises:
            OverQuotaError: the pod would be denied there, as far as can be seen from here.
            NoCapacityError: nothing fits now, and the pod does not want to wait.
            MustWaitError: it has to pass the queue.
        """
        if asked.uid:
            return
        group, rejects = asked.request.group, asked.request.when_full is WhenFull.REJECT
        quota = self.world.quotas.get(asked.namespace)
        if quota is None and group is None:
            return
        over = ""
        if quota is not None:
            over = quota.excess(self.world.accounts.used(asked.namespace), least(asked.request))
        if over and (rejects or self.settings.over_quota is OverQuota.DENY):
            raise OverQuotaError(over)
        if rejects:
            self.line.place(asked, demand)
        if group is not None:
            raise MustWaitError(over or f"group {group.name} starts with {group.size} pods; it waits for all of them")
        raise MustWaitError(over or "its namespace has a GPU quota, which the queue counts; it waits for its turn")

    async def _attempt(self, asked: GrantRequest, demand: PodDemand) -> Granted | None:
        """Place, assume, commit. None: lost a race, plan again."""
        try:
            found = self.line.place(asked, demand)
        except NoCapacityError:
            if not asked.uid and not asked.dry_run:
                self.world.fleet.observe(demand.shape)  # once per pod: a queued one comes again, with its UID
            raise
        granted = self.decide(asked, demand, found)
        if granted is None or asked.dry_run or await self.commit(granted):
            return granted
        return None

    async def _reuse(self, asked: GrantRequest, demand: PodDemand) -> Granted | None:
        """A grant that an earlier create of the same pod left behind, from now on this one's; None: there is none.

        Raises:
            ConflictError: the ledger could not be written.
        """
        found = self._reusable(asked, demand)
        if found is None:
            return None
        patience = self.settings.commit.patience
        try:
            async with asyncio.timeout(patience):
                if await self.committer.reuse(found.grant):
                    return replace(found, grant=replace(found.grant, reused=found.grant.reused + 1))
        except TimeoutError:
            raise ConflictError(f"no grant within {patience:g} s: ledgers could not be written; try again") from None
        return None

    def _reusable(self, asked: GrantRequest, demand: PodDemand) -> Granted | None:
        """A grant that an earlier create of the same pod left behind, if no pod carries it and this one may use it."""
        settings = self.settings.give_back
        within = timedelta(seconds=settings.grace - settings.request_limit)
        now = self.clock.now()
        for grant in self.world.ledgers.unseen(asked.namespace, asked.pod_name):
            allocation = grant.allocation
            if not may_reuse(grant, asked, now=now, within=within):
                continue
            if self.world.ledgers.known_for(allocation.id) > within or self.world.pods.carriers(allocation.id):
                continue
            node = self.world.fleet.node(allocation.node)
            if node is None or not takes_still(node, demand.shape, allocation.uuids()):
                continue
            inventory = self.world.inventories.get(allocation.node)
            if inventory is not None and not self.committer.leaving(allocation.id, allocation.node):
                return Granted(grant=grant, inventory=inventory)
        return None

    async def _look_up(self, allocation: Allocation) -> Grant | None:
        """Ask the API server: another replica may have granted it a moment ago."""
        try:
            found = await self.client.get(
                CONFIGMAPS, names.ledger_name(allocation.node), namespace=self.settings.namespace
            )
        except KubeError as reason:
            _log.warning("ledger not read", node=allocation.node, reason=str(reason))
            return None
        self.world.ledgers.keep(allocation.node, read(allocation.node, found))
        return self.world.ledgers.find(allocation.id)
