"""Pods that wait behind our gate."""

from dataclasses import replace

import pytest

from allocator.api import names
from allocator.core.arrays import Floats
from allocator.core.policies import BestFit
from allocator.core.policies.base import Rows
from allocator.kube import EVENTS, LEASES, PODS, errors
from tests.unit.controller.cluster import SYSTEM, Cluster, ask


async def rounds(cluster: Cluster, count: int = 3) -> None:
    """Let the queue be served."""
    for _ in range(count):
        await cluster.settle()
        cluster.clock.advance(0.1)
        await cluster.settle()


async def test_a_queued_pod_that_fits_is_let_go():
    """Annotations, pin and gate in one patch; the ledger names the very pod."""
    cluster = Cluster()
    async with cluster.allocator():
        pod = cluster.queue_pod("a")
        await rounds(cluster)
        [grant] = cluster.ledger().grants.values()
        assert (grant.pod, grant.uid) == ("a", pod["metadata"]["uid"])
        found = cluster.api.see(PODS, "a", namespace="team")
        assert "schedulingGates" not in found["spec"]
        assert cluster.annotation("a", names.ALLOCATION_ID) == grant.allocation.id
        assert cluster.annotation("a", names.preload_annotation("c")) == "/opt/vramshare/lib.so"


async def test_a_queued_pod_that_does_not_fit_is_told_why_once():
    """One sentence in the annotation and one Event, however often it is tried."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await allocator.grant(ask("big", mib=900))
        cluster.queue_pod("a", mib=500)
        await rounds(cluster, 10)
        assert cluster.annotation("a", names.REASON) == "needs 500Mi on one GPU; best is 100Mi on n1"
        events = [item for key, item in cluster.api.objects.items() if key[0] == EVENTS.plural]
        assert [(one["reason"], one["count"]) for one in events] == [("WaitingForGpu", 1)]
        patches = [path for verb, path in cluster.api.writes if verb == "PATCH" and "/pods/" in path]
        assert len(patches) == 1


async def test_room_lets_the_first_in():
    """A release is noticed at once; the oldest of the highest class goes first."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        held = await allocator.grant(ask("big", mib=1000))
        cluster.queue_pod("old", mib=600)
        cluster.queue_pod("young", mib=600)
        cluster.queue_pod("urgent", mib=300, priority=5)
        await rounds(cluster)
        await allocator.give_back(held)
        await rounds(cluster)
        assert {grant.pod for grant in cluster.ledger().grants.values()} == {"urgent", "old"}
        cluster.check()


async def test_a_new_node_lets_in():
    """More inventory is a chance for whoever waits."""
    cluster = Cluster()
    async with cluster.allocator():
        cluster.queue_pod("a", mib=1000)
        cluster.queue_pod("b", mib=1000)
        await rounds(cluster)
        cluster.add_node("n2")
        await rounds(cluster)
        assert {grant.pod for node in ("n1", "n2") for grant in cluster.ledger(node).grants.values()} == {"a", "b"}


async def test_foreign_gates_go_first():
    """A grant would lie idle behind them."""
    cluster = Cluster()
    async with cluster.allocator():
        pod = cluster.queue_pod("a", gates=("x/quota",))
        await rounds(cluster)
        assert cluster.ledger().grants == {}
        pod = cluster.api.see(PODS, "a", namespace="team")
        spec = {**pod["spec"], "schedulingGates": [{"name": names.GATE}]}
        cluster.api.put(PODS, {**pod, "spec": spec}, namespace="team")
        await rounds(cluster)
        assert len(cluster.ledger().grants) == 1


async def test_a_pod_edited_meanwhile_is_read_again():
    """The patch holds for one version; the user's edit survives it."""
    cluster = Cluster()
    edits = iter(["edited"])

    def fault(verb, path, _body):
        if verb == "PATCH" and path.endswith("/pods/a") and (edit := next(edits, None)):
            pod = cluster.api.see(PODS, "a", namespace="team")
            pod["metadata"]["annotations"]["mine"] = edit
            cluster.api.put(PODS, pod, namespace="team")

    async with cluster.allocator():
        cluster.api.before = fault
        cluster.queue_pod("a")
        await rounds(cluster)
        assert cluster.annotation("a", "mine") == "edited"
        assert cluster.annotation("a", names.STATUS) == names.STATUS_ALLOCATED
        assert len(cluster.ledger().grants) == 1


async def test_a_pod_deleted_meanwhile_gives_its_grant_back():
    """Between grant and patch the user changed his mind."""
    cluster = Cluster()

    def fault(verb, path, _body):
        if verb == "PATCH" and path.endswith("/pods/a") and cluster.api.see(PODS, "a", namespace="team"):
            cluster.api.drop(PODS, "a", namespace="team")

    async with cluster.allocator():
        cluster.api.before = fault
        cluster.queue_pod("a")
        await rounds(cluster)
        assert cluster.ledger().grants == {}


@pytest.mark.parametrize("applied", [False, True])
async def test_a_patch_whose_answer_is_lost_costs_no_second_grant(applied):
    """The grant carries the pod's UID: the next round finds it."""
    cluster = Cluster()
    failures = iter([errors.UnknownOutcomeError("reset")])

    def fault(verb, path, _body):
        if verb == "PATCH" and path.endswith("/pods/a") and (reason := next(failures, None)):
            raise reason

    async with cluster.allocator():
        if applied:
            cluster.api.after = fault
        else:
            cluster.api.before = fault
        cluster.queue_pod("a", mib=600)
        await rounds(cluster)
        cluster.clock.advance(30)
        await rounds(cluster)
        [grant] = cluster.ledger().grants.values()
        assert cluster.annotation("a", names.ALLOCATION_ID) == grant.allocation.id


async def test_a_patch_that_was_applied_unnoticed_keeps_its_grant():
    """The answer was lost and the watch lags: the pod itself says that it has its grant."""
    cluster = Cluster()
    failures = iter([errors.UnknownOutcomeError("reset")])

    def fault(verb, path, _body):
        if verb == "PATCH" and path.endswith("/pods/a") and (reason := next(failures, None)):
            cluster.api.hold_watches()
            raise reason

    async with cluster.allocator() as allocator:
        cluster.api.after = fault
        cluster.queue_pod("a")
        await rounds(cluster)
        await cluster.pass_time(31)
        assert allocator.metrics.registry.get_sample_value("vramshare_queued_pods") == 1
        assert list(cluster.ledger().grants) == [cluster.annotation("a", names.ALLOCATION_ID)]
        cluster.api.release_watches()


async def test_a_pod_that_refuses_its_patch_is_left_until_it_changes():
    """A patch that can never be applied is not tried for ever, and its grant comes back."""
    cluster = Cluster()

    def fault(verb, path, _body):
        if verb == "PATCH" and path.endswith("/pods/a"):
            raise errors.InvalidError("immutable", status=422)

    async with cluster.allocator():
        cluster.api.before = fault
        pod = cluster.queue_pod("a")
        await rounds(cluster, 5)
        assert cluster.ledger().grants == {}
        writes = cluster.ledger_writes()
        await rounds(cluster, 5)
        assert cluster.ledger_writes() == writes
        cluster.api.before = lambda *_: None
        pod["metadata"]["labels"] = {"edited": "yes"}
        cluster.api.put(PODS, pod, namespace="team")
        await rounds(cluster)
        assert len(cluster.ledger().grants) == 1


async def test_a_pod_with_two_grants_keeps_the_one_it_carries():
    """Two leaders granted it within one breath: the grant that lost the race for the patch comes back."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        pod = cluster.queue_pod("a")
        await rounds(cluster)
        [mine] = cluster.ledger().grants
        twin = ask("a")
        await allocator.grant(replace(twin, uid=pod["metadata"]["uid"]))
        assert len(cluster.ledger().grants) == 2
        await cluster.pass_time(16)
        assert list(cluster.ledger().grants) == [mine]


async def test_a_request_that_became_unreadable_is_told():
    """Users may edit a gated pod's annotations."""
    cluster = Cluster()
    async with cluster.allocator():
        pod = cluster.queue_pod("a")
        pod["metadata"]["annotations"][names.memory_annotation("c")] = "2048"
        cluster.api.put(PODS, pod, namespace="team")
        await rounds(cluster)
        assert "2048Mi" in str(cluster.annotation("a", names.REASON))
        assert cluster.ledger().grants == {}


async def test_who_does_not_lead_serves_no_queue():
    """One replica works through it."""
    cluster = Cluster()
    cluster.api.put(
        LEASES,
        {
            "metadata": {"name": "vramshare-leader"},
            "spec": {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "x"},
        },
        namespace=SYSTEM,
    )
    async with cluster.allocator(leads=False):
        cluster.queue_pod("a")
        await rounds(cluster)
        assert cluster.ledger().grants == {}


async def test_the_depth_is_a_metric():
    """Operators see who waits."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.queue_pod("a", mib=5000)
        await rounds(cluster)
        assert allocator.metrics.registry.get_sample_value("vramshare_queued_pods") == 1
        assert allocator.metrics.registry.get_sample_value("vramshare_leading") == 1
        assert allocator.metrics.registry.get_sample_value("vramshare_watch_age_seconds", {"resource": "pods"}) == 0


async def test_a_pod_edited_to_go_elsewhere_is_not_pinned_where_it_was_to_go():
    """A grant holds for the constraints that it was made for; an edited pod is placed anew."""
    cluster = Cluster("n1", "n2")
    moved = []

    def fault(verb, path, body):
        if verb == "PATCH" and path.endswith("/pods/a") and isinstance(body, list) and not moved:
            pod = cluster.api.see(PODS, "a", namespace="team")
            [granted] = [*cluster.ledger("n1").grants.values(), *cluster.ledger("n2").grants.values()]
            moved.append("n2" if granted.allocation.node == "n1" else "n1")
            pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": moved[0]}
            cluster.api.put(PODS, pod, namespace="team")

    async with cluster.allocator():
        cluster.api.before = fault
        cluster.queue_pod("a")
        await rounds(cluster, 5)
        assert cluster.annotation("a", names.NODE) == moved[0]
        assert [len(cluster.ledger(node).grants) for node in ("n1", "n2")].count(1) == 1


async def test_a_grant_on_its_way_back_is_given_to_nobody():
    """The pod refused its patch; edited before the grant is out of the ledger, it gets another one."""
    cluster = Cluster()
    shut = [True]

    def fault(verb, path, body):
        if verb == "PATCH" and path.endswith("/pods/a") and shut[0]:
            raise errors.InvalidError("immutable", status=422)
        if verb == "PUT" and "configmaps" in path and shut[0] and not body["data"]:
            raise errors.UnreachableError("down")

    async with cluster.allocator():
        cluster.api.before = fault
        pod = cluster.queue_pod("a")
        await rounds(cluster, 2)
        [refused] = cluster.ledger().grants
        shut[0] = False
        pod["metadata"]["labels"] = {"edited": "yes"}
        cluster.api.put(PODS, pod, namespace="team")
        await rounds(cluster, 12)
        [kept] = cluster.ledger().grants
        assert kept != refused
        assert cluster.annotation("a", names.ALLOCATION_ID) == kept


async def test_a_pod_that_the_webhook_did_not_see_gets_nothing():
    """Our gate and marks alone, as anyone may write them where nobody opted in, make no wall: no grant either."""
    cluster = Cluster()
    async with cluster.allocator():
        pod = cluster.queue_pod("a")
        del pod["spec"]["containers"][0]["volumeMounts"]
        cluster.api.drop(PODS, "a", namespace="team")
        cluster.api.put(PODS, pod, namespace="team")
        await rounds(cluster)
        assert cluster.ledger().grants == {}
        assert "the webhook did not see the pod" in cluster.annotation("a", names.REASON)


class _Broken(BestFit):
    """A policy of somebody's own that fails."""

    name = "broken"

    def rate(self, rows: Rows) -> Floats:
        """Fails."""
        raise ZeroDivisionError(repr(rows))


async def test_a_pod_that_cannot_be_handled_holds_up_nobody():
    """Those before it and behind it are granted, nothing is counted twice, and it is told."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        allocator.policies.register(_Broken())
        cluster.queue_pod("a", mib=500)
        cluster.queue_pod("bad", policy="broken")
        cluster.queue_pod("b", mib=200)
        await rounds(cluster, 4)
        assert {grant.pod for grant in cluster.ledger().grants.values()} == {"a", "b"}
        assert not allocator.fleet.node("n1").assumed
        assert "error in vramshare" in str(cluster.annotation("bad", names.REASON))
