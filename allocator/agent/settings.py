"""What an agent must know before it starts."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from allocator.agent.agent import Pace
from allocator.agent.health import QUIET
from allocator.agent.show import MetricsSettings
from allocator.api.inventory import Strategy
from allocator.kube.connect import KubeSettings


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One agent's settings.

    Attributes:
        node: name of the Kubernetes node.
        namespace: the system namespace, where inventory and Lease go.
        interposer: the library as built.
        host_dir: the folder that GPU containers mount; the webhook must be told the same.
        host_root: where the host's file system is seen, to detect the injection strategy.
        strategy: how GPUs reach containers; None: detect.
        simulate: description of simulated GPUs; None: ask NVML.
        kube: how to reach the API server.
        pace: how often things are done.
        proc: the host's /proc.
        evict: ask for the eviction of pods that violate their isolation, instead of only reporting them.
        known: patterns of pods, `namespace/name`, that may use GPUs without a grant, beside the usual ones.
        share: use GPUs that a device plugin or a DRA driver offers too, but has not given out.
        xid_quiet: how long a GPU must have had no error before it is in use again.
        ignored_xids: errors that say nothing about a GPU, beside those of applications.
        metrics: where Prometheus finds us.
    """

    node: str
    namespace: str
    interposer: Path
    host_dir: Path
    host_root: Path
    strategy: Strategy | None
    simulate: Path | None
    kube: KubeSettings
    pace: Pace
    proc: Path = Path("/proc")
    evict: bool = False
    known: tuple[str, ...] = ()
    share: bool = False
    xid_quiet: timedelta = QUIET
    ignored_xids: frozenset[int] = frozenset()
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
