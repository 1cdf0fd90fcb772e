"""Pods in HAMi's syntax are moved over without a change by their owner."""

import pytest

from allocator.api.errors import RequestError
from tests.unit.webhook.support import admit, container, pod

HAMI = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "3k", "nvidia.com/gpucores": "30", "cpu": "2"}


async def test_resources_become_annotations_and_go() -> None:
    """What was asked is kept as annotations; in limits and requests it would keep the pod from every node."""
    got = await admit(pod(None, container(resources={"limits": dict(HAMI), "requests": dict(HAMI)})))
    assert got.container()["resources"] == {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}
    assert got.annotations["memory.vramshare.io/main"] == "3000Mi"
    assert got.annotations["cores.vramshare.io/main"] == "30"
    assert "container 'main': GPU resources are replaced by vramshare's annotations" in got.answer.warnings


async def test_scheduler_is_replaced() -> None:
    """HAMi's scheduler need not be there."""
    got = await admit(pod(None, container(resources={"limits": HAMI}), schedulerName="hami-scheduler"))
    assert got.spec["schedulerName"] == "default-scheduler"
    assert "schedulerName hami-scheduler is replaced by default-scheduler" in got.answer.warnings


async def test_other_schedulers_stay() -> None:
    """Somebody who runs their own scheduler keeps it."""
    got = await admit(pod(None, container(resources={"limits": HAMI}), schedulerName="volcano"))
    assert got.spec["schedulerName"] == "volcano"


async def test_both_syntaxes_are_refused() -> None:
    """Two answers to one question: the user must say which."""
    with pytest.raises(RequestError, match="not both"):
        await admit(pod({"vramshare.io/memory": "1Gi"}, container(resources={"limits": HAMI})))
