"""Pods that are admitted and never come: one namespace's trouble is its own."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from allocator.api.errors import MustWaitError, NoCapacityError
from allocator.controller import Granted, GrantRequest
from allocator.controller.settings import UnseenSettings
from allocator.kube import PODS
from tests.unit.controller.cluster import Cluster, ask
from tests.unit.controller.test_queue import rounds

LIMITS = UnseenSettings(most=4, per_gpu=0, share=0.5, strikes=3, remember=600)


def theirs(name: str = "p", *, namespace: str = "other", mib: int = 100, owner: str = "", **spec) -> GrantRequest:
    """A pod of another namespace."""
    asked = ask(name, mib=mib, owner=owner, **spec)
    return GrantRequest(
        request=asked.request, pod=asked.pod, namespace=namespace, pod_name=name, owner=owner, dry_run=asked.dry_run
    )


async def test_a_loop_of_pods_that_are_refused_later_takes_no_more_than_its_share():
    """Each is admitted here and refused by somebody behind us; other namespaces go on as if nothing was."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator(unseen=LIMITS) as allocator:
        waits = 0
        for at in range(100):
            try:
                await allocator.grant(ask(f"bad{at}", mib=500))
            except MustWaitError:
                waits += 1
        assert waits == 96
        granted = [await allocator.grant(theirs(f"good{at}", mib=500)) for at in range(2)]
        assert all(isinstance(one, Granted) for one in granted)


async def test_namespaces_cannot_be_invented():
    """Each would have a share of its own: of a namespace that is not known to have opted in, only real pods count."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator(unseen=replace(LIMITS, opted_in=True)) as allocator:
        for at in range(4):
            with pytest.raises(MustWaitError, match=f"namespace invented-{at} is not known to have opted in"):
                await allocator.grant(theirs(namespace=f"invented-{at}", mib=1000))
        assert isinstance(await allocator.grant(ask("real", mib=1000)), Granted)


async def test_large_pods_that_never_come_leave_room_by_their_size():
    """Two of whole GPUs are half of all there is: the third waits, though few are on their way."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator(unseen=LIMITS) as allocator:
        for at in range(2):
            await allocator.grant(ask(f"bad{at}", mib=1000))
        with pytest.raises(MustWaitError, match="2 pods of its namespace have been granted GPUs and have not appeared"):
            await allocator.grant(ask("bad2", mib=1000))
        assert isinstance(await allocator.grant(theirs(mib=1000)), Granted)


async def test_a_blocked_deployment_soon_takes_nothing_at_all():
    """Its pods pass the queue once several were granted and never came: what never comes is never granted there."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator(unseen=LIMITS) as allocator:
        for _ in range(100):  # sixteen creates a minute, as a controller does in its back-off
            with suppress(NoCapacityError):
                await allocator.grant(ask("web-*", owner="ReplicaSet/web/u", mib=200))
            await cluster.pass_time(4)
        assert cluster.ledger().grants == {}
        with pytest.raises(MustWaitError, match="passes the queue, as all pods of its namespace do"):
            await allocator.grant(ask("web-*", owner="ReplicaSet/web/u"))
        assert isinstance(await allocator.grant(theirs(mib=1000)), Granted)


async def test_a_namespace_of_which_pods_come_again_is_trusted_after_a_while():
    """Its pods are placed by the queue meanwhile, and at admission again when what happened is long past."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator(unseen=LIMITS) as allocator:
        for at in range(3):
            await allocator.grant(ask(f"bad{at}"))
        await cluster.pass_time(110)
        with pytest.raises(MustWaitError):
            await allocator.grant(ask("a"))
        cluster.queue_pod("a")
        await rounds(cluster)
        assert {grant.pod for grant in cluster.ledger().grants.values()} == {"a"}
        await cluster.pass_time(600)
        assert isinstance(await allocator.grant(ask("b")), Granted)


async def test_a_thousand_dry_runs_change_nothing():
    """They are planned, never written, and count for nobody."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator(unseen=LIMITS) as allocator:
        for at in range(1000):
            await allocator.grant(ask(f"d{at}", mib=1000, dry_run=True))
        assert cluster.ledger_writes() == 0
        assert isinstance(await allocator.grant(ask("real")), Granted)


async def test_pods_that_appear_count_no_longer():
    """A steady stream of good pods never meets the limit."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator(unseen=LIMITS) as allocator:
        for at in range(30):
            granted = await allocator.grant(ask(f"p{at}"))
            cluster.run_pod(granted)
            await cluster.settle(turns=20)
        assert len(cluster.ledger().grants) == 30


async def test_a_replica_counts_what_others_granted():
    """A loop over all replicas is one loop."""
    cluster = Cluster(gpus=4)
    async with (
        cluster.allocator(unseen=LIMITS) as one,
        cluster.allocator(leads=False, identity="two", unseen=LIMITS) as two,
    ):
        for at in range(4):
            await one.grant(ask(f"bad{at}"))
        await cluster.settle()
        with pytest.raises(MustWaitError):
            await two.grant(ask("bad4"))


async def test_what_is_given_back_at_once_is_no_strike():
    """The webhook failed after the grant: that says nothing about the namespace."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator(unseen=LIMITS) as allocator:
        for at in range(10):
            await allocator.give_back(await allocator.grant(ask(f"p{at}")))
        assert isinstance(await allocator.grant(ask("a")), Granted)


async def test_a_burst_of_one_deployment_is_placed_to_the_last_pod():
    """Five hundred pods at once: some at admission, the rest by the queue, none twice and none left over."""
    cluster = Cluster(gpus=8)
    async with cluster.allocator(unseen=UnseenSettings()) as allocator:

        async def create(at: int) -> bool:
            name = f"web-{at}"
            try:
                granted = await allocator.grant(ask(name, mib=16, owner="ReplicaSet/web/u"))
            except MustWaitError:
                cluster.queue_pod(name, mib=16)
                return False
            await asyncio.sleep(0)
            cluster.run_pod(granted, name=name)
            return True

        at_once = await asyncio.gather(*(create(at) for at in range(496)))
        for _ in range(40):
            await rounds(cluster, 1)
            if not allocator.waiting():
                break
        held = [grant.pod for grant in cluster.ledger().grants.values()]
        assert len(held) == len(set(held)) == 496
        assert any(at_once)
        pods = [item for key, item in cluster.api.objects.items() if key[0] == PODS.plural]
        assert not any(pod["spec"].get("schedulingGates") for pod in pods)
        cluster.check()
