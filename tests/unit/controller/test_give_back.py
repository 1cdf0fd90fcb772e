"""Grants that come back: ended pods, deleted pods, pods that never came."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from allocator.kube import EVENTS, PODS, errors
from tests.unit.controller.cluster import Cluster, ask


async def seen(cluster: Cluster) -> None:
    """Let a pod be noticed and noted in the ledger."""
    await cluster.settle()
    cluster.clock.advance(3)
    await cluster.settle()


async def test_a_pod_that_appears_is_noted_with_name_and_uid():
    """The ledger says who holds what, also for pods whose name was made up after admission."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("web-*", owner="ReplicaSet/web/u"))
        pod = cluster.run_pod(granted, name="web-x1")
        await seen(cluster)
        [grant] = cluster.ledger().grants.values()
        assert (grant.pod, grant.uid) == ("web-x1", pod["metadata"]["uid"])


async def test_marks_of_many_pods_share_a_write():
    """Notes are not urgent: a burst of pods costs one more write, not one each."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = [await allocator.grant(ask(f"p{at}")) for at in range(8)]
        before = cluster.ledger_writes()
        for one in granted:
            cluster.run_pod(one)
        await seen(cluster)
        assert all(grant.uid for grant in cluster.ledger().grants.values())
        assert cluster.ledger_writes() == before + 1


async def test_a_granted_pod_gets_an_event():
    """`kubectl describe pod` says what it holds, once."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.run_pod(await allocator.grant(ask("a")))
        for _ in range(5):
            await seen(cluster)
        events = [item for key, item in cluster.api.objects.items() if key[0] == EVENTS.plural]
        assert [(one["reason"], one["message"], one["count"]) for one in events] == [
            ("Allocated", "Allocated 100Mi of GPU-n1-0 on node n1", 1)
        ]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_an_ended_pod_gives_back(phase):
    """No container of it will run again."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a", mib=1000))
        cluster.run_pod(granted)
        await seen(cluster)
        assert cluster.ledger().grants
        cluster.run_pod(granted, phase=phase)
        await cluster.settle()
        assert cluster.ledger().grants == {}
        await allocator.grant(ask("b", mib=1000))


async def test_a_deleted_pod_gives_back_at_once():
    """What was seen to end and to go is gone."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.run_pod(await allocator.grant(ask("a")))
        await seen(cluster)
        cluster.end_pod("a")
        await cluster.settle()
        assert cluster.ledger().grants == {}


async def test_a_pod_deleted_while_nobody_watched_gives_back():
    """A gap in the watch hides no deletion: the next list shows it."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.run_pod(await allocator.grant(ask("a")))
        await seen(cluster)
        cluster.api.hold_watches()
        cluster.api.drop(PODS, "a", namespace="team")
        cluster.api.disconnect(forget=True)
        cluster.api.release_watches()
        await cluster.settle()
        cluster.clock.advance(1)
        await cluster.settle()
        cluster.agents_confirm()
        await cluster.settle()
        assert cluster.ledger().grants == {}


async def test_a_restart_gives_back_what_ended_meanwhile():
    """Everything is known from the API alone."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = [await allocator.grant(ask(name)) for name in ("gone", "ended", "alive")]
        pods = [cluster.run_pod(one) for one in granted]
        await seen(cluster)
    cluster.api.drop(PODS, "gone", namespace="team")
    cluster.api.put(PODS, {**pods[1], "status": {"phase": "Succeeded"}}, namespace="team")
    async with cluster.allocator(identity="two"):
        await cluster.settle()
        cluster.agents_confirm()
        await cluster.settle()
        assert [grant.pod for grant in cluster.ledger().grants.values()] == ["alive"]


async def test_a_pod_that_came_and_went_unmarked_gives_back():
    """A pod deleted before the ledger had its UID is gone all the same."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.run_pod(await allocator.grant(ask("a")))
        cluster.end_pod("a")
        await cluster.settle()
        assert cluster.ledger().grants == {}


async def test_a_grant_whose_pod_never_came_is_kept_for_the_grace():
    """A create request may still be on its way."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await allocator.grant(ask("a"))
        await cluster.pass_time(89)
        assert cluster.ledger().grants
        await cluster.pass_time(20)
        assert cluster.ledger().grants == {}


async def test_many_orphans_of_a_namespace_cost_one_list():
    """A Deployment that a quota blocks leaves many; the API server is asked once a sweep."""
    cluster = Cluster(gpus=4)
    lists = []
    async with cluster.allocator() as allocator:
        for at in range(20):
            await allocator.grant(ask(f"p{at}"))
        cluster.api.before = lambda verb, path, _: lists.append(path) if verb == "LIST" else None
        await cluster.pass_time(110)
        assert cluster.ledger().grants == {}
        assert lists == ["/api/v1/namespaces/team/pods"]


async def test_a_pod_that_the_watch_has_not_shown_keeps_its_grant():
    """Before an unseen grant is freed the API server is asked, whatever the watch says."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        cluster.api.hold_watches()
        cluster.run_pod(granted)
        await cluster.pass_time(150)
        assert cluster.ledger().grants
        cluster.api.release_watches()


async def test_nothing_is_freed_while_the_api_server_does_not_answer():
    """No answer is not the answer that there is no pod."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await allocator.grant(ask("a"))

        def fault(verb, path, _body):
            if verb == "LIST" and path.endswith("/pods"):
                raise errors.UnknownOutcomeError("down")

        cluster.api.before = fault
        await cluster.pass_time(150)
        assert cluster.ledger().grants


async def test_a_pod_that_borrows_an_id_neither_holds_nor_frees():
    """Namespaces that did not opt in may write any annotation."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        cluster.run_pod(granted)
        await seen(cluster)
        cluster.run_pod(granted, name="thief", phase="Succeeded", uid="thief")
        await cluster.settle()
        assert [grant.pod for grant in cluster.ledger().grants.values()] == ["a"]


async def test_only_the_leader_gives_back():
    """Replicas that do not lead watch and wait."""
    cluster = Cluster()
    async with cluster.allocator(), cluster.allocator(leads=False, identity="two") as second:
        assert not second.leading
        granted = await second.grant(ask("a"))
        cluster.run_pod(granted, phase="Succeeded")
        await cluster.settle()
        assert cluster.ledger().grants == {}


async def test_another_replica_takes_over_when_the_leader_leaves():
    """A rolling update hands leadership on without waiting for the Lease to run out."""
    cluster = Cluster()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(cluster.allocator())
        async with cluster.allocator(leads=False, identity="two") as second:
            await stack.aclose()
            await cluster.pass_time(3)
            assert (first.leading, second.leading) == (False, True)


async def test_a_leader_that_stops_without_an_api_server_stops_all_the_same():
    """Resigning is a courtesy; the Lease runs out by itself."""
    cluster = Cluster()

    def fault(*_):
        raise errors.UnreachableError("down")

    async with cluster.allocator() as first:
        assert first.leading
        cluster.api.before = fault
    assert not first.leading


async def test_a_mishap_amid_a_write_leaves_nothing_undone():
    """Whatever goes wrong while a ledger is written, what waits for it is written later."""
    cluster = Cluster()
    mishaps = iter([ZeroDivisionError("a mistake of ours")])

    def fault(verb, path, _body):
        if verb == "PUT" and "configmaps" in path and (mishap := next(mishaps, None)):
            raise mishap

    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        cluster.api.before = fault
        cluster.run_pod(granted, phase="Succeeded")
        await cluster.pass_time(3)
        assert cluster.ledger().grants == {}


async def test_a_long_first_look_does_not_cost_the_lease():
    """A new leader renews its Lease while it asks after many pods."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        for at in range(3):
            granted = await allocator.grant(ask(f"p{at}"))
            cluster.run_pod(granted)
        await seen(cluster)
    for at in range(3):
        cluster.api.drop(PODS, f"p{at}", namespace="team")
    stuck = asyncio.Event()
    answer = cluster.api.get

    async def slow(resource, name, *, namespace=""):
        if resource is PODS:
            await stuck.wait()
        return await answer(resource, name, namespace=namespace)

    cluster.api.get = slow
    async with cluster.allocator(identity="two") as allocator:
        await cluster.pass_time(30)
        assert allocator.leading
        stuck.set()
        await cluster.settle()
        cluster.agents_confirm()
        await cluster.settle()
        assert cluster.ledger().grants == {}
