"""Whatever is posted, the answer is an AdmissionReview, and nothing fails on our side."""

import asyncio
import copy
from typing import Any

import orjson
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.webhook_pods import pods
from tests.unit.webhook.support import SETTINGS, FakeAllocator
from webhook import create_app

junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [prefix] if prefix else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths(inner, (*prefix, key))
    return found


@st.composite
def broken_reviews(draw: st.DrawFn) -> bytes:
    """A review of a pod in which a few places hold something else."""
    pod = draw(pods())
    operation = draw(st.sampled_from(["CREATE", "UPDATE", "DELETE"]))
    review: Any = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u",
            "operation": operation,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "subResource": draw(st.sampled_from(["", "ephemeralcontainers"])),
            "namespace": "team",
            "userInfo": {"username": "me"},
            "object": pod,
            "oldObject": copy.deepcopy(pod) if operation == "UPDATE" else None,
        },
    }
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(paths(review)))
        place = review
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = draw(junk)
    return orjson.dumps(review)


async def post(body: bytes) -> tuple[int, bytes]:
    """Post to a webhook of its own."""
    async with (
        TestClient(TestServer(create_app(SETTINGS, FakeAllocator()))) as client,
        client.post("/mutate", data=body, headers={"Content-Type": "application/json"}) as answer,
    ):
        return answer.status, await answer.read()


def check(body: bytes) -> dict[str, Any]:
    """Post; the response of what must be an AdmissionReview."""
    status, answer = asyncio.run(post(body))
    assert status == 200
    document = orjson.loads(answer)
    assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = document["response"]
    assert isinstance(response["uid"], str)
    if not response["allowed"]:
        assert response["status"]["message"]
        assert response["status"]["code"] != 500, response["status"]["message"]
    return response


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes(body: bytes) -> None:
    """Noise is denied."""
    assert not check(body)["allowed"]


@given(junk)
@settings(max_examples=100, deadline=None)
def test_any_json(document: Any) -> None:
    """So is JSON of any form."""
    assert not check(orjson.dumps(document))["allowed"]


@given(broken_reviews())
@settings(max_examples=300, deadline=None)
def test_any_broken_review(body: bytes) -> None:
    """A pod with something odd in one place is answered, never by an internal error."""
    check(body)
