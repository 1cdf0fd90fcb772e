"""What the webhook counts, for Prometheus."""

from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from allocator.exposition import metrics_app

__all__ = ["Metrics", "metrics_app"]

_RESULTS: Final = (
    "granted",
    "queued",
    "changed",
    "unchanged",
    "Invalid",
    "TooManyRequests",
    "ServiceUnavailable",
    "InternalError",
)
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """The webhook's metrics in one registry, by default one of its own, so that several applications can coexist."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.admissions = Counter(
            "vramshare_admissions",
            "Reviews answered, by operation and result: granted, queued, changed, unchanged, or the denial's reason.",
            ["operation", "result"],
            registry=self.registry,
        )
        for operation, result in product(("CREATE", "UPDATE"), _RESULTS):
            self.admissions.labels(operation, result)  # at 0, so that a first event is an increase
        self.seconds = Histogram(
            "vramshare_admission_seconds",
            "Time from a review's arrival to its answer.",
            ["operation"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "vramshare_admissions_in_flight", "Reviews being answered at this moment.", registry=self.registry
        )
        self.certificate_end = Gauge(
            "vramshare_webhook_certificate_expiry_timestamp_seconds",
            "When the serving certificate expires, in seconds since 1970; 0: none is served yet.",
            registry=self.registry,
        )
