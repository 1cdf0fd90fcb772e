"""The agent against a real API over TLS: the embedded cluster's."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from devcluster.cluster import Cluster
from devcluster.nodes import NodeSpec

from allocator.agent.agent import Pace
from allocator.agent.serve import serve
from allocator.agent.settings import AgentSettings
from allocator.api import names
from allocator.api.inventory import Inventory, Strategy
from allocator.kube import CONFIGMAPS, LEASES, NAMESPACES, Client, KubeSettings
from allocator.kube.errors import NotFoundError

GPUS = "[GPU-00000000-0000-4000-8000-000000000001]\nmodel = Tesla T4\nmemory = 16Gi\n"


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    """An agent of a simulated node whose description does not exist yet."""
    source = tmp_path / "interposer.c"
    source.write_text("int vramshare_test = 1;\n")
    library = tmp_path / "libvramshare.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)  # noqa: S603, S607 - our own source
    return AgentSettings(
        node="gpu-1",
        namespace=names.DEFAULT_NAMESPACE,
        interposer=library,
        host_dir=tmp_path / "host",
        host_root=tmp_path,
        strategy=None,
        simulate=tmp_path / "gpus.ini",
        kube=KubeSettings(kubeconfig=tmp_path / "cluster" / "kubeconfig"),
        pace=Pace(turn=0.1),
    )


async def test_publishes_a_node_once_it_has_gpus(settings: AgentSettings, tmp_path: Path) -> None:
    """Nothing before a driver appears; then inventory, Lease and an interposer that the inventory names."""
    stop = asyncio.Event()
    async with (
        Cluster(dir=tmp_path / "cluster", nodes=[NodeSpec(name="gpu-1", kubelet=False)]),
        Client(settings.kube) as client,
    ):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": settings.namespace}}
        await client.create(NAMESPACES, namespace)
        agent = asyncio.create_task(serve(settings, stop))
        with pytest.raises(NotFoundError):
            await client.get(CONFIGMAPS, names.inventory_name("gpu-1"), namespace=settings.namespace)
        assert settings.simulate is not None
        settings.simulate.write_text(GPUS)
        found = await published(client, settings)
        lease = await client.get(LEASES, names.agent_lease_name("gpu-1"), namespace=settings.namespace)
        stop.set()
        await asyncio.wait_for(agent, timeout=30)
    inventory = Inventory.from_data(found["data"])
    assert inventory.usable
    assert inventory.strategy is Strategy.ENV
    assert [gpu.model for gpu in inventory.gpus] == ["Tesla T4"]
    assert (settings.host_dir / Path(inventory.interposer).name).read_bytes() == settings.interposer.read_bytes()
    assert lease["spec"]["holderIdentity"] == "gpu-1"


async def published(client: Client, settings: AgentSettings) -> dict[str, object]:
    """The inventory, as soon as it is there."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await client.get(CONFIGMAPS, names.inventory_name("gpu-1"), namespace=settings.namespace)
            except NotFoundError:
                await asyncio.sleep(0)
