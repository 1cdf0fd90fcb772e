"""What a scrape costs: the agent's of a full node, and the leader's of a fleet, over HTTP on this machine.

`agent_row` and `leader_row` measure one each; `scripts/bench-agent` calls the first among its own rows. By itself:

    PYTHONPATH=.:scripts .venv/bin/python scripts/bench_scrape.py --containers 200 --nodes 1213

Times are of the whole: request, text, compression, answer, as a Prometheus asks. `loop` is how long the event loop,
which in the webhook has pods to admit, was kept from other work by the reading of values.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median

import aiohttp
from aiohttp import web

from allocator.agent.metrics import agent_registry
from allocator.agent.sample import AgentSample, ContainerSample, GpuSample, Latest, Sample, SliceSample
from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.isolation import Isolation
from allocator.api.quantities import Memory
from allocator.controller.metrics import Metrics
from allocator.controller.scene import NodeScene, Scene
from allocator.core.fleet import Fleet
from allocator.core.fragmentation import by_gpu, by_model
from allocator.core.nodes import NodeInfo
from allocator.core.resources import Usage
from allocator.exposition import exposed, metrics_app, new_registry

LOCAL = "127.0.0.1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Cost:
    """Of scrapes.

    Attributes:
        middle, worst: seconds of a scrape.
        cpu: seconds of processor time of one, the client's included.
        loop: seconds that the event loop was kept, at worst.
        series: told.
        sent: bytes on the wire.
    """

    middle: float
    worst: float
    cpu: float
    loop: float
    series: int
    sent: int


def sample_of(containers: int, gpus: int) -> Sample:
    """A node on which everything is in use."""
    uuids = [f"GPU-{at:08x}-0000-4000-8000-{at:012x}" for at in range(gpus)]
    part = SliceSample(
        uuid="", limit=2 * GIB, used=GIB, peak=GIB, overhead=GIB // 4, host=GIB, cores=0.25, time_used=9.5
    )
    return Sample(
        node="gpu-node-0001",
        at=NOW,
        gpus=tuple(
            GpuSample(uuid, at, "NVIDIA L40S", 48 * GIB, 40 * GIB, 8 * GIB, utilisation=0.9, temperature=60, power=300)
            for at, uuid in enumerate(uuids)
        ),
        containers=tuple(
            ContainerSample(
                namespace=f"team-{at % 20}",
                pod=f"inference-7d4b9c6f5b-{at:05x}",
                uid=f"uid-{at}",
                container="server",
                state=Isolation.ISOLATED,
                slices=(replace(part, uuid=uuids[at % gpus]),),
                processes=2,
            )
            for at in range(containers)
        ),
        agent=AgentSample(usable=True, driver="580.1"),
    )


def fleet_of(nodes: int, gpus: int, slices: int) -> Fleet:
    """Nodes with so many GPUs each, and so many slices on each GPU."""
    fleet = Fleet()
    for at in range(nodes):
        node = f"node-{at:05d}"
        found = tuple(
            Gpu(
                uuid=f"GPU-{at:08x}-0000-4000-8000-{number:012x}",
                index=number,
                model="NVIDIA L40S",
                memory=Memory(48 * GIB),
            )
            for number in range(gpus)
        )
        fleet.apply_node(NodeInfo(name=node, labels={}, taints=(), allocatable=Usage(256_000, 1 << 40), pods=250))
        fleet.apply_inventory(Inventory(node=node, gpus=found, interposer="/opt/vramshare/lib.so"))
        fleet.apply_grants(
            node,
            [
                Grant(
                    allocation=Allocation(
                        id=f"g-{at}-{gpu.index}-{number}",
                        node=node,
                        containers={"server": (Slice(uuid=gpu.uuid, memory=Memory(8 * GIB), cores=10),)},
                    ),
                    namespace=f"team-{(at + number) % 40}",
                    pod=f"inference-{at}-{gpu.index}-{number}",
                    granted=NOW,
                )
                for gpu in found
                for number in range(slices)
            ],
        )
    return fleet


async def scraped(app: web.Application, *, rounds: int, kept: Callable[[], float] = lambda: 0.0) -> Cost:
    """Scrape so often, with a first round that does not count."""
    times, loops, body, sent = [], [0.0], "", 0
    async with exposed(app, host=LOCAL, port=0) as port, aiohttp.ClientSession() as session:
        for at in range(rounds + 1):
            if at == 1:
                cpu = time.process_time()
            started = time.perf_counter()
            async with session.get(f"http://{LOCAL}:{port}/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
                body = await answer.text()
                sent = int(answer.headers["Content-Length"])
            if at:
                times.append(time.perf_counter() - started)
                loops.append(kept())
            # Whoever asks again sooner is given the same answer.
            await asyncio.sleep(2 * (time.perf_counter() - started))
    cpu = (time.process_time() - cpu) / rounds
    series = sum(1 for line in body.splitlines() if not line.startswith("#"))
    return Cost(median(times), max(times), cpu, max(loops), series, sent)


async def agent_row(*, containers: int = 200, gpus: int = 8, rounds: int = 20) -> Cost:
    """The agent of a node with so many containers."""
    return await scraped(metrics_app(agent_registry(Latest(sample_of(containers, gpus)))), rounds=rounds)


async def leader_row(*, nodes: int, gpus: int = 5, slices: int = 4, rounds: int = 5) -> Cost:
    """The leading webhook of a fleet."""
    fleet = fleet_of(nodes, gpus, slices)
    registry = new_registry("webhook")
    metrics = Metrics(registry)
    taken = 0.0

    def scene() -> Scene:
        return Scene(
            now=NOW + timedelta(hours=1),
            leading=True,
            nodes=[NodeScene.of(node) for node in fleet.nodes()],
            fragmentation=by_model(fleet.table),
            stranded=by_gpu(fleet.table),
        )

    def prepare() -> None:
        nonlocal taken
        started = time.perf_counter()
        metrics.prepare()
        taken = time.perf_counter() - started

    metrics.follow(scene=scene, queued=lambda: 0.0, ready=lambda: True, ages={})
    return await scraped(metrics_app(registry, prepare=prepare), rounds=rounds, kept=lambda: taken)


def shown(what: str, cost: Cost) -> str:
    """One line of the report."""
    return (
        f"{what}: {cost.middle * 1000:.0f} ms (worst {cost.worst * 1000:.0f}), {cost.cpu * 1000:.0f} ms of CPU, "
        f"event loop kept for {cost.loop * 1000:.1f} ms, {cost.series} series, {cost.sent / 1024:.0f} KiB sent"
    )


def main(argv: list[str]) -> int:
    """Measure both."""
    parser = argparse.ArgumentParser(description="what a scrape of the metrics costs")
    parser.add_argument("--containers", type=int, default=200, help="on the agent's node")
    parser.add_argument("--nodes", type=int, default=1213, help="of the leader's fleet, with five GPUs each")
    args = parser.parse_args(argv)
    print(shown(f"agent, {args.containers} containers", asyncio.run(agent_row(containers=args.containers))))
    print(shown(f"leader, {args.nodes} nodes", asyncio.run(leader_row(nodes=args.nodes))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
