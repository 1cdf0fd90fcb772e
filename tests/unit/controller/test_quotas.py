"""Quotas of namespaces: the leader alone counts."""

from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from allocator.api import names
from allocator.api.errors import MustWaitError, NoCapacityError, OverQuotaError
from allocator.api.request import WhenFull
from allocator.controller import Granted
from allocator.controller.settings import OverQuota
from allocator.core.quota import Amount
from allocator.kube import EVENTS, NAMESPACES, PODS, RESOURCE_QUOTAS
from tests.unit.controller.cluster import Cluster, Lagging, ask
from tests.unit.controller.test_queue import rounds

MIB = 1024**2


def limit(cluster: Cluster, **annotations: str) -> None:
    """A quota on the namespace of the tests: `memory="500Mi"`."""
    found = {f"{names.DOMAIN}/quota-{word}": value for word, value in annotations.items()}
    body = cluster.api.see(NAMESPACES, "team") or {"metadata": {"name": "team"}}
    cluster.api.put(NAMESPACES, {**body, "metadata": {**body["metadata"], "annotations": found}})


def held(cluster: Cluster) -> set[str]:
    """Names of the pods with grants."""
    return {grant.pod for grant in cluster.ledger().grants.values()}


async def test_pods_of_a_namespace_with_a_quota_pass_the_queue():
    """No replica counts alone; other namespaces are granted at admission as before."""
    cluster = Cluster()
    limit(cluster, memory="10Gi")
    async with cluster.allocator() as allocator:
        with pytest.raises(MustWaitError, match="its namespace has a GPU quota"):
            await allocator.grant(ask("a"))
        assert isinstance(await allocator.grant(replace(ask("b"), namespace="other")), Granted)
        cluster.queue_pod("a")
        await rounds(cluster)
        assert held(cluster) == {"a", "b"}


@pytest.mark.parametrize(
    ("quota", "sentence"),
    [
        ({"memory": "500Mi"}, "over the namespace's quota: needs 200Mi of GPU memory; 400Mi of 500Mi are in use"),
        ({"gpus": "2"}, "over the namespace's quota: needs 1 slices; 2 of 2 are in use"),
        ({"cores": "50"}, "over the namespace's quota: needs 20% of a GPU's time; 40% of 50% are in use"),
    ],
)
async def test_what_is_over_the_quota_waits_and_is_told_why(quota, sentence):
    """Exactly to the limit and no further, though the GPU has room."""
    cluster = Cluster()
    limit(cluster, **quota)
    async with cluster.allocator():
        for name in ("a", "b", "c"):
            cluster.queue_pod(name, mib=200, cores=20)
        await rounds(cluster, 5)
        assert held(cluster) == {"a", "b"}
        assert cluster.annotation("c", names.REASON) == sentence


async def test_many_at_once_do_not_overrun_the_quota():
    """What is decided in one round counts before it is written."""
    cluster = Cluster(gpus=4)
    limit(cluster, gpus="7")
    async with cluster.allocator():
        for at in range(30):
            cluster.queue_pod(f"p{at}")
        await rounds(cluster, 5)
        assert len(held(cluster)) == 7


async def test_what_ends_makes_room_in_the_quota():
    """The first that waits is next."""
    cluster = Cluster()
    limit(cluster, gpus="1")
    async with cluster.allocator():
        cluster.queue_pod("a")
        cluster.queue_pod("b")
        await rounds(cluster)
        pod = cluster.api.see(PODS, "a", namespace="team")
        cluster.api.put(PODS, {**pod, "status": {"phase": "Succeeded"}}, namespace="team")
        await rounds(cluster, 5)
        assert held(cluster) == {"b"}


async def test_a_raised_quota_lets_in_at_once():
    """A change of the quota is an event that can help."""
    cluster = Cluster()
    limit(cluster, gpus="0")
    async with cluster.allocator():
        cluster.queue_pod("a")
        await rounds(cluster)
        assert held(cluster) == set()
        limit(cluster, gpus="1")
        await rounds(cluster)
        assert held(cluster) == {"a"}


async def test_a_resource_quota_is_honoured():
    """As HAMi's users write it, together with the annotations: the smaller limit of each kind."""
    cluster = Cluster()
    limit(cluster, gpus="3")
    hard = {"limits.nvidia.com/gpumem": "250", "pods": "50"}
    cluster.api.put(RESOURCE_QUOTAS, {"metadata": {"name": "gpu"}, "spec": {"hard": hard}}, namespace="team")
    async with cluster.allocator():
        for name in ("a", "b", "c"):
            cluster.queue_pod(name)
        await rounds(cluster, 5)
        assert held(cluster) == {"a", "b"}
        cluster.api.drop(RESOURCE_QUOTAS, "gpu", namespace="team")
        await rounds(cluster, 5)
        assert held(cluster) == {"a", "b", "c"}


async def test_shares_of_a_gpu_are_counted_by_what_they_turn_out_to_be():
    """30% of a GPU of 1,000 MiB is 300 MiB."""
    cluster = Cluster()
    limit(cluster, memory="500Mi")
    async with cluster.allocator() as allocator:
        for name in ("a", "b"):
            pod = cluster.queue_pod(name)
            pod["metadata"]["annotations"][names.memory_annotation("c")] = "30%"
            cluster.api.put(PODS, pod, namespace="team")
        await rounds(cluster, 5)
        assert len(held(cluster)) == 1
        waiting = ({"a", "b"} - held(cluster)).pop()
        assert "needs 300Mi of GPU memory; 300Mi of 500Mi" in cluster.annotation(waiting, names.REASON)
        await allocator.grant(replace(ask("other", mib=700), namespace="other"))  # what was tried holds nothing


async def test_over_quota_is_denied_where_the_settings_say_so():
    """At admission, with the same sentence; up to the quota pods pass the queue."""
    cluster = Cluster()
    limit(cluster, memory="150Mi")
    async with cluster.allocator(over_quota=OverQuota.DENY) as allocator:
        with pytest.raises(MustWaitError):
            await allocator.grant(ask("a"))
        cluster.queue_pod("a")
        await rounds(cluster)
        with pytest.raises(OverQuotaError, match="needs 100Mi of GPU memory; 100Mi of 150Mi are in use"):
            await allocator.grant(ask("b"))


async def test_a_pod_that_does_not_want_to_wait_is_denied_over_quota():
    """`when-full: reject`: what the quota or the GPUs do not allow now is told at admission."""
    cluster = Cluster()
    limit(cluster, memory="5Gi")
    async with cluster.allocator() as allocator:
        asked = ask("a", mib=100)
        impatient = replace(asked, request=replace(asked.request, when_full=WhenFull.REJECT))
        with pytest.raises(MustWaitError):
            await allocator.grant(impatient)
        await allocator.grant(replace(ask("full", mib=950), namespace="other"))
        with pytest.raises(NoCapacityError, match="best is 50Mi on n1"):
            await allocator.grant(impatient)
        limit(cluster, memory="50Mi")
        await cluster.settle()
        with pytest.raises(OverQuotaError):
            await allocator.grant(impatient)


async def test_a_quota_that_cannot_be_read_grants_nothing_and_says_so():
    """In the log, in an Event of the namespace and in the reason of the pods; nobody else is touched."""
    cluster = Cluster()
    limit(cluster, memory="plenty")
    async with cluster.allocator() as allocator:
        for name in ("a", "b", "c"):
            cluster.queue_pod(name)
            await rounds(cluster, 3)
        assert held(cluster) == set()
        reason = str(cluster.annotation("a", names.REASON))
        assert reason.startswith("no GPU is granted in this namespace: annotation vramshare.io/quota-memory")
        events = [item for key, item in cluster.api.objects.items() if key[0] == EVENTS.plural]
        [told] = [one for one in events if one["involvedObject"]["kind"] == "Namespace"]
        assert (told["reason"], told["message"], told["count"]) == ("QuotaUnreadable", reason, 1)
        assert isinstance(await allocator.grant(replace(ask("free"), namespace="other")), Granted)
        limit(cluster, memory="1Gi")
        await rounds(cluster)
        assert held(cluster) == {"a", "b", "c", "free"}


async def test_over_quota_pods_keep_no_room():
    """What a namespace may not have, others may."""
    cluster = Cluster()
    limit(cluster, gpus="0")
    async with cluster.allocator() as allocator:
        cluster.queue_pod("a", mib=1000, waited=3600)
        await rounds(cluster)
        assert isinstance(await allocator.grant(replace(ask("b", mib=1000), namespace="other")), Granted)


async def test_quota_and_use_can_be_read():
    """For metrics: limits and what counts towards them; namespaces without a quota are left out."""
    cluster = Cluster()
    limit(cluster, memory="500Mi")
    async with cluster.allocator() as allocator:
        cluster.queue_pod("a", mib=200, cores=25)
        await allocator.grant(replace(ask("b"), namespace="other"))
        await rounds(cluster)
        found = allocator.quotas()
        assert found.keys() == {"team"}
        assert found["team"].used == Amount(memory=200 * MIB, cores=25, gpus=1)
        assert found["team"].quota.memory is not None
        assert found["team"].quota.memory.count == 500 * MIB


async def test_a_new_leader_counts_what_the_old_one_granted():
    """What counts stands in the ledgers."""
    cluster = Cluster()
    limit(cluster, gpus="1")
    async with cluster.allocator():
        cluster.queue_pod("a")
        await rounds(cluster)
    async with cluster.allocator(identity="next"):
        cluster.queue_pod("b")
        await rounds(cluster)
        assert held(cluster) == {"a"}


class LaggingLedgers(Lagging):
    """Its watch of ledgers and its questions about pods are held up, the rest is not."""

    def __init__(self, api) -> None:
        super().__init__(api, lambda _, query: names.KIND_LEDGER in query.get("labelSelector", ""))

    async def get(self, resource, name, *, namespace=""):
        """See FakeApi."""
        if resource is PODS:
            await self.going.wait()
        return await self._api.get(resource, name, namespace=namespace)


async def test_a_new_leader_counts_what_the_former_one_granted_last():
    """It takes over at once, and its watch does not show that grant yet."""
    cluster = Cluster("n1", "n2")
    limit(cluster, memory="500Mi")
    lagging = LaggingLedgers(cluster.api)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(cluster.allocator())
        async with cluster.allocator(client=lagging, leads=False, identity="two") as second:
            lagging.going.clear()
            cluster.queue_pod("a", mib=400)
            await rounds(cluster)
            assert first.leading
            await stack.aclose()
            assert held(cluster) == {"a"}
            cluster.queue_pod("b", mib=400)
            await cluster.pass_time(5)
            assert second.leading
            assert {grant.pod for node in ("n1", "n2") for grant in cluster.ledger(node).grants.values()} == {"a"}
            assert "over the namespace's quota" in str(cluster.annotation("b", names.REASON))
            lagging.going.set()
