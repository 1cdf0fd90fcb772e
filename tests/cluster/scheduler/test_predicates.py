"""Where the embedded scheduler lets a pod run, and what it says otherwise."""

from typing import Any

import pytest
from devcluster.scheduler.cache import Cache
from devcluster.scheduler.predicates import NodeState, Refusal, explain, named_nodes, refuse
from devcluster.scheduler.resources import amounts, pod_requests
from hypothesis import given
from hypothesis import strategies as st

PIN = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}
ZONE = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["x"]}]}
HELPLESS = "Preemption is not helpful for scheduling"


def node(name: str = "a", **parts: Any) -> dict[str, Any]:
    """A node of 2 CPUs, 4 GiB and 3 pods."""
    allocatable = {"cpu": "2", "memory": "4Gi", "pods": "3", **parts.pop("allocatable", {})}
    labels = parts.pop("labels", {})
    return {"metadata": {"name": name, "labels": labels}, "spec": parts, "status": {"allocatable": allocatable}}


def pod(uid: str = "u", *, cpu: str = "1", **spec: Any) -> dict[str, Any]:
    """A pod that asks for CPU."""
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"name": uid, "uid": uid, "namespace": "n"}, "spec": {"containers": [container], **spec}}


def affine(*terms: dict[str, Any]) -> dict[str, Any]:
    """A spec with required node affinity."""
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": required}}


def reason(pod_: dict[str, Any], node_: dict[str, Any]) -> tuple[str, ...]:
    """Why the pod cannot run on the node; empty if it can."""
    state = NodeState(node_, amounts(node_["status"]["allocatable"]))
    found = refuse(pod_, pod_requests(pod_["spec"]), state)
    return found.reasons if found else ()


@pytest.mark.parametrize(
    ("spec", "labels", "accepted"),
    [
        ({"nodeSelector": {"zone": "x"}}, {"zone": "x"}, True),
        ({"nodeSelector": {"zone": "x"}}, {"zone": "y"}, False),
        (affine(ZONE), {"zone": "x"}, True),
        (affine(ZONE), {}, False),
        (affine(PIN), {}, False),
        (affine(PIN, ZONE), {"zone": "x"}, True),
        (affine({**PIN, **ZONE}), {"zone": "x"}, False),
        (affine({}), {}, False),
    ],
)
def test_affinity_and_selector(spec: dict[str, Any], labels: dict[str, str], *, accepted: bool) -> None:
    """Terms are alternatives, what is inside one must all hold, an empty term selects nothing."""
    expected = () if accepted else ("node(s) didn't match Pod's node affinity/selector",)
    assert reason(pod(**spec), node(labels=labels)) == expected


@pytest.mark.parametrize(
    ("toleration", "accepted"),
    [
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "value": "yes", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_taints(toleration: dict[str, Any], *, accepted: bool) -> None:
    """A taint keeps pods away that do not tolerate it by key, value and effect."""
    tainted = node(taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    expected = () if accepted else ("node(s) had untolerated taint {gpu: yes}",)
    assert reason(pod(tolerations=[toleration]), tainted) == expected


def test_a_preference_is_no_obstacle() -> None:
    """PreferNoSchedule does not forbid."""
    assert reason(pod(), node(taints=[{"key": "k", "effect": "PreferNoSchedule"}])) == ()


def test_cordon() -> None:
    """A cordoned node takes only pods that tolerate that, such as a DaemonSet's."""
    assert reason(pod(), node(unschedulable=True)) == ("node(s) were unschedulable",)
    tolerant = pod(tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}])
    assert reason(tolerant, node(unschedulable=True)) == ()


def test_every_lacking_resource_is_named() -> None:
    """CPU, extended resources and the number of pods are all told at once."""
    greedy = pod(cpu="3")
    greedy["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/gpu": "1"}
    assert reason(greedy, node(allocatable={"pods": "0"})) == (
        "Insufficient cpu",
        "Insufficient nvidia.com/gpu",
        "Too many pods",
    )


def test_init_containers_and_sidecars_count_at_their_peak() -> None:
    """A plain init container runs with the sidecars before it; the containers run with all sidecars."""

    def container(cpu: str, **more: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("1"), container("1")],
        "initContainers": [
            container("500m", restartPolicy="Always"),
            container("3"),
            container("1", restartPolicy="Always"),
        ],
        "overhead": {"cpu": "100m"},
    }
    assert pod_requests(spec)["cpu"] == 3600


def test_wording_of_a_failure() -> None:
    """The message counts reasons in alphabetical order and says whether preemption could help."""
    refusals = [Refusal(("Insufficient cpu",), final=False), Refusal(("node(s) were unschedulable",), final=True)]
    assert explain([*refusals, Refusal(("Insufficient cpu", "Too many pods"), final=False)]) == (
        "0/3 nodes are available: 1 Too many pods, 1 node(s) were unschedulable, 2 Insufficient cpu. "
        "no new claims to deallocate, preemption: 0/3 nodes are available: "
        f"1 {HELPLESS}, 2 No preemption victims found for incoming pod."
    )


def test_the_recorded_wording() -> None:
    """Word for word what a real control plane 1.36 said about a resource that no node has."""
    found = explain([Refusal(("Insufficient nvidia.com/gpu",), final=True)] * 2)
    assert found == (
        "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: "
        f"0/2 nodes are available: 2 {HELPLESS}."
    )


def test_a_pinned_pod_looks_at_its_node_only() -> None:
    """The other nodes are told as not chosen; the pin's own node says what is wrong with it."""
    cache = Cache()
    for name in "abc":
        cache.set_node(name, node(name, allocatable={"cpu": "100m"}))
    chosen, refusals = cache.choose(pod(**affine(PIN)))
    assert chosen is None
    assert sorted(each.reasons[0] for each in refusals) == [
        "Insufficient cpu",
        "node(s) didn't satisfy plugin(s) [NodeAffinity]",
        "node(s) didn't satisfy plugin(s) [NodeAffinity]",
    ]


def test_names_of_a_partial_pin_do_not_count() -> None:
    """If one alternative names no node, any node may be meant."""
    assert named_nodes(pod(**affine(PIN, ZONE))["spec"]) is None
    assert named_nodes(pod(**affine(PIN))["spec"]) == {"b"}


def test_an_assumed_pod_takes_its_place_until_it_is_forgotten() -> None:
    """The next pod of the same cycle sees the decision; a failed binding gives the place back."""
    cache = Cache()
    cache.set_node("a", node("a"))
    cache.place(pod("one", cpu="1500m"), "a")
    assert cache.choose(pod("two"))[0] is None
    assert cache.remove("one")
    assert cache.choose(pod("two"))[0] == "a"


def test_pods_of_a_node_that_comes_later_count() -> None:
    """The order in which the watches tell of nodes and pods does not matter."""
    cache = Cache()
    cache.place(pod("one", cpu="1500m"), "a")
    cache.set_node("a", node("a"))
    assert cache.choose(pod("two"))[0] is None


@given(st.lists(st.integers(min_value=1, max_value=2000), max_size=30))
def test_no_node_is_ever_overbooked(milli: list[int]) -> None:
    """Whatever is asked for, no node's CPU nor its number of pods is exceeded."""
    cache = Cache()
    for name in "ab":
        cache.set_node(name, node(name))
    for number, cpu in enumerate(milli):
        wanted = pod(str(number), cpu=f"{cpu}m")
        chosen, _ = cache.choose(wanted)
        if chosen:
            cache.place(wanted, chosen)
    for state in cache.nodes.values():
        assert all(state.used.get(name, 0) <= has for name, has in state.allocatable.items())
