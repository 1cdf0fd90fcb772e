"""Grants at admission."""

import asyncio
from dataclasses import replace

import pytest

from allocator.api import names
from allocator.api.errors import ConflictError, NoCapacityError, NotReadyError, RequestError
from allocator.controller import AgentSettings, CommitSettings
from allocator.kube import CONFIGMAPS, PODS, RUNTIME_CLASSES, errors
from tests.unit.controller.cluster import SYSTEM, Cluster, ask

OWNER = "StatefulSet/a/u"


async def test_a_grant_stands_in_the_ledger_when_it_is_returned():
    """The ledger is made if there is none, and holds what the caller was told."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        assert allocator.ready
        granted = await allocator.grant(ask(mib=300))
        assert cluster.ledger().grants == {granted.grant.allocation.id: granted.grant}
        assert granted.inventory == cluster.inventories["n1"]
        assert granted.grant.allocation.totals()["GPU-n1-0"].memory.count == 300 * 1024**2


async def test_concurrent_grants_share_writes():
    """A burst on one node costs a fraction of a write each, and no conflict."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator() as allocator:
        await asyncio.gather(*(allocator.grant(ask(f"p{at}")) for at in range(40)))
        assert len(cluster.ledger().grants) == 40
        assert cluster.ledger_writes() <= 3
        cluster.check()


async def test_in_a_burst_a_nodes_first_grant_waits_for_company():
    """As long as the last write took, whichever ledger that was: what comes meanwhile is written with it."""
    cluster = Cluster("n1", "n2")

    def slow(verb, path, _body):
        if verb in {"POST", "PUT"} and "configmaps" in path:
            cluster.clock.advance(0.02)

    commit = CommitSettings(patience=30, company=0.03, burst=0.1)
    async with cluster.allocator(commit=commit) as allocator:
        cluster.api.before = slow
        await allocator.grant(ask("a", mib=1000))
        asked = []
        for name in ("b", "c"):
            asked.append(asyncio.create_task(allocator.grant(ask(name, mib=500))))
            await cluster.settle()
        assert cluster.ledger_writes() == 1
        cluster.clock.advance(0.02)
        granted = await asyncio.gather(*asked)
        assert {one.grant.allocation.node for one in granted} == {"n2"}
        assert cluster.ledger_writes() == 2


async def test_a_burst_beyond_capacity_fills_and_no_more():
    """Forty ask for what ten can have: ten get it, thirty hear why not."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        results = await asyncio.gather(*(allocator.grant(ask(f"p{at}")) for at in range(40)), return_exceptions=True)
        assert sum(isinstance(one, NoCapacityError) for one in results) == 30
        assert len(cluster.ledger().grants) == 10
        cluster.check()


async def test_no_capacity_says_what_is_missing():
    """The sentence goes to the user as it stands."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await allocator.grant(ask("a", mib=700))
        with pytest.raises(NoCapacityError, match="needs 500Mi on one GPU; best is 300Mi on n1"):
            await allocator.grant(ask("b", mib=500))


async def test_a_dry_run_writes_nothing_and_holds_nothing():
    """Planning twice the whole GPU works, and leaves no trace."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        before = len(cluster.api.writes)
        for _ in range(2):
            planned = await allocator.grant(ask(mib=1000, dry_run=True))
            assert planned.grant.allocation.node == "n1"
        assert len(cluster.api.writes) == before
        await allocator.grant(ask(mib=1000))


async def test_another_replicas_write_makes_us_plan_anew():
    """A lost compare-and-swap is planned again against what is there now, on another node if need be."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator() as one, cluster.allocator(leads=False, identity="two") as two:
        cluster.api.hold_watches()
        first = await one.grant(ask("a", mib=1000))
        second = await two.grant(ask("b", mib=1000))
        assert {first.grant.allocation.node, second.grant.allocation.node} == {"n1", "n2"}
        cluster.api.release_watches()
        cluster.check()


async def test_two_blind_replicas_never_overbook():
    """With no watch at all between them, the compare-and-swap alone keeps two replicas apart."""
    cluster = Cluster("n1", gpus=2)
    async with cluster.allocator() as one, cluster.allocator(leads=False, identity="two") as two:
        cluster.api.hold_watches()
        asked = [at.grant(ask(f"p{number}", mib=250)) for number in range(8) for at in (one, two)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        cluster.check()
        assert sum(isinstance(result, NoCapacityError) for result in results) == 8
        assert len(cluster.ledger().grants) == 8
        cluster.api.release_watches()


@pytest.mark.parametrize("applied", [False, True])
async def test_a_write_whose_answer_is_lost_counts_once(applied):
    """After a broken connection the ledger itself tells whether the grant stands."""
    cluster = Cluster()
    failures = iter([errors.UnknownOutcomeError("reset")])

    def fault(verb, path, _body):
        if verb == "POST" and "configmaps" in path and (reason := next(failures, None)):
            raise reason

    async with cluster.allocator() as allocator:
        if applied:
            cluster.api.after = fault
        else:
            cluster.api.before = fault
        granted = await allocator.grant(ask())
        assert list(cluster.ledger().grants) == [granted.grant.allocation.id]


async def test_a_write_whose_answer_is_lost_and_cannot_be_read_counts_once():
    """Where not even a read succeeds, the watch tells: the grant is neither planned again nor lost."""
    cluster = Cluster()
    lost = iter([errors.UnknownOutcomeError("reset")])
    unread = iter([errors.UnknownOutcomeError("reset")])

    def after(verb, path, _body):
        if verb == "POST" and "configmaps" in path and (reason := next(lost, None)):
            raise reason

    def before(verb, path, _body):
        if verb == "GET" and "configmaps" in path and (reason := next(unread, None)):
            raise reason

    async with cluster.allocator() as allocator:
        cluster.api.before, cluster.api.after = before, after
        granted = await allocator.grant(ask())
        assert list(cluster.ledger().grants) == [granted.grant.allocation.id]
        assert next(lost, None) is None
        assert next(unread, None) is None


async def test_a_cancelled_caller_leaves_nothing_behind():
    """The webhook's deadline cancels the grant, at whichever step it is."""
    for steps in range(12):
        cluster = Cluster()
        async with cluster.allocator() as allocator:
            task = asyncio.create_task(allocator.grant(ask(mib=1000)))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            results = await asyncio.gather(task, return_exceptions=True)
            await cluster.settle()
            if isinstance(results[0], asyncio.CancelledError):
                assert cluster.ledger().grants == {}
                await allocator.grant(ask("next", mib=1000))


async def test_a_ledger_that_cannot_be_written_is_not_ready():
    """Missing permissions are ours to mend, not the user's."""
    cluster = Cluster()

    def fault(verb, path, _body):
        if verb == "POST" and "configmaps" in path:
            raise errors.ForbiddenError("no", status=403)

    async with cluster.allocator() as allocator:
        cluster.api.before = fault
        with pytest.raises(NotReadyError, match="ledger of n1 cannot be written"):
            await allocator.grant(ask())


async def test_patience_ends_in_a_conflict():
    """An API server that never answers costs the caller a bounded time, and nothing stays assumed."""
    cluster = Cluster()
    stuck = asyncio.Event()
    async with cluster.allocator(commit=CommitSettings(patience=0.01)) as allocator:
        real = cluster.api.create

        async def never(*_args, **_kwargs):
            await stuck.wait()

        cluster.api.create = never
        with pytest.raises(ConflictError):
            await allocator.grant(ask(mib=1000))
        cluster.api.create = real


async def test_stale_agents_nodes_take_nothing():
    """A node whose agent has gone silent is passed over, and taken again when it speaks."""
    cluster = Cluster("n1")
    cluster.sign_of_life("n1", "2026-01-01T12:00:00.000000Z")
    async with cluster.allocator(agents=AgentSettings(max_age=60)) as allocator:
        await allocator.grant(ask("a"))
        cluster.clock.advance(61)
        await cluster.settle()
        with pytest.raises(NoCapacityError, match="silent"):
            await allocator.grant(ask("b"))
        cluster.sign_of_life("n1", "2026-01-01T12:01:02.000000Z")
        await cluster.settle()
        await allocator.grant(ask("c"))


async def test_an_absent_agent_lease_counts_as_silence_by_default():
    """Tolerated only where the settings say so."""
    cluster = Cluster()
    async with cluster.allocator(agents=AgentSettings()) as allocator:
        with pytest.raises(NoCapacityError, match="silent"):
            await allocator.grant(ask())


async def test_a_runtime_class_is_read_as_the_pod_will_have_it():
    """Its node selector reaches the pod after us, so the pod must be placed as if it were there already."""
    cluster = Cluster("n1", "n2")
    scheduling = {"nodeSelector": {"kubernetes.io/hostname": "n2"}}
    cluster.api.put(RUNTIME_CLASSES, {"metadata": {"name": "nvidia"}, "handler": "nvidia", "scheduling": scheduling})
    async with cluster.allocator(runtime_class="nvidia") as allocator:
        await cluster.settle()
        granted = [await allocator.grant(ask(f"p{at}")) for at in range(3)]
        assert {one.grant.allocation.node for one in granted} == {"n2"}


async def test_a_pod_with_a_node_is_granted_there_or_refused():
    """Nobody will schedule it elsewhere."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a", mib=900, nodeName="n2"))
        assert granted.grant.allocation.node == "n2"
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("b", mib=900, nodeName="n2"))


async def test_pods_in_the_cluster_take_cpu_of_their_nodes():
    """GPU memory is of no use to a pod that the scheduler cannot place."""
    cluster = Cluster("n1", "n2")
    container = {"name": "c", "resources": {"requests": {"cpu": "63"}}}
    body = {"metadata": {"name": "hog"}, "spec": {"nodeName": "n1", "containers": [container]}, "status": {}}
    cluster.api.put(PODS, body, namespace="other")
    hungry = {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "2"}}}]}
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a", **hungry))
        assert granted.grant.allocation.node == "n2"
        cluster.api.put(PODS, {**body, "status": {"phase": "Succeeded"}}, namespace="other")
        await cluster.settle()
        await allocator.grant(ask("b", mib=1000, nodeName="n1", **hungry))


async def test_unreadable_inventory_takes_nothing_and_blinds_nobody():
    """One broken ConfigMap concerns one node."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator() as allocator:
        body = cluster.api.see(CONFIGMAPS, names.inventory_name("n1"), namespace=SYSTEM)
        cluster.api.put(CONFIGMAPS, {**body, "data": {"node": "name: n1\nstrategy: magic\n"}}, namespace=SYSTEM)
        await cluster.settle()
        granted = [await allocator.grant(ask(f"p{at}", mib=500)) for at in range(2)]
        assert {one.grant.allocation.node for one in granted} == {"n2"}


@pytest.mark.parametrize("name", ["a\nuid: x", "", "UPPER", "a b", "*"])
async def test_names_that_are_none_are_refused(name):
    """Names reach the ledger before the API server has validated them."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        with pytest.raises(RequestError, match=r"metadata\.name"):
            await allocator.grant(ask(name))


async def test_unready_before_the_first_list_and_after_contact_is_lost():
    """Grants need a view of the cluster, and not one from yesterday."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:

        def fault(verb, *_):
            if verb == "WATCH":
                raise errors.UnreachableError("down")

        cluster.api.before = fault
        cluster.api.disconnect()
        await cluster.settle()
        cluster.clock.elapsed += 61
        assert not allocator.ready
        with pytest.raises(NotReadyError):
            await allocator.grant(ask())
    assert not allocator.ready


async def test_give_back_frees_at_once():
    """The webhook failed after granting: the next pod gets the memory."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a", mib=1000))
        await allocator.give_back(granted)
        assert cluster.ledger().grants == {}
        await allocator.grant(ask("b", mib=1000))


async def test_recognise_knows_its_own_and_nothing_else():
    """A second call of the webhook finds the grant; forgeries, other namespaces and used grants do not pass."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        allocation = granted.grant.allocation
        assert await allocator.recognise("team", allocation) == granted
        assert await allocator.recognise("other", allocation) is None
        larger = replace(allocation, containers={**allocation.containers, "d": ()})
        assert await allocator.recognise("team", larger) is None
        assert await allocator.recognise("team", replace(allocation, id="unknown")) is None
        cluster.run_pod(granted)
        await cluster.settle()
        cluster.clock.advance(3)
        await cluster.settle()
        assert await allocator.recognise("team", allocation) is None


async def test_recognise_finds_what_another_replica_granted_a_moment_ago():
    """The watch may lag; the API server does not."""
    cluster = Cluster()
    async with cluster.allocator() as one, cluster.allocator(leads=False, identity="two") as two:
        cluster.api.hold_watches()
        granted = await one.grant(ask("a"))
        assert await two.recognise("team", granted.grant.allocation) == granted
        cluster.api.release_watches()


async def test_a_named_pod_created_again_gets_the_same_grant():
    """A pod that is refused later and created again and again holds one grant, not many."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        first = await allocator.grant(ask("a", owner=OWNER))
        again = await allocator.grant(ask("a", owner=OWNER))
        assert again.grant.allocation == first.grant.allocation
        assert [grant.reused for grant in cluster.ledger().grants.values()] == [1]


async def test_a_grant_about_to_be_given_back_is_not_reused():
    """The new create must end before the old grant's grace does."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        first = await allocator.grant(ask("a", owner=OWNER))
        await cluster.pass_time(31)
        second = await allocator.grant(ask("a", owner=OWNER))
        assert second.grant.allocation.id != first.grant.allocation.id


async def test_another_shape_is_another_grant():
    """The pod was changed before it was created again."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        first = await allocator.grant(ask("a", owner=OWNER, mib=100))
        second = await allocator.grant(ask("a", owner=OWNER, mib=200))
        assert second.grant.allocation.id != first.grant.allocation.id


async def test_two_generated_pods_of_one_owner_never_share_a_grant():
    """Creates of one ReplicaSet run at the same time."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        one = await allocator.grant(ask("web-*", owner="ReplicaSet/web/u"))
        two = await allocator.grant(ask("web-*", owner="ReplicaSet/web/u"))
        assert one.grant.allocation.id != two.grant.allocation.id


async def test_deleting_a_ledger_frees_nothing():
    """Somebody deletes the ConfigMap: it is written anew, and nobody is booked over."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a", mib=1000))
        cluster.api.drop(CONFIGMAPS, names.ledger_name("n1"), namespace=SYSTEM)
        await cluster.settle()
        assert list(cluster.ledger().grants) == [granted.grant.allocation.id]
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("b", mib=1))


async def test_a_ledger_deleted_together_with_its_inventory_is_written_anew():
    """`kubectl delete configmap --all`: another replica has begun a new ledger, and what was held is held again."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a", mib=1000))
        cluster.api.hold_watches()
        cluster.api.drop(CONFIGMAPS, names.inventory_name("n1"), namespace=SYSTEM)
        cluster.api.drop(CONFIGMAPS, names.ledger_name("n1"), namespace=SYSTEM)
        metadata = {
            "name": names.ledger_name("n1"),
            "labels": {names.KIND_LABEL: names.KIND_LEDGER},
            "annotations": {names.NODE: "n1"},
        }
        cluster.api.put(CONFIGMAPS, {"metadata": metadata, "data": {}}, namespace=SYSTEM)
        cluster.api.release_watches()
        await cluster.settle()
        assert list(cluster.ledger().grants) == [granted.grant.allocation.id]
