"""What the allocator counts, for Prometheus."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from allocator.core.fragmentation import Fragmentation

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class Metrics:
    """The allocator's metrics in one registry, by default one of its own, so that two allocators can coexist."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.grants = Counter(
            "vramshare_grants",
            "Grants by outcome: granted, reused, planned (dry run), no_capacity, conflict, not_ready.",
            ["outcome"],
            registry=self.registry,
        )
        self.grant_seconds = Histogram(
            "vramshare_grant_seconds",
            "Time from request to committed grant.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.released = Counter("vramshare_grants_released", "Grants given back.", ["why"], registry=self.registry)
        self.ledger_writes = Counter(
            "vramshare_ledger_writes", "Ledger writes by result.", ["result"], registry=self.registry
        )
        self.ledger_conflicts = Counter(
            "vramshare_ledger_conflicts", "Grants that had to be planned again.", registry=self.registry
        )
        self.queued = Gauge("vramshare_queued_pods", "Pods that wait behind our gate.", registry=self.registry)
        self.leading = Gauge("vramshare_leading", "1 on the replica that leads.", registry=self.registry)
        self.watch_age = Gauge(
            "vramshare_watch_age_seconds",
            "Seconds since a watch was last known to be in step.",
            ["resource"],
            registry=self.registry,
        )

    def follow(
        self,
        *,
        queued: Callable[[], float],
        ages: dict[str, Callable[[], float]],
        fragmentation: Callable[[], Mapping[str, Fragmentation]],
    ) -> None:
        """Read these values whenever the metrics are scraped."""
        self.registry.register(FragmentationCollector(fragmentation))
        self.queued.set_function(queued)
        for resource, age in ages.items():
            self.watch_age.labels(resource).set_function(age)


class FragmentationCollector(Collector):
    """Capacity, what is free of it, and what of that the usual pods cannot use, by GPU model; in whole GPUs."""

    def __init__(self, read: Callable[[], Mapping[str, Fragmentation]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """The metrics, without values."""
        texts = {
            "vramshare_model_gpus": "GPUs that take grants.",
            "vramshare_model_free_gpus": "What is free of them, in GPUs.",
            "vramshare_model_stranded_gpus": "What is free and of no use to the usual pods, in GPUs.",
        }
        return [GaugeMetricFamily(name, text, labels=["model"]) for name, text in texts.items()]

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        found = self._read()
        total, free, stranded = families = self.describe()
        for model, one in found.items():
            for family, value in ((total, one.total), (free, one.free), (stranded, one.stranded)):
                family.add_sample(family.name, {"model": model}, value)
        yield from families
