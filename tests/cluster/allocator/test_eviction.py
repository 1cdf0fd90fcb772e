"""Evictions as an API server grants and refuses them."""

from allocator.kube import PODS, Client, Outcome, Resource, evict

BUDGETS = Resource(kind="PodDisruptionBudget", plural="poddisruptionbudgets", group="policy")


async def running_pod(client: Client, name: str) -> str:
    """A pod that runs on the node; its UID."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"nodeName": "gpu-1", "containers": [{"name": "c", "image": "x"}]},
    }
    made = await client.create(PODS, body, namespace="default")
    await client.replace(PODS, {**made, "status": {"phase": "Running"}}, subresource="status")
    return str(made["metadata"]["uid"])


async def test_a_pod_is_evicted_once(client: Client):
    """It is given its time to end; asking again changes nothing; once gone it is gone."""
    uid = await running_pod(client, "p")
    assert await evict(client, namespace="default", name="p", uid=uid) is Outcome.EVICTED
    pod = await client.get(PODS, "p", namespace="default")
    assert pod["metadata"]["deletionTimestamp"]
    assert await evict(client, namespace="default", name="p", uid=uid) is Outcome.EVICTED
    assert await evict(client, namespace="default", name="q", uid=uid) is Outcome.GONE


async def test_another_pod_of_the_name_is_spared(client: Client):
    """What was decided about one pod is not done to its successor."""
    await running_pod(client, "p")
    assert await evict(client, namespace="default", name="p", uid="somebody-else") is Outcome.GONE
    pod = await client.get(PODS, "p", namespace="default")
    assert "deletionTimestamp" not in pod["metadata"]


async def test_a_budget_makes_it_later(client: Client):
    """A spent disruption budget refuses, and allows when it has something to give."""
    uid = await running_pod(client, "p")
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    }
    made = await client.create(BUDGETS, budget, namespace="default")
    assert await evict(client, namespace="default", name="p", uid=uid) is Outcome.LATER
    status = {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}
    await client.replace(BUDGETS, {**made, "status": status}, subresource="status")
    assert await evict(client, namespace="default", name="p", uid=uid) is Outcome.EVICTED
