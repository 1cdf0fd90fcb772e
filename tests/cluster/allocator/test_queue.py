"""The queue on the embedded API server: quotas, groups, preemption, and what the server itself has a say in."""

from dataclasses import replace
from pathlib import Path

import pytest

from allocator.api import names
from allocator.api.allocation import result_annotations
from allocator.controller import Allocator, QueueSettings
from allocator.kube import EVENTS, NAMESPACES, PODS, RESOURCE_QUOTAS, Client, Resource
from tests.cluster.allocator.test_allocator import ask, eventually, pod, settings
from webhook.mutation import files
from webhook.settings import Delivery, MutationSettings

BUDGETS = Resource(kind="PodDisruptionBudget", plural="poddisruptionbudgets", group="policy")


async def queue(client: Client, name: str, *, memory: str = "2Gi", spec: dict | None = None, **asked: str) -> None:
    """Create a pod as the webhook leaves one that waits."""
    body = pod(name, memory=memory)
    body["metadata"]["annotations"] |= {
        names.STATUS: names.STATUS_QUEUED,
        names.preload_annotation("worker"): "",
        **{f"{names.DOMAIN}/{key.replace('_', '-')}": value for key, value in asked.items()},
    }
    body["spec"] |= spec or {}
    body["spec"]["schedulingGates"] = [{"name": names.GATE}]
    body["spec"]["volumes"] = files.volumes(["worker"], MutationSettings(), Delivery.HOST)
    body["spec"]["containers"][0]["volumeMounts"] = files.mounts("worker")
    await client.create(PODS, body, namespace="default")


async def run(client: Client, allocator: Allocator, name: str, *, memory: str, labels: dict[str, str]) -> None:
    """A pod that was granted at admission and runs."""
    body = pod(name, memory=memory, labels=labels)
    granted = await allocator.grant(ask(body))
    body["metadata"]["annotations"] |= result_annotations(
        granted.grant.allocation, inventory=granted.inventory, preloads={}
    )
    body["spec"]["nodeName"] = granted.grant.allocation.node
    made = await client.create(PODS, body, namespace="default")
    await client.replace(PODS, {**made, "status": {"phase": "Running"}}, subresource="status")


async def waiting(client: Client) -> dict[str, str]:
    """Why each pod waits."""
    found, _ = await client.list(PODS, namespace="default")
    return {
        one["metadata"]["name"]: one["metadata"]["annotations"].get(names.REASON, "")
        for one in found
        if one["spec"].get("schedulingGates")
    }


async def test_a_group_is_let_go_as_one(client: Client, kubeconfig: Path):
    """The last one's coming opens all gates."""
    async with Allocator(settings(kubeconfig)):
        await queue(client, "a", group="g", group_size="2")

        async def told():
            return (await waiting(client)).get("a")

        assert await eventually(told) == "group g starts with 2 pods, and 1 of them are here"
        await queue(client, "b", group="g", group_size="2")

        async def gone():
            return not await waiting(client)

        assert await eventually(gone)


async def test_quotas_of_both_kinds_hold(client: Client, kubeconfig: Path):
    """The server stores both; neither can it enforce."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "gpu"},
        "spec": {"hard": {"limits.nvidia.com/gpumem": "3k"}},
    }
    await client.create(RESOURCE_QUOTAS, quota, namespace="default")
    await client.patch(NAMESPACES, "default", {"metadata": {"annotations": {names.QUOTA_GPUS: "9"}}})
    async with Allocator(settings(kubeconfig)):
        for name in ("a", "b"):
            await queue(client, name)

        async def told():
            found = await waiting(client)
            return found if len(found) == 1 and "quota" in "".join(found.values()) else None

        [reason] = (await eventually(told)).values()
        assert reason == "over the namespace's quota: needs 2Gi of GPU memory; 2Gi of 2.9Gi are in use"


async def test_preemption_respects_a_disruption_budget(client: Client, kubeconfig: Path):
    """The server refuses the first eviction, and the pod without a budget goes."""
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "kept"}}},
    }
    await client.create(BUDGETS, budget, namespace="default")
    high = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 1000,
    }
    classes = Resource(kind="PriorityClass", plural="priorityclasses", group="scheduling.k8s.io", namespaced=False)
    await client.create(classes, high)
    asked = replace(settings(kubeconfig), queue=QueueSettings(settle=0.01, preempt=True, retry=0.2))
    async with Allocator(asked) as allocator:
        await run(client, allocator, "kept", memory="13Gi", labels={"app": "kept"})
        await run(client, allocator, "other", memory="14Gi", labels={"app": "other"})
        await queue(client, "urgent", memory="15Gi", spec={"priorityClassName": "high"})

        async def going():
            found, _ = await client.list(PODS, namespace="default")
            return [one["metadata"]["name"] for one in found if one["metadata"].get("deletionTimestamp")]

        assert await eventually(going) == ["other"]


@pytest.mark.parametrize("text", ["lots", "16"])
async def test_a_quota_that_makes_no_sense_is_told_in_the_namespace(client: Client, kubeconfig: Path, text: str):
    """The server takes the Event about the Namespace."""
    await client.patch(NAMESPACES, "default", {"metadata": {"annotations": {names.QUOTA_MEMORY: text}}})
    async with Allocator(settings(kubeconfig)):
        await queue(client, "a")

        async def told():
            events, _ = await client.list(EVENTS, namespace="default", fields="involvedObject.kind=Namespace")
            return [one["reason"] for one in events]

        assert await eventually(told) == ["QuotaUnreadable"]
