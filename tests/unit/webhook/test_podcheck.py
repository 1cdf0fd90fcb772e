"""Objects that are no pods are refused by the field's name."""

from typing import Any

import pytest

from webhook.podcheck import check_pod
from webhook.review import ReviewError


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        ({"metadata": []}, "object.metadata is not an object"),
        ({"metadata": {"annotations": {"a": 1}}}, "object.metadata.annotations.a is not a text"),
        ({"metadata": {"ownerReferences": {}}}, "object.metadata.ownerReferences is not a list"),
        ({"spec": 1}, "object.spec is not an object"),
        ({"spec": {"containers": {}}}, "object.spec.containers is not a list"),
        ({"spec": {"containers": [{}]}}, "object.spec.containers[0].name is not set"),
        ({"spec": {"initContainers": [{"name": 1}]}}, "object.spec.initContainers[0].name is not a text"),
        ({"spec": {"containers": [{"name": "a", "env": [1]}]}}, "object.spec.containers[0].env[0] is not an object"),
        (
            {"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": []}}}]}},
            "object.spec.containers[0].resources.limits.cpu is not a quantity",
        ),
        ({"spec": {"nodeName": 3}}, "object.spec.nodeName is not a text"),
        ({"spec": {"affinity": "x"}}, "object.spec.affinity is not an object"),
    ],
)
def test_field_of_a_wrong_type_is_named(pod: dict[str, Any], message: str) -> None:
    """The message says where in the object and what would be right."""
    with pytest.raises(ReviewError) as caught:
        check_pod(pod, where="object")
    assert str(caught.value) == message


def test_absent_and_null_are_the_same() -> None:
    """Kubernetes makes no difference between them."""
    check_pod({"metadata": {"annotations": None}, "spec": {"containers": None, "affinity": None}}, where="object")
