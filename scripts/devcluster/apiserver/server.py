"""The server's life: certificates, listener, tokens, kubeconfig."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import yaml
from aiohttp import web
from multidict import MultiMapping

from devcluster.apiserver import bootstrap, schema
from devcluster.apiserver.admission import Chain
from devcluster.apiserver.front import BODY_LIMIT, Front
from devcluster.apiserver.identity import ADMIN, Tokens
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.pki import Certificates, make_certificates
from devcluster.apiserver.store import Store

_SHUTDOWN = 2.0  # seconds that open watches get


def _now() -> datetime:
    return datetime.now(UTC)


class PodLogs(Protocol):
    """Where `pods/log` comes from: the kubelet of the node."""

    def __call__(
        self, *, node: str, namespace: str, pod: str, container: str, query: Mapping[str, str]
    ) -> AsyncIterator[bytes]:
        """The container's log.

        Raises:
            LookupError: there is none; the message goes to the client.
        """


class PodExec(Protocol):
    """Where `pods/exec` goes: the kubelet of the node takes the WebSocket."""

    async def __call__(
        self, request: web.BaseRequest, *, node: str, namespace: str, pod: str, container: str, query: MultiMapping[str]
    ) -> web.StreamResponse:
        """Serve the session to its end.

        Raises:
            LookupError: there is nothing to enter; the message goes to the client.
        """


class ApiServer:
    """An API server on a TLS port. Everything it keeps in `folder` is its PKI and the audit log."""

    def __init__(
        self,
        *,
        folder: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], datetime] = _now,
        pod_logs: PodLogs | None = None,
        pod_exec: PodExec | None = None,
        window: int = 20_000,
        enforce_rbac: bool = False,
    ) -> None:
        self.folder = folder
        self._enforce_rbac = enforce_rbac
        self.pod_logs = pod_logs
        self.pod_exec = pod_exec
        self._host, self._port = host, port
        self._clock = clock
        self.tokens = Tokens()
        self.token = self.tokens.issue(ADMIN, groups=("system:masters",), uid=ADMIN)
        self.machine = Machine(store=Store(window=window), schema=schema.load(), clock=clock)
        self.machine.admission = Chain(self.machine)
        self._certificates: Certificates | None = None
        self._runner: web.ServerRunner | None = None
        self._front: Front

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        hosts = ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        self._certificates = make_certificates(
            self.folder / "pki", [*hosts, *({self._host} - set(hosts))], now=self._clock()
        )
        self.machine.ca_pem = self.ca_pem
        await bootstrap.populate(self.machine)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._certificates.certificate, self._certificates.key)
        audit, enforce = self.folder / "audit.log", self._enforce_rbac
        front = Front(self.machine, self.tokens, audit=audit, logs=self, enforce_rbac=enforce)
        server = web.Server(front.handle, request_factory=_request_factory, handler_cancellation=True, access_log=None)
        self._front = front
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=context, backlog=512)
        await site.start()
        self._port = self._runner.addresses[0][1]
        front.address = f"{self._host}:{self._port}"

    async def stop(self) -> None:
        """Stop listening and end all watches."""
        if self._runner is not None:
            self._front.close()
            await self._runner.cleanup()
            await self.machine.admission.close()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://{self._host}:{self._port}"

    @property
    def ca(self) -> Path:
        """The file with the certificate that clients must trust."""
        if self._certificates is None:
            raise RuntimeError("the server has not been started: its CA does not exist yet")
        return self._certificates.ca

    @property
    def ca_pem(self) -> str:
        """That certificate."""
        return self.ca.read_text()

    def issue_token(self, username: str, *, groups: Sequence[str] = (), uid: str = "") -> str:
        """A token for a component, such as `system:kube-scheduler`."""
        return self.tokens.issue(username, groups=groups, uid=uid)

    def write_kubeconfig(self, path: Path, *, token: str | None = None) -> None:
        """Write a kubeconfig for the token (the administrator's unless given)."""
        cluster = {"server": self.url, "certificate-authority": str(self.ca.resolve())}
        config: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "devcluster", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token or self.token}}],
            "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": "admin"}}],
            "current-context": "devcluster",
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config, sort_keys=False))


def _request_factory(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """Requests that take bodies as large as a real server does."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)
