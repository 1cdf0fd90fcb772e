"""What one look at the node found: the values between those who look (attestation) and those who show (metrics).

A sample is complete and never changes. Counters (`time_used`, `throttled`, `refused`) are as the container's region
has them: they begin anew when a container starts anew.
"""

from dataclasses import dataclass, field
from datetime import datetime

from allocator.api.inventory import HEALTHY
from allocator.api.isolation import Isolation


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU. Memory in bytes.

    Attributes:
        uuid: NVML's UUID.
        index: NVML's index on its node.
        model: NVML's product name.
        total: its memory, the driver's reserve included.
        used: by everybody; None where the driver did not say. The driver's reserve is not in it.
        free: likewise.
        reserve: what the driver keeps for itself.
        foreign: what processes outside of grants hold, as published.
        granted: what the ledger's grants add up to.
        slices: how many slices the ledger's grants hold.
        utilisation: 0 to 1: part of the time in which something ran.
        temperature: degrees Celsius.
        power: watts.
        health: `ok`, or why it takes no new grants.
    """

    uuid: str
    index: int
    model: str
    total: int
    used: int | None = None
    free: int | None = None
    reserve: int = 0
    foreign: int = 0
    granted: int = 0
    slices: int = 0
    utilisation: float | None = None
    temperature: float | None = None
    power: float | None = None
    health: str = HEALTHY

    @property
    def healthy(self) -> bool:
        """Whether it takes new grants."""
        return self.health == HEALTHY


@dataclass(frozen=True, slots=True)
class SliceSample:
    """One container's use of one GPU. Memory in bytes, times in seconds.

    Attributes:
        uuid: the GPU.
        limit: the wall.
        used: charged to the container, the driver's overhead included, by its own account (the region).
        peak: the highest of it since the container's region was made.
        overhead: the driver's own part of `used`: contexts, code, stacks.
        host: what the driver says its processes hold; None where it did not say.
        refused: allocations refused at the wall.
        cores: the cap as a part of the GPU's time, 0 to 1; None: uncapped.
        time_used: GPU time used; counted while anybody on the GPU has a cap.
        throttled: time that launches were held back, likewise.
    """

    uuid: str
    limit: int
    used: int = 0
    peak: int = 0
    overhead: int = 0
    host: int | None = None
    refused: int = 0
    cores: float | None = None
    time_used: float = 0.0
    throttled: float = 0.0


@dataclass(frozen=True, slots=True)
class ContainerSample:
    """One container that has slices, or uses a GPU without one.

    Attributes:
        namespace: its pod's.
        pod: its pod's name.
        uid: its pod's UID.
        container: its name; `-` where it could not be found out.
        state: how far its isolation is proven; None: not judged yet.
        reason: why it is not isolated; empty where it is.
        slices: by GPU; none for a container without a grant.
        processes: how many of its processes use a GPU.
    """

    namespace: str
    pod: str
    uid: str
    container: str
    state: Isolation | None = None
    reason: str = ""
    slices: tuple[SliceSample, ...] = ()
    processes: int = 0


@dataclass(frozen=True, slots=True)
class AgentSample:
    """The agent itself.

    Attributes:
        usable: whether the node takes new grants.
        reason: why not; empty where it does.
        driver: version of the NVIDIA driver; empty: none.
        driver_answers: whether the last reading of the GPUs came in time.
        ledger_known: whether the node's ledger has been read since the agent started.
        looks: how many looks were completed since then.
        failures: how many were not.
        look_seconds: how long the last one took.
    """

    usable: bool = False
    reason: str = ""
    driver: str = ""
    driver_answers: bool = True
    ledger_known: bool = False
    looks: int = 0
    failures: int = 0
    look_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A node at one moment.

    Attributes:
        node: its name.
        at: when, UTC.
        gpus: its GPUs in NVML's order.
        containers: by namespace, pod and name.
        agent: about the agent itself.
    """

    node: str
    at: datetime
    gpus: tuple[GpuSample, ...] = ()
    containers: tuple[ContainerSample, ...] = ()
    agent: AgentSample = field(default_factory=AgentSample)

    def named(self) -> list[ContainerSample]:
        """The containers, each name once, as metrics need them.

        A pod's folder can outlive it for a while, beside a successor of the same name; and what could not be named is
        named alike. Of several the one that matters most stands for all: violated first, then the one that runs.
        """
        found: dict[tuple[str, str, str], ContainerSample] = {}
        for one in self.containers:
            key = (one.namespace, one.pod, one.container)
            if key not in found or _weight(one) >= _weight(found[key]):
                found[key] = one
        return list(found.values())


def _weight(one: ContainerSample) -> tuple[bool, int]:
    return one.state is Isolation.VIOLATED, one.processes


@dataclass(slots=True)
class Latest:
    """The newest sample, put here by whoever looks and taken by whoever shows; None before the first look."""

    sample: Sample | None = None
