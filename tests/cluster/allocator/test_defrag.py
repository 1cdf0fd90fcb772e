"""`vramshare defrag` against an API server."""

import asyncio
import json
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from allocator.api.allocation import Allocation, Slice, result_annotations
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.names import DEFAULT_NAMESPACE, KIND_INVENTORY, KIND_LABEL, agent_lease_name, inventory_name
from allocator.api.quantities import Memory
from allocator.cli.defrag import Defrag
from allocator.core.ledger import Ledger, ledger_object
from allocator.kube import CONFIGMAPS, NODES, PODS, Client, SystemClock, renew

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r1", "controller": True}


async def second_node(client: Client) -> None:
    """Another node, with one GPU."""
    now = SystemClock().now()
    inventory = Inventory(
        node="gpu-2",
        gpus=(Gpu(uuid="GPU-9", index=0, model="Tesla T4", memory=Memory.mib(16000)),),
        interposer="/opt/vramshare/libvramshare-1.so",
    )
    node = await client.get(NODES, "gpu-1")
    await client.create(NODES, {**node, "metadata": {"name": "gpu-2"}})
    metadata = {"name": inventory_name("gpu-2"), "labels": {KIND_LABEL: KIND_INVENTORY}}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": inventory.to_data()}
    await client.create(CONFIGMAPS, body, namespace=DEFAULT_NAMESPACE)
    name = agent_lease_name("gpu-2")
    await renew(client, namespace=DEFAULT_NAMESPACE, name=name, holder="gpu-2", seconds=60, now=now)


async def hold(client: Client, node: str, sizes: dict[str, tuple[str, int]]) -> None:
    """Pods with grants on a node: name to GPU and MiB."""
    grants: dict[str, Grant] = {}
    for name, (gpu, size) in sizes.items():
        one = Slice(uuid=gpu, memory=Memory.mib(size))
        allocation = Allocation(id=name, node=node, containers={"main": (one,)})
        grants[name] = Grant(allocation=allocation, namespace="default", pod=name, granted=datetime.now(UTC))
        inventory = Inventory(node=node, gpus=(), interposer="/opt/vramshare/lib.so")
        annotations = result_annotations(allocation, inventory=inventory, preloads={})
        annotations["vramshare.io/memory"] = f"{size}Mi"
        pod: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "annotations": annotations, "ownerReferences": [OWNER]},
            "spec": {"nodeName": node, "containers": [{"name": "main", "image": "i"}]},
        }
        await client.create(PODS, pod, namespace="default")
    ledger = Ledger(node=node, data={key: grant.to_text() for key, grant in grants.items()}, grants=grants)
    await client.create(CONFIGMAPS, ledger_object(ledger, namespace=DEFAULT_NAMESPACE), namespace=DEFAULT_NAMESPACE)


async def defrag(kubeconfig: Path, *arguments: str) -> int:
    """Run the subcommand as the console script does, on a thread: it has a loop of its own."""
    parser = ArgumentParser()
    command = Defrag()
    command.add_arguments(parser)
    parsed = parser.parse_args([*arguments, "--kubeconfig", str(kubeconfig)])
    return await asyncio.to_thread(command.run, parsed)


@pytest.mark.parametrize("apply", [False, True])
async def test_one_eviction_admits_a_pod(
    client: Client, kubeconfig: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, apply: bool
) -> None:
    """The smallest pod that can go elsewhere is advised; it is evicted only where that is asked for."""
    await second_node(client)
    await hold(client, "gpu-1", {"a": ("GPU-0", 9000), "b": ("GPU-1", 9500)})
    await hold(client, "gpu-2", {"c": ("GPU-9", 7000)})
    manifest = tmp_path / "pod.json"
    wanted = {
        "kind": "Pod",
        "metadata": {"annotations": {"vramshare.io/memory": "12000Mi"}},
        "spec": {"containers": [{"name": "main", "image": "i"}]},
    }
    manifest.write_text(json.dumps(wanted))
    assert await defrag(kubeconfig, "-f", str(manifest), "-o", "json", *(["--apply"] if apply else [])) == 0
    answer = json.loads(capsys.readouterr().out)
    [eviction] = answer["evictions"]
    assert (eviction["pod"], eviction["fits_on"], answer["node"]) == ("a", "gpu-2", "gpu-1")
    left = {
        pod["metadata"]["name"] for pod in (await client.list(PODS))[0] if not pod["metadata"].get("deletionTimestamp")
    }
    assert left == ({"b", "c"} if apply else {"a", "b", "c"})
