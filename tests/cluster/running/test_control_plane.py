"""Scheduler and controllers on the embedded cluster."""

import json

import pytest
from devcluster.client import (
    CONFIGMAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    ApiError,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATE = {"schedulingGates": [{"name": "vramshare.io/capacity"}]}


def workload(kind, name, **spec):
    """A workload of idle pods."""
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "pause"}]}}
    selector = {"matchLabels": {"app": name}}
    return {"kind": kind, "metadata": {"name": name}, "spec": {"selector": selector, "template": template, **spec}}


def condition(pod, kind):
    """A condition by its type; empty if it is not there."""
    return next((each for each in (pod or {}).get("status", {}).get("conditions", []) if each["type"] == kind), {})


async def test_a_gated_pod_is_held_until_the_gate_goes(lab):
    """Nothing binds a gated pod; one patch that removes the gate and pins it lets it run where it says."""
    await lab.pod("held", "true", **GATE)
    await lab.pod("free", "true")
    await lab.phase("free", "Succeeded")
    held = await lab.client.get(PODS.path(lab.namespace, "held"))
    assert "nodeName" not in held["spec"]
    assert condition(held, "PodScheduled")["reason"] == "SchedulingGated"
    pin = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["two"]}]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": pin}}
    change = [
        {"op": "remove", "path": "/spec/schedulingGates"},
        {"op": "add", "path": "/spec/affinity", "value": affinity},
    ]
    await lab.client.patch(PODS.path(lab.namespace, "held"), change, "json")
    assert (await lab.phase("held", "Succeeded"))["spec"]["nodeName"] == "two"


async def test_a_pod_that_fits_nowhere_says_why_and_waits(lab):
    """Condition and Event have the stock scheduler's words; room that appears later is used."""
    await lab.pod("big", "true", container={"resources": {"requests": {"cpu": "9"}}})
    event = await lab.event("big", "FailedScheduling")
    expected = (
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    assert event["message"] == expected
    stuck = await lab.until(PODS, "big", lambda pod: condition(pod, "PodScheduled").get("reason") == "Unschedulable")
    assert condition(stuck, "PodScheduled")["message"] == expected
    node = {"metadata": {"name": lab.namespace, "labels": {"kubernetes.io/hostname": lab.namespace}}}
    await lab.client.create(NODES.path(), node)
    roomy = {"cpu": "16", "memory": "1Gi", "pods": "10"}
    ready = {"type": "Ready", "status": "True", "reason": "x", "message": "x"}
    status = {"status": {"capacity": roomy, "allocatable": roomy, "conditions": [ready]}}
    await lab.client.patch(f"{NODES.path(name=lab.namespace)}/status", status)
    await lab.until(PODS, "big", lambda pod: pod["spec"].get("nodeName") == lab.namespace)
    await lab.delete("big", {"gracePeriodSeconds": 0})
    await lab.client.delete(NODES.path(name=lab.namespace))


async def test_higher_priority_goes_first(lab):
    """Of two pods that wait for one place, the more important one gets it, though it is younger."""
    whole = {"resources": {"requests": {"cpu": "8"}}}
    await lab.pod("holder", container=whole, restartPolicy="Always")
    await lab.phase("holder", "Running")
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    await lab.client.create(classes, {"metadata": {"name": lab.namespace}, "value": 1000, "preemptionPolicy": "Never"})
    await lab.pod("a-low", "true", container=whole)
    await lab.event("a-low", "FailedScheduling")
    await lab.pod("high", container=whole, priorityClassName=lab.namespace, restartPolicy="Always")
    await lab.event("high", "FailedScheduling")
    await lab.delete("holder")
    await lab.phase("high", "Running")
    assert "nodeName" not in (await lab.client.get(PODS.path(lab.namespace, "a-low")))["spec"]
    await lab.delete("high")
    await lab.phase("a-low", "Succeeded")


async def test_a_deployment_rolls_out_and_takes_everything_with_it(lab):
    """A rollout can be followed, an update replaces the pods, a deletion leaves nothing."""
    body = workload("Deployment", "web", replicas=3)
    await lab.client.create(DEPLOYMENTS.path(lab.namespace), body)
    assert "successfully rolled out" in await lab.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    first = names(await lab.client.get(PODS.path(lab.namespace)))
    assert len(first) == 3
    await lab.kubectl("set", "env", "deployment/web", "A=1")
    assert "successfully rolled out" in await lab.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    sets = (await lab.client.get(REPLICA_SETS.path(lab.namespace)))["items"]
    assert sorted(each["spec"]["replicas"] for each in sets) == [0, 3]
    await lab.kubectl("delete", "deployment", "web", "--cascade=foreground")
    assert "not found" in await lab.kubectl("get", "deployment", "web")
    left = [await lab.client.get(kind.path(lab.namespace)) for kind in (REPLICA_SETS, PODS)]
    assert [each["items"] for each in left] == [[], []]


def names(listed):
    """The names in a list."""
    return {item["metadata"]["name"] for item in listed["items"]}


async def test_a_deleted_pod_is_replaced(lab):
    """A ReplicaSet keeps its number of pods."""
    await lab.client.create(DEPLOYMENTS.path(lab.namespace), workload("Deployment", "web", replicas=1))
    await lab.until(DEPLOYMENTS, "web", lambda item: item["status"].get("availableReplicas") == 1)
    (name,) = names(await lab.client.get(PODS.path(lab.namespace)))
    await lab.delete(name)
    await lab.until(PODS, name, lambda item: item is None)
    await lab.until(DEPLOYMENTS, "web", lambda item: item["status"].get("availableReplicas") == 1)
    assert name not in names(await lab.client.get(PODS.path(lab.namespace)))


async def test_orphaned_pods_stay(lab):
    """Deleting a Deployment with --cascade=orphan keeps its ReplicaSet, which has no owner any more."""
    await lab.client.create(DEPLOYMENTS.path(lab.namespace), workload("Deployment", "web", replicas=1))
    await lab.until(DEPLOYMENTS, "web", lambda item: item["status"].get("availableReplicas") == 1)
    await lab.kubectl("delete", "deployment", "web", "--cascade=orphan")
    await lab.until(DEPLOYMENTS, "web", lambda item: item is None)
    (kept,) = (await lab.client.get(REPLICA_SETS.path(lab.namespace)))["items"]
    assert not kept["metadata"].get("ownerReferences")


async def test_an_object_of_a_missing_owner_goes(lab):
    """Garbage collection asks whether the owner exists, whatever kinds are involved."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "00000000-0000-0000-0000-000000000000"}
    body = {"metadata": {"name": "child", "ownerReferences": [owner]}}
    await lab.client.create(CONFIGMAPS.path(lab.namespace), body)
    await lab.until(CONFIGMAPS, "child", lambda item: item is None)


async def test_a_daemon_set_covers_the_nodes_that_it_wants(lab):
    """One pod on every node that its selector takes, and the numbers say so."""
    body = workload("DaemonSet", "agent")
    body["spec"]["template"]["spec"]["nodeSelector"] = {"size": "big"}
    await lab.client.create(DAEMON_SETS.path(lab.namespace), body)
    await lab.until(DAEMON_SETS, "agent", lambda item: (item.get("status") or {}).get("numberReady") == 1)
    (pod,) = (await lab.client.get(PODS.path(lab.namespace)))["items"]
    assert pod["spec"]["nodeName"] == "two"


async def test_a_job_completes(lab):
    """Its end can be waited for."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "host", "command": ["true"]}]}}
    body = {"metadata": {"name": "j"}, "spec": {"completions": 2, "parallelism": 2, "template": template}}
    await lab.client.create(JOBS.path(lab.namespace), body)
    assert "condition met" in await lab.kubectl("wait", "--for=condition=complete", "job/j", "--timeout=20s")
    assert (await lab.client.get(JOBS.path(lab.namespace, "j")))["status"]["succeeded"] == 2


async def test_a_failing_job_gives_up(lab):
    """After backoffLimit failures the Job is Failed."""
    container = {"name": "c", "image": "host", "command": ["false"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    body = {"metadata": {"name": "j"}, "spec": {"backoffLimit": 1, "template": template}}
    await lab.client.create(JOBS.path(lab.namespace), body)
    job = await lab.until(JOBS, "j", lambda item: condition(item, "Failed"))
    assert (job["status"]["failed"], condition(job, "Failed")["reason"]) == (2, "BackoffLimitExceeded")


async def test_a_deleted_namespace_is_emptied(lab):
    """Everything in it goes, running pods included, and then it goes itself."""
    await lab.pod("p", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.01; done")
    await lab.client.create(CONFIGMAPS.path(lab.namespace), {"metadata": {"name": "c"}})
    await lab.phase("p", "Running")
    await lab.client.delete(NAMESPACES.path(name=lab.namespace))
    await lab.until(NAMESPACES, lab.namespace, lambda item: item is None)
    with pytest.raises(ApiError) as caught:
        await lab.client.get(PODS.path(lab.namespace, "p"))
    assert caught.value.missing


async def test_a_cordoned_node_gets_no_pods(lab):
    """Cordoning works on the scheduler, uncordoning undoes it."""
    selector = {"size": "big"}
    await lab.kubectl("cordon", "two")
    await lab.pod("p", "true", nodeSelector=selector)
    event = await lab.event("p", "FailedScheduling")
    assert "1 node(s) were unschedulable" in event["message"]
    await lab.kubectl("uncordon", "two")
    await lab.phase("p", "Succeeded")
    described = json.loads(await lab.kubectl("get", "node", "two", "-o", "json"))
    assert not described["spec"].get("unschedulable")


async def test_a_node_that_loses_power(lab):
    """Its containers end, the API still shows its pod, and a forced deletion is final."""
    await lab.pod("p", "sh", "-c", "echo up; sleep 1000", nodeSelector={"size": "big"})
    assert await lab.first_line("p") == "up"
    await lab.cluster.stop_node("two")
    pod = await lab.client.get(PODS.path(lab.namespace, "p"))
    assert pod["status"]["phase"] == "Running"
    assert "no kubelet runs on node" in await lab.kubectl("logs", "p")
    await lab.delete("p")
    held = await lab.client.get(PODS.path(lab.namespace, "p"))
    assert held["metadata"]["deletionTimestamp"]
    await lab.delete("p", {"gracePeriodSeconds": 0})
    await lab.until(PODS, "p", lambda item: item is None)
