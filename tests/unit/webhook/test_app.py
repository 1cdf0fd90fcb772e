"""The application: HTTP, health, deadline, metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from allocator.api.errors import FormatError, NoCapacityError, NotReadyError, RequestError
from allocator.controller import Granted, GrantRequest
from tests.unit.webhook.support import SETTINGS, FakeAllocator, gpu_pod, pod
from webhook import HEALTH, create_app
from webhook.metrics import Metrics, metrics_app
from webhook.settings import WebhookSettings

Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def client(app: web.Application) -> AsyncIterator[Client]:
    """A client of the application, over a real socket."""
    async with TestClient(TestServer(app)) as made:
        yield made


def asked(new: Any, **request: Any) -> dict[str, Any]:
    """A review about a pod."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "operation": "CREATE",
            "kind": {"kind": "Pod"},
            "resource": {"group": ""},
            "namespace": "team",
            "object": new,
            **request,
        },
    }


async def ask(made: Client, review: Any) -> dict[str, Any]:
    """Post a review; the answer's response."""
    async with made.post("/mutate", json=review) as answer:
        assert answer.status == 200
        document = await answer.json()
        found: dict[str, Any] = document["response"]
        return found


async def test_review_is_answered() -> None:
    """A GPU pod comes back with a patch and the request's uid."""
    async with client(create_app(SETTINGS, FakeAllocator())) as made:
        got = await ask(made, asked(gpu_pod()))
    assert (got["uid"], got["allowed"], got["patchType"]) == ("u-1", True, "JSONPatch")


@pytest.mark.parametrize("body", [b"", b"nothing", b"[]", b'{"kind": "AdmissionReview"}'])
async def test_garbage_is_answered_by_a_denial(body: bytes) -> None:
    """An AdmissionReview that says no, never an error page."""
    async with (
        client(create_app(SETTINGS, FakeAllocator())) as made,
        made.post("/mutate", data=body, headers={"Content-Type": "application/json"}) as answer,
    ):
        document = orjson.loads(await answer.read())
    assert answer.status == 200
    assert document["kind"] == "AdmissionReview"
    assert document["response"]["allowed"] is False
    assert document["response"]["status"]["code"] == 400


async def test_other_content_is_refused() -> None:
    """A form from a browser is no review."""
    async with (
        client(create_app(SETTINGS, FakeAllocator())) as made,
        made.post("/mutate", data={"a": "b"}) as answer,
    ):
        assert answer.status == 415


@pytest.mark.parametrize("length", ["announced", "chunked"])
async def test_body_over_the_limit_is_refused(length: str) -> None:
    """Whether it says its length or not; the limit is ours also where another application has mounted us."""
    settings = replace(SETTINGS, admission=replace(SETTINGS.admission, body_limit=1000))
    outer = web.Application()
    outer.add_subapp("/hooks", create_app(settings, FakeAllocator()))

    async def chunks() -> AsyncIterator[bytes]:
        while True:  # somebody who never ends must not fill our memory either
            yield b"x" * 2000

    data = b"x" * 2000 if length == "announced" else chunks()
    async with (
        client(outer) as made,
        made.post("/hooks/mutate", data=data, headers={"Content-Type": "application/json"}) as answer,
    ):
        assert answer.status == 413


async def test_body_over_aiohttps_own_limit_is_read() -> None:
    """A pod of 2 MiB is large, and legal."""
    large = gpu_pod()
    large["metadata"]["annotations"]["big"] = "x" * 2**21
    async with client(create_app(SETTINGS, FakeAllocator())) as made:
        assert (await ask(made, asked(large)))["allowed"]


class Stuck(FakeAllocator):
    """An allocator that never decides."""

    async def grant(self, asked: GrantRequest) -> Granted:
        """Wait for ever."""
        await asyncio.Event().wait()
        raise AssertionError(asked)


async def test_deadline_is_answered_by_a_denial() -> None:
    """Better a reason in time than silence: the API server would call it a failure of the webhook."""
    settings = replace(SETTINGS, admission=replace(SETTINGS.admission, deadline=0.05))
    async with client(create_app(settings, Stuck())) as made:
        got = await ask(made, asked(gpu_pod()))
    assert got["allowed"] is False
    assert got["status"]["code"] == 503
    assert got["status"]["details"] == {"retryAfterSeconds": 1}


@pytest.mark.parametrize("failure", [KeyError("bug"), FormatError("unreadable")])
async def test_fault_of_ours_is_a_denial_with_the_traceback_in_the_log(failure: Exception) -> None:
    """Fail closed; the user is told where to look, the operator finds it there."""
    with capture_logs() as logs:
        async with client(create_app(SETTINGS, FakeAllocator(failure=failure))) as made:
            got = await ask(made, asked(gpu_pod()))
    assert got["status"]["code"] == 500
    failed = next(line for line in logs if line["event"] == "review_failed")
    assert failed["exc_info"]
    assert (failed["uid"], failed["namespace"], failed["pod"]) == ("u-1", "team", "p")


async def test_every_answer_is_logged_with_the_pods_identity() -> None:
    """One line per review: who, what, where to."""
    with capture_logs() as logs:
        async with client(create_app(SETTINGS, FakeAllocator())) as made:
            await ask(made, asked(gpu_pod()))
    line = next(line for line in logs if line["event"] == "admitted")
    assert (line["uid"], line["namespace"], line["pod"], line["operation"]) == ("u-1", "team", "p", "CREATE")
    assert (line["result"], line["node"], line["gpus"]) == ("granted", "node-a", "GPU-0")


async def test_healthy_while_not_ready() -> None:
    """The process lives before its caches are full; a restart would not help it."""
    allocator = FakeAllocator(ready=False)
    async with client(create_app(SETTINGS, allocator)) as made:
        assert (await made.get("/healthz")).status == 200
        assert (await made.get("/readyz")).status == 503
        allocator.ready = True
        assert (await made.get("/readyz")).status == 200


async def test_not_ready_while_draining() -> None:
    """Reviews are still answered then, but no new ones are asked for."""
    app = create_app(SETTINGS, FakeAllocator())
    async with client(app) as made:
        app[HEALTH].draining = True
        answer = await made.get("/readyz")
        assert (answer.status, await answer.text()) == (503, "not ready: stopping\n")
        assert (await ask(made, asked(pod())))["allowed"]


async def test_clients_are_sent_elsewhere_while_draining() -> None:
    """An API server keeps its connections; one that closes under a review on its way would fail an admission."""
    app = create_app(SETTINGS, FakeAllocator())
    async with client(app) as made:
        async with made.post("/mutate", json=asked(pod())) as answer:
            assert answer.headers.get("Connection") != "close"
        app[HEALTH].draining = True
        async with made.post("/mutate", json=asked(pod())) as answer:
            assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("failure", "result"),
    [
        (None, "granted"),
        (NoCapacityError("full"), "queued"),
        (NotReadyError("x"), "ServiceUnavailable"),
        (RequestError(where="a", value="b", problem="c", remedy="d"), "Invalid"),
    ],
)
async def test_metrics_count_results(failure: Exception | None, result: str) -> None:
    """Operators see what becomes of pods, and how long answers take."""
    metrics = Metrics()
    async with client(create_app(SETTINGS, FakeAllocator(failure=failure), metrics=metrics)) as made:
        await ask(made, asked(gpu_pod()))
    async with client(metrics_app(metrics.registry)) as made, made.get("/metrics") as answer:
        text = await answer.text()
    assert f'vramshare_admissions_total{{operation="CREATE",result="{result}"}} 1.0' in text
    assert 'vramshare_admission_seconds_count{operation="CREATE"} 1.0' in text


async def test_unknown_operations_share_one_label() -> None:
    """Nobody can fill the metrics with names of their choice."""
    metrics = Metrics()
    async with client(create_app(SETTINGS, FakeAllocator(), metrics=metrics)) as made:
        await ask(made, asked(pod(), operation="WHATEVER"))
    assert metrics.registry.get_sample_value(
        "vramshare_admissions_total", {"operation": "other", "result": "unchanged"}
    )


async def test_two_applications_live_in_one_process() -> None:
    """Each counts for itself unless told otherwise."""
    first, second = create_app(WebhookSettings(), FakeAllocator()), create_app(WebhookSettings(), FakeAllocator())
    outer = web.Application()
    outer.add_subapp("/a", first)
    outer.add_subapp("/b", second)
    async with client(outer) as made:
        assert (await made.get("/a/healthz")).status == 200
        assert (await made.get("/b/healthz")).status == 200
