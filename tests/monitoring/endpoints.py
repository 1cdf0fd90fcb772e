"""Starts both endpoints and gives them something to tell."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from devcluster.apiserver import ApiServer

from allocator.agent.sample import AgentSample, ContainerSample, GpuSample, Latest, Sample, SliceSample
from allocator.agent.show import MetricsSettings, showing
from allocator.api import names
from allocator.api.inventory import Gpu, Inventory
from allocator.api.isolation import Isolation
from allocator.api.quantities import Memory
from allocator.controller import AllocatorSettings
from allocator.kube import CONFIGMAPS, NAMESPACES, NODES, PODS, Client, KubeSettings, SystemClock, renew
from webhook.command import serve
from webhook.server import Addresses
from webhook.settings import ServerSettings, TlsSettings, WebhookSettings

LOCAL = "127.0.0.1"
NODE, GPU, MODEL = "gpu-1", "GPU-00000000-0000-4000-8000-000000000001", "Tesla T4"
GIB = 1 << 30
INVENTORY = Inventory(
    node=NODE,
    gpus=(Gpu(uuid=GPU, index=0, model=MODEL, memory=Memory(16 * GIB), reserve=Memory(GIB)),),
    interposer="/opt/vramshare/libvramshare-1.so",
)
SLICE = SliceSample(
    uuid=GPU, limit=2 * GIB, used=GIB, peak=GIB, overhead=GIB // 4, host=GIB, refused=3, cores=0.25, time_used=12.5
)
TRAINER = ContainerSample(
    namespace="team",
    pod="trainer",
    uid="u1",
    container="main",
    state=Isolation.ISOLATED,
    slices=(SLICE,),
    processes=1,
)
SAMPLE = Sample(
    node=NODE,
    at=datetime.now(UTC),
    gpus=(
        GpuSample(
            uuid=GPU,
            index=0,
            model=MODEL,
            total=16 * GIB,
            used=2 * GIB,
            free=13 * GIB,
            reserve=GIB,
            slices=1,
            utilisation=0.5,
            temperature=61.0,
            power=70.5,
        ),
    ),
    containers=(TRAINER, replace(TRAINER, pod="rogue", uid="u2", state=Isolation.VIOLATED)),
    agent=AgentSample(usable=True, driver="580.1", ledger_known=True, looks=7, failures=1, look_seconds=0.01),
)


@dataclass(frozen=True)
class Endpoints:
    """Running endpoints.

    Attributes:
        webhook: port of the webhook's metrics.
        agent: port of the agent's.
        latest: what the agent tells next.
    """

    webhook: int
    agent: int
    latest: Latest

    async def text(self, port: int) -> str:
        """What a scrape gets."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{LOCAL}:{port}/metrics") as answer:
            assert answer.status == 200
            return await answer.text()


@asynccontextmanager
async def endpoints(folder: Path, *, hami: bool = True) -> AsyncIterator[Endpoints]:
    """Start both; stop both when left."""
    async with ApiServer(folder=folder / "cluster") as cluster:
        kubeconfig = folder / "kubeconfig"
        cluster.write_kubeconfig(kubeconfig)
        kube = KubeSettings(kubeconfig=kubeconfig)
        async with Client(kube) as client:
            await furnish(client)
        latest, ports = Latest(SAMPLE), asyncio.Queue[int]()
        settings = MetricsSettings(host=LOCAL, port=0, hami=hami)
        async with (
            webhook(kube, folder / "certificates", hami=hami) as at,
            showing(latest, settings, clock=SystemClock(), listening=ports.put_nowait),
        ):
            await busy(at)
            yield Endpoints(webhook=at.metrics_port, agent=await ports.get(), latest=latest)


async def furnish(client: Client) -> None:
    """A cluster with one GPU node, whose agent lives."""
    system = names.DEFAULT_NAMESPACE
    limits = {names.QUOTA_MEMORY: "8Gi", names.QUOTA_CORES: "100", names.QUOTA_GPUS: "4"}
    for namespace, annotations in ((system, {}), ("team", {}), ("lab", limits)):
        metadata = {"name": namespace, "annotations": annotations}
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    status = {
        "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "status": status})
    queued = asking("100Gi") | {
        "metadata": {"name": "waits", "annotations": {names.memory_annotation("main"): "100Gi"}}
    }
    queued["spec"]["schedulingGates"] = [{"name": names.GATE}]
    await client.create(PODS, queued, namespace="lab")
    metadata = {"name": names.inventory_name(NODE), "labels": {names.KIND_LABEL: names.KIND_INVENTORY}}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": INVENTORY.to_data()}
    await client.create(CONFIGMAPS, body, namespace=system)
    lease = names.agent_lease_name(NODE)
    await renew(client, namespace=system, name=lease, holder=NODE, seconds=600, now=SystemClock().now())


@asynccontextmanager
async def webhook(kube: KubeSettings, folder: Path, *, hami: bool) -> AsyncIterator[Addresses]:
    """The webhook's process, but for its main function."""
    tls = TlsSettings(folder=folder, names=(LOCAL,))
    server = ServerSettings(host=LOCAL, port=0, metrics_host=LOCAL, metrics_port=0, drain_seconds=0, tls=tls)
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    allocating = AllocatorSettings(kube=kube, hami_metrics=hami)
    running = asyncio.create_task(
        serve(WebhookSettings(server=server), allocating, stop, listening=listening.set_result)
    )
    try:
        yield await asyncio.wait_for(listening, timeout=60)
    finally:
        stop.set()
        await running


async def busy(at: Addresses) -> None:
    """The webhook grants a pod once it leads, and refuses another."""
    assert at.ca_bundle is not None
    trust = ssl.create_default_context(cadata=at.ca_bundle.decode())
    async with aiohttp.ClientSession() as session:

        async def post(pod: dict[str, Any]) -> dict[str, Any]:
            async with session.post(f"https://{LOCAL}:{at.port}/mutate", json=review(pod), ssl=trust) as answer:
                response: dict[str, Any] = (await answer.json())["response"]
                return response

        async def metrics() -> str:
            async with session.get(f"http://{LOCAL}:{at.metrics_port}/metrics") as answer:
                return await answer.text()

        async with asyncio.timeout(60):
            while "vramshare_leading 1.0" not in await metrics():  # noqa: ASYNC110 - seen from without, as it will be
                await asyncio.sleep(0.05)
        assert (await post(asking("2Gi")))["allowed"]
        assert not (await post(asking("2 gigs")))["allowed"]


def asking(memory: str) -> dict[str, Any]:
    """A pod that asks for a slice."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trainer", "annotations": {names.MEMORY: memory, names.CORES: "25"}},
        "spec": {"containers": [{"name": "main", "image": "trainer"}]},
    }


def review(pod: dict[str, Any]) -> dict[str, Any]:
    """What an API server asks about a new pod."""
    request = {
        "uid": "u-1",
        "operation": "CREATE",
        "kind": {"kind": "Pod"},
        "resource": {"group": ""},
        "namespace": "team",
        "object": pod,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
