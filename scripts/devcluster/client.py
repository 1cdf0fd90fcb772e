"""The components' way to the API server: JSON over TLS with a bearer token, and nothing that a real one lacks.

kubernetes-asyncio was not taken: its typed lists are slow and its watches neither relist nor back off, and a component
of a control plane works on raw objects anyway.
"""

import dataclasses
import ssl
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

_PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_TIMEOUT = aiohttp.ClientTimeout(total=30)
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)
_CONNECTIONS = 64
"""Watches hold one each; requests beyond that wait for a free one."""
_MAX_EVENT = 8 * 1024 * 1024


class ApiError(Exception):
    """The API server said no.

    Attributes:
        code: HTTP status.
        reason: machine-readable reason of the Status object, such as ``Conflict``.
    """

    def __init__(self, *, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason

    @property
    def missing(self) -> bool:
        """Whether the object does not exist."""
        return self.code == 404


@dataclasses.dataclass(frozen=True)
class Resource:
    """One kind of object, as its path needs it."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the URL path of the collection, of one object or of a part of it."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [f"namespaces/{namespace}"] if self.namespaced and namespace else []
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join([base, *parts])


PODS = Resource("", "v1", "pods")
NODES = Resource("", "v1", "nodes", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
EVENTS = Resource("", "v1", "events")
CONFIGMAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
REPLICA_SETS = Resource("apps", "v1", "replicasets")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
DAEMON_SETS = Resource("apps", "v1", "daemonsets")
JOBS = Resource("batch", "v1", "jobs")
LEASES = Resource("coordination.k8s.io", "v1", "leases")


class Client:
    """A connection pool to one API server, as one user. An async context manager."""

    def __init__(self, *, url: str, ca_pem: str, token: str, agent: str) -> None:
        self._url = url
        self._tls = ssl.create_default_context(cadata=ca_pem)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": agent}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0, limit_per_host=_CONNECTIONS)
        self._session = aiohttp.ClientSession(
            self._url, connector=connector, headers=self._headers, timeout=_TIMEOUT, read_bufsize=2**18
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """Send one request and return the object that came back.

        Raises:
            ApiError: the server refused.
            aiohttp.ClientError, TimeoutError: the server could not be asked.
        """
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": content_type}
        async with self._open.request(method, path, data=data, params=params, headers=headers) as response:
            raw = await response.read()
        if response.status >= 400:
            raise _error(response.status, raw)
        answer: dict[str, Any] = orjson.loads(raw)
        return answer

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Read an object or a list."""
        return await self.request("GET", path, params=params)

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object in a collection."""
        return await self.request("POST", path, body=body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write an object whole."""
        return await self.request("PUT", path, body=body)

    async def patch(self, path: str, body: Any, kind: str = "merge") -> dict[str, Any]:
        """Change an object; ``kind`` is ``json``, ``merge`` or ``strategic``."""
        return await self.request("PATCH", path, body=body, content_type=_PATCH_TYPES[kind])

    async def delete(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Delete an object, with DeleteOptions."""
        return await self.request("DELETE", path, body=body)

    async def watch(self, path: str, params: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        """Yield watch events until the server ends the stream."""
        asked = {**params, "watch": "true", "allowWatchBookmarks": "true"}
        async with self._open.get(path, params=asked, timeout=_WATCH_TIMEOUT) as response:
            if response.status >= 400:
                raise _error(response.status, await response.read())
            rest = b""
            async for piece in response.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield orjson.loads(line)
                if len(rest) > _MAX_EVENT:
                    raise ApiError(code=500, reason="TooLarge", message="a watch event exceeds 8 MiB")

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client inside `async with`")
        return self._session


def _error(code: int, raw: bytes) -> ApiError:
    try:
        status = orjson.loads(raw)
    except ValueError:
        status = {}
    message = status.get("message") or raw.decode(errors="replace")
    return ApiError(code=code, reason=status.get("reason", ""), message=message)
