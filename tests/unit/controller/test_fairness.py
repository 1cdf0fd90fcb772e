"""Who comes first: pods that wait, newcomers, and room that is kept."""

from dataclasses import replace

import pytest

from allocator.api import names
from allocator.api.errors import NoCapacityError
from allocator.controller import Granted, QueueSettings
from allocator.kube import EVENTS, LEASES, PODS, errors
from tests.unit.controller.cluster import SYSTEM, Cluster, ask
from tests.unit.controller.test_queue import rounds

LONG = 3600


def holders(cluster: Cluster, *nodes: str) -> set[str]:
    """Names of the pods with grants."""
    return {grant.pod for node in nodes or ("n1",) for grant in cluster.ledger(node).grants.values()}


async def test_a_newcomer_does_not_take_the_room_that_a_waiting_pod_could_have():
    """Room is made; before the leader has given it to the pod that waits, a new pod asks for it."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        held = await allocator.grant(ask("big", mib=1000))
        cluster.queue_pod("waits", mib=600)
        await rounds(cluster)
        await allocator.give_back(held)
        with pytest.raises(NoCapacityError, match="the room that there is, is kept for pods that wait longer"):
            await allocator.grant(ask("new", mib=600))
        await rounds(cluster)
        assert holders(cluster) == {"waits"}


async def test_a_newcomer_on_another_replica_does_not_overtake_either():
    """Every replica sees who waits; the one that does not lead keeps the room as well."""
    cluster = Cluster()
    async with cluster.allocator() as leader, cluster.allocator(leads=False, identity="two") as other:
        held = await leader.grant(ask("big", mib=1000))
        cluster.queue_pod("waits", mib=600)
        await rounds(cluster)
        await other.give_back(held)
        with pytest.raises(NoCapacityError):
            await other.grant(ask("new", mib=600))
        await rounds(cluster)
        assert holders(cluster) == {"waits"}


async def test_a_newcomer_takes_what_is_left_beside():
    """Beside the room for those who wait there may be more."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        held = await allocator.grant(ask("big", mib=1000))
        cluster.queue_pod("waits", mib=600)
        await rounds(cluster)
        await allocator.give_back(held)
        assert isinstance(await allocator.grant(ask("new", mib=400)), Granted)
        await rounds(cluster)
        assert holders(cluster) == {"waits", "new"}


async def test_a_newcomer_of_higher_priority_goes_first():
    """Priority goes before age."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        held = await allocator.grant(ask("big", mib=1000))
        cluster.queue_pod("waits", mib=600)
        await rounds(cluster)
        await allocator.give_back(held)
        assert isinstance(await allocator.grant(ask("new", mib=600, priority=7)), Granted)
        await rounds(cluster)
        assert holders(cluster) == {"new"}


async def test_a_newcomer_is_not_held_up_by_a_pod_that_others_hold():
    """A pod behind a foreign gate cannot use the room."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.queue_pod("held", mib=600, gates=("x/quota",))
        await rounds(cluster)
        assert isinstance(await allocator.grant(ask("new", mib=600)), Granted)


async def test_a_newcomer_is_not_held_up_by_a_pod_that_fits_nowhere_yet():
    """Young pods that do not fit keep nothing: others use what there is."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.queue_pod("huge", mib=1001)
        cluster.queue_pod("odd", mib=600, models="L40S")
        await rounds(cluster)
        assert isinstance(await allocator.grant(ask("new", mib=600)), Granted)


async def test_small_pods_do_not_starve_a_large_one():
    """Small pods come and go for ever and always leave some room, never enough; the large one gets its GPU."""
    cluster = Cluster(gpus=2)
    async with cluster.allocator(queue=QueueSettings(reserve_after=60)) as allocator:
        running = [await allocator.grant(ask(f"s{at}", mib=500)) for at in range(4)]
        for granted in running:
            cluster.run_pod(granted)
        cluster.queue_pod("large", mib=1000)
        for turn in range(90):
            await cluster.pass_time(1)
            if "large" in holders(cluster):
                break
            if turn % 2:
                continue
            cluster.run_pod(running.pop(0), phase="Succeeded")
            await cluster.settle()
            try:
                running.append(await allocator.grant(ask(f"t{turn}", mib=500)))
                cluster.run_pod(running[-1])
            except NoCapacityError:
                cluster.queue_pod(f"t{turn}", mib=500)
        assert "large" in holders(cluster)
        cluster.check()


async def test_room_that_is_kept_is_told_and_seen_by_everyone():
    """The pod says where; another replica, which chose nothing itself, gives it to nobody."""
    cluster = Cluster(gpus=2)
    async with cluster.allocator() as leader, cluster.allocator(leads=False, identity="two") as other:
        for at in range(2):
            await leader.grant(ask(f"s{at}", mib=700))
        cluster.queue_pod("large", mib=800, waited=LONG)
        await rounds(cluster)
        reason = cluster.annotation("large", names.REASON)
        assert reason == "needs 800Mi on one GPU; best is 300Mi on n1; room is kept for it on n1"
        reserved = str(cluster.annotation("large", names.RESERVED))
        assert reserved.startswith("n1: c GPU-n1-")
        beside = await other.grant(ask("beside", mib=300))
        assert beside.grant.allocation.uuids()[0] not in reserved
        with pytest.raises(NoCapacityError):
            await other.grant(ask("new", mib=300))


async def test_room_is_kept_for_one_pod_of_each_namespace():
    """The first that has waited long; another namespace's as well."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator() as allocator:
        for at in range(4):
            await allocator.grant(ask(f"s{at}", mib=700))
        for name in ("a1", "a2"):
            cluster.queue_pod(name, mib=800, waited=LONG)
        cluster.queue_pod("b1", mib=900, waited=LONG, namespace="other")
        cluster.queue_pod("young", mib=800, namespace="third")
        await rounds(cluster)
        kept = {
            name: bool(cluster.annotation(name, names.RESERVED, namespace=where))
            for name, where in (("a1", "team"), ("a2", "team"), ("b1", "other"), ("young", "third"))
        }
        assert kept == {"a1": True, "a2": False, "b1": True, "young": False}


async def test_a_new_leader_keeps_the_same_room():
    """The place stands in the pod: another leader neither forgets nor moves it."""
    cluster = Cluster(gpus=2)
    async with cluster.allocator() as leader:
        await leader.grant(ask("s0", mib=400))
        beside = await leader.grant(ask("s1", mib=300))
        await leader.grant(ask("s2", mib=600))
        cluster.queue_pod("large", mib=1000, waited=LONG)
        await rounds(cluster)
        reserved = cluster.annotation("large", names.RESERVED)
        assert reserved
        assert beside.grant.allocation.uuids()[0] not in reserved
        await leader.give_back(beside)  # now the other GPU would be the nearer one
    async with cluster.allocator(identity="next"):
        await rounds(cluster)
        assert cluster.annotation("large", names.RESERVED) == reserved


async def test_a_forged_reservation_keeps_nothing():
    """More than the pod asks for, or elsewhere: it is not believed."""
    cluster = Cluster()
    elsewhere = {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "x"}
    cluster.api.put(LEASES, {"metadata": {"name": "vramshare-leader"}, "spec": elsewhere}, namespace=SYSTEM)
    async with cluster.allocator(leads=False) as allocator:
        pod = cluster.queue_pod("forger", mib=2000)
        pod["metadata"]["annotations"][names.RESERVED] = "n1: c GPU-n1-0 memory=1000Mi cores=0"
        cluster.api.put(PODS, pod, namespace="team")
        await rounds(cluster)
        assert isinstance(await allocator.grant(ask("new", mib=1000)), Granted)


async def test_behind_a_crowd_that_is_being_placed_a_newcomer_queues_up():
    """Many that fit wait for the leader: where each of them goes is not worked out for every newcomer."""
    cluster = Cluster(gpus=8)
    elsewhere = {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "x"}
    cluster.api.put(LEASES, {"metadata": {"name": "vramshare-leader"}, "spec": elsewhere}, namespace=SYSTEM)
    async with cluster.allocator(leads=False) as allocator:
        for at in range(50):
            cluster.queue_pod(f"w{at}", mib=10)
        await cluster.settle()
        with pytest.raises(NoCapacityError, match="waits for its turn: more than 32 pods that wait longer"):
            await allocator.grant(ask("new", mib=10))
        assert isinstance(await allocator.grant(ask("first", mib=10, priority=1)), Granted)


async def test_room_is_kept_for_so_many_and_no_more():
    """As the settings say, whoever has written what into the pods."""
    cluster = Cluster(gpus=2)
    async with cluster.allocator(queue=QueueSettings(reservations=1)) as allocator:
        for at in range(2):
            await allocator.grant(ask(f"s{at}", mib=700))
        for where in ("team", "other"):
            cluster.queue_pod("large", mib=800, waited=LONG, namespace=where)
        await rounds(cluster)
        kept = [cluster.annotation("large", names.RESERVED, namespace=where) for where in ("team", "other")]
        assert kept[0]
        assert kept[1] is None


async def test_a_granted_pod_keeps_no_room_any_more():
    """The annotation goes with the wait, and what was kept is its own now."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        held = await allocator.grant(ask("big", mib=700))
        cluster.queue_pod("large", mib=800, waited=LONG)
        await rounds(cluster)
        assert cluster.annotation("large", names.RESERVED)
        await allocator.give_back(held)
        await rounds(cluster)
        assert cluster.annotation("large", names.RESERVED) is None
        assert isinstance(await allocator.grant(ask("new", mib=200)), Granted)
        cluster.check()


async def test_many_equal_pods_are_granted_with_few_writes():
    """What a round decides is written together."""
    cluster = Cluster(gpus=4)
    async with cluster.allocator():
        for at in range(40):
            cluster.queue_pod(f"p{at}", mib=100)
        await cluster.settle()
        writes = cluster.ledger_writes()
        await rounds(cluster, 5)
        assert len(holders(cluster)) == 40
        assert cluster.ledger_writes() - writes <= 12


async def test_what_a_pod_is_told_does_not_stir_the_queue():
    """Our own annotation comes back as a change of the pod; it is none that could help."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await allocator.grant(ask("big", mib=900))
        await rounds(cluster)
        assert allocator._duties is not None
        dispatcher, count = allocator._duties.dispatcher, []
        whole = dispatcher.round

        async def counted() -> None:
            count.append(1)
            await whole()

        dispatcher.round = counted
        cluster.queue_pod("a", mib=500)
        await rounds(cluster, 10)
        assert cluster.annotation("a", names.REASON)
        assert len(count) == 1


async def test_a_reason_that_changes_all_the_time_is_written_now_and_again():
    """What is the best there is changes with every grant: the pod is told four times a minute at most."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.queue_pod("a", mib=1001)
        for at in range(30):
            await allocator.grant(ask(f"p{at}", mib=10))
            allocator._duties.dispatcher.stirred()
            await cluster.pass_time(1)
        patches = [path for verb, path in cluster.api.writes if verb == "PATCH" and path.endswith("/pods/a")]
        assert 2 <= len(patches) <= 3


async def test_a_pod_that_a_policy_keeps_from_being_changed_gets_an_event():
    """403 from a policy or another webhook: the grant comes back, the user is told, and it is tried again later."""
    cluster = Cluster()

    def fault(verb, path, body):
        if verb == "PATCH" and path.endswith("/pods/a") and isinstance(body, list):
            raise errors.ForbiddenError("denied by policy x", status=403, reason="Forbidden")

    async with cluster.allocator():
        cluster.api.before = fault
        cluster.queue_pod("a")
        await rounds(cluster, 4)
        assert cluster.ledger().grants == {}
        events = [item for key, item in cluster.api.objects.items() if key[0] == EVENTS.plural]
        [refused] = [one for one in events if one["reason"] == "GrantRefused"]
        assert "denied by policy x" in refused["message"]
        cluster.api.before = lambda *_: None
        await cluster.pass_time(62)
        assert holders(cluster) == {"a"}


async def test_a_pod_that_wants_no_queue_hears_the_same_reason():
    """`when-full: reject` is denied with what a waiting pod would be told."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        held = await allocator.grant(ask("big", mib=1000))
        cluster.queue_pod("waits", mib=600)
        await rounds(cluster)
        with pytest.raises(NoCapacityError) as refused:
            await allocator.grant(ask("new", mib=600))
        assert refused.value.summary == cluster.annotation("waits", names.REASON)
        del held


async def test_nobody_waits_and_nothing_is_kept():
    """With an empty queue admission does not even look at it."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await allocator.grant(replace(ask("a"), trace="t"))
        assert allocator._engine is not None
        assert allocator._engine.line._kept == []
        state = allocator._engine.world.fleet.node("n1")
        assert state is not None
        assert state.held == {}


async def test_a_pod_that_goes_leaves_no_kept_room_behind():
    """Deleted while room was kept for it: the next one that waits has it at once."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        held = await allocator.grant(ask("small", mib=300))
        cluster.queue_pod("large", mib=800, waited=LONG)
        await rounds(cluster)
        assert cluster.annotation("large", names.RESERVED)
        cluster.queue_pod("next", mib=700)
        cluster.api.drop(PODS, "large", namespace="team")
        await rounds(cluster)
        assert holders(cluster) == {"small", "next"}
        del held
