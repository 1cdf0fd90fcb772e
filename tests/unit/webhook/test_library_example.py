"""The webhook's example in docs/library.md, run as it stands."""

import base64
import re
from pathlib import Path
from typing import Any

import jsonpatch
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.unit.webhook.support import FakeAllocator, gpu_pod
from tests.unit.webhook.test_app import asked

PAGE = Path(__file__).parents[3] / "docs" / "library.md"


@pytest.fixture
def example() -> dict[str, Any]:
    """The names that the example defines."""
    section = PAGE.read_text().split("\n## Webhook\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), found)  # noqa: S102 - our own page
    return found


async def mutated(example: dict[str, Any], labels: dict[str, str], allocator: FakeAllocator) -> dict[str, Any]:
    """The response to a GPU pod with these labels."""
    pod = gpu_pod()
    pod["metadata"]["labels"] = labels
    async with (
        TestClient(TestServer(example["build"](allocator))) as client,
        client.post("/vramshare/mutate", json=asked(pod)) as answer,
    ):
        response: dict[str, Any] = (await answer.json())["response"]
    if "patch" in response:
        patch = orjson.loads(base64.b64decode(response["patch"]))
        response["pod"] = jsonpatch.apply_patch(pod, patch)
    return response


async def test_own_step_runs_in_the_mounted_application(example: dict[str, Any]) -> None:
    """The pod is granted a slice and labelled."""
    got = await mutated(example, {"team": "blue"}, FakeAllocator())
    assert got["pod"]["metadata"]["labels"] == {"team": "blue", "accounted-to": "blue"}
    assert got["pod"]["metadata"]["annotations"]["vramshare.io/status"] == "allocated"


async def test_own_step_refuses(example: dict[str, Any]) -> None:
    """Without a team no GPU; the message is the step's, and the grant has gone back when the application ends."""
    allocator = FakeAllocator()
    got = await mutated(example, {}, allocator)
    assert got["allowed"] is False
    assert "set it to your team's name" in got["status"]["message"]
    assert allocator.returned == ["grant-1"]
