"""The scene under the names that HAMi's scheduler exports, so that dashboards made for it go on.

Names, labels and units are HAMi's (its `--legacy-metrics`): percent where it says cores, `zone` always `vGPU`. Where
the two systems differ, the nearest truth is told: a GPU has 100 cores, an unallocated container has no series, and
`containeridx` counts the containers that hold slices.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from allocator.api import names
from allocator.api.inventory import Gpu
from allocator.api.quantities import MIB
from allocator.controller.scene import Lookout, NodeScene, Scene, held_by_gpu
from allocator.core.hami import ZONE, device_type
from allocator.core.quota import NONE, Amount, Quota
from allocator.core.state import FULL_TIME

_DEVICE: Final = ("nodeid", "deviceuuid", "deviceidx")
_CONTAINER: Final = ("podnamespace", "nodename", "podname", "containeridx", "deviceuuid")
_TEXTS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "GPUDeviceMemoryLimit": ("HAMi's name: memory of a GPU that may be allocated, bytes.", (*_DEVICE, "devicetype")),
    "GPUDeviceCoreLimit": ("HAMi's name: GPU time of a GPU, percent.", (*_DEVICE, "devicetype")),
    "GPUDeviceMemoryAllocated": (
        "HAMi's name: memory of a GPU that is allocated, bytes.",
        (*_DEVICE, "devicecores", "devicetype"),
    ),
    "GPUDeviceSharedNum": ("HAMi's name: containers that share a GPU.", (*_DEVICE, "devicetype")),
    "GPUDeviceCoreAllocated": ("HAMi's name: GPU time of a GPU that is allocated, percent.", (*_DEVICE, "devicetype")),
    "nodeGPUOverview": (
        "HAMi's name: memory of a GPU that is allocated, bytes; its size, in MiB, is a label.",
        (*_DEVICE, "devicecores", "devicememorylimit", "devicetype"),
    ),
    "nodeGPUMemoryPercentage": ("HAMi's name: memory of a GPU that is allocated, 1 being all of it.", _DEVICE),
    "vGPUMemoryAllocated": ("HAMi's name: memory allocated to a container, bytes.", _CONTAINER),
    "vGPUCoreAllocated": ("HAMi's name: GPU time allocated to a container, percent.", _CONTAINER),
    "QuotaUsed": ("HAMi's name: what a namespace has used of its quota.", ("quotanamespace", "quotaName", "limit")),
}
Families = dict[str, GaugeMetricFamily]


class HamiCollector(Collector):
    """Tells a scene under HAMi's names."""

    def __init__(self, lookout: Lookout) -> None:
        self._lookout = lookout

    def describe(self) -> list[Metric]:
        """The metrics, without values."""
        return list(_families().values())

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        scene, families = self._lookout.scene, _families()
        if scene.leading:
            _add(families, scene)
        yield from families.values()


def _families() -> Families:
    return {name: GaugeMetricFamily(name, text, labels=("zone", *labels)) for name, (text, labels) in _TEXTS.items()}


def _add(families: Families, scene: Scene) -> None:
    for node in scene.nodes:
        held = held_by_gpu(node)
        for gpu in node.gpus:
            _add_gpu(families, node, gpu, held.get(gpu.uuid, NONE))
        _add_grants(families, node)
    used = scene.used()
    for namespace, quota in scene.quotas.items():
        _add_quota(families, namespace, quota, used.get(namespace, NONE))


def _add_quota(families: Families, namespace: str, quota: Quota, used: Amount) -> None:
    """Under the names of the resources that HAMi counts, memory in MiB."""
    memory = None if quota.memory is None else quota.memory.count // MIB
    counts = {
        names.HAMI_GPU: (used.gpus, quota.gpus),
        names.HAMI_MEMORY: (used.memory // MIB, memory),
        names.HAMI_CORES: (used.cores, quota.cores),
    }
    for resource, (mine, limit) in counts.items():
        if limit is not None:
            families["QuotaUsed"].add_metric([ZONE, namespace, resource, str(limit)], mine)


def _add_grants(families: Families, node: NodeScene) -> None:
    for grant in node.grants:
        for index, slices in enumerate(grant.allocation.containers.values()):
            for one in slices:
                labels = [ZONE, grant.namespace, node.name, grant.pod, str(index), one.uuid]
                families["vGPUMemoryAllocated"].add_metric(labels, one.memory.count)
                families["vGPUCoreAllocated"].add_metric(labels, one.cores)


def _add_gpu(families: Families, node: NodeScene, gpu: Gpu, held: Amount) -> None:
    device, kind = [ZONE, node.name, gpu.uuid, str(gpu.index)], device_type(gpu.model)
    cores, capacity = str(FULL_TIME), gpu.capacity.count
    families["GPUDeviceMemoryLimit"].add_metric([*device, kind], capacity)
    families["GPUDeviceCoreLimit"].add_metric([*device, kind], FULL_TIME)
    families["GPUDeviceMemoryAllocated"].add_metric([*device, cores, kind], held.memory)
    families["GPUDeviceSharedNum"].add_metric([*device, kind], held.gpus)
    families["GPUDeviceCoreAllocated"].add_metric([*device, kind], held.cores)
    families["nodeGPUOverview"].add_metric([*device, cores, str(capacity // MIB), kind], held.memory)
    if capacity:
        families["nodeGPUMemoryPercentage"].add_metric(device, held.memory / capacity)
