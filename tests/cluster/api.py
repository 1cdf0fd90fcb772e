"""A client as small as can be: tests of the API want to see every byte of an answer."""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Answer:
    """Status, headers and parsed body."""

    status: int
    headers: Mapping[str, str]
    body: Any
    warnings: tuple[str, ...] = ()


class Api:
    """Requests against one server with one token."""

    def __init__(self, url: str, *, token: str, context: ssl.SSLContext, authority: Path | None = None) -> None:
        self.url, self.token, self.context, self.authority = url, token, context, authority
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self.context, limit=64)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self._session = aiohttp.ClientSession(
            connector=connector, headers=headers, skip_auto_headers=["User-Agent"], trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session."""
        assert self._session is not None
        return self._session

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> Answer:
        """One request; bytes and text go as they are, everything else as JSON."""
        data = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
        headers = {"Accept": accept}
        if data is not None:
            headers["Content-Type"] = content_type
        async with self.session.request(method, self.url + path, data=data, headers=headers) as response:
            text = await response.text()
            warnings = tuple(response.headers.getall("Warning", ()))
            parsed = json.loads(text) if "json" in response.headers.get("Content-Type", "") else text
            return Answer(response.status, response.headers, parsed, warnings)

    async def get(self, path: str, **options: Any) -> Answer:
        """GET."""
        return await self.call("GET", path, **options)

    async def create(self, path: str, body: Any, **options: Any) -> Answer:
        """POST."""
        return await self.call("POST", path, body, **options)

    async def replace(self, path: str, body: Any, **options: Any) -> Answer:
        """PUT."""
        return await self.call("PUT", path, body, **options)

    async def patch(self, path: str, body: Any, kind: str = MERGE, **options: Any) -> Answer:
        """PATCH, a merge patch unless said."""
        return await self.call("PATCH", path, body, content_type=kind, **options)

    async def delete(self, path: str, body: Any = None) -> Answer:
        """DELETE."""
        return await self.call("DELETE", path, body)

    @asynccontextmanager
    async def watch(self, path: str, *, accept: str = "application/json") -> AsyncIterator["Stream"]:
        """An open watch."""
        async with self.session.get(
            self.url + path, headers={"Accept": accept}, timeout=aiohttp.ClientTimeout(total=60)
        ) as response:
            yield Stream(response)


class Stream:
    """The events of a watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.status = response.status

    async def next(self) -> Json | None:
        """The next event; None at the end of the stream."""
        line = await self.response.content.readline()
        event: Json | None = json.loads(line) if line else None
        return event

    async def until(self, kind: str) -> list[Json]:
        """Events up to and with the first of the kind."""
        found: list[Json] = []
        while (event := await self.next()) is not None:
            found.append(event)
            if event["type"] == kind:
                return found
        raise AssertionError(f"the watch ended without {kind}: {[e['type'] for e in found]}")

    async def rest(self) -> list[Json]:
        """Everything up to the end."""
        found: list[Json] = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found
