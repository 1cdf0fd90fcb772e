"""Pods of lower priority make room, if the settings say so."""

import pytest

from allocator.api import names
from allocator.api.errors import NoCapacityError
from allocator.controller import Allocator, QueueSettings
from allocator.kube import EVENTS, PODS, errors
from tests.unit.controller.cluster import Cluster, ask
from tests.unit.controller.test_queue import rounds

PREEMPT = QueueSettings(preempt=True)


async def running(cluster: Cluster, allocator: Allocator, name: str, *, mib: int, priority: int = 0, **spec) -> None:
    """A pod that runs, and that the ledger knows."""
    granted = await allocator.grant(ask(name, mib=mib, priority=priority, **spec))
    pod = cluster.run_pod(granted, name=name)
    pod["spec"]["priority"] = priority
    pod["status"]["containerStatuses"] = [{"name": "c", "state": {"running": {}}}]
    cluster.api.put(PODS, pod, namespace="team")
    await cluster.pass_time(4)


def pods(cluster: Cluster) -> dict[str, dict]:
    """All pods by name."""
    return {key[2]: item for key, item in cluster.api.objects.items() if key[0] == PODS.plural}


def leaving(cluster: Cluster) -> set[str]:
    """Names of the pods that are being deleted."""
    return {name for name, pod in pods(cluster).items() if pod["metadata"].get("deletionTimestamp")}


def end(cluster: Cluster, name: str) -> None:
    """A pod that was asked to go has gone, as its kubelet reports it."""
    pod = pods(cluster)[name]
    status = {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {}}}]}
    cluster.api.put(PODS, {**pod, "status": status}, namespace="team")
    cluster.api.drop(PODS, name, namespace="team")


async def test_a_pod_of_lower_priority_makes_room():
    """It is asked to go, its room is kept, and the waiting pod gets it when it has gone."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator(queue=PREEMPT) as allocator:
        await running(cluster, allocator, "low", mib=600, nodeName="n1")
        await running(cluster, allocator, "high", mib=600, priority=9, nodeName="n2")
        cluster.queue_pod("urgent", mib=900, priority=5)
        await rounds(cluster, 4)
        assert leaving(cluster) == {"low"}
        counted = {"why": "preempted", "outcome": "evicted"}
        assert allocator.metrics.registry.get_sample_value("vramshare_evictions_total", counted) == 1
        reason = cluster.annotation("urgent", names.REASON)
        assert reason == "needs 900Mi on one GPU; best is 400Mi on n1; pods of lower priority on n1 make room for it"
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("thief", mib=300, nodeName="n1"))
        end(cluster, "low")
        await rounds(cluster, 4)
        assert {grant.pod for grant in cluster.ledger("n1").grants.values()} == {"urgent"}
        assert cluster.annotation("urgent", names.RESERVED) is None
        events = [item for key, item in cluster.api.objects.items() if key[0] == EVENTS.plural]
        [told] = [one for one in events if one["reason"] == "Preempted"]
        assert told["involvedObject"]["name"] == "low"


async def test_nobody_is_evicted_unless_the_settings_say_so():
    """Off by default."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        await running(cluster, allocator, "low", mib=600)
        cluster.queue_pod("urgent", mib=900, priority=5)
        await rounds(cluster, 4)
        assert leaving(cluster) == set()


@pytest.mark.parametrize("priority", [5, 6])
async def test_nobody_of_the_same_or_a_higher_priority_is_evicted(priority):
    """Equal pods wait for each other."""
    cluster = Cluster()
    async with cluster.allocator(queue=PREEMPT) as allocator:
        await running(cluster, allocator, "equal", mib=600, priority=priority)
        cluster.queue_pod("urgent", mib=900, priority=5)
        await rounds(cluster, 4)
        assert leaving(cluster) == set()


async def test_a_class_that_never_preempts_waits():
    """`preemptionPolicy: Never`."""
    cluster = Cluster()
    async with cluster.allocator(queue=PREEMPT) as allocator:
        await running(cluster, allocator, "low", mib=600)
        pod = cluster.queue_pod("patient", mib=900, priority=5)
        pod["spec"]["preemptionPolicy"] = "Never"
        cluster.api.put(PODS, pod, namespace="team")
        await cluster.settle()
        await rounds(cluster, 4)
        assert leaving(cluster) == set()


async def test_nobody_more_is_evicted_while_the_first_is_on_its_way_out():
    """Ending takes as long as a pod's grace: rounds that pass meanwhile ask nobody else."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator(queue=PREEMPT) as allocator:
        for node in ("n1", "n2"):
            await running(cluster, allocator, f"low-{node}", mib=600, nodeName=node)
        cluster.queue_pod("urgent", mib=900, priority=5)
        await rounds(cluster, 4)
        first = leaving(cluster)
        assert len(first) == 1
        await cluster.pass_time(60)
        assert leaving(cluster) == first
        assert len([path for _, path in cluster.api.writes if path.endswith("/eviction")]) == 1


async def test_a_disruption_budget_holds():
    """Who is protected stays; another one goes."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator(queue=PREEMPT) as allocator:
        await running(cluster, allocator, "kept", mib=500, nodeName="n1")
        await running(cluster, allocator, "other", mib=600, nodeName="n2")
        cluster.api.protected.add("kept")
        cluster.queue_pod("urgent", mib=900, priority=5)
        await rounds(cluster, 4)
        await cluster.pass_time(31)
        await rounds(cluster, 4)
        assert leaving(cluster) == {"other"}


async def test_two_urgent_pods_do_not_count_on_the_same_victim():
    """Each has its own place, and each place its own victim."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator(queue=PREEMPT) as allocator:
        for node in ("n1", "n2"):
            await running(cluster, allocator, f"low-{node}", mib=600, nodeName=node)
        for name in ("u1", "u2"):
            cluster.queue_pod(name, mib=900, priority=5)
        await rounds(cluster, 6)
        assert leaving(cluster) == {"low-n1", "low-n2"}
        kept = {str(cluster.annotation(name, names.RESERVED)).partition(":")[0] for name in ("u1", "u2")}
        assert kept == {"n1", "n2"}


async def test_a_pod_that_cannot_use_the_room_yet_evicts_nobody():
    """Others hold it by gates of theirs."""
    cluster = Cluster()
    async with cluster.allocator(queue=PREEMPT) as allocator:
        await running(cluster, allocator, "low", mib=300)
        cluster.queue_pod("urgent", mib=900, priority=5, gates=("x/hold",))
        await rounds(cluster, 4)
        assert leaving(cluster) == set()


async def test_nobody_is_evicted_before_the_room_is_known_to_be_kept():
    """Other replicas read of it in the pod: as long as that is not to be seen, they could give the room away."""
    cluster = Cluster()
    async with cluster.allocator(queue=PREEMPT) as allocator:
        await running(cluster, allocator, "low", mib=600)
        cluster.queue_pod("urgent", mib=900, priority=5)
        await cluster.settle(turns=40)
        cluster.api.hold_watches()
        await rounds(cluster, 4)
        assert leaving(cluster) == set()
        cluster.api.release_watches()
        await rounds(cluster, 4)
        assert leaving(cluster) == {"low"}


async def test_a_pod_whose_gate_is_still_closed_is_no_victim():
    """It has its grant, and nothing of it runs: to evict it would be to lose it."""
    cluster = Cluster()

    def fault(verb, path, body):
        if verb == "PATCH" and path.endswith("/pods/half") and isinstance(body, list):
            raise errors.UnreachableError("down")

    async with cluster.allocator(queue=PREEMPT):
        cluster.api.before = fault
        cluster.queue_pod("half", mib=600)
        await rounds(cluster, 2)
        cluster.queue_pod("urgent", mib=900, priority=5)
        await rounds(cluster, 4)
        assert "half" in pods(cluster)
