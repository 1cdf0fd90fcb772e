"""What storms have found, each made small."""

from allocator.api import names
from allocator.controller import QueueSettings
from allocator.kube import CONFIGMAPS, PODS, errors
from tests.unit.controller.cluster import SYSTEM, Cluster, ask
from tests.unit.controller.test_leadership import Pausable


async def test_a_ledger_restored_from_a_backup_is_believed():
    """It is older than what is known, and all the same what there is: else every later write to it is refused."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await allocator.grant(ask("a"))
        backup = cluster.api.see(CONFIGMAPS, names.ledger_name("n1"), namespace=SYSTEM)
        old = {**backup, "metadata": dict(backup["metadata"])}
        await allocator.grant(ask("b"))
        cluster.api.objects["configmaps", SYSTEM, names.ledger_name("n1")] = old
        await allocator.grant(ask("c"))
        assert {grant.pod for grant in cluster.ledger().grants.values()} == {"a", "c"}


async def test_a_grant_that_two_creates_got_outlives_the_first_pod():
    """The first pod of the name came and went; the second carries its grant, and keeps it."""
    cluster = Cluster()
    owner = "StatefulSet/web/u"
    async with cluster.allocator() as allocator:
        first = await allocator.grant(ask("web-0", owner=owner))
        cluster.api.hold_watches()
        cluster.run_pod(first)
        second = await allocator.grant(ask("web-0", owner=owner))
        assert second.grant.allocation == first.grant.allocation
        cluster.api.release_watches()
        await cluster.pass_time(5)
        cluster.end_pod("web-0")
        await cluster.pass_time(5)
        pod = cluster.run_pod(second)
        await cluster.pass_time(120)
        [grant] = cluster.ledger().grants.values()
        assert (grant.uid, grant.releasing) == (pod["metadata"]["uid"], None)
        cluster.end_pod("web-0")
        await cluster.pass_time(5)
        assert cluster.ledger().grants == {}
        assert cluster.api.see(PODS, "web-0", namespace="team") is None


async def test_a_grant_that_went_to_a_further_create_is_not_given_back_for_the_first():
    """One replica gave up on a create; another one has given its grant to the next create meanwhile."""
    cluster = Cluster()
    owner = "StatefulSet/web/u"
    async with cluster.allocator() as one, cluster.allocator(leads=False, identity="two") as two:
        first = await one.grant(ask("web-0", owner=owner))
        await cluster.settle()
        second = await two.grant(ask("web-0", owner=owner))
        await one.give_back(first)
        assert list(cluster.ledger().grants) == [second.grant.allocation.id]


async def test_a_grant_of_several_creates_is_given_back_by_none_of_them():
    """The webhook failed on the second create; the first may still be on its way to the store."""
    cluster = Cluster()
    owner = "StatefulSet/web/u"
    async with cluster.allocator() as allocator:
        await allocator.grant(ask("web-0", owner=owner))
        second = await allocator.grant(ask("web-0", owner=owner))
        await allocator.give_back(second)
        assert len(cluster.ledger().grants) == 1
        await cluster.pass_time(120)
        assert cluster.ledger().grants == {}


async def test_a_grant_that_is_gone_is_not_reused():
    """A cache may lag: only the ledger itself says that a grant is still to be had."""
    cluster = Cluster()
    owner = "StatefulSet/web/u"
    async with cluster.allocator() as one, cluster.allocator(leads=False, identity="two") as two:
        first = await one.grant(ask("web-0", owner=owner))
        await cluster.settle()
        cluster.api.hold_watches()
        await one.give_back(first)
        second = await two.grant(ask("web-0", owner=owner))
        assert list(cluster.ledger().grants) == [second.grant.allocation.id]
        cluster.api.release_watches()


async def test_room_kept_for_a_pod_that_is_gone_goes_to_the_next():
    """The first in the queue had a place reserved and was deleted; nobody is created, and the next one gets in."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator(queue=QueueSettings(reserve_after=60)) as allocator:
        for name in ("one", "two"):
            cluster.run_pod(await allocator.grant(ask(name, mib=800)))
        cluster.queue_pod("first", mib=700)
        await cluster.pass_time(100)
        assert cluster.annotation("first", names.RESERVED)
        cluster.queue_pod("next", mib=1000)
        cluster.api.drop(PODS, "first", namespace="team")
        cluster.end_pod("one")
        cluster.end_pod("two")
        cluster.queue_pod("other", mib=1000)
        await cluster.pass_time(60)
        assert cluster.annotation("next", names.STATUS) == names.STATUS_ALLOCATED
        assert cluster.annotation("other", names.STATUS) == names.STATUS_ALLOCATED


async def test_a_paused_leader_gives_no_grant_back_that_its_successor_has_used():
    """The pod refused its patch; the old leader stood still before its write, and the new one had more luck."""
    cluster = Cluster()
    old = Pausable(cluster.api)

    def refuse(verb, path, _body):
        if verb == "PATCH" and "/pods/" in path:
            raise errors.InvalidError("immutable", status=422)

    async with cluster.allocator(client=old), cluster.allocator(leads=False, identity="two") as second:
        nothing, cluster.api.before = cluster.api.before, refuse
        old.stop_before = ("replace", CONFIGMAPS)
        cluster.queue_pod("a")
        await cluster.pass_time(3)
        assert old.paused
        [grant_id] = cluster.ledger().grants
        cluster.api.before = nothing
        await cluster.pass_time(60)
        assert second.leading
        assert cluster.annotation("a", names.ALLOCATION_ID) == grant_id
        stood = []
        cluster.api.after = lambda *_: stood.append(list(cluster.ledger().grants))
        old.resume()
        await cluster.pass_time(5)
        assert stood
        assert all(grants == [grant_id] for grants in stood)
