"""The openb trace format: reading it, and turning it into arrivals by the protocol of FGD's evaluation.

Alibaba's "openb" GPU-sharing trace and the protocol are described in FGD (USENIX ATC'23, section 6): the trace's
pods are shuffled, more are drawn from them until demand reaches a given multiple of the cluster's GPUs.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import MIB, Memory, MemoryShare
from allocator.api.request import Choice
from allocator.core.demand import PodDemand, Shape, SliceAsk
from allocator.core.fleet import Fleet
from allocator.core.nodes import NodeInfo
from allocator.core.resources import Usage

GPU_MEMORY: Final = Memory.mib(32_000)
"""Every GPU's memory. The trace speaks of shares only; this size makes each thousandth a whole number of MiB."""
_CONTAINER: Final = "worker"
_PODS: Final = 10_000


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node of the trace: CPU in thousandths, memory in MiB, GPUs of one model."""

    name: str
    cpu: int
    memory: int
    gpus: int
    model: str


@dataclass(frozen=True, slots=True)
class PodRow:
    """A pod of the trace.

    Attributes:
        name: its name in the trace.
        demand: what is asked of the allocator.
        milli: GPUs asked in all, in thousandths.
        gpus: GPUs asked, whole or parts.
        created, ended: seconds; 0 where the trace has no times.
    """

    name: str
    demand: PodDemand
    milli: int
    gpus: int
    created: int
    ended: int


def read_nodes(path: Path) -> list[NodeRow]:
    """Read a node list."""
    with path.open(newline="") as file:
        return [
            NodeRow(
                name=row["sn"],
                cpu=int(row["cpu_milli"]),
                memory=int(row["memory_mib"]),
                gpus=int(row["gpu"]),
                model=row["model"],
            )
            for row in csv.DictReader(file)
        ]


def read_pods(path: Path) -> list[PodRow]:
    """Read a pod list. Equal demands are one object, as for the pods of one Deployment."""
    demands: dict[PodDemand, PodDemand] = {}
    with path.open(newline="") as file:
        return [_pod(row, demands) for row in csv.DictReader(file)]


def _pod(row: dict[str, str], demands: dict[PodDemand, PodDemand]) -> PodRow:
    gpus, milli = int(row["num_gpu"]), int(row["gpu_milli"])
    if milli % 10:
        raise ValueError(f"pod {row['name']}: gpu_milli is {milli}: a share of time is whole percent; round to tens")
    asks = (SliceAsk(gpus=gpus, memory=MemoryShare(milli), cores=milli // 10),) if gpus else ()
    spec = row.get("gpu_spec") or ""
    shape = Shape(
        asks=asks,
        usage=Usage(cpu=int(row["cpu_milli"]), memory=int(row["memory_mib"]) * MIB),
        models=Choice(include=frozenset(name.casefold() for name in spec.split("|") if name)),
    )
    demand = PodDemand(shape=shape, containers=(_CONTAINER,) if gpus else ())
    return PodRow(
        name=row["name"],
        demand=demands.setdefault(demand, demand),
        milli=gpus * milli,
        gpus=gpus,
        created=int(row.get("creation_time") or 0),
        ended=int(row.get("deletion_time") or 0),
    )


def fleet_of(nodes: Sequence[NodeRow]) -> Fleet:
    """An empty fleet of these nodes."""
    fleet = Fleet()
    for node in nodes:
        fleet.apply_node(
            NodeInfo(
                name=node.name,
                labels={"kubernetes.io/hostname": node.name},
                allocatable=Usage(cpu=node.cpu, memory=node.memory * MIB),
                pods=_PODS,
            )
        )
        fleet.apply_inventory(
            Inventory(
                node=node.name,
                interposer="/opt/vramshare/libvramshare.so",
                gpus=tuple(
                    Gpu(uuid=f"GPU-{node.name}-{at}", index=at, model=node.model, memory=GPU_MEMORY)
                    for at in range(node.gpus)
                ),
            )
        )
    return fleet


def arrivals(pods: Sequence[PodRow], *, seed: int, until: int) -> Iterator[PodRow]:
    """The trace's pods in random order, then more of them at random, until they ask for `until` thousandths."""
    random = Random(seed)
    order = list(range(len(pods)))
    random.shuffle(order)
    asked = 0
    for at in order:
        if asked >= until:
            return
        asked += pods[at].milli
        yield pods[at]
    while asked < until:
        pod = pods[random.randrange(len(pods))]
        asked += pod.milli
        yield pod
