"""Granted pods that no scheduler binds."""

import itertools

from allocator.api import names
from allocator.kube import NODES, PODS
from tests.unit.controller.cluster import Cluster, ask
from tests.unit.controller.test_evictor import messages

OWNER = {"kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}
NO_CPU = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector."


def pending(cluster: Cluster, granted, *, said: str = NO_CPU, owned: bool = True, name: str = "") -> dict:
    """The pod of a grant, which the scheduler has refused."""
    pod = cluster.run_pod(granted, name=name, phase="Pending")
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}]
    body = {
        "metadata": pod["metadata"] | ({"ownerReferences": [OWNER]} if owned else {}),
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": "Pending"} | ({"conditions": conditions} if said else {}),
    }
    return cluster.api.put(PODS, body, namespace="team")


def there(cluster: Cluster, name: str) -> bool:
    """Whether a pod exists."""
    return cluster.api.see(PODS, name, namespace="team") is not None


async def test_an_owned_pod_without_a_node_goes_and_its_grant_with_it():
    """Its controller makes it anew, and then it is placed anew."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        pending(cluster, await allocator.grant(ask("a")))
        await cluster.pass_time(55)
        assert there(cluster, "a")
        await cluster.pass_time(12)
        assert not there(cluster, "a")
        assert cluster.ledger().grants == {}
        [said] = messages(cluster, "NotBound")
        assert "Insufficient cpu" in said
        assert "its ReplicaSet creates it anew" in said


async def test_a_bare_pod_is_told_and_left():
    """Nobody would create it again: only its user can decide."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        pending(cluster, await allocator.grant(ask("a")), owned=False)
        await cluster.pass_time(300)
        assert there(cluster, "a")
        assert cluster.ledger().grants
        [said] = messages(cluster, "NotBound")
        assert "no controller owns it" in said


async def test_one_owner_is_not_chased_round():
    """A controller whose pods never bind loses one, then one after a pause that doubles."""
    cluster = Cluster()
    gone: list[int] = []
    async with cluster.allocator() as allocator:
        for at in range(400):
            name = f"a{len(gone)}"
            if not there(cluster, name):
                pending(cluster, await allocator.grant(ask(name)))
            await cluster.pass_time(1)
            if not there(cluster, name):
                gone.append(at)
    assert 3 <= len(gone) <= 4
    pauses = [after - before for before, after in itertools.pairwise(gone)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 120


async def test_a_scheduler_that_has_said_nothing_may_be_about_to_bind():
    """Waiting for a volume takes minutes and is no refusal: the pod is told of, not moved."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        pending(cluster, await allocator.grant(ask("a")), said="")
        await cluster.pass_time(120)
        assert there(cluster, "a")
        [said] = messages(cluster, "NotBound")
        assert "has not said why" in said


async def test_a_pin_on_a_node_that_is_gone_is_noticed():
    """No scheduler can ever bind it, whatever it has said."""
    cluster = Cluster("n1", "n2")
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        node = granted.grant.allocation.node
        pending(cluster, granted, said="")
        cluster.api.drop(NODES, node)
        await cluster.pass_time(70)
        assert not there(cluster, "a")
        [said] = messages(cluster, "NotBound")
        assert f"node {node} is gone" in said


async def test_a_pod_that_is_bound_in_time_is_left_alone():
    """Time counts only while it has no node."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        pending(cluster, granted)
        await cluster.pass_time(50)
        cluster.run_pod(granted)
        await cluster.pass_time(60)
        assert there(cluster, "a")
        assert messages(cluster, "NotBound") == []


async def test_a_pod_behind_a_gate_or_with_a_borrowed_id_is_no_concern():
    """The first waits for us or others; the second holds nothing."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        granted = await allocator.grant(ask("a"))
        cluster.run_pod(granted)
        thief = pending(cluster, granted, name="thief")
        assert thief["metadata"]["annotations"][names.ALLOCATION_ID] == granted.grant.allocation.id
        cluster.queue_pod("q", gates=("other.io/gate",))
        await cluster.pass_time(120)
        assert there(cluster, "q")
        assert messages(cluster, "NotBound") == []
