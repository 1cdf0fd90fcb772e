"""The scene under the names that HAMi's scheduler exports, so that dashboards made for it go on.

Names, labels and units are HAMi's: percent where it says cores, `zone` always `vGPU`. Where the two systems differ, the
nearest truth is told: a GPU has 100 cores, and `containeridx` counts the containers that hold slices.
"""

from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from allocator.api import names
from allocator.api.inventory import Gpu
from allocator.api.quantities import MIB
from allocator.controller.scene import Lookout, NodeScene, Scene, held_by_gpu
from allocator.core.quota import NONE, Amount, Quota
from allocator.core.state import FULL_TIME
from allocator.hami import Named, Told, device_type

_DEVICE: Final = ("nodeid", "deviceuuid", "deviceidx")
_KIND: Final = (*_DEVICE, "devicetype")
_CONTAINER: Final = ("podnamespace", "nodename", "podname", "containeridx", "deviceuuid")
_METRICS: Final = (
    Named(
        "GPUDeviceMemoryLimit", "hami_gpu_memory_limit_bytes", "memory of a GPU that may be allocated, bytes.", _KIND
    ),
    Named("GPUDeviceCoreLimit", "hami_gpu_core_limit_ratio", "GPU time of a GPU, percent.", _KIND),
    Named(
        "GPUDeviceMemoryAllocated",
        "hami_gpu_memory_allocated_bytes",
        "memory of a GPU that is allocated, bytes.",
        (*_DEVICE, "devicecores", "devicetype"),
    ),
    Named("GPUDeviceSharedNum", "hami_gpu_shared_count", "containers that share a GPU.", _KIND),
    Named(
        "GPUDeviceCoreAllocated",
        "hami_gpu_core_allocated_ratio",
        "GPU time of a GPU that is allocated, percent.",
        _KIND,
    ),
    Named(
        "nodeGPUOverview",
        "hami_node_gpu_overview",
        "memory of a GPU that is allocated, bytes; its size, in MiB, is a label.",
        (*_DEVICE, "devicecores", "devicememorylimit", "devicetype"),
    ),
    Named(
        "nodeGPUMemoryPercentage",
        "hami_node_gpu_memory_allocated_ratio",
        "memory of a GPU that is allocated, 1 being all of it.",
        _DEVICE,
    ),
    Named(
        "vGPUMemoryAllocated",
        "hami_vgpu_memory_allocated_bytes",
        "memory allocated to a container, bytes.",
        _CONTAINER,
    ),
    Named(
        "vGPUCoreAllocated",
        "hami_vgpu_core_allocated_ratio",
        "GPU time allocated to a container, percent.",
        _CONTAINER,
    ),
    Named(
        "QuotaUsed",
        "hami_resource_quota_used",
        "what a namespace has used of its quota.",
        ("quotanamespace", "quotaName", "limit"),
    ),
)


class HamiCollector(Collector):
    """Tells a scene under HAMi's names."""

    def __init__(self, lookout: Lookout) -> None:
        self._lookout = lookout

    def describe(self) -> list[Metric]:
        """The metrics, without values."""
        return Told(_METRICS).metrics()

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        scene, told = self._lookout.scene, Told(_METRICS)
        if scene.leading:
            _add(told, scene)
        yield from told.metrics()


def _add(told: Told, scene: Scene) -> None:
    for node in scene.nodes:
        held = held_by_gpu(node)
        for gpu in node.gpus:
            _add_gpu(told, node, gpu, held.get(gpu.uuid, NONE))
        _add_grants(told, node)
    used = scene.used()
    for namespace, quota in scene.quotas.items():
        _add_quota(told, namespace, quota, used.get(namespace, NONE))


def _add_quota(told: Told, namespace: str, quota: Quota, used: Amount) -> None:
    """Under the names of the resources that HAMi counts, memory in MiB."""
    memory = None if quota.memory is None else quota.memory.count // MIB
    counts = {
        names.HAMI_GPU: (used.gpus, quota.gpus),
        names.HAMI_MEMORY: (used.memory // MIB, memory),
        names.HAMI_CORES: (used.cores, quota.cores),
    }
    for resource, (mine, limit) in counts.items():
        if limit is not None:
            told.add("QuotaUsed", [namespace, resource, str(limit)], mine)


def _add_grants(told: Told, node: NodeScene) -> None:
    for grant in node.grants:
        for index, slices in enumerate(grant.allocation.containers.values()):
            for one in slices:
                labels = [grant.namespace, node.name, grant.pod, str(index), one.uuid]
                told.add("vGPUMemoryAllocated", labels, one.memory.count)
                told.add("vGPUCoreAllocated", labels, one.cores)


def _add_gpu(told: Told, node: NodeScene, gpu: Gpu, held: Amount) -> None:
    device, kind = [node.name, gpu.uuid, str(gpu.index)], device_type(gpu.model)
    cores, capacity = str(FULL_TIME), gpu.capacity.count
    told.add("GPUDeviceMemoryLimit", [*device, kind], capacity)
    told.add("GPUDeviceCoreLimit", [*device, kind], FULL_TIME)
    told.add("GPUDeviceMemoryAllocated", [*device, cores, kind], held.memory)
    told.add("GPUDeviceSharedNum", [*device, kind], held.gpus)
    told.add("GPUDeviceCoreAllocated", [*device, kind], held.cores)
    told.add("nodeGPUOverview", [*device, cores, str(capacity // MIB), kind], held.memory)
    if capacity:
        told.add("nodeGPUMemoryPercentage", device, held.memory / capacity)
