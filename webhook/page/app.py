"""The page as an aiohttp application: a few files, the board as JSON, its differences as server-sent events."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from http import HTTPStatus
from importlib.resources import files
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from webhook.page.feed import Difference, Feed, TooFarBehindError
from webhook.page.hosts import called_rightly

MOST_FOLLOWERS: Final = 64
BEAT: Final = 5.0
"""Seconds after which a silent stream says that it lives, so that the page can tell old figures from a quiet fleet."""
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def create_page(feed: Feed, *, names: Collection[str] = ()) -> web.Application:
    """The application: `/`, its files, `/board` and `/changes`. Everything is read only.

    Args:
        feed: what is shown; run by the caller.
        names: by which the page may be called beside addresses and `localhost`.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not called_rightly(request.host, names):
            raise web.HTTPMisdirectedRequest(
                text="this page does not go by that name: use its address, or start it with --page-names\n",
                headers=HEADERS,
            )
        try:
            return await handler(request)
        except web.HTTPException as refusal:
            refusal.headers.update(HEADERS)
            raise

    async def dress(_: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)

    app = web.Application(middlewares=[guarded])
    app.on_response_prepare.append(dress)
    for path, (kind, body) in _static().items():
        app.router.add_get(path, _serve(kind, body))
    endpoint = _Endpoint(feed)
    app.router.add_get("/board", endpoint.board)
    app.router.add_get("/changes", endpoint.changes)
    return app


class _Endpoint:
    """The two addresses that are not files."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._packed: tuple[int, bytes] = (-1, b"")

    async def board(self, request: web.Request) -> web.Response:
        """All of it; `version` says where to follow from."""
        version, whole = await self._feed.whole()
        body = orjson.dumps({"version": version, **whole})
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=body, content_type="application/json")
        if self._packed[0] != version:
            self._packed = version, await asyncio.to_thread(_pack, body)
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return web.Response(body=self._packed[1], content_type="application/json", headers=headers)

    async def changes(self, request: web.Request) -> web.StreamResponse:
        """The differences after `since`, or after what a browser that comes back has seen last."""
        if self._feed.followers >= MOST_FOLLOWERS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_FOLLOWERS} pages are open already\n")
        seen = request.headers.get("Last-Event-ID") or request.query.get("since", "")
        if not (seen.isascii() and seen.isdecimal() and len(seen) < 16):
            raise web.HTTPBadRequest(text="since: write the version that /board told\n")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        with suppress(ConnectionError):
            try:
                async with self._feed.follow(int(seen)) as differences:
                    await _send(response, differences)
            except TooFarBehindError:
                await response.write(b"event: again\ndata: 0\n\n")
        return response


async def _send(response: web.StreamResponse, differences: AsyncIterator[Difference]) -> None:
    """Write differences as they come, and a beat where none comes."""
    stream = aiter(differences)
    await response.write(b"event: beat\ndata: 0\n\n")
    coming = asyncio.ensure_future(anext(stream))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=BEAT)
            if not done:
                await response.write(b"event: beat\ndata: 0\n\n")
                continue
            one = coming.result()
            await response.write(b"id: %d\ndata: %b\n\n" % (one.version, one.body))
            coming = asyncio.ensure_future(anext(stream))
    finally:
        coming.cancel()


def _static() -> dict[str, tuple[str, bytes]]:
    """The page's files by path, with their types."""
    found = {}
    for file in (files("webhook.page") / "static").iterdir():
        kind = _TYPES.get(file.name[file.name.rfind(".") :])
        if kind is not None:
            found[f"/{file.name}"] = (kind, file.read_bytes())
    found["/"] = found.pop("/index.html")
    return found


def _serve(kind: str, body: bytes) -> Handler:
    async def serve(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=kind, charset="utf-8", status=HTTPStatus.OK)

    return serve


def _pack(body: bytes) -> bytes:
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(body) + packer.flush()
