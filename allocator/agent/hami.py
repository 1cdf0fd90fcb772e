"""One sample of the node under the names that HAMi's monitor exports, so that dashboards made for it go on.

Names, labels and units are HAMi's (its `--legacy-metrics`): percent where it says utilisation, `zone` always `vGPU`,
`vdeviceid` the place of a GPU among the container's. Of `Device_memory_desc_of_container` the labels with byte counts
are left out: every change would make a new series.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from allocator.agent.sample import ContainerSample, Latest, Sample, SliceSample
from allocator.core.hami import ZONE, device_type

_DEVICE: Final = ("nodeid", "deviceidx", "deviceuuid", "devicetype")
_CONTAINER: Final = ("podnamespace", "podname", "ctrname", "vdeviceid", "deviceuuid")
_TEXTS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "HostGPUMemoryUsage": ("HAMi's name: memory of a GPU in use, bytes.", _DEVICE),
    "HostCoreUtilization": ("HAMi's name: part of the time in which something ran on a GPU, percent.", _DEVICE),
    "vGPU_device_memory_usage_in_bytes": ("HAMi's name: what a container holds of a GPU.", _CONTAINER),
    "vGPU_device_memory_limit_in_bytes": ("HAMi's name: a container's slice of a GPU.", _CONTAINER),
    "Device_memory_desc_of_container": (
        "HAMi's name: what a container holds of a GPU; without the labels that hold byte counts.",
        _CONTAINER,
    ),
    "Device_utilization_desc_of_container": (
        "HAMi's name: GPU time of a container, percent, between the last two looks that were scraped.",
        _CONTAINER,
    ),
}
Families = dict[str, GaugeMetricFamily]


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
        return list(_families().values())

    def collect(self) -> Iterator[Metric]:
        """The metrics of the newest sample."""
        families = _families()
        if (sample := self._latest.sample) is not None:
            self._rates.show(sample)
            _add(families, sample, self._rates)
        yield from families.values()


def _families() -> Families:
    return {name: GaugeMetricFamily(name, text, labels=("zone", *labels)) for name, (text, labels) in _TEXTS.items()}


def _add(families: Families, sample: Sample, rates: Rates) -> None:
    for gpu in sample.gpus:
        device = [ZONE, sample.node, str(gpu.index), gpu.uuid, device_type(gpu.model)]
        if gpu.used is not None:
            families["HostGPUMemoryUsage"].add_metric(device, gpu.used)
        if gpu.utilisation is not None:
            families["HostCoreUtilization"].add_metric(device, gpu.utilisation * 100)
    for one in sample.named():
        for index, part in enumerate(one.slices):
            labels = [ZONE, one.namespace, one.pod, one.container, str(index), part.uuid]
            families["vGPU_device_memory_usage_in_bytes"].add_metric(labels, part.used)
            families["Device_memory_desc_of_container"].add_metric(labels, part.used)
            families["vGPU_device_memory_limit_in_bytes"].add_metric(labels, part.limit)
            families["Device_utilization_desc_of_container"].add_metric(labels, rates.percent(one, part))
