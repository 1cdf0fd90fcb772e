"""Whatever is posted, the answer is an AdmissionReview within its deadline, and nothing fails on our side.

A few thousand broken reviews in every run of the tests; `pytest tests/fuzz --fuzz 100000` for many, `--fuzz-from N`
to begin elsewhere. A failure names its number.
"""

import base64
import time
from typing import Any

import jsonpatch
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from tests.fuzz.mutator import corpus, mutated
from tests.unit.webhook.support import SETTINGS, FakeAllocator
from webhook import create_app

JSON = {"Content-Type": "application/json"}
TOLD = 20_000


def problem(body: bytes, status: int, answer: bytes) -> str:
    """What is wrong with an answer; empty: nothing."""
    if status != 200:
        return f"status {status}"
    document = orjson.loads(answer)
    if (document.get("apiVersion"), document.get("kind")) != ("admission.k8s.io/v1", "AdmissionReview"):
        return "no AdmissionReview"
    response = document["response"]
    if not isinstance(response["uid"], str):
        return "no uid"
    if not response["allowed"]:
        told = response.get("status") or {}
        if not told.get("message") or "Traceback" in told["message"]:
            return f"a denial that says {told.get('message')!r}"
        return f"an internal error: {told['message']}" if told.get("code") == 500 else ""
    return unusable(body, response["patch"]) if response.get("patch") else ""


def unusable(body: bytes, patch: str) -> str:
    """Why a patch cannot be applied to what was asked about; empty: it can."""
    review: dict[str, Any] = orjson.loads(body)
    try:
        jsonpatch.apply_patch(review["request"]["object"], orjson.loads(base64.b64decode(patch)))
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as reason:
        return f"a patch that does not apply: {reason}"
    return ""


@pytest.mark.timeout(3600)
async def test_any_broken_review_is_answered(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a denial with a message, or allowed with a patch that applies; nothing of ours fails or hangs."""
    count, first = request.config.getoption("--fuzz"), request.config.getoption("--fuzz-from")
    reviews, slowest, denied = corpus(), (0.0, 0), 0
    app = create_app(SETTINGS, FakeAllocator())
    async with TestClient(TestServer(app)) as client:
        for number in range(first, first + count):
            body = mutated(number, reviews)
            started = time.perf_counter()
            with capture_logs() as logged:
                async with client.post("/mutate", data=body, headers=JSON) as answer:
                    content = await answer.read()
            slowest = max(slowest, (time.perf_counter() - started, number))
            found = problem(body, answer.status, content)
            assert not found, f"review {number}: {found}"
            assert not [one for one in logged if one["event"] == "review_failed"], f"review {number} failed inside"
            denied += b'"allowed":false' in content
    if count >= TOLD:
        with capsys.disabled():
            seconds, number = slowest
            told = f"{count} reviews from {first}: all answered, {denied} denied"
            print(f"\n{told}; the slowest, {number}, took {seconds * 1000:.0f} ms")  # noqa: T201 - a figure was asked for


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_number_is_always_the_same_review(seed: int) -> None:
    """So that a failure can be run again."""
    assert mutated(seed, corpus()) == mutated(seed, corpus())


def test_corpus_is_whole() -> None:
    """Unbroken, each of its reviews is one that an API server might send."""
    for review in corpus():
        assert review["request"]["object"] or review["request"]["operation"] == "DELETE"
