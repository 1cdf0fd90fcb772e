"""Running pods get another size: grown when there is room, shrunk when they keep within it."""

import asyncio
from dataclasses import replace

import pytest

from allocator.api import names
from allocator.api.allocation import allocation_of
from allocator.api.errors import NoCapacityError
from allocator.api.settled import Settled
from allocator.core.claims import claim_of, covers
from allocator.kube import CONFIGMAPS, NAMESPACES, PODS, errors
from tests.unit.controller.cluster import SETTINGS, Cluster, ask
from tests.unit.controller.test_evictor import messages
from tests.unit.controller.test_give_back import seen
from tests.unit.controller.test_leadership import Pausable
from tests.unit.controller.test_quotas import limit

MIB = 1 << 20


def want(cluster: Cluster, size: str = "", *, name: str = "a", cores: str = "") -> None:
    """The owner edits the request, as the webhook leaves it."""
    pod = cluster.api.see(PODS, name, namespace="team")
    sizes = {names.memory_annotation("c"): size, names.cores_annotation("c"): cores}
    changes = {key: value for key, value in sizes.items() if value} | {names.RESIZE: names.RESIZE_WANTED}
    metadata = pod["metadata"] | {"annotations": pod["metadata"]["annotations"] | changes}
    cluster.api.put(PODS, pod | {"metadata": metadata}, namespace="team")


def shown(cluster: Cluster, name: str = "a") -> int:
    """MiB that a pod's container is told."""
    allocation = allocation_of(cluster.api.see(PODS, name, namespace="team")["metadata"]["annotations"])
    assert allocation is not None
    return allocation.containers["c"][0].memory.count // MIB


def booked(cluster: Cluster, name: str = "a") -> int:
    """MiB that the ledger counts for a pod."""
    [grant] = [one for one in cluster.ledger().grants.values() if one.pod == name]
    return grant.allocation.containers["c"][0].memory.count // MIB


def mark(cluster: Cluster, name: str = "a") -> str | None:
    """What the pod says of its resize."""
    return cluster.annotation(name, names.RESIZE)


def agent_settles(cluster: Cluster, name: str = "a") -> None:
    """The container has read what it is told, and uses no more."""
    allocation = allocation_of(cluster.api.see(PODS, name, namespace="team")["metadata"]["annotations"])
    assert allocation is not None
    said = tuple(
        Settled(
            allocation=allocation.id,
            container=container,
            uuid=one.uuid,
            memory=one.memory,
            cores=one.cores,
            revision=one.revision,
        )
        for container, slices in allocation.containers.items()
        for one in slices
    )
    cluster.publish(replace(cluster.inventories["n1"], settled=said))


async def start(cluster: Cluster, allocator, *names_: str, mib: int = 400) -> None:
    """Pods that run."""
    for name in names_ or ("a",):
        cluster.run_pod(await allocator.grant(ask(name, mib=mib)))
    await seen(cluster)


async def test_a_slice_grows_where_there_is_room():
    """Ledger and pod have the new size, the mark is gone, the owner reads of it; nobody else gets that memory."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator)
        want(cluster, "700Mi")
        await cluster.pass_time(2)
        assert (shown(cluster), booked(cluster), mark(cluster)) == (700, 700, None)
        [said] = messages(cluster, "Resized")
        assert said.startswith("c: 400Mi of GPU-n1-0 became 700Mi of GPU-n1-0")
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("b", mib=400))
        await allocator.grant(ask("b", mib=300))
        cluster.check()


async def test_what_is_missing_is_said_and_the_size_stays():
    """No room: an Event and the mark say how much is free, once; the pod runs on with what it has."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator, "a", "b")
        want(cluster, "700Mi")
        await cluster.pass_time(60)
        sentence = "needs 300Mi more on GPU-n1-0 on node n1; 200Mi is free there"
        assert (shown(cluster), booked(cluster), mark(cluster)) == (400, 400, sentence)
        assert messages(cluster, "ResizeWaits") == [f"{sentence}; it keeps its size until then"]


async def test_what_waits_is_given_when_there_is_room():
    """The request stands until it is met."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator, "a", "b")
        want(cluster, "700Mi")
        await cluster.pass_time(5)
        cluster.end_pod("b")
        await cluster.pass_time(20)
        assert (shown(cluster), booked(cluster), mark(cluster)) == (700, 700, None)


async def test_what_a_size_was_lowered_by_is_free_once_the_agent_says_so():
    """The pod is told at once; its old memory may still be held and is promised to nobody until then."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator)
        want(cluster, "100Mi")
        await cluster.pass_time(120)
        assert (shown(cluster), booked(cluster), mark(cluster)) == (100, 400, None)
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("b", mib=700))
        agent_settles(cluster)
        await cluster.pass_time(2)
        assert booked(cluster) == 100
        await allocator.grant(ask("b", mib=900))
        cluster.check()


async def test_an_agents_word_on_another_size_settles_nothing():
    """It was said of a size that the pod had before."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator)
        want(cluster, "200Mi")
        await cluster.pass_time(2)
        agent_settles(cluster)
        cluster.api.hold_watches()
        want(cluster, "300Mi")
        cluster.api.release_watches()
        await cluster.pass_time(2)
        want(cluster, "100Mi")
        await cluster.pass_time(30)
        assert (shown(cluster), booked(cluster)) == (100, 400)


async def test_an_agents_word_of_another_time_settles_nothing():
    """It was said when the pod had this size before; meanwhile it had more, and may hold that still."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator)
        want(cluster, "100Mi")
        await cluster.pass_time(2)
        agent_settles(cluster)
        await cluster.pass_time(2)
        assert booked(cluster) == 100
        for size in ("300Mi", "100Mi"):
            want(cluster, size)
            await cluster.pass_time(2)
        await cluster.pass_time(30)
        assert (shown(cluster), booked(cluster)) == (100, 300)
        agent_settles(cluster)
        await cluster.pass_time(2)
        assert booked(cluster) == 100


async def grow_unseen(cluster: Cluster) -> None:
    """The ledger has a larger size than the pod, which cannot be reached until `api.before` does nothing again."""

    def fault(verb, path, _body):
        if verb == "PATCH" and "/pods/" in path:
            raise errors.UnreachableError("down")

    cluster.api.before = fault
    want(cluster, "700Mi")
    await cluster.pass_time(2)
    assert (shown(cluster), booked(cluster)) == (400, 700)


async def test_a_wish_that_is_withdrawn_amid_a_growth_leaves_nothing_booked():
    """The ledger had the new size, the pod never did: it is settled like a shrink."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator)

        await grow_unseen(cluster)
        pod = cluster.api.see(PODS, "a", namespace="team")
        annotations = {key: value for key, value in pod["metadata"]["annotations"].items() if key != names.RESIZE}
        cluster.api.put(PODS, pod | {"metadata": pod["metadata"] | {"annotations": annotations}}, namespace="team")
        cluster.api.before = lambda *_: None
        await cluster.pass_time(20)
        agent_settles(cluster)
        await cluster.pass_time(20)
        assert (shown(cluster), booked(cluster)) == (400, 400)


async def test_a_refused_wish_holds_back_nothing_of_an_earlier_shrink():
    """The pod was made smaller and now wants more than there is: what it gave up is free all the same."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator, "a", "b")
        want(cluster, "100Mi")
        await cluster.pass_time(2)
        want(cluster, "900Mi")
        await cluster.pass_time(2)
        agent_settles(cluster)
        await cluster.pass_time(20)
        sentence = "needs 800Mi more on GPU-n1-0 on node n1; 500Mi is free there"
        assert (shown(cluster), booked(cluster), mark(cluster)) == (100, 100, sentence)


async def test_a_wish_that_grows_beyond_what_there_is_leaves_nothing_booked():
    """The ledger had the first size, the pod never did; the second is refused, and the pod has what it had."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator)

        await grow_unseen(cluster)
        want(cluster, "1200Mi")
        cluster.api.before = lambda *_: None
        await cluster.pass_time(20)
        agent_settles(cluster)
        await cluster.pass_time(20)
        assert (shown(cluster), booked(cluster)) == (400, 400)
        assert "1000Mi" in str(mark(cluster))


async def test_growing_again_amid_a_shrink_needs_no_agent():
    """The ledger holds as much still."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator, "a", "b")
        want(cluster, "100Mi")
        await cluster.pass_time(2)
        want(cluster, "350Mi")
        await cluster.pass_time(2)
        assert (shown(cluster), booked(cluster)) == (350, 400)
        agent_settles(cluster)
        await cluster.pass_time(2)
        assert booked(cluster) == 350


async def test_time_of_a_gpu_is_resized_too():
    """Percent of the GPU, within what is free of it."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator, "a", "b")
        want(cluster, cores="60")
        await cluster.pass_time(2)
        want(cluster, name="b", cores="50")
        await cluster.pass_time(2)
        assert mark(cluster) is None
        assert mark(cluster, "b") == "needs 50% more of the time of GPU-n1-0 on node n1; 40% is free"
        cluster.check()


async def test_more_than_the_gpu_has_is_told_so():
    """Waiting for it would be waiting for ever."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await start(cluster, allocator)
        want(cluster, "2Gi")
        await cluster.pass_time(2)
        assert "GPU-n1-0 has 1000Mi" in (mark(cluster) or "")


async def test_a_quota_holds_for_growth():
    """What a namespace may hold, its pods cannot exceed by growing."""
    cluster = Cluster()
    labels = {names.INJECT_LABEL: names.INJECT_ENABLED}
    metadata = {"name": "team", "labels": labels, "annotations": {names.QUOTA_MEMORY: "500Mi"}}
    async with cluster.allocator() as allocator:
        await start(cluster, allocator)
        cluster.api.put(NAMESPACES, {"metadata": metadata})
        await cluster.pass_time(1)
        want(cluster, "700Mi")
        await cluster.pass_time(2)
        assert shown(cluster) == 400
        assert "500Mi" in (mark(cluster) or "")
        want(cluster, "500Mi")
        await cluster.pass_time(2)
        assert shown(cluster) == 500


async def test_a_growth_that_is_being_written_counts_in_the_queue():
    """A pod that waits does not get what the growing one has been promised of the quota."""
    cluster = Cluster()
    api = Pausable(cluster.api)
    metadata = {"name": "team", "labels": {names.INJECT_LABEL: names.INJECT_ENABLED}}
    async with cluster.allocator(client=api) as allocator:
        await start(cluster, allocator, mib=200)
        cluster.api.put(NAMESPACES, {"metadata": metadata | {"annotations": {names.QUOTA_MEMORY: "600Mi"}}})
        await cluster.pass_time(1)
        api.stop_before = ("replace", CONFIGMAPS)
        want(cluster, "500Mi")
        await cluster.settle()
        assert api.paused
        cluster.queue_pod("b", mib=300)
        await cluster.pass_time(1)
        api.resume()
        await cluster.pass_time(6)
        assert {grant.pod for grant in cluster.ledger().grants.values()} == {"a"}
        assert booked(cluster) == 500


@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("verb", ["PUT", "PATCH"])
async def test_a_lost_request_or_answer_loses_nothing(verb, lost):
    """Whichever write fails, carried out or not: in the end both have the new size, and never the pod more."""
    cluster = Cluster()
    faults = iter([errors.UnknownOutcomeError("lost")] * 2)

    def fault(seen_verb, path, _body):
        grant = next(iter(cluster.ledger().grants.values()), None)
        claim = claim_of(cluster.api.see(PODS, "a", namespace="team"), owner="")
        assert grant is None or claim is None or covers(grant, claim)
        if seen_verb == verb and ("ledger" in path or "/pods/" in path) and (found := next(faults, None)):
            raise found

    async with cluster.allocator() as allocator:
        await start(cluster, allocator)
        setattr(cluster.api, lost, fault)
        want(cluster, "700Mi")
        await cluster.pass_time(40)
        assert (shown(cluster), booked(cluster), mark(cluster)) == (700, 700, None)


@pytest.mark.parametrize("moment", [("replace", CONFIGMAPS), ("patch", PODS)])
async def test_a_leader_that_was_paused_amid_a_growth_gives_nothing_twice(moment):
    """It wakes up after its successor has grown and shrunk the same pod: the pod is never told more than is booked."""
    cluster = Cluster()
    old = Pausable(cluster.api)

    def check(*_):
        grant = next((one for one in cluster.ledger().grants.values() if one.pod == "a"), None)
        claim = claim_of(cluster.api.see(PODS, "a", namespace="team"), owner="")
        assert grant is None or claim is None or covers(grant, claim)

    async with cluster.allocator(client=old) as first, cluster.allocator(leads=False, identity="two") as second:
        await start(cluster, first)
        cluster.api.after = check
        old.stop_before = moment
        want(cluster, "900Mi")
        await cluster.pass_time(2)
        assert old.paused
        await cluster.pass_time(25)
        assert second.leading
        assert shown(cluster) == 900
        want(cluster, "100Mi")
        await cluster.pass_time(2)
        agent_settles(cluster)
        await cluster.pass_time(2)
        assert booked(cluster) == 100
        await second.grant(ask("b", mib=800))
        old.resume()
        await cluster.pass_time(40)
        assert (shown(cluster), booked(cluster)) == (100, 100)
        cluster.check()


async def test_a_new_leader_finishes_a_resize():
    """The ledger had the new size when the old leader died; the pod gets it from the next."""
    cluster = Cluster()
    old = Pausable(cluster.api)
    async with cluster.allocator(client=old) as first, cluster.allocator(leads=False, identity="two"):
        await start(cluster, first)
        old.stop_before = ("patch", PODS)
        want(cluster, "700Mi")
        await cluster.pass_time(2)
        assert (shown(cluster), booked(cluster)) == (400, 700)
        await cluster.pass_time(25)
        assert (shown(cluster), booked(cluster), mark(cluster)) == (700, 700, None)


class SlowWrites:
    """An API that is slow to carry out the writes of one ledger; all else it does at once."""

    def __init__(self, api, ledger: str) -> None:
        self.going = asyncio.Event()
        self._api = api
        self._ledger = ledger

    def __getattr__(self, name):
        return getattr(self._api, name)

    async def replace(self, resource, body):
        """See FakeApi."""
        if body["metadata"]["name"] == self._ledger:
            await self.going.wait()
        return await self._api.replace(resource, body)


async def test_a_growth_that_takes_long_to_write_counts_against_the_quota_until_it_is_known():
    """Nobody waits for it any more, but it may still arrive: the queue does not give its quota to another."""
    cluster = Cluster("n1", "n2")
    slow = SlowWrites(cluster.api, names.ledger_name("n1"))
    slow.going.set()
    async with cluster.allocator(client=slow, commit=replace(SETTINGS.commit, patience=0.5)) as allocator:
        cluster.run_pod(await allocator.grant(ask("a", mib=400, nodeName="n1")))
        await cluster.pass_time(10)
        limit(cluster, memory="1100Mi")
        await cluster.pass_time(1)
        slow.going.clear()
        want(cluster, "700Mi")
        await cluster.settle()
        async with asyncio.timeout(60):
            while allocator._engine.committer._desk("n1").resizes:  # noqa: ASYNC110 - until its patience is over
                await asyncio.sleep(0.01)
        cluster.queue_pod("b", mib=700)
        await cluster.pass_time(2)
        slow.going.set()
        await cluster.pass_time(5)
        held = [grant for node in ("n1", "n2") for grant in cluster.ledger(node).grants.values()]
        assert ({grant.pod for grant in held}, booked(cluster)) == ({"a"}, 700)
