"""What a scrape of the allocator's metrics shows."""

from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from allocator.api import names
from allocator.controller.metrics import Metrics
from allocator.controller.scene import Scene
from allocator.core.fragmentation import Fragmentation
from allocator.core.queue import Waiting
from allocator.kube import NAMESPACES
from tests.unit.controller.cluster import Cluster, ask

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
GPU = {"node": "n1", "gpu": "GPU-n1-0", "model": "T4"}
MIB = 1 << 20


def following(scene: Scene) -> Metrics:
    """Metrics that tell this scene."""
    metrics = Metrics(CollectorRegistry())
    metrics.follow(scene=lambda: scene, queued=lambda: 3.0, ready=lambda: True, ages={"pods": lambda: 0.5})
    return metrics


def waiting(created: str, namespace: str = "team") -> Waiting:
    """A pod in the queue since then."""
    return Waiting(uid=created, priority=0, created=created, pod={"metadata": {"namespace": namespace}})


def test_fragmentation_is_read_at_each_scrape() -> None:
    """Per model: GPUs, what is free, what of that nobody usual can use; models that are gone are gone."""
    now = {"tesla t4": Fragmentation(total=4.0, free=1.5, stranded=0.25)}
    metrics = following(Scene(now=NOW, leading=True, fragmentation=now))
    text = generate_latest(metrics.registry).decode()
    assert 'vramshare_model_gpus{model="tesla t4"} 4.0' in text
    assert 'vramshare_model_free_gpus{model="tesla t4"} 1.5' in text
    assert 'vramshare_model_stranded_gpus{model="tesla t4"} 0.25' in text
    assert "vramshare_queued_pods 3.0" in text
    now.clear()
    assert "tesla" not in generate_latest(metrics.registry).decode()


def test_what_was_prepared_is_told() -> None:
    """A scrape in a thread sees what the event loop read off, however the cluster has moved on."""
    scenes = iter(
        [Scene(now=NOW, leading=True), Scene(now=NOW, leading=True, waiting=[waiting("2026-01-01T00:00:00Z")])]
    )
    metrics = Metrics(CollectorRegistry())
    metrics.follow(scene=lambda: next(scenes), queued=lambda: 0.0, ready=lambda: True, ages={})
    metrics.prepare()
    assert metrics.registry.get_sample_value("vramshare_queue_oldest_seconds") == 0
    metrics.prepare()
    assert metrics.registry.get_sample_value("vramshare_queue_oldest_seconds") == 60
    assert metrics.registry.get_sample_value("vramshare_namespace_queued_pods", {"namespace": "team"}) == 1


@pytest.mark.parametrize("created", ["", "yesterday", "2026-01-01T00:00:00"])
def test_a_time_that_cannot_be_read_is_no_age(created: str) -> None:
    """The other pods still count."""
    assert Scene(now=NOW, leading=True, waiting=[waiting(created)]).oldest() == 0


async def test_a_grant_is_told_by_gpu_and_namespace() -> None:
    """Capacity and what is held of it, on the one replica that leads."""
    cluster = Cluster("n1")
    async with cluster.allocator() as allocator:
        await allocator.grant(ask(mib=400))
        value = allocator.metrics.registry.get_sample_value
        assert value("vramshare_gpu_memory_capacity_bytes", GPU) == 1000 * MIB
        assert value("vramshare_gpu_memory_allocated_bytes", GPU) == 400 * MIB
        assert value("vramshare_gpu_slices_allocated", GPU) == 1
        assert value("vramshare_gpu_stranded_ratio", GPU) == 0
        assert value("vramshare_gpu_cores_allocated_ratio", GPU) == 0
        assert value("vramshare_namespace_memory_allocated_bytes", {"namespace": "team"}) == 400 * MIB
        assert value("vramshare_node_open", {"node": "n1"}) == 1
        assert value("vramshare_ready") == value("vramshare_leading") == 1


async def test_series_go_with_what_they_tell_of() -> None:
    """A grant that is given back leaves no series of its namespace."""
    cluster = Cluster("n1")
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask(mib=400))
        await allocator.give_back(granted)
        value = allocator.metrics.registry.get_sample_value
        assert value("vramshare_gpu_memory_allocated_bytes", GPU) == 0
        assert value("vramshare_namespace_memory_allocated_bytes", {"namespace": "team"}) is None


async def test_only_the_leader_speaks_for_the_cluster() -> None:
    """Else sums over replicas would count everything twice."""
    cluster = Cluster("n1")
    async with cluster.allocator(), cluster.allocator(leads=False, identity="two") as second:
        await second.grant(ask(mib=400))
        assert not second.leading
        assert second.metrics.registry.get_sample_value("vramshare_gpu_memory_capacity_bytes", GPU) is None
        assert second.metrics.registry.get_sample_value("vramshare_model_gpus", {"model": "t4"}) is None


def test_a_follower_tells_the_length_of_the_queue_and_not_whose_it_is() -> None:
    """The first is asked of each replica by `max`, the second summed."""
    scene = Scene(now=NOW, leading=False, waiting=[waiting("2026-01-01T00:00:00Z")])
    value = following(scene).registry.get_sample_value
    assert value("vramshare_queue_oldest_seconds") == 60
    assert value("vramshare_namespace_queued_pods", {"namespace": "team"}) is None


async def test_a_pod_granted_from_the_queue_tells_how_long_it_waited() -> None:
    """From its creation to its grant."""
    cluster = Cluster("n1")
    async with cluster.allocator() as allocator:
        cluster.queue_pod("waits", waited=12 * 3600)
        await cluster.pass_time(2)
        value = allocator.metrics.registry.get_sample_value
        assert value("vramshare_queue_wait_seconds_count") == 1
        assert value("vramshare_queue_wait_seconds_sum") == pytest.approx(12 * 3600, abs=60)


async def test_hami_names_on_request() -> None:
    """The same facts under the names and labels that HAMi's dashboards ask for; by default none of them."""
    cluster = Cluster("n1")
    async with cluster.allocator(hami_metrics=True) as allocator:
        await allocator.grant(ask(mib=400))
        value = allocator.metrics.registry.get_sample_value
        device = {"zone": "vGPU", "nodeid": "n1", "deviceuuid": "GPU-n1-0", "deviceidx": "0"}
        kind = {"devicetype": "NVIDIA-T4"}
        assert value("GPUDeviceMemoryLimit", device | kind) == 1000 * MIB
        assert value("GPUDeviceMemoryAllocated", device | kind | {"devicecores": "100"}) == 400 * MIB
        assert value("GPUDeviceSharedNum", device | kind) == 1
        assert value("nodeGPUMemoryPercentage", device) == 0.4
        holder = {"zone": "vGPU", "podnamespace": "team", "nodename": "n1", "podname": "p", "containeridx": "0"}
        assert value("vGPUMemoryAllocated", holder | {"deviceuuid": "GPU-n1-0"}) == 400 * MIB
        assert value("vGPUCoreAllocated", holder | {"deviceuuid": "GPU-n1-0"}) == 0
        today = {"zone": "vGPU", "namespace": "team", "node": "n1", "pod": "p", "container_index": "0"}
        assert value("hami_vgpu_memory_allocated_bytes", today | {"device_uuid": "GPU-n1-0"}) == 400 * MIB
    async with Cluster("n1").allocator() as plain:
        assert "vGPU" not in generate_latest(plain.metrics.registry).decode()


async def test_quotas_are_told_with_what_counts_against_them() -> None:
    """Limits that a namespace does not have are left out, and so are namespaces without any."""
    cluster = Cluster("n1")
    annotations = {names.QUOTA_MEMORY: "600Mi"}
    cluster.api.put(NAMESPACES, {"metadata": {"name": "team", "annotations": annotations}})
    cluster.api.put(NAMESPACES, {"metadata": {"name": "odd", "annotations": {names.QUOTA_MEMORY: "much"}}})
    cluster.api.put(NAMESPACES, {"metadata": {"name": "free"}})
    cluster.queue_pod("waits", mib=400)
    async with cluster.allocator(hami_metrics=True) as allocator:
        await cluster.pass_time(2)
        value = allocator.metrics.registry.get_sample_value
        team = {"namespace": "team"}
        assert value("vramshare_quota_memory_used_bytes", team) == 400 * MIB
        assert value("vramshare_quota_memory_limit_bytes", team) == 600 * MIB
        assert value("vramshare_quota_slices_used", team) == 1
        assert value("vramshare_quota_slices_limit", team) is None
        assert value("vramshare_quota_unreadable", team) == 0
        assert value("vramshare_quota_unreadable", {"namespace": "odd"}) == 1
        assert value("vramshare_quota_memory_used_bytes", {"namespace": "free"}) is None
        quota = {"zone": "vGPU", "quotanamespace": "team", "quotaName": "nvidia.com/gpumem", "limit": "600"}
        assert value("QuotaUsed", quota) == 400


def test_counters_begin_at_zero() -> None:
    """A first refusal must be an increase: from no series to 1 is none for Prometheus."""
    value = Metrics(CollectorRegistry()).registry.get_sample_value
    assert value("vramshare_ledger_writes_total", {"result": "refused"}) == 0
    assert value("vramshare_grants_released_total", {"why": "never_seen"}) == 0
    assert value("vramshare_evictions_total", {"why": "isolation", "outcome": "evicted"}) == 0
