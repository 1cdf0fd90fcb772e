"""The Kubernetes API as raw JSON over one HTTP session.

No typed objects: a list of 5,000 pods takes 0.1 s to decode this way and 2.5 s as objects. No hidden retries:
whoever writes knows best what a failure means. Errors are those of allocator.kube.errors.
"""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import aiohttp
import orjson

from allocator.kube import connect
from allocator.kube.errors import KubeError, from_answer, translated
from allocator.kube.lines import lines
from allocator.kube.resources import JsonObject, Resource

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
PAGE: Final = 500
"""Objects per page of a list: what keeps a page of pods near a megabyte."""

_UNAUTHORIZED: Final = 401
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A peer that vanished without a word is noticed within 45 s, so that an open watch is a live watch."""


class Client:
    """An asynchronous context manager around one session with the API server."""

    def __init__(self, settings: connect.KubeSettings) -> None:
        self._settings = settings
        self._credentials: connect.Credentials | None = None
        self._session: aiohttp.ClientSession | None = None
        self._doubted = False

    async def __aenter__(self) -> Self:
        self._credentials = await connect.load(self._settings)
        connector = aiohttp.TCPConnector(
            limit=self._settings.connections,
            ssl=True if self._credentials.tls is None else self._credentials.tls,
            socket_factory=_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            headers={"User-Agent": self._settings.user_agent, "Accept": "application/json"},
            proxy=self._credentials.proxy,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, resource: Resource, name: str, *, namespace: str = "") -> JsonObject:
        """Read one object. Raises NotFoundError where there is none."""
        return await self._call("GET", resource.path(namespace=namespace, name=name))

    async def page(self, resource: Resource, *, namespace: str = "", query: Mapping[str, str]) -> JsonObject:
        """Read one page of a list, as the List object."""
        return await self._call("GET", resource.path(namespace=namespace), query=query)

    async def list(
        self, resource: Resource, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> tuple[list[JsonObject], str]:
        """Read all objects that match, consistently, page by page.

        Returns:
            The objects and the resourceVersion to watch from.

        Raises:
            ExpiredError: a later page came too late; list again.
        """
        query = {"limit": str(PAGE), **_selectors(labels, fields)}
        found: list[JsonObject] = []
        while True:
            answer = await self.page(resource, namespace=namespace, query=query)
            found += answer.get("items") or ()
            metadata = answer.get("metadata") or {}
            if not metadata.get("continue"):
                return found, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def create(
        self, resource: Resource, body: JsonObject, *, namespace: str = "", dry_run: bool = False
    ) -> JsonObject:
        """Create an object; in a dry run admission says what it would say, and nothing is kept.

        Raises AlreadyExistsError.
        """
        query = {"dryRun": "All"} if dry_run else None
        return await self._call("POST", resource.path(namespace=namespace), body=body, query=query)

    async def replace(self, resource: Resource, body: JsonObject, *, subresource: str = "") -> JsonObject:
        """Replace an object; with `metadata.resourceVersion` a compare-and-swap that raises StaleError."""
        metadata = body["metadata"]
        path = resource.path(namespace=metadata.get("namespace", ""), name=metadata["name"])
        return await self._call("PUT", f"{path}/{subresource}" if subresource else path, body=body)

    async def patch(
        self, resource: Resource, name: str, patch: Any, *, namespace: str = "", kind: str = MERGE_PATCH
    ) -> JsonObject:
        """Patch an object; `kind` is the patch's content type."""
        return await self._call("PATCH", resource.path(namespace=namespace, name=name), body=patch, content=kind)

    async def act(
        self, resource: Resource, name: str, subresource: str, body: JsonObject, *, namespace: str = ""
    ) -> JsonObject:
        """Post to a subresource of an object, such as a pod's `eviction`."""
        path = f"{resource.path(namespace=namespace, name=name)}/{subresource}"
        return await self._call("POST", path, body=body)

    async def delete(self, resource: Resource, name: str, *, namespace: str = "", uid: str = "") -> JsonObject:
        """Delete an object, only the one of this UID if given."""
        body: JsonObject = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            body["preconditions"] = {"uid": uid}
        return await self._call("DELETE", resource.path(namespace=namespace, name=name), body=body)

    async def text(self, path: str) -> str:
        """What stands at a path, as text: what the API server's proxy brings from a pod, for instance."""
        what = f"GET {path}"
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout)
        with translated(what):
            async with self._request("GET", path, timeout=timeout) as response:
                raw = await response.read()
                if response.status >= 300:
                    raise self._refusal(response, raw, what)
                return raw.decode(errors="replace")

    @asynccontextmanager
    async def watch(
        self, resource: Resource, *, namespace: str = "", query: Mapping[str, str], seconds: float
    ) -> AsyncIterator[AsyncIterator[JsonObject]]:
        """Open a watch and give its events as they come, until the server closes it.

        Args:
            resource: what to watch.
            namespace: where; empty for everywhere.
            query: selectors and resourceVersion.
            seconds: after which the server is asked to close the stream.
        """
        what = f"watch {resource.plural}"
        asked = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(int(seconds))}
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._settings.timeout, sock_read=seconds + self._settings.timeout
        )
        path = resource.path(namespace=namespace)
        with translated(what):
            async with self._request("GET", path, query=asked, timeout=timeout) as response:
                if response.status != 200:
                    raise self._refusal(response, await response.read(), what)
                yield decoded(response.content.iter_any(), what)

    def _refusal(self, response: aiohttp.ClientResponse, body: bytes, what: str) -> KubeError:
        """The error for an answer that is no success. After a 401 the next request reads the credentials again."""
        self._doubted = self._doubted or response.status == _UNAUTHORIZED
        return from_answer(response.status, body, what=what, retry_after=response.headers.get("Retry-After"))

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
    ) -> JsonObject:
        what = f"{method} {path}"
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout)
        with translated(what):
            async with self._request(
                method, path, query=query, body=body, content=content, timeout=timeout
            ) as response:
                raw = await response.read()
                if response.status >= 300:
                    raise self._refusal(response, raw, what)
                answer: JsonObject = orjson.loads(raw)
                return answer

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # handed on to the session, which keeps it
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None or self._credentials is None:
            raise RuntimeError("the client is used outside its `async with`")
        if self._doubted:
            self._credentials, self._doubted = await connect.load(self._settings), False
        headers = await self._credentials.headers()
        if body is not None:
            headers["Content-Type"] = content
        async with self._session.request(
            method,
            self._credentials.base + path,
            params=query,
            data=None if body is None else orjson.dumps(body),
            headers=headers,
            timeout=timeout,
            server_hostname=self._credentials.server_name,
        ) as response:
            yield response


async def decoded(chunks: AsyncIterator[bytes], what: str) -> AsyncIterator[JsonObject]:
    """The events in a stream of bytes; a line that is cut off is as good as a broken connection."""
    with translated(what):
        async for line in lines(chunks):
            yield orjson.loads(line)


def _selectors(labels: str, fields: str) -> dict[str, str]:
    found = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in found.items() if value}


def _socket(address: Any) -> socket.socket:
    """A socket that notices a vanished peer."""
    family, kind, protocol, *_ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
