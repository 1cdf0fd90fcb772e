"""The controllers of a control plane, as far as the demo and the tests need them."""

import asyncio

from devcluster import tasks
from devcluster.client import Client
from devcluster.clock import Clock
from devcluster.controllers.daemonset import DaemonSets
from devcluster.controllers.deployment import Deployments
from devcluster.controllers.discovery import deletable
from devcluster.controllers.garbage import GarbageCollector
from devcluster.controllers.job import Jobs
from devcluster.controllers.lifecycle import NodeLifecycle
from devcluster.controllers.namespaces import Namespaces
from devcluster.controllers.replicaset import ReplicaSets
from devcluster.controllers.shared import Shared

__all__ = ["Controllers"]


class Controllers:
    """All controllers, over one set of watches."""

    def __init__(self, client: Client, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def run(self) -> None:
        """Work until cancelled."""
        kinds = await deletable(self._client)
        shared = Shared(self._client, self._clock)
        garbage = GarbageCollector(shared, kinds)
        queues = [
            Deployments(shared).queue,
            ReplicaSets(shared).queue,
            DaemonSets(shared).queue,
            Jobs(shared).queue,
            Namespaces(shared, kinds.values()).queue,
            *garbage.queues,
        ]
        lifecycle = NodeLifecycle(shared)
        running = [tasks.start(queue.run(), "controller") for queue in queues]
        try:
            await shared.start()
            await asyncio.gather(lifecycle.run(), *running)
        finally:
            await tasks.end(running)
            await shared.stop()
