"""Which nodes a pod's own constraints let it onto."""

from typing import Any

import pytest

from allocator.core.filters import NodeFilter
from allocator.core.nodes import NodeInfo

NODE = {
    "metadata": {"name": "gpu-1", "labels": {"zone": "a", "gen": "7"}},
    "status": {
        "allocatable": {"cpu": "7500m", "memory": "16Gi", "pods": "40"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


def node(**spec: Any) -> NodeInfo:
    """The node with this spec."""
    return NodeInfo.from_json({**NODE, "spec": spec})


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    """A spec that requires one of these terms."""
    required = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    """A term of one label requirement."""
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def test_node_is_read() -> None:
    """Allocatable CPU, memory and pods, labels and readiness come from the Node."""
    found = node()
    assert (found.allocatable.cpu, found.allocatable.memory, found.pods) == (7500, 16 * 1024**3, 40)
    assert found.ready


@pytest.mark.parametrize(
    ("term", "fits"),
    [
        (expression("zone", "In", "a", "b"), True),
        (expression("zone", "In", "b"), False),
        (expression("zone", "NotIn", "b"), True),
        (expression("zone", "NotIn", "a"), False),
        (expression("absent", "NotIn", "a"), True),
        (expression("zone", "Exists"), True),
        (expression("absent", "Exists"), False),
        (expression("absent", "DoesNotExist"), True),
        (expression("zone", "DoesNotExist"), False),
        (expression("gen", "Gt", "6"), True),
        (expression("gen", "Gt", "7"), False),
        (expression("gen", "Lt", "8"), True),
        (expression("zone", "Lt", "8"), False),
        (expression("absent", "Gt", "1"), False),
        (expression("zone", "Near", "a"), False),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gpu-1"]}]}, True),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gpu-2"]}]}, False),
        ({}, False),
    ],
)
def test_affinity_term(term: dict[str, Any], *, fits: bool) -> None:
    """A required term matches as the scheduler's does; an empty one matches nothing."""
    found = NodeFilter.from_spec(affinity(term)).refusal(node())
    assert (found is None) == fits


def test_any_term_is_enough() -> None:
    """Terms are alternatives."""
    spec = affinity(expression("zone", "In", "z"), expression("gen", "In", "7"))
    assert NodeFilter.from_spec(spec).refusal(node()) is None


def test_selector_and_name() -> None:
    """A node selector must hold wholly, and a node named by the pod is the only one."""
    assert NodeFilter.from_spec({"nodeSelector": {"zone": "a"}}).refusal(node()) is None
    refusal = NodeFilter.from_spec({"nodeSelector": {"zone": "b"}}).refusal(node())
    assert refusal == "lacks the label zone=b of the pod's node selector"
    assert NodeFilter.from_spec({"nodeName": "gpu-2"}).refusal(node()) == "is not the node that the pod names"


def test_runtime_class_is_merged() -> None:
    """What the API server will merge from the RuntimeClass counts already."""
    tainted = node(taints=[{"key": "gpu", "effect": "NoSchedule"}])
    selector = {"scheduling": {"nodeSelector": {"zone": "b"}}}
    tolerant = {"scheduling": {"tolerations": [{"operator": "Exists"}]}}
    assert NodeFilter.from_spec({}, runtime=selector).refusal(node()) is not None
    assert NodeFilter.from_spec({}, runtime=tolerant).refusal(tainted) is None


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"operator": "Exists"}, True),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_toleration(toleration: dict[str, str], *, fits: bool) -> None:
    """A taint keeps away whoever does not tolerate it."""
    tainted = node(taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    assert (NodeFilter.from_spec({"tolerations": [toleration]}).refusal(tainted) is None) == fits


def test_soft_taints_do_not_count() -> None:
    """PreferNoSchedule keeps nobody away."""
    assert NodeFilter().refusal(node(taints=[{"key": "gpu", "effect": "PreferNoSchedule"}])) is None


def test_cordoned_and_not_ready() -> None:
    """Neither a cordoned node nor one that is not ready takes pods."""
    assert NodeFilter().refusal(node(unschedulable=True)) == "is cordoned"
    assert NodeFilter().refusal(NodeInfo.from_json({"metadata": {"name": "x"}})) == "is not ready"
