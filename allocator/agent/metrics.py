"""One sample of the node as metrics.

What a scrape shows is the newest sample and nothing else: no NVML call, no file and no API server is waited for, and a
pod that is gone is gone with the next sample.

Series are bounded by what the kubelet runs: labels are names that Kubernetes has checked and GPUs' UUIDs, never a
reason, a process or anything else that a tenant could make up.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from allocator.agent.hami import HamiCollector
from allocator.agent.sample import AgentSample, ContainerSample, GpuSample, Latest, Sample, SliceSample
from allocator.api.isolation import Isolation
from allocator.exposition import new_registry

_GPU: Final = ("node", "gpu")
_CONTAINER: Final = ("node", "namespace", "pod", "container")
_SLICE: Final = (*_CONTAINER, "gpu")

T = TypeVar("T")
Texts = Mapping[str, tuple[str, Callable[[T], float | None]]]
"""Help text and value by name. A name that ends in `_total` is a counter; a value of None leaves the series out."""

SLICES: Final[Texts[SliceSample]] = {
    "vramshare_container_memory_used_bytes": (
        "What a container holds of a GPU, the driver's overhead included: what counts against its limit.",
        lambda one: one.used,
    ),
    "vramshare_container_memory_overhead_bytes": (
        "The driver's own part of what a container holds: contexts, code, stacks.",
        lambda one: one.overhead,
    ),
    "vramshare_container_memory_peak_bytes": (
        "The most that a container has held since it started.",
        lambda one: one.peak,
    ),
    "vramshare_container_memory_limit_bytes": (
        "A container's slice of a GPU: where the wall stands.",
        lambda one: one.limit,
    ),
    "vramshare_container_memory_host_bytes": (
        "What the driver says the container's processes hold; absent where it does not say.",
        lambda one: one.host,
    ),
    "vramshare_container_memory_refusals_total": ("Allocations refused at the wall.", lambda one: one.refused),
    "vramshare_container_gpu_time_seconds_total": (
        "GPU time that a container used; counted while anybody on the GPU has a cap.",
        lambda one: one.time_used,
    ),
    "vramshare_container_gpu_time_throttled_seconds_total": (
        "Time that launches of a container were held back; counted while anybody on the GPU has a cap.",
        lambda one: one.throttled,
    ),
    "vramshare_container_gpu_time_limit_ratio": (
        "A container's cap of GPU time, 1 being the whole GPU; absent where there is none.",
        lambda one: one.cores,
    ),
}
CONTAINERS: Final[Texts[ContainerSample]] = {
    "vramshare_container_gpu_processes": ("Processes of a container that use a GPU.", lambda one: one.processes),
}
GPUS: Final[Texts[GpuSample]] = {
    "vramshare_gpu_memory_total_bytes": ("Memory of a GPU, the driver's reserve included.", lambda one: one.total),
    "vramshare_gpu_memory_used_bytes": (
        "What everybody holds of a GPU; absent where the driver does not say.",
        lambda one: one.used,
    ),
    "vramshare_gpu_memory_free_bytes": (
        "What nobody holds of a GPU; absent where the driver does not say.",
        lambda one: one.free,
    ),
    "vramshare_gpu_memory_reserved_bytes": ("What the driver keeps of a GPU for itself.", lambda one: one.reserve),
    "vramshare_gpu_utilization_ratio": (
        "Part of the time in which something ran on a GPU, as the driver says.",
        lambda one: one.utilisation,
    ),
    "vramshare_gpu_temperature_celsius": ("Temperature of a GPU.", lambda one: one.temperature),
    "vramshare_gpu_power_watts": ("Power that a GPU draws.", lambda one: one.power),
    "vramshare_gpu_healthy": ("1 where a GPU may take new grants.", lambda one: one.healthy),
    "vramshare_gpu_slices": ("Slices that the node's ledger holds on a GPU.", lambda one: one.slices),
}
AGENT: Final[Texts[AgentSample]] = {
    "vramshare_agent_usable": ("1 where the node takes new grants.", lambda one: one.usable),
    "vramshare_agent_driver_answers": (
        "1 where the driver answered in time when last asked.",
        lambda one: one.driver_answers,
    ),
    "vramshare_agent_ledger_known": ("1 once the node's ledger has been read.", lambda one: one.ledger_known),
    "vramshare_agent_looks_total": ("Looks at the node that were completed.", lambda one: one.looks),
    "vramshare_agent_failed_looks_total": ("Looks at the node that failed.", lambda one: one.failures),
    "vramshare_agent_look_seconds": ("How long the last look took.", lambda one: one.look_seconds),
}
_LAST_LOOK: Final = ("vramshare_agent_look_timestamp_seconds", "When the last look ended, in seconds since 1970.")
_ISOLATION: Final = (
    "vramshare_container_isolation",
    "1 for the state of a container's isolation, 0 for the others; all 0 before it is judged.",
)
_INFO: Final = ("vramshare_gpu_info", "1; the labels say what a GPU is.")
_AGENT_INFO: Final = ("vramshare_agent_info", "1; the labels say what driver a node has.")


def agent_registry(latest: Latest, *, hami: bool = False) -> CollectorRegistry:
    """All that an agent tells.

    Args:
        latest: where its samples are.
        hami: whether to tell it under HAMi's names too.
    """
    registry = new_registry("agent")
    registry.register(SampleCollector(latest))
    if hami:
        registry.register(HamiCollector(latest))
    return registry


class SampleCollector(Collector):
    """The newest sample under vramshare's own names."""

    def __init__(self, latest: Latest) -> None:
        self._latest = latest

    def describe(self) -> list[Metric]:
        """The metrics, without values."""
        return list(_metrics(None))

    def collect(self) -> Iterator[Metric]:
        """The metrics of the newest sample; none before the first."""
        if (sample := self._latest.sample) is not None:
            yield from _metrics(sample)


def _metrics(sample: Sample | None) -> Iterator[Metric]:
    """All metrics; without values where there is no sample."""
    node = sample.node if sample else ""
    containers = [([node, one.namespace, one.pod, one.container], one) for one in (sample.named() if sample else ())]
    slices = [([*labels, part.uuid], part) for labels, one in containers for part in one.slices]
    gpus = [([node, one.uuid], one) for one in (sample.gpus if sample else ())]
    yield from _families(SLICES, _SLICE, slices)
    yield from _families(CONTAINERS, _CONTAINER, containers)
    yield _isolation(containers)
    yield from _families(GPUS, _GPU, gpus)
    yield _info(gpus)
    yield from _families(AGENT, ("node",), [([node], sample.agent)] if sample else [])
    last = GaugeMetricFamily(*_LAST_LOOK, labels=("node",))
    info = GaugeMetricFamily(*_AGENT_INFO, labels=("node", "driver"))
    if sample:
        last.add_metric([node], sample.at.timestamp())
        info.add_metric([node, sample.agent.driver], 1)
    yield from (last, info)


def _families(texts: Texts[T], labels: Sequence[str], values: Iterable[tuple[list[str], T]]) -> Iterator[Metric]:
    listed = list(values)
    for name, (text, read) in texts.items():
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        family = kind(name, text, labels=labels)
        for these, one in listed:
            if (value := read(one)) is not None:
                family.add_metric(these, value)
        yield family


def _isolation(containers: Iterable[tuple[list[str], ContainerSample]]) -> Metric:
    family = GaugeMetricFamily(*_ISOLATION, labels=(*_CONTAINER, "state"))
    for labels, one in containers:
        for state in Isolation:
            family.add_metric([*labels, state.value], one.state is state)
    return family


def _info(gpus: Iterable[tuple[list[str], GpuSample]]) -> Metric:
    family = GaugeMetricFamily(*_INFO, labels=(*_GPU, "index", "model"))
    for labels, one in gpus:
        family.add_metric([*labels, str(one.index), one.model], 1)
    return family
