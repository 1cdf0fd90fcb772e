"""A grant belongs to one pod: who may have it again, and who may not."""

from dataclasses import replace
from datetime import timedelta

import pytest

from allocator.api.errors import NoCapacityError
from allocator.api.inventory import Gpu
from allocator.kube import PODS
from tests.unit.controller.cluster import Cluster, ask

OWNER = "StatefulSet/web/u"


async def test_a_pod_that_names_another_node_now_is_placed_anew():
    """What an earlier create got is of no use to a pod that may not go there."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator() as allocator:
        first = await allocator.grant(ask("web-0", owner=OWNER))
        other = "n2" if first.grant.allocation.node == "n1" else "n1"
        again = await allocator.grant(ask("web-0", owner=OWNER, nodeName=other))
        assert again.grant.allocation.node == other


async def test_a_grant_on_a_gpu_that_fell_ill_is_not_reused():
    """New pods do not go to a GPU that takes none."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await allocator.grant(ask("web-0", owner=OWNER))
        inventory = cluster.inventories["n1"]
        ill: tuple[Gpu, ...] = tuple(replace(gpu, health="Xid 79") for gpu in inventory.gpus)
        cluster.publish(replace(inventory, gpus=ill))
        await cluster.settle()
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("web-0", owner=OWNER))


async def test_a_grant_that_a_pod_carries_is_not_reused():
    """The ledger learns of a pod late; the pod itself is seen before."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        first = await allocator.grant(ask("web-0", owner=OWNER))
        cluster.run_pod(first)
        await cluster.settle()
        second = await allocator.grant(ask("web-0", owner=OWNER))
        assert second.grant.allocation.id != first.grant.allocation.id


async def test_a_reused_grant_outlives_the_pod_that_had_it_first():
    """Created, deleted and created again faster than the watch tells: the second pod keeps what both were given."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        first = await allocator.grant(ask("web-0", owner=OWNER))
        cluster.api.hold_watches()
        cluster.run_pod(first, uid="first")
        cluster.api.drop(PODS, "web-0", namespace="team")
        second = await allocator.grant(ask("web-0", owner=OWNER))
        cluster.api.release_watches()
        await cluster.settle()
        cluster.run_pod(second, uid="second")
        await cluster.pass_time(120)
        assert [grant.allocation.id for grant in cluster.ledger().grants.values()] == [second.grant.allocation.id]


async def test_a_carried_grant_is_not_recognised_for_a_second_pod():
    """Annotations copied from a running pod are a forgery, also before the ledger knows the pod."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("web-*"))
        assert await allocator.recognise("team", granted.grant.allocation)
        cluster.run_pod(granted, name="web-1")
        await cluster.settle()
        assert await allocator.recognise("team", granted.grant.allocation) is None


async def test_a_leader_whose_clock_is_fast_waits_for_the_whole_grace():
    """How long a grant has waited for its pod is measured on one clock."""
    cluster = Cluster()
    async with cluster.allocator(), cluster.allocator(leads=False, identity="two") as second:
        cluster.clock._start -= timedelta(seconds=80)  # what the one that grants believes
        await second.grant(ask("a"))
        cluster.clock._start += timedelta(seconds=80)  # what the leader believes
        await cluster.pass_time(60)
        assert cluster.ledger().grants
        await cluster.pass_time(60)
        assert cluster.ledger().grants == {}
