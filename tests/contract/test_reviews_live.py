"""The webhook with a real allocator behind an API server, as a user of kubectl meets it."""

import argparse
import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from devcluster.cluster import Cluster
from devcluster.nodes import NodeSpec

from allocator.api import names
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from webhook.command import add_arguments, allocator_settings_of, serve, settings_of
from webhook.server import Addresses

NODE = "gpu-node"
ACCOUNT = "vramshare-webhook"
INVENTORY = Inventory(
    node=NODE,
    gpus=(Gpu(uuid="GPU-1", index=0, model="Tesla T4", memory=Memory.mib(16384)),),
    interposer="/opt/vramshare/libvramshare-test.so",
)


@dataclass(frozen=True)
class User:
    """Somebody with kubectl."""

    kubeconfig: str

    async def __call__(self, *argv: str, given: Any = None) -> str:
        """Run kubectl, with an object on its input; what it printed. Fails as kubectl does."""
        process = await asyncio.create_subprocess_exec(
            *("kubectl", "--kubeconfig", self.kubeconfig, *argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(json.dumps(given).encode() if given is not None else None)
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def pod(self, name: str) -> dict[str, Any]:
        """A pod of the team."""
        found: dict[str, Any] = json.loads(await self("-n", "team", "get", "pod", name, "-o", "json"))
        return found


def registration(at: Addresses) -> dict[str, Any]:
    """The webhook as the API server calls it."""
    assert at.ca_bundle is not None
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "vramshare"},
        "webhooks": [
            {
                "name": "pods.vramshare.io",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": f"https://127.0.0.1:{at.port}/mutate",
                    "caBundle": base64.b64encode(at.ca_bundle).decode(),
                },
                "rules": [rule],
                "namespaceSelector": {"matchLabels": {names.INJECT_LABEL: names.INJECT_ENABLED}},
                "sideEffects": "NoneOnDryRun",
                "reinvocationPolicy": "IfNeeded",
            }
        ],
    }


def objects() -> list[dict[str, Any]]:
    """What an agent would have written, and the team's namespace."""
    renewed = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    system = {"namespace": names.DEFAULT_NAMESPACE}
    kind = {names.KIND_LABEL: names.KIND_INVENTORY, names.PART_OF_LABEL: names.PART_OF}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.DEFAULT_NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "team", "labels": {names.INJECT_LABEL: names.INJECT_ENABLED}},
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, **system}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": names.inventory_name(NODE), "labels": kind, **system},
            "data": INVENTORY.to_data(),
        },
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": names.agent_lease_name(NODE), **system},
            "spec": {"holderIdentity": NODE, "leaseDurationSeconds": 60, "renewTime": renewed},
        },
    ]


async def account(user: User, folder: Path) -> Path:
    """A kubeconfig of the webhook's service account."""
    config = json.loads(await user("config", "view", "--raw", "-o", "json"))
    token = (await user("-n", names.DEFAULT_NAMESPACE, "create", "token", ACCOUNT)).strip()
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = folder / "webhook.kubeconfig"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[User]:
    """A user of a cluster with one GPU of 16 GiB, on which vramshare is installed."""
    node = NodeSpec(name=NODE, kubelet=False)
    async with Cluster(dir=tmp_path / "cluster", nodes=[node]) as cluster:
        admin = User(cluster.kubeconfig)
        for one in objects():
            await admin("apply", "-f", "-", given=one)
        parser = argparse.ArgumentParser()
        add_arguments(parser, {})
        args = parser.parse_args(
            [
                *("--host", "127.0.0.1", "--port", "0", "--metrics-host", "127.0.0.1", "--metrics-port", "0"),
                *("--certificates", str(tmp_path / "certificates"), "--drain", "0"),
                *("--kubeconfig", str(await account(admin, tmp_path))),
                *("--own-user", f"system:serviceaccount:{names.DEFAULT_NAMESPACE}:{ACCOUNT}"),
            ]
        )
        stop = asyncio.Event()
        listening: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(
            serve(settings_of(args), allocator_settings_of(args), stop, listening=listening.set_result)
        )
        at = await listening
        async with aiohttp.ClientSession() as session:
            status = 0
            while status != HTTPStatus.OK:
                async with session.get(f"https://127.0.0.1:{at.port}/readyz", ssl=False) as answer:
                    status = answer.status
        await admin("apply", "-f", "-", given=registration(at))
        yield admin
        stop.set()
        await running


def manifest(name: str, mebibytes: int) -> dict[str, Any]:
    """A pod in HAMi's syntax, with everything in it that is replaced."""
    limits = {"nvidia.com/gpu": 1, "nvidia.com/gpumem": mebibytes, "nvidia.com/gpucores": 20}
    variables = [{"name": "LD_PRELOAD", "value": "/mine.so"}, {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team"},
        "spec": {
            "schedulerName": "hami-scheduler",
            "containers": [{"name": "main", "image": "x", "env": variables, "resources": {"limits": limits}}],
        },
    }


async def test_manifest_is_applied_twice(user: User) -> None:
    """The second time changes nothing of the stored pod; the user sees the warnings of the first only."""
    first = await user("apply", "-f", "-", given=manifest("a", 6000))
    stored = await user.pod("a")
    second = await user("apply", "-f", "-", given=manifest("a", 6000))
    again = await user.pod("a")
    assert "GPU resources are replaced by vramshare's annotations" in first
    assert "Warning" not in second
    assert again["metadata"]["annotations"] == stored["metadata"]["annotations"]
    assert {**again["spec"], "nodeName": ""} == {**stored["spec"], "nodeName": ""}
    assert stored["metadata"]["annotations"]["vramshare.io/node"] == NODE


async def test_queued_pod_is_granted_by_the_allocators_own_update(user: User) -> None:
    """It passes the webhook on its way, and is not normalised away; after it the manifest applies still."""
    await user("apply", "-f", "-", given=manifest("a", 12000))
    assert "the pod waits" in await user("apply", "-f", "-", given=manifest("b", 12000))
    ended = ("--subresource=status", "--type=merge", "--patch", '{"status": {"phase": "Succeeded"}}')
    await user("-n", "team", "patch", "pod", "a", *ended)
    status = r"jsonpath={.metadata.annotations.vramshare\.io/status}=allocated"
    await user("-n", "team", "wait", "pod/b", f"--for={status}", "--timeout=30s")
    await user("apply", "-f", "-", given=manifest("b", 12000))
    granted = await user.pod("b")
    assert "schedulingGates" not in granted["spec"]
    assert granted["metadata"]["annotations"]["preload.vramshare.io/main"] == f"{INVENTORY.interposer}:/mine.so"


async def test_dry_run_leaves_the_ledger_alone(user: User) -> None:
    """The user sees what would be; nothing is held."""
    shown = await user("apply", "--dry-run=server", "-o", "json", "-f", "-", given=manifest("a", 6000))
    assert '"vramshare.io/status": "allocated"' in shown
    ledger = await user("-n", names.DEFAULT_NAMESPACE, "get", "configmaps", "-o", "name")
    assert names.ledger_name(NODE) not in ledger
