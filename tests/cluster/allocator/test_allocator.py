"""The allocator on the embedded API server: one pod's way through it, and the examples of the documentation."""

import asyncio
import re
from pathlib import Path

from allocator.api import names
from allocator.api.allocation import result_annotations
from allocator.api.request import parse_pod
from allocator.controller import (
    Allocator,
    AllocatorSettings,
    CommitSettings,
    GrantRequest,
    KubeSettings,
    QueueSettings,
    UnseenSettings,
)
from allocator.core.ledger import Ledger, overbooked
from allocator.kube import CONFIGMAPS, EVENTS, PODS, Client
from tests.cluster.allocator.conftest import INVENTORY
from webhook.mutation import files
from webhook.settings import Delivery, MutationSettings

DOCUMENT = Path(__file__).parents[3] / "docs" / "library.md"


def settings(kubeconfig: Path) -> AllocatorSettings:
    """Brisk settings."""
    return AllocatorSettings(
        kube=KubeSettings(kubeconfig=kubeconfig),
        commit=CommitSettings(lazy=0.05, patience=30),
        queue=QueueSettings(settle=0.01),
        unseen=UnseenSettings(share=float("inf")),  # most tests never make their pods
    )


def pod(name: str, *, memory: str = "2Gi", **metadata) -> dict:
    """A pod that asks for a slice."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {names.MEMORY: memory, names.CORES: "25"}, **metadata},
        "spec": {"containers": [{"name": "worker", "image": "cuda"}]},
    }


def ask(body: dict) -> GrantRequest:
    """Its request for a grant."""
    request = parse_pod(body)
    assert request is not None
    return GrantRequest(request=request, pod=body, namespace="default", pod_name=body["metadata"]["name"])


async def ledger(client: Client) -> Ledger:
    """What the API server has."""
    found = await client.get(CONFIGMAPS, names.ledger_name("gpu-1"), namespace=names.DEFAULT_NAMESPACE)
    return Ledger.from_data("gpu-1", found.get("data"))


async def eventually(check):
    """Ask until it holds; the tests' own time limit ends a wait in vain."""
    while True:
        if found := await check():
            return found
        await asyncio.sleep(0.01)


async def test_a_pods_whole_way(client: Client, kubeconfig: Path):
    """Granted, seen, told by an Event, ended, given back."""
    async with Allocator(settings(kubeconfig)) as allocator:
        body = pod("a")
        granted = await allocator.grant(ask(body))
        grant_id = granted.grant.allocation.id
        results = result_annotations(granted.grant.allocation, inventory=granted.inventory, preloads={})
        body["metadata"]["annotations"] |= results
        made = await client.create(PODS, body, namespace="default")

        async def marked():
            return (await ledger(client)).grants[grant_id].uid

        assert await eventually(marked) == made["metadata"]["uid"]

        async def told():
            events, _ = await client.list(EVENTS, namespace="default", fields="involvedObject.name=a")
            return [event["message"] for event in events]

        [message] = await eventually(told)
        assert message == f"Allocated 2Gi, 25% of {granted.grant.allocation.uuids()[0]} on node gpu-1"
        await client.delete(PODS, "a", namespace="default")

        async def empty():
            return not (await ledger(client)).grants

        assert await eventually(empty)


async def test_a_queued_pod_is_patched_once_there_is_room(client: Client, kubeconfig: Path):
    """The server accepts the one patch: annotations, pin, gate."""
    async with Allocator(settings(kubeconfig)) as allocator:
        held = [await allocator.grant(ask(pod(name, memory="15Gi"))) for name in ("x", "y")]
        body = pod("q", memory="4Gi")
        body["metadata"]["annotations"] |= {
            names.STATUS: names.STATUS_QUEUED,
            names.preload_annotation("worker"): "/lib/other.so",
        }
        body["spec"]["schedulingGates"] = [{"name": names.GATE}]
        body["spec"]["volumes"] = files.volumes(["worker"], MutationSettings(), Delivery.HOST)
        body["spec"]["containers"][0]["volumeMounts"] = files.mounts("worker")
        await client.create(PODS, body, namespace="default")

        async def reason():
            found = await client.get(PODS, "q", namespace="default")
            return found["metadata"]["annotations"].get(names.REASON)

        assert await eventually(reason) == "needs 4Gi and 25% of its time on one GPU; best is 640Mi on gpu-1"
        await allocator.give_back(held[0])

        async def free():
            found = await client.get(PODS, "q", namespace="default")
            return None if found["spec"].get("schedulingGates") else found

        found = await eventually(free)
        annotations = found["metadata"]["annotations"]
        assert annotations[names.STATUS] == names.STATUS_ALLOCATED
        assert annotations[names.preload_annotation("worker")] == f"{INVENTORY.interposer}:/lib/other.so"
        assert names.REASON not in annotations
        terms = found["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert terms["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["gpu-1"]


async def test_replicas_share_a_node_without_overbooking(client: Client, kubeconfig: Path):
    """Three allocators, one node, more asked than there is: it fills to the brim and not beyond."""
    async with (
        Allocator(settings(kubeconfig)) as one,
        Allocator(settings(kubeconfig)) as two,
        Allocator(settings(kubeconfig)) as three,
    ):
        asked = [
            at.grant(ask(pod(f"p{number}", memory="3Gi", namespace="default")))
            for number, at in enumerate([one, two, three] * 8)
        ]
        results = await asyncio.gather(*asked, return_exceptions=True)
        now = await ledger(client)
        assert overbooked(now, INVENTORY) == []
        assert len(now.grants) == sum(not isinstance(result, Exception) for result in results) == 8


async def test_the_documented_example_runs(client: Client, kubeconfig: Path, capsys):
    """What the documentation shows works as it stands."""
    section = DOCUMENT.read_text().split("## Allocator")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    scope: dict = {}
    exec(compile(code[1], str(DOCUMENT), "exec"), scope)  # noqa: S102 - our own documentation
    granted = await scope["place_one"](kubeconfig, pod("documented"))
    assert granted.grant.allocation.id in (await ledger(client)).grants
    assert f"{granted.grant.allocation.id} on gpu-1: GPU-" in capsys.readouterr().out
