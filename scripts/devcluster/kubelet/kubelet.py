"""The node agent: one per simulated node, a worker per pod."""

import asyncio
import dataclasses
import logging
import os
import sys
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web
from multidict import MultiMapping

from devcluster import tasks
from devcluster.client import PODS, Client
from devcluster.clock import Clock
from devcluster.events import Recorder
from devcluster.informer import FAILURES, Informer, key_of
from devcluster.kubelet import execution, logs
from devcluster.kubelet.context import NodeContext
from devcluster.kubelet.hostfolder import HostFolder
from devcluster.kubelet.leftovers import clear_mounts
from devcluster.kubelet.nvidia_host import NvidiaRuntime
from devcluster.kubelet.plan import NAMESPACES
from devcluster.kubelet.processes import recorded
from devcluster.kubelet.registration import Registration
from devcluster.kubelet.volumes import share_mounts
from devcluster.kubelet.worker import PodWorker
from devcluster.nodes import NodeSpec

ADDRESS = "127.0.0.1"
_PERIODIC_REFRESH = 30.0
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all kubelets of a cluster have in common."""

    url: str
    """The API server's, for containers."""
    isolation: str
    """See :mod:`devcluster.kubelet.plan`."""
    fake_driver: str
    """Folder of the simulated GPU driver's libraries."""
    private_mounts: tuple[str, ...] = ()
    """Folders whose mounts no container inherits."""
    volume_refresh: float = 0.0
    """0: a changed annotation or label reaches downwardAPI volumes at once. Otherwise the seconds between refreshes;
    on a real node that is about a minute."""


def base_environment(url: str, isolation: str) -> dict[str, str]:
    """Return what every container's environment starts from: this interpreter first on PATH, the API server.

    The home is root's, as in most images, where a container may really write there.
    """
    server = urllib.parse.urlsplit(url)
    port = str(server.port or 443)
    return {
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
        "HOME": "/root" if isolation == NAMESPACES else os.environ.get("HOME", "/"),
        "KUBERNETES_SERVICE_HOST": server.hostname or "",
        "KUBERNETES_SERVICE_PORT": port,
        "KUBERNETES_SERVICE_PORT_HTTPS": port,
    }


class Kubelet:
    """Runs the pods of one node."""

    def __init__(
        self,
        spec: NodeSpec,
        *,
        client: Client,
        host: HostFolder,
        number: int,
        settings: Settings,
        clock: Clock,
    ) -> None:
        """Prepare a kubelet.

        Args:
            spec: the node.
            client: connection to the API server, as this node's user.
            host: the node's folders.
            number: the node's number in the cluster, from 0; its pods get addresses in 127.(100 + number)/16.
            settings: the cluster's.
            clock: the hour.
        """
        self.spec = spec
        self._recorder = Recorder(client, component="kubelet", host=spec.name, clock=clock)
        self._context = NodeContext(
            name=spec.name,
            host_ip=ADDRESS,
            client=client,
            recorder=self._recorder,
            clock=clock,
            host=host,
            nvidia=NvidiaRuntime(gpus=spec.gpus, mode=spec.runtime, host=host, libraries=settings.fake_driver),
            isolation=settings.isolation,
            base_env=base_environment(settings.url, settings.isolation),
            allocatable=spec.resources,
            mount_memory=settings.isolation == NAMESPACES,
            prompt_refresh=not settings.volume_refresh,
            private_mounts=settings.private_mounts,
        )
        self._registration = Registration(client, spec, clock=clock, address=ADDRESS)
        self._informer = Informer(client, PODS, field_selector=f"spec.nodeName={spec.name}")
        self._informer.on_change(self._on_change)
        self._number = number
        self._addresses = 0
        self._refresh_seconds = settings.volume_refresh or _PERIODIC_REFRESH
        self._workers: dict[str, tuple[PodWorker, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Register the node and begin to run its pods."""
        self._context.host.make()
        if self._context.mount_memory:
            share_mounts(self._context.host.host_path("/var/lib/kubelet/pods"))
        await self._context.nvidia.prepare(self._context.isolation)
        await self._registration.register(runtime=self._context.isolation)
        loops = [self._registration.run(), self._recorder.run(), self._informer.run(), self._refresh_all()]
        self._tasks.update(tasks.start(loop, f"kubelet {self.spec.name}") for loop in loops)

    async def stop(self) -> None:
        """End all containers and remove what they left on the host. The API objects stay."""
        await tasks.end(self._tasks)
        workers = list(self._workers.values())
        await asyncio.gather(*(worker.abandon() for worker, _ in workers))
        await tasks.end(task for _, task in workers)
        clear_mounts(self._context.host.base)

    def read_log(self, *, namespace: str, pod: str, container: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Return the log of a container.

        Raises:
            LookupError: this node has no such container, or it has no log yet.
        """
        item = self._informer.items.get((namespace, pod))
        uid = item["metadata"]["uid"] if item else ""
        if uid not in self._workers:
            raise LookupError(f'pod "{pod}" not found on node "{self.spec.name}"')
        record = self._workers[uid][0].records.get(container)
        if record is None:
            raise LookupError(f"container {container} is not valid for pod {pod}")
        options = logs.LogOptions.parse(query, self._context.clock.time())
        logs.choose_run(record, pod=pod, previous=options.previous)
        return logs.stream(self._context.host.logs(namespace, pod, uid), record, pod=pod, options=options)

    async def execute(
        self, request: web.BaseRequest, *, namespace: str, pod: str, container: str, query: MultiMapping[str]
    ) -> web.StreamResponse:
        """Run a command in a container, for a client that asked for a WebSocket.

        Raises:
            LookupError: this node does not run the container.
        """
        item = self._informer.items.get((namespace, pod))
        known = self._workers.get(item["metadata"]["uid"]) if item else None
        runner = known[0].runner(container) if known else None
        if runner is None or item is None:
            raise LookupError(f"container {container} is not valid for pod {pod}")
        pid, plan = runner.running()
        uid, host = item["metadata"]["uid"], self._context.host
        return await execution.serve(
            request,
            pid=pid,
            plan=plan,
            query=query,
            noting=lambda command: recorded(host, command, plan, uid=uid, container=container),
        )

    def _on_change(self, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        if before is not None and (after is None or after["metadata"]["uid"] != before["metadata"]["uid"]):
            known = self._workers.get(before["metadata"]["uid"])
            if known is not None:
                known[0].forget()
        if after is None:
            return
        uid = after["metadata"]["uid"]
        if uid in self._workers:
            self._workers[uid][0].update(after)
        elif (after.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}:
            self._admit(after)
        elif after["metadata"].get("deletionTimestamp"):
            task = tasks.start(self._confirm(after), f"kubelet {self.spec.name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _admit(self, pod: Mapping[str, Any]) -> None:
        worker = PodWorker(self._context, pod, self._next_address(pod))
        worker.update(pod)
        task = tasks.start(worker.run(), f"pod {'/'.join(key_of(pod))}")
        self._workers[worker.uid] = (worker, task)
        task.add_done_callback(lambda _: self._workers.pop(worker.uid, None))

    def _next_address(self, pod: Mapping[str, Any]) -> str:
        """Return a pod address: on loopback, so that a server in a container is really reachable there."""
        if pod["spec"].get("hostNetwork"):
            return ADDRESS
        self._addresses += 1
        return f"127.{100 + self._number % 100}.{self._addresses // 250 % 250}.{self._addresses % 250 + 1}"

    async def _confirm(self, pod: Mapping[str, Any]) -> None:
        """Delete for good a pod that had ended before this kubelet started."""
        meta = pod["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        try:
            await self._context.client.delete(PODS.path(meta["namespace"], meta["name"]), options)
        except FAILURES as error:
            _log.warning("ended pod %s/%s not deleted: %s", meta["namespace"], meta["name"], error)

    async def _refresh_all(self) -> None:
        while True:
            await self._context.clock.sleep(self._refresh_seconds)
            for worker, _ in self._workers.values():
                worker.refresh()
