"""The webhook as an aiohttp application: HTTP in, HTTP out, no decisions.

It can be served by `webhook.server`, or mounted into somebody else's application by `add_subapp`.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from webhook import review
from webhook.admission import Admission, Grants, Step
from webhook.denials import denial
from webhook.metrics import Metrics
from webhook.review import Answer, Review, ReviewError
from webhook.settings import WebhookSettings

_log: Final = structlog.get_logger(__name__)
_JSON: Final = "application/json"
_CHUNK: Final = 64 * 1024
_LARGE: Final = 1024 * 1024
"""Bytes of a body from which on few are held at a time: whoever reaches the port can send many at once."""
_MOST_LARGE: Final = 4
_ESCAPE: Final = b"\\u00"
_SPELT_OUT: Final = 6
"""Times by which a review may be longer than its limit where its characters are spelt out: `<` as `\\u003c`."""


@dataclass(slots=True)
class Health:
    """Whether the webhook wants reviews.

    Attributes:
        allocator: asked whether it is ready.
        draining: set before a stop, so that `/readyz` says no while reviews are still answered.
    """

    allocator: Grants
    draining: bool = False

    def obstacle(self) -> str | None:
        """Why it does not; None: it does."""
        if self.draining:
            return "stopping"
        return None if self.allocator.ready else "the allocator has not seen the whole cluster yet"


HEALTH: Final = web.AppKey("health", Health)


def create_app(
    settings: WebhookSettings,
    allocator: Grants,
    *,
    steps: Sequence[Step] = (),
    metrics: Metrics | None = None,
) -> web.Application:
    """The application: `POST /mutate`, `GET /healthz`, `GET /readyz`.

    Args:
        settings: how to answer and what to write; `settings.server` is not looked at.
        allocator: makes the grants; entered and left by the caller.
        steps: own steps of the mutation of new pods, each after vramshare's and in this order.
        metrics: where to count; in a registry of its own by default.
    """
    admission = Admission(settings, allocator, steps=steps)
    health = Health(allocator)
    endpoint = _Mutate(admission, metrics or Metrics(), health)
    app = web.Application()
    app[HEALTH] = health

    async def settle(_: web.Application) -> None:
        await admission.settle()

    app.on_cleanup.append(settle)
    app.router.add_post("/mutate", endpoint.handle)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    return app


class _Mutate:
    """The endpoint that an API server posts reviews to."""

    def __init__(self, admission: Admission, metrics: Metrics, health: Health) -> None:
        self._admission = admission
        self._health = health
        self._metrics = metrics
        self._settings = admission.settings.admission
        self._large = asyncio.Semaphore(_MOST_LARGE)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one review; by an AdmissionReview whenever the body could be read at all."""
        if request.content_type != _JSON:
            raise web.HTTPUnsupportedMediaType(text=f"send {_JSON}")
        started = time.perf_counter()
        async with AsyncExitStack() as held:
            held.enter_context(self._metrics.in_flight.track_inprogress())
            try:
                async with asyncio.timeout(self._settings.deadline):
                    if request.content_length is None or request.content_length > _LARGE:
                        await held.enter_async_context(self._large)
                    body = await _read(request, self._settings.body_limit)
            except TimeoutError:
                raise web.HTTPRequestTimeout(text="the body did not arrive in time") from None
            uid, answer = await self._answer(body, started)
        response = web.Response(body=review.encode(uid, answer), content_type=_JSON)
        if self._health.draining:
            # The API server keeps its connections: told so, it opens the next one to a replica that stays. Otherwise
            # a review might be on its way into this one when it closes.
            response.force_close()
        return response

    async def _answer(self, body: bytes, started: float) -> tuple[str, Answer]:
        try:
            question = review.parse(body)
        except ReviewError as reason:
            _log.warning("review_unreadable", uid=reason.uid, error=str(reason))
            self._metrics.admissions.labels("", "BadRequest").inc()
            return reason.uid, denial(reason)
        log = _log.bind(uid=question.uid, namespace=question.namespace, pod=question.name, operation=question.operation)
        answer = await self._decide(question, log, self._settings.deadline - (time.perf_counter() - started))
        seconds = time.perf_counter() - started
        operation = question.operation if question.operation in {"CREATE", "UPDATE", "DELETE", "CONNECT"} else "other"
        self._metrics.admissions.labels(operation, _result(answer)).inc()
        self._metrics.seconds.labels(operation).observe(seconds)
        log.info(
            "admitted" if answer.allowed else "denied",
            result=_result(answer),
            milliseconds=round(seconds * 1000, 1),
            dry_run=question.dry_run,
            **({"message": answer.message} if answer.message else {}),
            **(answer.audit or {}),
        )
        return question.uid, answer

    async def _decide(self, question: Review, log: structlog.typing.FilteringBoundLogger, seconds: float) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                return await self._admission.answer(question)
        except Exception as reason:
            answer = denial(reason)
            if answer.code == HTTPStatus.INTERNAL_SERVER_ERROR:
                log.exception("review_failed")
            return answer


async def _read(request: web.Request, limit: int) -> bytes:
    """The body, up to the limit, of which characters that are spelt out take one byte each.

    aiohttp's own limit is the outermost application's, which may not be ours.

    Raises:
        web.HTTPRequestEntityTooLarge: it is longer.
    """
    announced = request.content_length or 0
    if announced > _SPELT_OUT * limit:
        raise web.HTTPRequestEntityTooLarge(max_size=limit, actual_size=announced)
    body, spelt_out = bytearray(), 0
    async for chunk in request.content.iter_chunked(_CHUNK):
        body += chunk
        spelt_out += chunk.count(_ESCAPE)
        size = len(body) - (_SPELT_OUT - 1) * spelt_out
        if size > limit:
            raise web.HTTPRequestEntityTooLarge(max_size=limit, actual_size=size)
    return bytes(body)


def _result(answer: Answer) -> str:
    """One word for what became of a review."""
    if not answer.allowed:
        return answer.reason
    audit = answer.audit or {}
    if "node" in audit:
        return "granted"
    if audit.get("reason", "").startswith("queued"):
        return "queued"
    return "changed" if answer.patch else "unchanged"


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _readyz(request: web.Request) -> web.Response:
    obstacle = request.app[HEALTH].obstacle()
    if obstacle is None:
        return web.Response(text="ok\n")
    return web.Response(text=f"not ready: {obstacle}\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
