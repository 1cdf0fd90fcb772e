"""Pods: defaults, what may not change, gates, binding, graceful deletion, eviction."""

from typing import Any

import pytest

from tests.cluster.api import JSON_PATCH, STRATEGIC, Api

Json = dict[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def pod(name: str = "p", **spec: Any) -> Json:
    """A pod with one container."""
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}


def pinned(node: str) -> Json:
    """Node affinity to one node, by name."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}


@pytest.fixture
async def node(api: Api) -> str:
    """A node that no kubelet serves."""
    name: str = (await api.create("/api/v1/nodes", {"metadata": {"generateName": "conformance-"}})).body["metadata"][
        "name"
    ]
    return name


async def bind(api: Api, pods: str, name: str, node: str) -> int:
    """Bind a pod; the status code."""
    return (
        await api.create(
            f"{pods}/{name}/binding", {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
        )
    ).status


async def test_quantities_are_canonical(api: Api, pods: str) -> None:
    """Quantities come back in one form, requests from limits."""
    limits = {"cpu": "0.5", "memory": "1024Mi", "nvidia.com/gpumem": "3000"}
    body = pod()
    body["spec"]["containers"][0]["resources"] = {"limits": limits}
    seen = (await api.create(f"{pods}?dryRun=All", body)).body["spec"]["containers"][0]["resources"]
    wanted = {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpumem": "3k"}
    assert seen == {"limits": wanted, "requests": wanted}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"restartPolicy": "Sometimes"}, "spec.restartPolicy"),
        ({"volumes": [{"name": "v", "hostPath": {}}]}, "spec.volumes[0].hostPath.path"),
        ({"containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/m"}]}]},
         "spec.containers[0].volumeMounts[0].name"),
        ({"containers": [{"name": "c"}]}, "spec.containers[0].image"),
        ({"containers": [{"name": "c", "image": "x"}, {"name": "c", "image": "x"}]}, "spec.containers[1].name"),
        ({"schedulingGates": [{"name": "a/b"}], "nodeName": "n"}, "spec.nodeName"),
        ({"containers": [{"name": "c", "image": "x", "resources": {"requests": {"nvidia.com/gpu": "1"}}}]},
         "spec.containers[0].resources.limits"),
    ],
)  # fmt: skip
async def test_invalid_specs(api: Api, pods: str, change: Json, field: str) -> None:
    """Every wrong field is named."""
    answer = await api.create(f"{pods}?dryRun=All", pod(**change))
    assert answer.status == 422, answer.body
    assert field in [cause["field"] for cause in answer.body["details"]["causes"]]


async def test_image_may_change(api: Api, pods: str) -> None:
    """The image of a container may change, and counts a generation."""
    await api.create(pods, pod())
    changed = await api.patch(f"{pods}/p", {"spec": {"containers": [{"name": "c", "image": "y"}]}}, STRATEGIC)
    assert (changed.status, changed.body["metadata"]["generation"]) == (200, 2)


async def test_same_manifest_again_is_fine(api: Api, pods: str) -> None:
    """A strategic patch with the same spec changes nothing."""
    made = await api.create(pods, pod())
    again = await api.patch(f"{pods}/p", pod(), STRATEGIC)
    assert (again.status, again.body) == (200, made.body)


async def test_tolerations_may_be_added_only(api: Api, pods: str) -> None:
    """A toleration may come, none may go."""
    await api.create(pods, pod())
    extra = [{"op": "add", "path": "/spec/tolerations/-", "value": {"key": "a", "operator": "Exists"}}]
    assert (await api.patch(f"{pods}/p", extra, JSON_PATCH)).status == 200
    assert (await api.patch(f"{pods}/p", [{"op": "remove", "path": "/spec/tolerations/2"}], JSON_PATCH)).status == 422


async def test_gated_pod_may_be_pinned(api: Api, pods: str, node: str) -> None:
    """One JSON patch takes the gate off, pins the pod and annotates it; then it can be bound."""
    await api.create(pods, pod(schedulingGates=[{"name": "example.com/wait"}]))
    assert await bind(api, pods, "p", node) == 409
    patch = [
        {"op": "remove", "path": "/spec/schedulingGates"},
        {"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}},
        {"op": "add", "path": "/spec/affinity", "value": pinned(node)},
    ]
    assert (await api.patch(f"{pods}/p", patch, JSON_PATCH)).status == 200
    assert await bind(api, pods, "p", node) == 201


async def test_gated_affinity_only_tightens(api: Api, pods: str) -> None:
    """While gated, a term may gain requirements; terms may not come or go."""
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}
    await api.create(pods, pod(schedulingGates=[{"name": "example.com/wait"}], affinity=affinity))
    terms = f"/spec/affinity/nodeAffinity/{REQUIRED}/nodeSelectorTerms"
    field = {"key": "metadata.name", "operator": "In", "values": ["n"]}
    tighter = [{"op": "add", "path": f"{terms}/0/matchFields", "value": [field]}]
    assert (await api.patch(f"{pods}/p", tighter, JSON_PATCH)).status == 200
    other = [{"op": "replace", "path": f"{terms}/0/matchExpressions/0/values", "value": ["b"]}]
    assert (await api.patch(f"{pods}/p", other, JSON_PATCH)).status == 422
    assert (
        await api.patch(f"{pods}/p", [{"op": "add", "path": f"{terms}/-", "value": term}], JSON_PATCH)
    ).status == 422
    assert (await api.patch(f"{pods}/p", [{"op": "remove", "path": "/spec/affinity"}], JSON_PATCH)).status == 422


async def test_ungated_affinity_is_fixed(api: Api, pods: str) -> None:
    """Without a gate, affinity cannot be set any more."""
    await api.create(pods, pod())
    answer = await api.patch(f"{pods}/p", [{"op": "add", "path": "/spec/affinity", "value": pinned("n")}], JSON_PATCH)
    assert (answer.status, answer.body["details"]["causes"][0]["field"]) == (422, "spec")


async def test_binding_carries_annotations(api: Api, pods: str, node: str) -> None:
    """A binding sets the node, its annotations and the condition."""
    await api.create(pods, pod())
    body = {"metadata": {"name": "p", "annotations": {"a": "b"}}, "target": {"kind": "Node", "name": node}}
    await api.create(f"{pods}/p/binding", body)
    bound = (await api.get(f"{pods}/p")).body
    scheduled = [c["status"] for c in bound["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert (bound["spec"]["nodeName"], bound["metadata"]["annotations"], scheduled) == (node, {"a": "b"}, ["True"])


async def test_unbound_pod_goes_at_once(api: Api, pods: str) -> None:
    """A pod without a node needs no grace."""
    await api.create(pods, pod())
    await api.delete(f"{pods}/p")
    assert (await api.get(f"{pods}/p")).status == 404


async def test_bound_pod_waits_for_its_kubelet(api: Api, pods: str, node: str) -> None:
    """A bound pod gets a deletion time; only a deletion without grace ends it."""
    await api.create(pods, pod())
    await bind(api, pods, "p", node)
    dying = (await api.delete(f"{pods}/p")).body["metadata"]
    assert (dying["deletionGracePeriodSeconds"], (await api.get(f"{pods}/p")).status) == (30, 200)
    assert await bind(api, pods, "p", node) == 409
    await api.delete(f"{pods}/p?gracePeriodSeconds=0")
    assert (await api.get(f"{pods}/p")).status == 404


async def test_eviction_respects_budget(api: Api, namespace: str, pods: str) -> None:
    """An eviction that the budget does not allow is 429; without a budget it deletes."""
    body = pod()
    body["metadata"]["labels"] = {"app": "x"}
    await api.create(pods, body)
    await api.patch(f"{pods}/p/status", {"status": {"phase": "Running"}})
    budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}
    await api.create(budgets, {"metadata": {"name": "b"}, "spec": spec})
    evict = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"}}
    refused = await api.create(f"{pods}/p/eviction", evict)
    assert (refused.status, refused.body["reason"]) == (429, "TooManyRequests")
    await api.delete(f"{budgets}/b")
    assert (await api.create(f"{pods}/p/eviction", evict)).status == 201
    assert (await api.get(f"{pods}/p")).status == 404


async def test_ephemeral_containers_are_added_only(api: Api, pods: str) -> None:
    """Debug containers may be added through their own door, not removed."""
    await api.create(pods, pod())
    added = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "y"}]}}
    answer = await api.patch(f"{pods}/p/ephemeralcontainers", added, STRATEGIC)
    assert [c["name"] for c in answer.body["spec"]["ephemeralContainers"]] == ["debug"]
    removal = [{"op": "remove", "path": "/spec/ephemeralContainers"}]
    assert (await api.patch(f"{pods}/p/ephemeralcontainers", removal, JSON_PATCH)).status == 422


async def test_missing_classes_are_forbidden(api: Api, pods: str) -> None:
    """A runtime class or priority class that does not exist is 403."""
    for field in ("runtimeClassName", "priorityClassName"):
        answer = await api.create(pods, pod(**{field: "nothing-so-called"}))
        assert (answer.status, answer.body["reason"]) == (403, "Forbidden")


async def test_runtime_class_is_merged(api: Api, pods: str) -> None:
    """A runtime class's node selector, tolerations and overhead are merged into the pod."""
    toleration = {"key": "gpu", "operator": "Exists"}
    body = {
        "metadata": {"generateName": "conformance-"}, "handler": "nvidia",
        "overhead": {"podFixed": {"memory": "10Mi"}},
        "scheduling": {"nodeSelector": {"gpu": "yes"}, "tolerations": [toleration]},
    }  # fmt: skip
    path = "/apis/node.k8s.io/v1/runtimeclasses"
    name = (await api.create(path, body)).body["metadata"]["name"]
    spec = (await api.create(f"{pods}?dryRun=All", pod(runtimeClassName=name))).body["spec"]
    await api.delete(f"{path}/{name}")
    assert (spec["nodeSelector"], spec["overhead"]) == ({"gpu": "yes"}, {"memory": "10Mi"})
    assert toleration in spec["tolerations"]


async def test_limit_range_fills_and_refuses(api: Api, namespace: str, pods: str) -> None:
    """A LimitRange gives defaults to containers and refuses those beyond its maximum."""
    rule = {"type": "Container", "default": {"nvidia.com/gpu": "1"}, "max": {"cpu": "2"}}
    rule["default"]["cpu"] = "1"
    await api.create(
        f"/api/v1/namespaces/{namespace}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [rule]}}
    )
    seen = (await api.create(f"{pods}?dryRun=All", pod())).body["spec"]["containers"][0]["resources"]
    assert seen["limits"] == {"nvidia.com/gpu": "1", "cpu": "1"}
    body = pod()
    body["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "3"}}
    refused = await api.create(f"{pods}?dryRun=All", body)
    assert (refused.status, "maximum cpu usage per Container is 2" in refused.body["message"]) == (403, True)


async def test_log_of_unbound_pod(api: Api, pods: str) -> None:
    """There is no log of a pod without a node, and none of a container that it does not have."""
    await api.create(pods, pod())
    assert (await api.get(f"{pods}/p/log")).status == 400
    assert (await api.get(f"{pods}/p/log?container=other")).status == 400
