"""The embedded API server with one GPU node, and a client for it."""

from pathlib import Path

import pytest
from devcluster.apiserver import ApiServer

from allocator.api import names
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.kube import CONFIGMAPS, NAMESPACES, NODES, Client, KubeSettings, SystemClock, renew

INVENTORY = Inventory(
    node="gpu-1",
    gpus=tuple(Gpu(uuid=f"GPU-{at}", index=at, model="Tesla T4", memory=Memory.mib(16000)) for at in range(2)),
    interposer="/opt/vramshare/libvramshare-1.so",
)


@pytest.fixture
async def kubeconfig(tmp_path: Path):
    """A kubeconfig for a running API server."""
    async with ApiServer(folder=tmp_path) as server:
        path = tmp_path / "kubeconfig"
        server.write_kubeconfig(path)
        yield path


@pytest.fixture
async def client(kubeconfig: Path):
    """A session, after the cluster was furnished."""
    async with Client(KubeSettings(kubeconfig=kubeconfig)) as session:
        system = names.DEFAULT_NAMESPACE
        await session.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": system}})
        await session.create(
            NODES,
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": "gpu-1"},
                "status": {
                    "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"},
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            },
        )
        metadata = {"name": names.inventory_name("gpu-1"), "labels": {names.KIND_LABEL: names.KIND_INVENTORY}}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": INVENTORY.to_data()}
        await session.create(CONFIGMAPS, body, namespace=system)
        lease, now = names.agent_lease_name("gpu-1"), SystemClock().now()
        await renew(session, namespace=system, name=lease, holder="gpu-1", seconds=60, now=now)
        yield session
