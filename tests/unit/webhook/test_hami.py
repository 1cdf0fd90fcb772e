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


async def test_a_limit_range_that_asks_for_gpus_is_named() -> None:
    """Its defaults make every pod of the namespace ask for a GPU; nobody finds that in the pod's manifest."""
    asking = container(resources={"limits": {"nvidia.com/gpu": "1"}})
    note = "LimitRanger plugin set: nvidia.com/gpu limit for container main"
    done = await admit(pod({"kubernetes.io/limit-ranger": note}, asking))
    assert any("a LimitRange of this namespace adds them" in text for text in done.answer.warnings)
    plain = await admit(pod({"kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu limit"}, asking))
    assert not any("LimitRange" in text for text in plain.answer.warnings)
