"""What the allocator counts, for Prometheus."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from allocator.controller.hami import HamiCollector
from allocator.controller.scene import Lookout, Scene, SceneCollector
from allocator.kube import Outcome

_WAITS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


OUTCOMES: Final = (
    "granted",
    "reused",
    "planned",  # a dry run
    "no_capacity",
    "must_wait",
    "over_quota",
    "conflict",
    "not_ready",
)
WHYS: Final = ("ended", "deleted", "never_seen", "returned", "confirmed", "node_gone")
EVICTIONS: Final = ("isolation", "unbound", "preempted")
RESULTS: Final = ("written", "conflict", "unknown", "busy", "refused")


def _counter(name: str, text: str, labels: Mapping[str, Sequence[str]], *, registry: CollectorRegistry) -> Counter:
    """A counter whose usual series exist from the start, at 0: a first event is an increase, not a beginning."""
    counter = Counter(name, text, list(labels), registry=registry)
    for values in product(*labels.values()):
        counter.labels(*values)
    return counter


class Metrics:
    """The allocator's metrics in one registry, by default one of its own, so that two allocators can coexist."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.grants = _counter(
            "vramshare_grants", "Requests for GPUs, by outcome.", {"outcome": OUTCOMES}, registry=self.registry
        )
        self.grant_seconds = Histogram(
            "vramshare_grant_seconds",
            "Time from request to committed grant.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.released = _counter(
            "vramshare_grants_released",
            "Grants given back; never_seen and returned are those whose pod was not created after all.",
            {"why": WHYS},
            registry=self.registry,
        )
        self.evictions = _counter(
            "vramshare_evictions",
            "Evictions asked of the API server; later: a disruption budget held it off for now.",
            {"why": EVICTIONS, "outcome": tuple(one.value for one in Outcome)},
            registry=self.registry,
        )
        self.ledger_writes = _counter(
            "vramshare_ledger_writes", "Writes of ledgers, by result.", {"result": RESULTS}, registry=self.registry
        )
        self.ledger_conflicts = Counter(
            "vramshare_ledger_conflicts",
            "Grants that had to be planned again, because another replica was faster.",
            registry=self.registry,
        )
        self.queued = Gauge("vramshare_queued_pods", "Pods that wait behind our gate.", registry=self.registry)
        self.oldest = Gauge(
            "vramshare_queue_oldest_seconds",
            "How long the pod that waits longest has waited; 0: none waits.",
            registry=self.registry,
        )
        self.queue_wait = Histogram(
            "vramshare_queue_wait_seconds",
            "Time that pods granted from the queue had waited.",
            buckets=_WAITS,
            registry=self.registry,
        )
        self.ready = Gauge(
            "vramshare_ready",
            "1 where this replica has seen the whole cluster lately, and so may grant.",
            registry=self.registry,
        )
        self.leading = Gauge("vramshare_leading", "1 on the replica that leads.", registry=self.registry)
        self.watch_age = Gauge(
            "vramshare_watch_age_seconds",
            "Seconds since a watch was last known to be in step.",
            ["resource"],
            registry=self.registry,
        )

        self._lookout: Lookout | None = None

    def follow(
        self,
        *,
        scene: Callable[[], Scene],
        queued: Callable[[], float],
        ready: Callable[[], bool],
        ages: Mapping[str, Callable[[], float]],
        hami: bool = False,
    ) -> None:
        """Read these values whenever the metrics are scraped.

        Args:
            scene: the cluster as it is now.
            queued: how many pods wait.
            ready: whether this replica may grant.
            ages: of the watches, by what they watch.
            hami: whether to tell the scene under HAMi's names too.
        """
        self._lookout = lookout = Lookout(scene)
        self.registry.register(SceneCollector(lookout))
        if hami:
            self.registry.register(HamiCollector(lookout))
        self.queued.set_function(queued)
        self.oldest.set_function(lookout.oldest)
        self.ready.set_function(lambda: float(ready()))
        for resource, age in ages.items():
            self.watch_age.labels(resource).set_function(age)

    def prepare(self) -> None:
        """Read off what the next scrape tells; call it in the event loop, where it is consistent."""
        if self._lookout is not None:
            self._lookout.take()
