"""The whole cluster in one process: API server, scheduler, controllers, kubelets."""

import contextlib
import os
import pathlib
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from aiohttp import web
from multidict import MultiMapping

from devcluster import tasks
from devcluster.apiserver import ApiServer
from devcluster.client import Client
from devcluster.clock import Clock, SystemClock
from devcluster.controllers import Controllers
from devcluster.kubelet.hostfolder import HostFolder
from devcluster.kubelet.kubelet import ADDRESS, Kubelet, Settings
from devcluster.kubelet.leftovers import clear_mounts, clear_pods
from devcluster.kubelet.registration import Registration
from devcluster.kubelet.runtime import detect_isolation
from devcluster.nodes import NodeSpec, default_nodes
from devcluster.scheduler import Scheduler

_FAKE_DRIVER = pathlib.Path(__file__).resolve().parents[2] / "native" / "build" / "fakegpu"


class Cluster:
    """A running cluster. An async context manager: ready inside, and nothing of it is left running afterwards.

    Attributes:
        kubeconfig: path of an administrator's kubeconfig.
        url: the API server's address.
        token: the administrator's bearer token.
        isolation: how containers are isolated on this machine, see :mod:`devcluster.kubelet.plan`.
    """

    def __init__(
        self,
        *,
        dir: str | os.PathLike[str],  # noqa: A002 - the name that callers know from the command line
        nodes: Sequence[NodeSpec] | None = None,
        port: int = 0,
        clock: Clock | None = None,
        isolation: str = "",
        fake_driver: str | os.PathLike[str] = _FAKE_DRIVER,
        volume_refresh: float = 0.0,
        enforce_rbac: bool = False,
    ) -> None:
        """Describe a cluster.

        Args:
            dir: its folder; made if it does not exist.
            nodes: its nodes; three without GPUs if None.
            port: of the API server on loopback; 0 takes a free one.
            clock: the hour, for kubelets and controllers.
            isolation: forces a kind of isolation; empty takes the strongest that works here.
            fake_driver: folder of the simulated GPU driver's libraries.
            volume_refresh: see :class:`devcluster.kubelet.kubelet.Settings`.
            enforce_rbac: let service accounts do only what their roles allow.
        """
        self.folder = pathlib.Path(dir).resolve()
        self.kubeconfig = str(self.folder / "kubeconfig")
        self.isolation = isolation
        self.url = ""
        self.token = ""
        self._nodes = default_nodes() if nodes is None else list(nodes)
        self._clock = clock or SystemClock()
        self._fake_driver = str(pathlib.Path(fake_driver).resolve())
        self._volume_refresh = volume_refresh
        self._server = ApiServer(folder=self.folder, port=port, enforce_rbac=enforce_rbac)
        self._kubelets: dict[str, Kubelet] = {}
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with self._exits as exits:
            await self._start(exits)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    def host(self, node: str) -> HostFolder:
        """Return the folders of a node."""
        return HostFolder(str(self.folder / "nodes" / node))

    async def stop_node(self, name: str) -> None:
        """Stop a node's kubelet with all its containers, as if the machine had lost power: the API is told nothing."""
        kubelet = self._kubelets.pop(name, None)
        if kubelet is not None:
            await kubelet.stop()

    async def _start(self, exits: contextlib.AsyncExitStack) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        clear_mounts(str(self.folder))
        self._server.pod_logs = self._pod_logs
        self._server.pod_exec = self._pod_exec
        await self._server.start()
        exits.push_async_callback(self._server.stop)
        self.url, self.token = self._server.url, self._server.token
        self._server.write_kubeconfig(pathlib.Path(self.kubeconfig))
        await self._background(exits, Scheduler(await self._client(exits, "system:kube-scheduler"), clock=self._clock))
        manager = await self._client(exits, "system:kube-controller-manager")
        await self._background(exits, Controllers(manager, clock=self._clock))
        if not self.isolation:
            self.isolation = await self._detect()
        settings = Settings(
            url=self.url,
            isolation=self.isolation,
            fake_driver=self._fake_driver,
            private_mounts=(str(self.folder),),
            volume_refresh=self._volume_refresh,
        )
        for number, spec in enumerate(self._nodes):
            await self._start_node(exits, spec, number=number, settings=settings)

    async def _detect(self) -> str:
        """Find out how containers can be isolated; a cluster on which nothing runs does not need to know."""
        if not any(spec.kubelet for spec in self._nodes):
            return "none"
        scratch = self.folder / "probe"
        scratch.mkdir(exist_ok=True)
        return await detect_isolation(str(scratch))

    async def _start_node(
        self, exits: contextlib.AsyncExitStack, spec: NodeSpec, *, number: int, settings: Settings
    ) -> None:
        client = await self._client(exits, f"system:node:{spec.name}", "system:nodes")
        if spec.kubelet:
            clear_pods(self.host(spec.name))
            kubelet = Kubelet(
                spec, client=client, host=self.host(spec.name), number=number, settings=settings, clock=self._clock
            )
            exits.push_async_callback(self.stop_node, spec.name)
            self._kubelets[spec.name] = kubelet
            await kubelet.start()
        else:
            registration = Registration(client, spec, clock=self._clock, address=ADDRESS)
            await registration.register(runtime="none")
            await self._background(exits, registration)

    async def _client(self, exits: contextlib.AsyncExitStack, user: str, *groups: str) -> Client:
        token = self._server.issue_token(user, groups=groups)
        client = Client(url=self.url, ca_pem=self._server.ca_pem, token=token, agent=user.replace(":", "-"))
        return await exits.enter_async_context(client)

    @staticmethod
    async def _background(
        exits: contextlib.AsyncExitStack, component: "Scheduler | Controllers | Registration"
    ) -> None:
        task = tasks.start(component.run(), type(component).__name__)
        exits.push_async_callback(tasks.end, [task])

    def _pod_logs(
        self, *, node: str, namespace: str, pod: str, container: str, query: Mapping[str, str]
    ) -> AsyncIterator[bytes]:
        return self._kubelet(node).read_log(namespace=namespace, pod=pod, container=container, query=query)

    async def _pod_exec(
        self,
        request: web.BaseRequest,
        *,
        node: str,
        namespace: str,
        pod: str,
        container: str,
        query: MultiMapping[str],
    ) -> web.StreamResponse:
        return await self._kubelet(node).execute(
            request, namespace=namespace, pod=pod, container=container, query=query
        )

    def _kubelet(self, node: str) -> Kubelet:
        found = self._kubelets.get(node)
        if found is None:
            raise LookupError(f'no kubelet runs on node "{node}"')
        return found
