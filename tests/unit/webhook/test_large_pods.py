"""A pod as large as an API server takes one, 3 MiB, made to be slow to handle.

Replicas answer one review after the other: what takes one pod seconds keeps everybody else's waiting, and the API
server gives up after five. The limit of time is no measure: what it stands against takes a minute and more.
"""

from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from allocator.api import names
from allocator.api.errors import RequestError
from tests.unit.webhook.support import SETTINGS, FakeAllocator, container, gpu_pod, pod, review
from tests.unit.webhook.test_app import asked
from webhook import create_app
from webhook.admission import Admission
from webhook.mutation.outcome import MOST_NOTES
from webhook.review import Answer, Review
from webhook.settings import KIB

pytestmark = pytest.mark.timeout(45)
MANY = 40_000


async def answer(question: Review) -> Answer:
    """The webhook's."""
    return await Admission(SETTINGS, FakeAllocator()).answer(question)


async def test_an_update_of_many_containers_ends() -> None:
    """Each container is compared with its former self, not with all of them."""
    many = pod(None, *(container(f"c{index}") for index in range(MANY)))
    assert (await answer(review({**many, "metadata": {"labels": {"a": "b"}}}, old=many))).allowed


@pytest.mark.parametrize("field", ["volumes", "volumeMounts"])
async def test_an_update_that_turns_many_of_our_volumes_round_ends(field: str) -> None:
    """Nor is each volume, or mount, compared with all others."""
    items = [{"name": f"{names.VOLUME_ALLOCATION_PREFIX}{index}", "mountPath": f"/{index}"} for index in range(MANY)]

    def with_items(items: list[dict[str, Any]]) -> dict[str, Any]:
        return gpu_pod(volumes=items) if field == "volumes" else gpu_pod(container(volumeMounts=items))

    assert (await answer(review(with_items(items[::-1]), old=with_items(items)))).allowed


async def test_an_update_of_many_sizes_ends() -> None:
    """Nor is each size that changes looked for among all annotations."""
    before = {names.STATUS: names.STATUS_ALLOCATED, **{f"a/{index}": "" for index in range(MANY)}}
    after = {**before, **{names.memory_annotation(str(index)): "1Gi" for index in range(MANY)}}
    assert (await answer(review(pod(after), old=pod(before)))).allowed


async def test_many_annotations_that_mean_nothing_are_not_all_explained() -> None:
    """To find what was meant takes long: the first ones are told, and the pod is admitted."""
    told = await answer(review(pod({f"{names.DOMAIN}/memry{index}": "" for index in range(MANY)})))
    assert len(told.warnings) == MOST_NOTES


async def test_many_containers_that_choose_gpus_are_not_all_told() -> None:
    """Every one of them sees no GPU, and the first ones are told."""
    asks = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
    told = await answer(review(pod(None, *(container(f"c{index}", env=asks) for index in range(MANY)))))
    assert told.patch is not None
    assert len(told.patch.patch) == MANY
    assert len(told.warnings) == MOST_NOTES


async def test_a_pod_of_characters_that_reviews_spell_out_is_answered() -> None:
    """The API server writes `<` as six characters. An unanswered review would leave the pod its GPUs."""
    large = pod(None, container(args=["<" * 3 * 1024 * KIB]))
    body = orjson.dumps(asked(large)).replace(b"<", b"\\u003c")
    async with TestClient(TestServer(create_app(SETTINGS, FakeAllocator()))) as client:
        response = await client.post("/mutate", data=body, headers={"Content-Type": "application/json"})
        assert response.status == 200
        assert "patch" in (await response.json())["response"]


async def test_a_body_that_is_long_for_nothing_is_refused() -> None:
    """One of empty objects takes thirty times its length in memory."""
    body = b"[" + b"{}," * (3 * 1024 * KIB) + b"{}]"
    async with TestClient(TestServer(create_app(SETTINGS, FakeAllocator()))) as client:
        response = await client.post("/mutate", data=body, headers={"Content-Type": "application/json"})
        assert response.status == 413


async def test_a_pod_has_slices_for_so_many_containers_only() -> None:
    """More would fill the ledger of its node, which all its pods share."""
    sizes = {names.memory_annotation(f"c{index}"): "1Mi" for index in range(65)}
    with pytest.raises(RequestError, match="a pod has at most 64; let several pods ask"):
        await answer(review(pod(sizes, *(container(f"c{index}") for index in range(65)))))
