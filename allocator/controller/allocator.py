"""The allocator's public face: an asynchronous context manager that grants slices of GPUs and takes them back."""

import asyncio
import gc
import secrets
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from random import Random
from typing import Any, Self

import structlog
from prometheus_client import CollectorRegistry

from allocator.api.allocation import Allocation
from allocator.api.errors import ConflictError, MustWaitError, NoCapacityError, NotReadyError, OverQuotaError
from allocator.controller.committer import Committer
from allocator.controller.duties import Duties
from allocator.controller.engine import Engine
from allocator.controller.line import Line
from allocator.controller.metrics import Metrics
from allocator.controller.planning import demand_of
from allocator.controller.public import Granted, GrantRequest
from allocator.controller.quotas import QuotaUse
from allocator.controller.reading import Reader
from allocator.controller.scene import Scene
from allocator.controller.settings import AllocatorSettings
from allocator.controller.tasks import Tasks
from allocator.controller.world import World
from allocator.core.fleet import Fleet
from allocator.core.policies import Policies
from allocator.core.queue import Waiting
from allocator.kube import Client, Clock, SystemClock

_log = structlog.get_logger(__name__)


class Allocator:
    """Grants slices, keeps the ledgers, and as leader gives back and serves the queue.

    Entering it connects and looks at the whole cluster once; leaving it stops everything it started. What stands
    in the ledgers stays.
    """

    def __init__(
        self,
        settings: AllocatorSettings | None = None,
        *,
        policies: Policies | None = None,
        client: Client | None = None,
        registry: CollectorRegistry | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """Prepare; nothing is read or written yet.

        Args:
            settings: where the cluster is and how to behave.
            policies: how to pack; `foresight` by default. Add your own by `Policies.register`.
            client: an open session to use; by default one of its own, made from the settings.
            registry: where metrics go; one of its own by default.
            clock: time.
            random: jitter.
            new_id: makes allocation ids; each a DNS label, never the same twice.
        """
        self.settings = settings or AllocatorSettings()
        self.policies = policies or Policies()
        self.metrics = Metrics(registry)
        self._client = client
        self._clock = clock or SystemClock()
        self._random = random or Random()  # noqa: S311  # jitter is no secret
        self._new_id = new_id
        self._stack = AsyncExitStack()
        self._engine: Engine | None = None
        self._duties: Duties | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            world = await self._build(stack)
            async with asyncio.timeout(self.settings.start_within):
                await world.wait_synced()
            # What was just read stays for long; Python's collector need not walk through it again and again, which
            # would take half a second for a large fleet.
            gc.freeze()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self._engine = self._duties = None

    @property
    def ready(self) -> bool:
        """Whether the whole cluster has been seen, lately enough to grant on."""
        return self._engine is not None and self._engine.world.fresh

    @property
    def leading(self) -> bool:
        """Whether this replica does the leader's duties."""
        return self._duties is not None and self._duties.leading

    @property
    def fleet(self) -> Fleet | None:
        """Every GPU node as this replica sees it, to be read and not changed; None outside the `async with`."""
        return self._engine.world.fleet if self._engine is not None else None

    def quotas(self) -> dict[str, QuotaUse]:
        """By namespace with a quota: what it may hold and what it holds."""
        if self._engine is None:
            return {}
        world = self._engine.world
        return {name: QuotaUse(quota, world.accounts.used(name)) for name, quota in world.quotas.all().items()}

    def waiting(self) -> list[Waiting]:
        """The pods behind our gate, first come first."""
        return self._engine.world.pods.waiting() if self._engine is not None else []

    async def grant(self, asked: GrantRequest) -> Granted:
        """Give a pod its slices.

        Raises:
            RequestError: asked for something that cannot be, such as an unknown policy.
            NoCapacityError: nothing fits now; says what is missing. A MustWaitError: it has to pass the queue.
            OverQuotaError: its namespace has no quota left, and is not to wait for it.
            ConflictError: other replicas were faster for the whole of our patience.
            NotReadyError: the cluster has not been seen, or not lately, or the ledger cannot be written.
        """
        about = {"namespace": asked.namespace, "pod": asked.pod_name, "trace": asked.trace}
        try:
            with self.metrics.grant_seconds.time():
                granted, how = await self._entered().grant(asked)
        except NoCapacityError as reason:
            self.metrics.grants.labels("must_wait" if isinstance(reason, MustWaitError) else "no_capacity").inc()
            _log.info("no capacity", reason=str(reason), **about)
            raise
        except OverQuotaError as reason:
            self.metrics.grants.labels("over_quota").inc()
            _log.info("over quota", reason=str(reason), **about)
            raise
        except (ConflictError, NotReadyError) as reason:
            self.metrics.grants.labels("conflict" if isinstance(reason, ConflictError) else "not_ready").inc()
            _log.warning("not granted", reason=str(reason), **about)
            raise
        self.metrics.grants.labels(how).inc()
        allocation = granted.grant.allocation
        _log.info(how, allocation=allocation.id, node=allocation.node, gpus=allocation.uuids(), **about)
        return granted

    async def recognise(self, namespace: str, allocation: Allocation) -> Granted | None:
        """Whether an allocation found on a pod is a grant of ours to this namespace that no pod uses yet.

        The webhook is called again for a pod that it has answered, if somebody changed the pod after it; the
        answer must then be the same. Anything else that carries allocation annotations is a forgery.
        """
        return await self._entered().recognise(namespace, allocation)

    async def give_back(self, granted: Granted) -> None:
        """Take a grant back at once, because its pod will not be. Goes on in the background if it takes long."""
        allocation = granted.grant.allocation
        self.metrics.released.labels("returned").inc()
        try:
            async with asyncio.timeout(self.settings.commit.patience):
                await self._entered().committer.remove(granted.grant)
        except TimeoutError:
            _log.warning("grant not given back yet", allocation=allocation.id, node=allocation.node)

    def namespace(self, name: str) -> Mapping[str, Any] | None:
        """A Namespace object as last seen; None: not seen yet."""
        return self._engine.world.namespaces.get(name) if self._engine is not None else None

    async def _build(self, stack: AsyncExitStack) -> World:
        """Connect the parts and start what runs in the background."""
        settings, clock = self.settings, self._clock
        client = self._client
        if client is None:
            client = await stack.enter_async_context(Client(settings.kube))
        world = World(client, settings, clock=clock, random=self._random)
        committer = await stack.enter_async_context(
            Committer(
                client,
                world.ledgers,
                world.inventories,
                namespace=settings.namespace,
                settings=settings.commit,
                clock=clock,
                random=self._random,
                metrics=self.metrics,
            )
        )
        world.signals.lost = committer.recover
        self._engine = Engine(
            client=client,
            world=world,
            line=self._line(world),
            committer=committer,
            policies=self.policies,
            settings=settings,
            metrics=self.metrics,
            clock=clock,
            new_id=self._new_id,
        )
        self._duties = Duties(self._engine)
        self.metrics.follow(
            scene=lambda: Scene.of(world, now=self._clock.now(), leading=self.leading),
            queued=world.pods.depth,
            ready=lambda: self.ready,
            ages=world.ages(),
            hami=settings.hami_metrics,
        )
        stack.push_async_callback(self._duties.resign)
        tasks = await stack.enter_async_context(Tasks(clock))
        for name, run in [*world.runners(), *self._duties.runners()]:
            tasks.start(name, run)
        return world

    def _line(self, world: World) -> Line:
        """The queue as this replica sees it."""
        settings = self.settings
        reader = Reader(lambda asked: demand_of(asked, runtimes=world.runtimes.get, settings=settings))
        return Line(world, self.policies, reader, clock=self._clock, spots=settings.queue.reservations)

    def _entered(self) -> Engine:
        if self._engine is None:
            raise NotReadyError("the allocator is used outside its `async with`")
        return self._engine
