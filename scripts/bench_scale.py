"""How the allocator's snapshot carries a large cluster: cold start from a listing, then churn.

Times are processor time: nothing here waits, so on a machine of its own it is the time that passes, and on a
shared one it is still the truth.
"""

import argparse
import gc
import json
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import numpy as np

from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory, MemoryAsk, MemoryShare
from allocator.core.demand import PodDemand, Shape, SliceAsk
from allocator.core.fleet import Fleet
from allocator.core.nodes import NodeInfo
from allocator.core.placement import Placement, place
from allocator.core.policies import Policies
from allocator.core.resources import Usage, pod_usage
from allocator.core.state import PodOnNode

GPU: Final = Memory.mib(46_068)
SIZES: Final = tuple(Memory.mib(size) for size in (4_096, 6_144, 8_192, 10_240))
"""What the pods of the listing hold; ten of them on eight GPUs leave every GPU something."""
ASKS: Final[tuple[tuple[int, MemoryAsk, int], ...]] = (
    (1, Memory.mib(4_096), 0),
    (1, Memory.mib(8_192), 25),
    (1, Memory.mib(16_384), 50),
    (1, MemoryShare(200), 0),
    (1, MemoryShare(350), 30),
    (1, MemoryShare(1000), 100),
    (2, MemoryShare(500), 50),
    (4, MemoryShare(1000), 100),
)
GRANTED: Final = datetime(2026, 1, 1, tzinfo=UTC)


def uuid_of(node: int, gpu: int) -> str:
    """Name a GPU."""
    return f"GPU-{node:08x}-0000-0000-0000-{gpu:012x}"


def node_json(number: int) -> str:
    """A Node as the API server lists it."""
    name = f"node-{number:05d}"
    return json.dumps(
        {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": f"z{number % 3}"}},
            "spec": {},
            "status": {
                "allocatable": {"cpu": "95400m", "memory": "771Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
    )


def inventory_json(number: int, gpus: int) -> str:
    """A node's inventory as it stands in its ConfigMap."""
    found = tuple(
        Gpu(uuid=uuid_of(number, at), index=at, model="NVIDIA L40S", memory=GPU, reserve=Memory.mib(512))
        for at in range(gpus)
    )
    inventory = Inventory(node=f"node-{number:05d}", gpus=found, interposer="/opt/vramshare/libvramshare.so")
    return json.dumps(inventory.to_data())


def grants_of(number: int, gpus: int, pods: range) -> Iterator[Grant]:
    """The grants of a node's ledger."""
    for pod in pods:
        size = SIZES[pod % len(SIZES)]
        one = Slice(uuid=uuid_of(number, pod % gpus), memory=size, cores=10)
        allocation = Allocation(id=f"{pod:016x}", node=f"node-{number:05d}", containers={"worker": (one,)})
        yield Grant(allocation=allocation, namespace="team", pod=f"pod-{pod}", granted=GRANTED, uid=f"uid-{pod}")


def pod_json(pod: int) -> str:
    """As much of a pod as the allocator reads."""
    return json.dumps(
        {
            "metadata": {"name": f"pod-{pod}", "uid": f"uid-{pod}"},
            "spec": {"containers": [{"name": "worker", "resources": {"requests": {"cpu": "2", "memory": "8Gi"}}}]},
        }
    )


def cold_start(nodes: int, gpus: int, pods: int) -> tuple[Fleet, float]:
    """Fill a fleet from listings; returns the seconds that it took, without those of making the listing up."""
    fleet = Fleet()
    spent = 0.0
    for number in range(nodes):
        mine = range(pods * number // nodes, pods * (number + 1) // nodes)
        node, inventory = node_json(number), inventory_json(number, gpus)
        ledger = json.dumps({one.allocation.id: one.to_text() for one in grants_of(number, gpus, mine)})
        listed = [pod_json(pod) for pod in mine]
        start = time.thread_time()
        name = f"node-{number:05d}"
        fleet.apply_node(NodeInfo.from_json(json.loads(node)))
        fleet.apply_inventory(Inventory.from_data(json.loads(inventory)))
        grants = [Grant.from_text(key, text, node=name) for key, text in json.loads(ledger).items()]
        fleet.apply_grants(name, grants)
        for text, grant in zip(listed, grants, strict=True):
            pod = json.loads(text)
            fleet.apply_pod(
                PodOnNode(
                    key=pod["metadata"]["uid"],
                    node=name,
                    usage=pod_usage(pod["spec"]),
                    allocation_id=grant.allocation.id,
                )
            )
        spent += time.thread_time() - start
    return fleet, spent


def demand_of(random: Random) -> PodDemand:
    """A new pod."""
    gpus, memory, cores = random.choice(ASKS)
    usage = Usage(cpu=1000 * random.choice((1, 2, 4)) * gpus, memory=random.choice((4, 8, 16)) * 1024**3)
    return PodDemand(shape=Shape(asks=(SliceAsk(gpus, memory, cores),), usage=usage), containers=("worker",))


def steady_churn(fleet: Fleet, *, policy: str, steps: int, random: Random) -> dict[str, float]:
    """Pods come and go; figures of the decisions, in milliseconds, the fleet's update after each included."""
    chosen = Policies().named(policy)
    running: list[tuple[str, str]] = []
    times = []
    placed = 0
    for step in range(steps):
        if len(running) > steps // 4:
            fleet.forget(*running.pop(random.randrange(len(running))))
        demand = demand_of(random)
        start = time.thread_time()
        found = place(fleet, demand, chosen)
        if isinstance(found, Placement):
            allocation = Allocation(id=f"new-{step}", node=found.node, containers=found.containers)
            grant = Grant(allocation=allocation, namespace="team", pod=f"new-{step}", granted=GRANTED)
            fleet.assume(grant, demand.shape.usage, shape=demand.shape)
            running.append((found.node, allocation.id))
            placed += 1
        else:
            fleet.observe(demand.shape)
        times.append(1e3 * (time.thread_time() - start))
    return {
        "decisions": steps,
        "placed": placed,
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "max_ms": max(times),
        "decisions_per_s": 1e3 * steps / sum(times),
    }


def main() -> int:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(prog="bench-scale", description="Carry a large cluster.")
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--gpus", type=int, default=8, help="per node")
    parser.add_argument("--pods", type=int, default=100_000)
    parser.add_argument("--policy", default="foresight", choices=Policies().names())
    parser.add_argument("--decisions", type=int, default=4_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    fleet, seconds = cold_start(arguments.nodes, arguments.gpus, arguments.pods)
    # As a server should once it has read the cluster: or the collector walks through all of it now and then.
    gc.freeze()
    figures: dict[str, Any] = {
        "nodes": arguments.nodes,
        "gpus": arguments.gpus,
        "pods": arguments.pods,
        "policy": arguments.policy,
        "cold_start_s": seconds,
    }
    figures |= steady_churn(fleet, policy=arguments.policy, steps=arguments.decisions, random=Random(0))
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:16} {value:.3f}" if isinstance(value, float) else f"{name:16} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
