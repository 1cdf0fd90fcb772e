"""Pods that anybody may create, anywhere: what they write must neither blind nor mislead the allocator."""

from allocator.api import names
from allocator.kube import PODS
from tests.unit.controller.cluster import Cluster, ask


def stray(name: str, *, node: str = "", cpu: str = "1", annotations: dict[str, str] | None = None) -> dict:
    """A pod of a namespace that did not opt in."""
    return {
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
            **({"nodeName": node} if node else {}),
        },
        "status": {"phase": "Pending"},
    }


async def test_absurd_requests_do_not_end_a_watch():
    """A pod that asks for more CPU than a machine word holds is passed over; those after it are seen."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.api.put(PODS, stray("absurd", node="n1", cpu="100000000000000000"), namespace="other")
        await cluster.settle()
        cluster.api.drop(PODS, "absurd", namespace="other")
        granted = await allocator.grant(ask("a"))
        cluster.run_pod(granted)
        await cluster.pass_time(5)
        [grant] = cluster.ledger().grants.values()
        assert grant.uid


async def test_a_forged_node_annotation_takes_nothing_of_the_node():
    """Only a pod that has a grant there counts before it is bound."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        forged = {names.STATUS: names.STATUS_ALLOCATED, names.NODE: "n1", names.ALLOCATION_ID: "none"}
        cluster.api.put(PODS, stray("forged", cpu="1000", annotations=forged), namespace="other")
        await cluster.settle()
        pod = [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "1"}}}]
        assert await allocator.grant(ask("a", containers=pod))


async def test_names_of_past_pods_are_not_kept():
    """Whoever creates Jobs for ever makes ever new names."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        for at in range(5):
            granted = await allocator.grant(ask(f"job-{at}-*"))
            cluster.run_pod(granted, name=f"job-{at}-x", phase="Succeeded")
            await cluster.settle()
        assert cluster.ledger().grants == {}
        world = allocator._engine.world
        assert not world.ledgers._unseen


async def test_ids_that_a_pod_carried_are_not_kept():
    """Whoever writes ever new ones into a pod fills no memory of ours."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        for at in range(5):
            forged = {names.STATUS: names.STATUS_ALLOCATED, names.NODE: "n1", names.ALLOCATION_ID: f"none-{at}"}
            cluster.api.put(PODS, stray("forged", annotations=forged), namespace="other")
            await cluster.settle()
        cluster.api.drop(PODS, "forged", namespace="other")
        await cluster.settle()
        assert not allocator._engine.world.pods._carriers
