"""Pods whose allocation the ledger does not have, or has otherwise; ledgers made anew from pods."""

from dataclasses import replace

import pytest

from allocator.api import names
from allocator.api.allocation import Allocation, Slice, allocation_of, result_annotations
from allocator.api.errors import NoCapacityError
from allocator.api.quantities import Memory
from allocator.controller import Granted
from allocator.kube import CONFIGMAPS, NAMESPACES, PODS
from tests.unit.controller.cluster import SYSTEM, Cluster, ask
from tests.unit.controller.test_evictor import messages
from tests.unit.controller.test_give_back import seen
from tests.unit.kube.fakeapi import copied


def there(cluster: Cluster, name: str) -> bool:
    """Whether a pod exists and is not being deleted."""
    pod = cluster.api.see(PODS, name, namespace="team")
    return pod is not None and "deletionTimestamp" not in pod["metadata"]


def late(cluster: Cluster, granted: Granted) -> None:
    """A pod that was granted long ago is persisted only now; no scheduler has seen it."""
    pod = cluster.run_pod(granted, phase="Pending")
    cluster.api.put(PODS, {**pod, "spec": {"containers": [{"name": "c"}]}}, namespace="team")


def holders(cluster: Cluster, node: str = "n1") -> list[str]:
    """The pods in a node's ledger."""
    return sorted(grant.pod for grant in cluster.ledger(node).grants.values())


def resized(granted: Granted, mib: int) -> Granted:
    """The same grant of another size, as a forger would write it."""
    allocation = granted.grant.allocation
    slices = {"c": (Slice(uuid=allocation.uuids()[0], memory=Memory.mib(mib)),)}
    return replace(granted, grant=replace(granted.grant, allocation=replace(allocation, containers=slices)))


async def given_back(cluster: Cluster, allocator, *, mib: int = 600) -> Granted:
    """A grant that was given back because its pod never came."""
    granted = await allocator.grant(ask("late", mib=mib))
    await cluster.pass_time(110)
    assert cluster.ledger().grants == {}
    return granted


async def test_a_late_pod_gets_its_grant_again():
    """There is room still: the ledger has it again, under the id that the pod carries."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await given_back(cluster, allocator)
        late(cluster, granted)
        await cluster.pass_time(3)
        assert list(cluster.ledger().grants) == [granted.grant.allocation.id]
        [said] = messages(cluster, "GrantRestored")
        assert "600Mi of GPU-n1-0" in said
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("b", mib=600))
        await cluster.pass_time(120)
        assert there(cluster, "late")


async def test_a_late_pod_whose_room_is_taken_is_stopped():
    """Others have been promised that memory: it must not start, and is told why."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await given_back(cluster, allocator)
        cluster.run_pod(await allocator.grant(ask("b", mib=600)))
        late(cluster, granted)
        await cluster.pass_time(3)
        assert not there(cluster, "late")
        assert holders(cluster) == ["b"]
        [said] = messages(cluster, "Stopped")
        assert "others have it now" in said


async def test_a_pod_that_says_more_than_its_grant_is_stopped():
    """Whoever edits the annotations of a pod gets no more memory by it."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a", mib=100))
        cluster.run_pod(granted)
        await seen(cluster)
        cluster.run_pod(resized(granted, 900))
        await cluster.pass_time(3)
        assert not there(cluster, "a")
        [said] = messages(cluster, "Stopped")
        assert "something else than its grant" in said


async def test_a_pod_with_anothers_allocation_is_stopped():
    """The grant stays with the pod that it was made for."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        cluster.run_pod(granted)
        await seen(cluster)
        cluster.run_pod(granted, name="thief", uid="thief")
        await cluster.pass_time(3)
        assert (there(cluster, "a"), there(cluster, "thief")) == (True, False)
        assert holders(cluster) == ["a"]


async def test_an_invented_allocation_is_stopped_before_it_starts():
    """It names a GPU that the node does not have."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        slices = {"c": (Slice(uuid="GPU-none", memory=Memory.mib(1)),)}
        invented = replace(granted.grant.allocation, id="invented", containers=slices)
        late(cluster, replace(granted, grant=replace(granted.grant, pod="x", allocation=invented)))
        await cluster.pass_time(3)
        assert not there(cluster, "x")
        [said] = messages(cluster, "Stopped")
        assert "no GPU GPU-none" in said


async def test_namespaces_that_did_not_opt_in_are_nobodys_concern():
    """Anything may be written there: it is neither booked nor stopped."""
    cluster = Cluster()
    cluster.api.put(NAMESPACES, {"metadata": {"name": "team", "labels": {}}})
    async with cluster.allocator() as allocator:
        granted = await given_back(cluster, allocator)
        late(cluster, granted)
        await cluster.pass_time(30)
        assert there(cluster, "late")
        assert cluster.ledger().grants == {}


async def test_a_running_pod_with_a_matching_grant_is_left_alone():
    """Whatever else happens around it."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.run_pod(await allocator.grant(ask("a")))
        await seen(cluster)
        cluster.api.disconnect(forget=True)
        await cluster.pass_time(60)
        assert there(cluster, "a")
        assert messages(cluster, "Stopped") == messages(cluster, "GrantRestored") == []


async def test_a_pod_ahead_of_the_ledgers_watch_is_no_stray():
    """Another replica has granted it a moment ago: the API server is asked before anything is done."""
    cluster = Cluster()
    async with cluster.allocator(), cluster.allocator(leads=False, identity="two") as second:
        held = []
        answer = cluster.api.watch

        def lagging(resource, **named):
            if resource is CONFIGMAPS:
                held.append(named)
            return answer(resource, **named)

        cluster.api.watch = lagging
        granted = await second.grant(ask("a"))
        cluster.run_pod(granted)
        await cluster.pass_time(10)
        assert there(cluster, "a")
        assert messages(cluster, "GrantRestored") == []


# --- ledgers that are lost -----------------------------------------------------------------------------------------


async def two_pods(cluster: Cluster) -> None:
    """Two pods run, then every replica stops."""
    async with cluster.allocator() as allocator:
        for name in ("a", "b"):
            cluster.run_pod(await allocator.grant(ask(name, mib=400)))
        await seen(cluster)


async def test_a_ledger_deleted_while_nobody_ran_is_made_from_the_pods():
    """All that is needed stands in the pods: nobody gets what they hold."""
    cluster = Cluster()
    await two_pods(cluster)
    before = {key: grant.allocation for key, grant in cluster.ledger().grants.items()}
    cluster.api.drop(CONFIGMAPS, names.ledger_name("n1"), namespace=SYSTEM)
    async with cluster.allocator(identity="two") as allocator:
        await cluster.pass_time(3)
        assert {key: grant.allocation for key, grant in cluster.ledger().grants.items()} == before
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("c", mib=300))


async def test_nothing_is_granted_on_a_node_before_its_ledger_is_made_anew():
    """Also by a replica that does not lead: its first write holds what the pods hold."""
    cluster = Cluster()
    await two_pods(cluster)
    cluster.api.drop(CONFIGMAPS, names.ledger_name("n1"), namespace=SYSTEM)
    async with cluster.allocator(leads=False, identity="two") as allocator:
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("c", mib=300))
        await allocator.grant(ask("d", mib=200))
        cluster.check()
        assert holders(cluster) == ["a", "b", "d"]


async def test_a_ledger_from_a_backup_gets_back_what_runs():
    """It lacks one of two: the pod that runs is booked again."""
    cluster = Cluster()
    await two_pods(cluster)
    ledger = cluster.api.see(CONFIGMAPS, names.ledger_name("n1"), namespace=SYSTEM)
    old = dict(sorted(ledger["data"].items())[:1])
    cluster.api.put(CONFIGMAPS, ledger | {"data": old}, namespace=SYSTEM)
    async with cluster.allocator(identity="two"):
        await cluster.pass_time(3)
        assert holders(cluster) == ["a", "b"]


async def test_a_cluster_restored_from_a_backup_is_seen_as_it_is_now():
    """Its versions went back: what we remember is of a time that never was, and nobody is booked by it or over it."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.run_pod(await allocator.grant(ask("a", mib=400)))
        await seen(cluster)
        backup = {key: copied(item) for key, item in cluster.api.objects.items()}
        version = cluster.api.version
        cluster.run_pod(await allocator.grant(ask("b", mib=400)))
        await seen(cluster)
        cluster.api.objects, cluster.api.version = backup, version
        cluster.api.history = [one for one in cluster.api.history if one[0] <= version]
        cluster.api.disconnect()
        await cluster.pass_time(5)
        await allocator.grant(ask("c", mib=600))
        assert holders(cluster) == ["a", "c"]
        cluster.check()
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("d", mib=100))


async def test_what_runs_beyond_a_gpu_blocks_it_and_is_not_touched():
    """More runs than the GPU has: nothing new goes there until enough has ended."""
    cluster = Cluster()
    await two_pods(cluster)
    cluster.api.drop(CONFIGMAPS, names.ledger_name("n1"), namespace=SYSTEM)
    pod = cluster.api.see(PODS, "a", namespace="team")
    other = cluster.ledger().node
    big = result_annotations(
        replace(
            _allocation(pod),
            id="other",
            node=other,
            containers={"c": (Slice(uuid="GPU-n1-0", memory=Memory.mib(900)),)},
        ),
        inventory=cluster.inventories["n1"],
        preloads={},
    )
    cluster.api.put(PODS, {**pod, "metadata": {"name": "big", "annotations": big}}, namespace="team")
    async with cluster.allocator(identity="two") as allocator:
        await cluster.pass_time(3)
        assert holders(cluster) == ["a", "b", "big"]
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("c", mib=1))
        cluster.end_pod("big")
        await cluster.pass_time(3)
        await allocator.grant(ask("c", mib=100))
        assert there(cluster, "a")


def _allocation(pod: dict) -> Allocation:
    """What a pod's annotations say."""
    found = allocation_of(pod["metadata"]["annotations"])
    assert found is not None
    return found
