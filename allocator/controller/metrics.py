"""What the allocator counts, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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

    def follow(self, *, queued: Callable[[], float], ages: dict[str, Callable[[], float]]) -> None:
        """Read these values whenever the metrics are scraped."""
        self.queued.set_function(queued)
        for resource, age in ages.items():
            self.watch_age.labels(resource).set_function(age)
