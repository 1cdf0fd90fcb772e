"""Nodes that fall silent."""

from typing import Any

import pytest
from devcluster.controllers.lifecycle import NOT_READY, UNREACHABLE, health_taints

OTHER = {"key": "gpu", "effect": "NoSchedule"}


def node(ready: str, *taints: dict[str, str]) -> dict[str, Any]:
    """A node with this Ready status."""
    return {"spec": {"taints": list(taints)}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def keys(taints: list[dict[str, Any]] | None) -> list[str]:
    """The taints' keys and effects."""
    return [f"{taint['key']}:{taint['effect']}" for taint in taints or []]


@pytest.mark.parametrize(("ready", "key"), [("Unknown", UNREACHABLE), ("False", NOT_READY)])
def test_an_unhealthy_node_is_tainted(ready: str, key: str) -> None:
    """New pods stay away; taints of others stay."""
    found = health_taints(node(ready, OTHER), silent=False, now=0)
    assert keys(found) == ["gpu:NoSchedule", f"{key}:NoExecute", f"{key}:NoSchedule"]


def test_a_silent_node_is_unreachable_whatever_it_said_last() -> None:
    """The last word of a node that fell silent counts no more."""
    assert UNREACHABLE in keys(health_taints(node("True"), silent=True, now=0))[0]


def test_a_recovered_node_loses_its_taints() -> None:
    """Only those of health go."""
    sick = [{"key": UNREACHABLE, "effect": effect} for effect in ("NoSchedule", "NoExecute")]
    assert health_taints(node("True", OTHER, *sick), silent=False, now=0) == [OTHER]


def test_nothing_to_do() -> None:
    """A node that is right is not written."""
    assert health_taints(node("True", OTHER), silent=False, now=0) is None
