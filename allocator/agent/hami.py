"""One sample of the node under the names that HAMi's monitor exports, so that dashboards made for it go on.

Names, labels and units are HAMi's: percent where it says utilisation, `zone` always `vGPU`, `vdeviceid` the place of a
GPU among the container's. Of `Device_memory_desc_of_container` the labels with byte counts are left out: every change
would make a new series.
"""

from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from allocator.agent.sample import ContainerSample, Latest, Sample, SliceSample
from allocator.hami import Named, Told, device_type

_DEVICE: Final = ("nodeid", "deviceidx", "deviceuuid", "devicetype")
_CONTAINER: Final = ("podnamespace", "podname", "ctrname", "vdeviceid", "deviceuuid")
_METRICS: Final = (
    Named("HostGPUMemoryUsage", "hami_host_gpu_memory_used_bytes", "memory of a GPU in use, bytes.", _DEVICE),
    Named(
        "HostCoreUtilization",
        "hami_host_gpu_utilization_ratio",
        "part of the time in which something ran on a GPU, percent.",
        _DEVICE,
    ),
    Named("", "hami_host_gpu_temperature_celsius", "temperature of a GPU.", _DEVICE),
    Named("", "hami_host_gpu_power_usage_watts", "power that a GPU draws.", _DEVICE),
    Named(
        "vGPU_device_memory_usage_in_bytes",
        "hami_vgpu_memory_used_bytes",
        "what a container holds of a GPU.",
        _CONTAINER,
    ),
    Named(
        "vGPU_device_memory_limit_in_bytes",
        "hami_vgpu_memory_limit_bytes",
        "a container's slice of a GPU.",
        _CONTAINER,
    ),
    Named(
        "Device_memory_desc_of_container",
        "hami_container_device_memory_bytes",
        "what a container holds of a GPU; without the labels that hold byte counts.",
        _CONTAINER,
    ),
    Named(
        "Device_utilization_desc_of_container",
        "hami_container_device_utilization_ratio",
        "GPU time of a container, percent, between the last two looks that were scraped.",
        _CONTAINER,
    ),
)


class Rates:
    """GPU time per time, between the two newest samples that were shown."""

    def __init__(self) -> None:
        self._now: Sample | None = None
        self._before: dict[tuple[str, str, str], float] = {}
        self._passed = 0.0

    def show(self, sample: Sample) -> None:
        """A sample is being told; the same one again changes nothing."""
        if self._now is not sample:
            if self._now is not None:
                self._passed = (sample.at - self._now.at).total_seconds()
                self._before = {
                    (one.uid, one.container, part.uuid): part.time_used
                    for one in self._now.containers
                    for part in one.slices
                }
            self._now = sample

    def percent(self, one: ContainerSample, part: SliceSample) -> float:
        """Of a GPU's time; 0 where it cannot be known: new here, begun anew, or the clock was set back."""
        before = self._before.get((one.uid, one.container, part.uuid))
        if before is None or self._passed <= 0 or part.time_used < before:
            return 0.0
        return min(100.0, (part.time_used - before) / self._passed * 100)


class HamiCollector(Collector):
    """Tells the newest sample under HAMi's names."""

    def __init__(self, latest: Latest) -> None:
        self._latest = latest
        self._rates = Rates()

    def describe(self) -> list[Metric]:
        """The metrics, without values."""
        return Told(_METRICS).metrics()

    def collect(self) -> Iterator[Metric]:
        """The metrics of the newest sample."""
        told = Told(_METRICS)
        if (sample := self._latest.sample) is not None:
            self._rates.show(sample)
            _add(told, sample, self._rates)
        yield from told.metrics()


def _add(told: Told, sample: Sample, rates: Rates) -> None:
    for gpu in sample.gpus:
        device = [sample.node, str(gpu.index), gpu.uuid, device_type(gpu.model)]
        known = {
            "HostGPUMemoryUsage": gpu.used,
            "HostCoreUtilization": None if gpu.utilisation is None else gpu.utilisation * 100,
            "hami_host_gpu_temperature_celsius": gpu.temperature,
            "hami_host_gpu_power_usage_watts": gpu.power,
        }
        for name, value in known.items():
            if value is not None:
                told.add(name, device, value)
    for one in sample.named():
        for index, part in enumerate(one.slices):
            labels = [one.namespace, one.pod, one.container, str(index), part.uuid]
            told.add("vGPU_device_memory_usage_in_bytes", labels, part.used)
            told.add("Device_memory_desc_of_container", labels, part.used)
            told.add("vGPU_device_memory_limit_in_bytes", labels, part.limit)
            told.add("Device_utilization_desc_of_container", labels, rates.percent(one, part))
