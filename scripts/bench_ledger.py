"""What the ledgers bear: a burst of pods over several webhook replicas, on one node and on many; and a killed leader.

The replicas are processes of `vramshare webhook`, reached by the API server over TLS at one address, as behind a
Service. The API server is the embedded one, or that of --kubeconfig, which must be able to reach this machine under
--host; there everything is made under names with `vramshare-bench` in them, and removed in the end.

--failover kills the leader with SIGKILL while pods wait and others are being created.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_admission import OPTED_IN, OURS, keep_alive, registration, wait_for
from bench_admission import Plan as Agents
from bench_replicas import Replica, Replicas, kill, start_api

from allocator.api import names
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.kube import (
    CONFIGMAPS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    NODES,
    PODS,
    AlreadyExistsError,
    Client,
    KubeError,
    KubeSettings,
)

SYSTEM = names.DEFAULT_NAMESPACE
SLICES_PER_GPU = 8
GPU_MIB = 16384
_WRITTEN, _CONFLICT = (f'vramshare_ledger_writes_total{{result="{result}"}}' for result in ("written", "conflict"))


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        pods: in a burst.
        nodes: of the second burst; the first has one.
        replicas: of the webhook.
        namespaces: over which the pods are spread.
        concurrency: create requests under way at a time.
        kubeconfig: of a real cluster; None: the embedded one.
        host: where the API server finds this machine.
        folder: for logs; None: a temporary one.
    """

    pods: int
    nodes: int
    replicas: int
    namespaces: int
    concurrency: int
    kubeconfig: Path | None
    host: str
    folder: Path | None


@dataclass
class Stage:
    """A cluster with its replicas."""

    client: Client
    replicas: Replicas
    plan: Plan
    made: list[tuple[Any, str, str]] = field(default_factory=list)

    async def create(self, resource: Any, body: dict[str, Any], *, namespace: str = "") -> None:
        """Make an object, and remember to remove it."""
        name = body["metadata"]["name"]
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        with suppress(AlreadyExistsError):
            await self.client.create(resource, body, namespace=namespace)
            self.made.append((resource, name, namespace))

    async def strike(self) -> None:
        """Remove what was made, last first."""
        for resource, name, namespace in reversed(self.made):
            with suppress(KubeError):
                await self.client.delete(resource, name, namespace=namespace)
        self.made.clear()

    async def furnish(self, *, nodes: int, gpus: int) -> None:
        """Namespaces, nodes, inventories."""
        await self.create(NAMESPACES, {"metadata": {"name": SYSTEM}})
        for at in range(self.plan.namespaces):
            await self.create(NAMESPACES, {"metadata": {"name": namespace(at), "labels": {"bench": OURS, **OPTED_IN}}})
        for number in range(nodes):
            node = f"gpu-{number:03}"
            status = {
                "allocatable": {"cpu": "1024", "memory": "4096Gi", "pods": "5000"},
                "conditions": [{"type": "Ready", "status": "True"}],
            }
            await self.create(NODES, {"metadata": {"name": node}, "status": status})
            found = tuple(
                Gpu(uuid=f"GPU-{number:03}-{at:03}", index=at, model="Tesla T4", memory=Memory.mib(GPU_MIB))
                for at in range(gpus)
            )
            inventory = Inventory(node=node, gpus=found, interposer=f"{names.LIBRARY_DIR}/libvramshare-bench.so")
            metadata = {"name": names.inventory_name(node), "labels": {names.KIND_LABEL: names.KIND_INVENTORY}}
            await self.create(CONFIGMAPS, {"metadata": metadata, "data": inventory.to_data()}, namespace=SYSTEM)

    async def pods(self) -> list[Mapping[str, Any]]:
        """The pods of the benchmark."""
        found = []
        for at in range(self.plan.namespaces):
            found += (await self.client.list(PODS, namespace=namespace(at)))[0]
        return found

    async def placed(self) -> int:
        """How many have their grant."""
        ids = {annotation(one, names.ALLOCATION_ID) for one in await self.pods()}
        return len(ids - {""})


def namespace(at: int) -> str:
    """One of those that pods are spread over."""
    return f"vramshare-bench-{at}"


def annotation(pod: Mapping[str, Any], name: str) -> str:
    """One annotation of a pod; empty where it is not there."""
    return str((pod["metadata"].get("annotations") or {}).get(name, ""))


def pod(name: str, *, mib: int = GPU_MIB // SLICES_PER_GPU) -> dict[str, Any]:
    """A pod that asks for a slice."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {names.MEMORY: f"{mib}Mi"}},
        "spec": {"containers": [{"name": "worker", "image": "cuda", "command": ["train"]}]},
    }


@dataclass
class Creates:
    """What came of many creates.

    Attributes:
        seconds: that each took, attempts that failed included.
        refused: why attempts failed that succeeded later, as a controller's do.
    """

    seconds: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    async def create(self, client: Client, name: str, where: str, *, mib: int = GPU_MIB // SLICES_PER_GPU) -> None:
        """Create a pod, again until it is there."""
        started = time.perf_counter()
        while True:
            try:
                await client.create(PODS, pod(name, mib=mib), namespace=where)
            except AlreadyExistsError:
                break
            except KubeError as reason:
                self.refused.append(str(reason))
                await asyncio.sleep(0.05)
            else:
                break
        self.seconds.append(time.perf_counter() - started)

    def told(self) -> str:
        """Quantiles, in milliseconds."""
        order = sorted(self.seconds)
        p50, p99 = (order[min(len(order) - 1, int(share * len(order)))] * 1000 for share in (0.5, 0.99))
        return f"admission p50 {p50:.0f} ms, p99 {p99:.0f} ms"


async def burst(stage: Stage, *, nodes: int) -> None:
    """All pods at once; prints what it took."""
    plan, replicas = stage.plan, stage.replicas
    before = {name: await replicas.total(name) for name in (_WRITTEN, _CONFLICT)}
    creates, numbers = Creates(), iter(range(plan.pods))
    started = time.perf_counter()

    async def worker() -> None:
        for number in numbers:
            await creates.create(stage.client, f"p{number}", namespace(number % plan.namespaces))

    await asyncio.gather(*(worker() for _ in range(plan.concurrency)))
    admitted, at_once = time.perf_counter() - started, await stage.placed()
    await wait_for("all pods to be placed", lambda: _all_placed(stage))
    took = time.perf_counter() - started if at_once < plan.pods else admitted
    after = {name: await replicas.total(name) for name in (_WRITTEN, _CONFLICT)}
    writes, conflicts = (after[name] - before[name] for name in (_WRITTEN, _CONFLICT))
    await check(stage)
    print(
        f"burst on {nodes} node{'s' if nodes > 1 else ''}: {plan.pods} of {plan.pods} pods placed by {plan.replicas} "
        f"replicas, {plan.pods - at_once} of them through the queue; {plan.pods / took:.0f} grants/s; "
        f"{writes / plan.pods:.2f} ledger writes per grant, {conflicts:.0f} conflicts; {creates.told()}; "
        f"{len(creates.refused)} creates repeated",
        flush=True,
    )


async def _all_placed(stage: Stage) -> bool:
    return await stage.placed() == stage.plan.pods


async def check(stage: Stage) -> None:
    """No GPU is given away twice, and every pod's grant stands in a ledger."""
    ledgers, _ = await stage.client.list(CONFIGMAPS, namespace=SYSTEM, labels=f"{names.KIND_LABEL}={names.KIND_LEDGER}")
    held = {key: text for ledger in ledgers for key, text in (ledger.get("data") or {}).items()}
    slices: dict[str, int] = {}
    for text in held.values():
        uuid = text.partition("slice: ")[2].split()[1]
        slices[uuid] = slices.get(uuid, 0) + 1
    if missing := {annotation(one, names.ALLOCATION_ID) for one in await stage.pods()} - held.keys():
        raise SystemExit(f"not in any ledger: {sorted(missing)}")
    if crowded := [uuid for uuid, count in slices.items() if count > SLICES_PER_GPU]:
        raise SystemExit(f"given away twice: {crowded}")


async def failover(stage: Stage) -> None:
    """Kill the leader while one pod waits for another one's GPU, and pods are being created all the time."""
    plan, client = stage.plan, stage.client
    creates, number, ended = Creates(), 0, asyncio.Event()
    await creates.create(client, "holder", namespace(0), mib=GPU_MIB)
    for at in range(plan.pods):  # nothing is left for a whole GPU
        await creates.create(client, f"filler-{at}", namespace(at % plan.namespaces), mib=GPU_MIB // 4 * 3)
    await creates.create(client, "waiting", namespace(0), mib=GPU_MIB)
    leader = await stage.replicas.leader()
    if leader is None or await _granted(client, "waiting"):
        raise SystemExit("the stage is not set: no leader, or nothing to wait for")
    during = Creates()

    async def crowd() -> None:
        nonlocal number
        while not ended.is_set():
            number += 1
            await during.create(client, f"crowd-{number}", namespace(number % plan.namespaces), mib=16)
            await asyncio.sleep(0.05)

    creating = asyncio.create_task(crowd())
    await asyncio.sleep(1)
    took, elected = await _taken_over(stage, leader)
    ended.set()
    await creating
    print(
        f"failover: {elected:.1f} s from kill -9 of the leader to the next leader, {took:.1f} s to the first queued "
        f"placement; meanwhile {len(during.seconds)} of {number} creates admitted, {during.told()}, "
        f"{len(during.refused)} of them at the second attempt",
        flush=True,
    )


async def _taken_over(stage: Stage, leader: Replica) -> tuple[float, float]:
    """Seconds from the leader's death to the first placement from the queue, and to the next leader."""
    kill(leader)
    started = time.perf_counter()
    await stage.client.delete(PODS, "holder", namespace=namespace(0))
    await wait_for("the next leader", stage.replicas.led)
    elected = time.perf_counter() - started
    await wait_for("the first queued placement", lambda: _granted(stage.client, "waiting"))
    return time.perf_counter() - started, elected


async def _granted(client: Client, name: str) -> bool:
    found = await client.get(PODS, name, namespace=namespace(0))
    return annotation(found, names.STATUS) == names.STATUS_ALLOCATED


async def staged(plan: Plan, *, nodes: int, gpus: int, show: Any) -> None:
    """Set a stage, show something on it, and strike it."""
    async with AsyncExitStack() as later:
        stack = later.enter_context(ExitStack())
        parent = plan.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{nodes}-nodes-", dir=parent))
        kubeconfig = plan.kubeconfig or await start_api(stack, folder)
        client = await later.enter_async_context(Client(KubeSettings(kubeconfig=kubeconfig)))
        replicas = Replicas(stack, folder, host=plan.host)
        stage = Stage(client=client, replicas=replicas, plan=plan)
        later.push_async_callback(stage.strike)
        await stage.furnish(nodes=nodes, gpus=gpus)
        agents = asyncio.create_task(keep_alive(client, Agents(pods=0, concurrency=0, rounds=0, nodes=nodes)))
        later.callback(agents.cancel)
        await replicas.start(plan.replicas, kubeconfig)
        server = await replicas.serve()
        later.callback(server.close)
        hook = registration(OURS, port=replicas.port, ca=replicas.ca)
        hook["webhooks"][0]["clientConfig"]["url"] = f"https://{plan.host}:{replicas.port}/mutate"
        hook["metadata"]["name"] = "vramshare-bench"
        await stage.create(MUTATING_WEBHOOKS, hook)
        await show(stage)


async def run(plan: Plan, *, fail: bool) -> None:
    """Everything that is asked for."""
    if fail:
        gpus = plan.pods + 1
        await staged(plan, nodes=1, gpus=gpus, show=failover)
        return
    needed = -(-plan.pods // SLICES_PER_GPU) + 1
    await staged(plan, nodes=1, gpus=needed, show=lambda stage: burst(stage, nodes=1))
    each = -(-needed // plan.nodes)
    await staged(plan, nodes=plan.nodes, gpus=each, show=lambda stage: burst(stage, nodes=plan.nodes))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=500, help="pods in a burst; with --failover: GPUs in use")
    parser.add_argument("--nodes", type=int, default=100, help="GPU nodes of the second burst")
    parser.add_argument("--replicas", type=int, default=3, help="of the webhook")
    parser.add_argument("--namespaces", type=int, default=10, help="over which the pods are spread")
    parser.add_argument("--concurrency", type=int, default=60, help="creates under way at a time")
    parser.add_argument("--failover", action="store_true", help="kill the leader instead")
    parser.add_argument("--kubeconfig", type=Path, help="of a real cluster; default: the embedded API server")
    parser.add_argument("--host", default="127.0.0.1", help="where the API server finds this machine")
    parser.add_argument("--folder", type=Path, help="for logs; default: a temporary one")
    chosen = vars(parser.parse_args())
    fail = chosen.pop("failover")
    asyncio.run(run(Plan(**chosen), fail=fail))


if __name__ == "__main__":
    main()
