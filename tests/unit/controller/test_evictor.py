"""Pods that agents want gone."""

from dataclasses import replace

from allocator.api.isolation import Eviction
from allocator.kube import EVENTS, PODS, errors
from tests.unit.controller.cluster import Cluster, ask
from tests.unit.controller.test_give_back import seen


async def running(cluster: Cluster, allocator, name: str = "a") -> str:
    """A pod with a grant; its UID."""
    pod = cluster.run_pod(await allocator.grant(ask(name)))
    await seen(cluster)
    return pod["metadata"]["uid"]


def accuse(cluster: Cluster, *evictions: Eviction, node: str = "n1") -> None:
    """A node's agent asks that pods go."""
    cluster.publish(replace(cluster.inventories[node], evictions=evictions))


def going(cluster: Cluster, name: str = "a") -> bool:
    """Whether a pod is being deleted."""
    return "deletionTimestamp" in cluster.api.see(PODS, name, namespace="team")["metadata"]


def asked(cluster: Cluster) -> int:
    """How many evictions were asked of the API server and not refused."""
    return sum(1 for verb, path in cluster.api.writes if verb == "POST" and path.endswith("/eviction"))


def messages(cluster: Cluster, reason: str) -> list[str]:
    """Events of one kind."""
    events = [item for key, item in cluster.api.objects.items() if key[0] == EVENTS.plural]
    return [one["message"] for one in events if one["reason"] == reason]


async def test_a_pod_that_an_agent_accuses_is_evicted_once():
    """The Eviction API is asked one time, an Event says why, and the pod ends in its own time."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        uid = await running(cluster, allocator)
        accuse(cluster, Eviction(uid=uid, pod="team/a", reason="process 7 lacks the interposer"))
        await cluster.pass_time(60)
        assert going(cluster)
        assert asked(cluster) == 1
        counted = {"why": "isolation", "outcome": "evicted"}
        assert allocator.metrics.registry.get_sample_value("vramshare_evictions_total", counted) == 1
        assert messages(cluster, "NotIsolated") == [
            "evicted: process 7 lacks the interposer (found by vramshare's agent on n1)"
        ]


async def test_an_agent_may_not_accuse_pods_of_other_nodes():
    """Whoever took over one node must not empty the others."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator() as allocator:
        uid = await running(cluster, allocator)
        [node] = [node for node in ("n1", "n2") if cluster.ledger(node).grants]
        [other] = {"n1", "n2"} - {node}
        accuse(cluster, Eviction(uid=uid, pod="team/a"), node=other)
        await cluster.pass_time(60)
        assert not going(cluster)


async def test_an_agent_may_not_accuse_pods_without_a_grant():
    """Nor one of another UID, nor under another name."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        uid = await running(cluster, allocator)
        accuse(cluster, Eviction(uid="other", pod="team/a"), Eviction(uid=uid, pod="team/b"))
        await cluster.pass_time(60)
        assert not going(cluster)


async def test_a_disruption_budget_is_waited_for():
    """Refused now, asked again later; said once."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        uid = await running(cluster, allocator)
        cluster.api.protected.add("a")
        accuse(cluster, Eviction(uid=uid, pod="team/a", reason="leaks"))
        await cluster.pass_time(60)
        assert not going(cluster)
        cluster.api.protected.clear()
        await cluster.pass_time(20)
        assert going(cluster)
        assert [one.partition(":")[0] for one in messages(cluster, "NotIsolated")] == [
            "to be evicted, which a disruption budget forbids for now",
            "evicted",
        ]


async def test_a_failed_request_is_made_again():
    """An API server in trouble makes it later, not never."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        uid = await running(cluster, allocator)

        def fault(_verb, path, _body):
            if path.endswith("/a"):
                raise errors.UnknownOutcomeError("down")

        cluster.api.before = fault
        accuse(cluster, Eviction(uid=uid, pod="team/a"))
        await cluster.pass_time(2)
        cluster.api.before = lambda *_: None
        await cluster.pass_time(20)
        assert going(cluster)


async def test_a_new_leader_serves_what_was_asked_before():
    """The wish stands in the inventory, whoever leads."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        uid = await running(cluster, allocator)
    accuse(cluster, Eviction(uid=uid, pod="team/a"))
    async with cluster.allocator(identity="two"):
        await cluster.settle()
        assert going(cluster)
