"""Pods of a group are granted together or not at all."""

from contextlib import AsyncExitStack

import pytest

from allocator.api import names
from allocator.api.errors import MustWaitError
from allocator.api.group import Group
from allocator.kube import PODS, errors
from tests.unit.controller.cluster import Cluster, Lagging, ask
from tests.unit.controller.test_leadership import Pausable
from tests.unit.controller.test_queue import rounds
from tests.unit.controller.test_quotas import limit


def member(cluster: Cluster, name: str, *, size: int = 3, mib: int = 600, **about) -> dict:
    """A pod of a group."""
    return cluster.queue_pod(name, mib=mib, group="train", group_size=str(size), **about)


def held(cluster: Cluster, *nodes: str) -> set[str]:
    """Names of the pods with grants."""
    return {grant.pod for node in nodes or ("n1",) for grant in cluster.ledger(node).grants.values()}


def gated(cluster: Cluster) -> set[str]:
    """Names of the pods that wait."""
    pods = (item for key, item in cluster.api.objects.items() if key[0] == PODS.plural)
    return {pod["metadata"]["name"] for pod in pods if pod["spec"].get("schedulingGates")}


async def test_a_pod_of_a_group_passes_the_queue():
    """At admission the others are not there yet."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        asked = ask("a")
        request = type(asked.request)(containers=asked.request.containers, group=Group("train", 2))
        with pytest.raises(MustWaitError, match="group train starts with 2 pods; it waits for all of them"):
            await allocator.grant(type(asked)(request=request, pod=asked.pod, namespace="team", pod_name="a"))


async def test_a_group_is_granted_when_its_last_pod_comes():
    """Before that nothing is held for it, and each says how many are missing."""
    cluster = Cluster("n1", "n2", "n3")
    async with cluster.allocator():
        member(cluster, "a")
        member(cluster, "b")
        await rounds(cluster)
        assert held(cluster, "n1", "n2", "n3") == set()
        assert cluster.annotation("a", names.REASON) == "group train starts with 3 pods, and 2 of them are here"
        member(cluster, "c")
        await rounds(cluster, 4)
        assert held(cluster, "n1", "n2", "n3") == {"a", "b", "c"}
        assert gated(cluster) == set()


async def test_a_group_of_which_not_all_fit_gets_nothing():
    """Two of three would: nothing is held, and others may have it."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator() as allocator:
        for name in "abc":
            member(cluster, name)
        await rounds(cluster)
        assert held(cluster, "n1", "n2") == set()
        reason = str(cluster.annotation("a", names.REASON))
        assert reason == "needs 600Mi on one GPU; best is 400Mi on n1; 2 of 3 pods of group train fit together"
        await allocator.grant(ask("other", mib=900))
        assert held(cluster, "n1", "n2") == {"other"}


async def test_a_lost_race_takes_the_whole_group_back():
    """One of its nodes was taken by another replica in the same moment: no part of the group is let go."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator() as leader, cluster.allocator(leads=False, identity="two") as other:
        await cluster.settle()
        cluster.api.hold_watches()  # the leader does not hear of what the other grants
        for node in ("n1",):
            await other.grant(ask(f"taken-{node}", mib=900, nodeName=node))
        cluster.api.release_watches()
        raced = []

        def race(verb, path, _body):
            if verb == "PUT" and "ledger" in path and not raced:
                raced.append(path)
                cluster.api.hold_watches()

        cluster.api.before = race
        for name in "ab":
            member(cluster, name, size=2)
        await rounds(cluster, 4)
        cluster.api.release_watches()
        await rounds(cluster, 6)
        assert held(cluster, "n1", "n2") == {"taken-n1"}
        assert gated(cluster) == {"a", "b"}
        assert leader.leading
        cluster.check()


@pytest.mark.parametrize("applied", [False, True])
async def test_a_ledger_write_that_fails_lets_no_part_of_the_group_go(applied):
    """One of two ledgers cannot be written: the gates stay closed until both grants stand."""
    cluster = Cluster("n1", "n2")
    failing = [True]

    def fault(verb, path, _body):
        if (
            failing[0]
            and verb in {"POST", "PUT"}
            and path.endswith(("ledger-n2", "/configmaps"))
            and "n2" in str(_body)
        ):
            raise errors.ForbiddenError("no", status=403)

    async with cluster.allocator():
        if applied:
            cluster.api.after = fault
        else:
            cluster.api.before = fault
        for name in "ab":
            member(cluster, name, size=2)
        await rounds(cluster, 4)
        if not applied:
            assert gated(cluster) == {"a", "b"}
            assert held(cluster, "n1", "n2") == set()
        failing[0] = False
        await cluster.pass_time(35)
        assert held(cluster, "n1", "n2") == {"a", "b"}
        assert gated(cluster) == set()


async def test_a_leader_that_dies_between_ledger_and_pods_leaves_a_group_to_the_next():
    """All grants stand, no gate is open: the next leader opens them, and writes no second grant."""
    cluster = Cluster("n1", "n2")

    def dead(verb, path, body):
        if verb == "PATCH" and "/pods/" in path and isinstance(body, list):
            raise errors.UnreachableError("died")

    async with cluster.allocator():
        cluster.api.before = dead
        for name in "ab":
            member(cluster, name, size=2)
        await rounds(cluster, 2)
        before = {key for node in ("n1", "n2") for key in cluster.ledger(node).grants}
        assert len(before) == 2
        assert gated(cluster) == {"a", "b"}
    cluster.api.before = lambda *_: None
    async with cluster.allocator(identity="next"):
        await rounds(cluster, 3)
        assert gated(cluster) == set()
        assert {key for node in ("n1", "n2") for key in cluster.ledger(node).grants} == before


async def test_a_leader_that_dies_amid_the_gates_leaves_the_rest_to_the_next():
    """Half of the gates are open: the group has begun, and the others follow."""
    cluster = Cluster("n1", "n2")

    def dead(verb, path, body):
        if verb == "PATCH" and path.endswith("/pods/b") and isinstance(body, list):
            raise errors.UnreachableError("died")

    async with cluster.allocator():
        cluster.api.before = dead
        for name in "ab":
            member(cluster, name, size=2)
        await rounds(cluster, 2)
        assert gated(cluster) == {"b"}
    cluster.api.before = lambda *_: None
    async with cluster.allocator(identity="next"):
        await rounds(cluster, 3)
        assert gated(cluster) == set()
        assert held(cluster, "n1", "n2") == {"a", "b"}


async def test_a_part_of_a_group_that_a_dead_leader_left_behind_is_given_back():
    """One of two grants was written, and now the other fits nowhere: nothing lies idle for it."""
    cluster = Cluster("n1", "n2")
    dead = [True]

    def fault(verb, path, body):
        if dead[0] and verb == "POST" and "n2" in str(body) and "configmaps" in path:
            raise errors.UnreachableError("died")
        if dead[0] and verb == "PATCH" and isinstance(body, list):
            raise errors.UnreachableError("died")

    async with cluster.allocator():
        cluster.api.before = fault
        for name in "ab":
            member(cluster, name, size=2)
        await rounds(cluster, 2)
        assert len(held(cluster, "n1")) == 1
    dead[0] = False
    async with cluster.allocator(leads=False, identity="other") as other:
        await other.grant(ask("taken", mib=900, nodeName="n2", priority=1))
    async with cluster.allocator(identity="next"):
        await cluster.pass_time(20)
        assert held(cluster, "n1", "n2") == {"taken"}
        assert gated(cluster) == {"a", "b"}


async def test_a_group_that_a_policy_refuses_opens_no_gate():
    """What the first pod does not take, the others do not get either: everything comes back."""
    cluster = Cluster("n1", "n2")

    def fault(verb, path, body):
        if verb == "PATCH" and path.endswith("/pods/a") and isinstance(body, list):
            raise errors.ForbiddenError("policy", status=403)

    async with cluster.allocator():
        cluster.api.before = fault
        for name in "ab":
            member(cluster, name, size=2)
        await rounds(cluster, 4)
        assert held(cluster, "n1", "n2") == set()
        assert gated(cluster) == {"a", "b"}


async def test_a_worker_that_died_is_replaced_alone():
    """The group has begun: its pods come and go one by one."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator():
        for name in "ab":
            member(cluster, name, size=2)
        await rounds(cluster, 4)
        pod = cluster.api.see(PODS, "a", namespace="team")
        cluster.api.put(PODS, {**pod, "status": {"phase": "Failed"}}, namespace="team")
        member(cluster, "a-again", size=2)
        await rounds(cluster, 4)
        assert held(cluster, "n1", "n2") == {"a-again", "b"}


async def test_a_group_gets_room_kept_for_all_its_pods():
    """A large gang does not starve either: its places are kept together."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator() as allocator:
        small = [await allocator.grant(ask(f"s{at}", mib=500, nodeName=f"n{at + 1}")) for at in range(2)]
        for name in "ab":
            member(cluster, name, size=2, mib=1000, waited=3600)
        await rounds(cluster)
        nodes = {str(cluster.annotation(name, names.RESERVED)).partition(":")[0] for name in "ab"}
        assert nodes == {"n1", "n2"}
        for granted in small:
            await allocator.give_back(granted)
        await rounds(cluster, 4)
        assert held(cluster, "n1", "n2") == {"a", "b"}


async def test_a_group_over_quota_waits_as_a_whole():
    """Two slices are allowed, three are asked: none is granted."""
    cluster = Cluster("n1", "n2", "n3")
    limit(cluster, gpus="2")
    async with cluster.allocator():
        for name in "abc":
            member(cluster, name)
        await rounds(cluster)
        assert held(cluster, "n1", "n2", "n3") == set()
        reason = cluster.annotation("a", names.REASON)
        assert reason == "over the namespace's quota: needs 3 slices; 0 of 2 are in use"


async def test_a_pod_that_changes_its_group_counts_in_one():
    """Else its former group would look begun for ever, and its next pods would not be granted together."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.run_pod(await allocator.grant(ask("a")))
        for group in ("train", "other"):
            pod = cluster.api.see(PODS, "a", namespace="team")
            annotations = pod["metadata"]["annotations"] | {names.GROUP: group, names.GROUP_SIZE: "1"}
            cluster.api.put(PODS, pod | {"metadata": pod["metadata"] | {"annotations": annotations}}, namespace="team")
            await cluster.settle()
        cluster.queue_pod("b", group="train", group_size="2")
        await rounds(cluster)
        assert held(cluster) == {"a"}
        assert cluster.annotation("b", names.REASON) == "group train starts with 2 pods, and 1 of them are here"


async def test_a_group_that_has_begun_goes_on_though_one_of_it_is_gone():
    """The first gate opened and nobody heard of it; the last pod is deleted: the second has its grant, and goes."""
    cluster = Cluster("n1", "n2", "n3")
    async with cluster.allocator():

        def fault(verb, path, _body):
            if verb == "PATCH" and path.endswith("/pods/a"):
                cluster.api.after = lambda *_: None
                cluster.api.drop(PODS, "c", namespace="team")
                raise errors.UnknownOutcomeError("answer lost")

        cluster.api.after = fault
        for name in "abc":
            member(cluster, name)
        await rounds(cluster, 4)
        await cluster.pass_time(60)
        cluster.agents_confirm()
        await cluster.pass_time(5)
        assert held(cluster, "n1", "n2", "n3") == {"a", "b"}
        assert gated(cluster) == set()


async def test_a_new_leader_takes_no_grant_from_a_group_that_it_does_not_see_whole():
    """Its watch of pods lags: the second pod has not come yet, and the first does not carry its grant."""
    cluster = Cluster("n1", "n2")
    lagging = Lagging(cluster.api, lambda resource, _: resource is PODS)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(cluster.allocator())
        async with cluster.allocator(client=lagging, leads=False, identity="two") as second:
            member(cluster, "a", size=2)
            await rounds(cluster)
            lagging.going.clear()
            member(cluster, "b", size=2)
            await rounds(cluster)
            assert gated(cluster) == set()
            await stack.aclose()
            await cluster.pass_time(5)
            assert second.leading
            assert held(cluster, "n1", "n2") == {"a", "b"}
            lagging.going.set()
            await cluster.pass_time(5)
            assert held(cluster, "n1", "n2") == {"a", "b"}


async def test_a_paused_leader_opens_no_gate_with_a_grant_that_was_given_back():
    """It stood still before its patch; one of the group was deleted, and its successor gave back what the other had."""
    cluster = Cluster("n1", "n2")
    old = Pausable(cluster.api)
    async with cluster.allocator(client=old), cluster.allocator(leads=False, identity="two") as second:
        member(cluster, "a", size=2)
        await cluster.pass_time(5)
        old.stop_before = ("patch", PODS)
        member(cluster, "b", size=2)
        await cluster.pass_time(2)
        assert old.paused
        assert held(cluster, "n1", "n2") == {"a", "b"}
        cluster.api.drop(PODS, "b", namespace="team")
        await cluster.pass_time(60)
        assert second.leading
        cluster.agents_confirm()
        old.resume()
        await cluster.pass_time(40)
        assert gated(cluster) == {"a"}
        assert held(cluster, "n1", "n2") == set()
        assert cluster.annotation("a", names.REASON) == "group train starts with 2 pods, and 1 of them are here"
