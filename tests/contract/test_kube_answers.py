"""What a real API server answered, through our client's decoding."""

import asyncio
import json
from random import Random

import pytest

from allocator.kube import CONFIGMAPS, Reflector, Selection, SystemClock, errors
from allocator.kube.client import decoded
from allocator.kube.errors import from_answer
from tests.unit.kube.test_reflector import Book

WANTED = {
    "bind-again": errors.StaleError,
    "configmap-patch-stale": errors.StaleError,
    "configmap-put-stale": errors.StaleError,
    "lease-put-stale": errors.StaleError,
    "configmap-too-big": errors.InvalidError,
    "json-patch-test-fails": errors.InvalidError,
    "gate-add-later": errors.InvalidError,
    "list-bad-field-selector": errors.InvalidError,
    "create-exists": errors.AlreadyExistsError,
    "get-missing": errors.NotFoundError,
    "unauthenticated": errors.ForbiddenError,
}


@pytest.mark.parametrize("name", WANTED)
def test_refusals_are_told_apart(name, shared_data):
    """Each refusal that the allocator acts on has its own exception, and none says that it may have happened."""
    found = json.loads((shared_data / "kube-apiserver-1.36" / f"exchange-{name}.json").read_text())
    error = from_answer(found["status"], json.dumps(found["response"]).encode(), what="x")
    assert type(error) is WANTED[name]
    assert not error.maybe_applied


async def test_a_recorded_watch_is_understood(shared_data):
    """Initial events, changes and bookmarks of a real stream, cut anywhere, end in the state they describe."""
    raw = (shared_data / "kube-apiserver-1.36" / "watch-configmaps.jsonl").read_bytes()
    wanted = [json.loads(line) for line in raw.splitlines() if line.strip()]
    changes = [event for event in wanted if event["type"] != "BOOKMARK"]
    book = Book()
    reflector = Reflector(None, Selection(CONFIGMAPS), book, clock=SystemClock(), random=Random(1))

    async def chunks():
        for start in range(0, len(raw), 777):
            await asyncio.sleep(0)
            yield raw[start : start + 777]

    async for event in decoded(chunks(), "watch"):
        reflector._tell(event)
    signs = {"ADDED": "+", "MODIFIED": "+", "DELETED": "-"}
    assert book.told == [signs[event["type"]] + event["object"]["metadata"]["name"] for event in changes]
    assert reflector._version == wanted[-1]["object"]["metadata"]["resourceVersion"]
