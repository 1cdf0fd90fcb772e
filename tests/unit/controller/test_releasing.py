"""Pods deleted by force and nodes that were lost: what they held is free when nothing of them is left."""

from dataclasses import replace

import pytest

from allocator.api.errors import NoCapacityError
from allocator.kube import EVENTS, NODES, PODS
from tests.unit.controller.cluster import Cluster, ask
from tests.unit.controller.test_give_back import seen


async def forced(cluster: Cluster, allocator) -> None:
    """A pod with the whole GPU runs and is deleted by force."""
    cluster.run_pod(await allocator.grant(ask("a", mib=1000)))
    await seen(cluster)
    cluster.api.drop(PODS, "a", namespace="team")
    await cluster.settle()


async def test_a_forced_deletion_frees_nothing_by_itself():
    """Its processes may run on: nobody gets their memory, however long it takes."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await forced(cluster, allocator)
        [grant] = cluster.ledger().grants.values()
        assert grant.releasing is not None
        await cluster.pass_time(300)
        assert cluster.ledger().grants
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("b"))


async def test_the_agents_word_frees_it():
    """The agent lists the grant as soon as no process of the pod is left."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await forced(cluster, allocator)
        cluster.agents_confirm()
        await cluster.settle()
        assert cluster.ledger().grants == {}
        await allocator.grant(ask("b", mib=1000))


async def test_an_agent_that_speaks_too_early_frees_nothing():
    """Only what is being released can be confirmed; the agent may not have seen the pod yet."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        cluster.run_pod(granted)
        await seen(cluster)
        released = frozenset({granted.grant.allocation.id})
        cluster.publish(replace(cluster.inventories["n1"], released=released))
        await cluster.pass_time(60)
        assert cluster.ledger().grants


async def test_a_new_leader_goes_on_waiting():
    """That a grant waits stands in the ledger, not in anybody's memory."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await forced(cluster, allocator)
    async with cluster.allocator(identity="two"):
        await cluster.pass_time(60)
        assert cluster.ledger().grants
        cluster.agents_confirm()
        await cluster.settle()
        assert cluster.ledger().grants == {}


async def test_a_node_that_is_gone_frees_what_was_on_it():
    """Whoever deletes the Node says that the machine is gone."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await forced(cluster, allocator)
        cluster.api.drop(NODES, "n1")
        await cluster.pass_time(20)
        assert cluster.ledger().grants == {}


async def test_a_pod_that_got_a_node_while_nobody_watched_is_not_taken_for_idle():
    """It was last seen without a node; by now it may run there."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        pod = cluster.run_pod(granted, phase="Pending")
        cluster.api.put(PODS, {**pod, "spec": {"containers": [{"name": "c"}]}}, namespace="team")
        await seen(cluster)
        cluster.api.hold_watches()
        cluster.api.drop(PODS, "a", namespace="team")
        cluster.api.disconnect(forget=True)
        cluster.api.release_watches()
        await cluster.pass_time(2)
        [grant] = cluster.ledger().grants.values()
        assert grant.releasing is not None


async def test_a_pod_without_a_node_gives_back_at_once():
    """Nothing of it ever ran: no agent need be asked, its deletion was seen."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        pod = cluster.run_pod(granted, phase="Pending")
        cluster.api.put(PODS, {**pod, "spec": {"containers": [{"name": "c"}]}}, namespace="team")
        await seen(cluster)
        cluster.api.drop(PODS, "a", namespace="team")
        await cluster.settle()
        assert cluster.ledger().grants == {}


async def test_who_waits_for_which_agent_is_said_once():
    """An operator learns which agent to look after, without spam."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await forced(cluster, allocator)
        await cluster.pass_time(180)
        events = [item for key, item in cluster.api.objects.items() if key[0] == EVENTS.plural]
        [said] = [one for one in events if one["reason"] == "ReleaseWaits"]
        assert "agent on node n1" in said["message"]
        assert said["count"] == 1
