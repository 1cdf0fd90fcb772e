"""How a Deployment goes from its old template to the new one."""

from typing import Any

import pytest
from devcluster.controllers.deployment import deployment_status
from devcluster.controllers.rollout import Fleet, bounds, next_scale, template_hash
from hypothesis import given
from hypothesis import strategies as st

ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


@pytest.mark.parametrize(
    ("rolling", "replicas", "expected"),
    [
        ({}, 10, (3, 2)),
        ({"maxSurge": 0, "maxUnavailable": "50%"}, 3, (0, 1)),
        ({"maxSurge": 0, "maxUnavailable": "10%"}, 3, (0, 1)),
        ({"maxSurge": 2, "maxUnavailable": 0}, 3, (2, 0)),
    ],
)
def test_bounds(rolling: dict[str, Any], replicas: int, expected: tuple[int, int]) -> None:
    """Surge rounds up, unavailability down, and both may not be zero."""
    assert bounds({"rollingUpdate": rolling}, replicas) == expected


def test_first_rollout_goes_straight_up() -> None:
    """With nothing old there is nothing to spare."""
    assert next_scale(Fleet("new", 0, 0, 0), [], replicas=3, strategy=ROLLING) == {"new": 3}


def test_recreate_waits_for_the_old_to_be_gone() -> None:
    """The new one starts when the last old pod has ended."""
    strategy = {"type": "Recreate"}
    new = Fleet("new", 0, 0, 0)
    assert next_scale(new, [Fleet("old", 2, 2, 2)], replicas=2, strategy=strategy) == {"old": 0}
    assert next_scale(new, [Fleet("old", 0, 1, 0)], replicas=2, strategy=strategy) == {}
    assert next_scale(new, [Fleet("old", 0, 0, 0)], replicas=2, strategy=strategy) == {"new": 2}


def test_broken_old_pods_go_first() -> None:
    """What is not available costs nothing to remove."""
    found = next_scale(Fleet("new", 1, 1, 0), [Fleet("old", 2, 2, 0)], replicas=2, strategy=ROLLING)
    assert found == {"old": 0}


@given(
    replicas=st.integers(1, 9),
    surge=st.integers(0, 3),
    unavailable=st.integers(0, 3),
    ready=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_a_rolling_update_ends_and_keeps_its_promises(
    replicas: int, surge: int, unavailable: int, ready: list[bool]
) -> None:
    """In whatever order pods get ready: the total stays within the surge, availability above its floor."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    surge, unavailable = bounds(strategy, replicas)
    new, old = Fleet("new", 0, 0, 0), Fleet("old", replicas, replicas, replicas)
    for lucky in [*ready, *[True] * 60]:
        changes = next_scale(new, [old], replicas=replicas, strategy=strategy)
        wanted_new, wanted_old = changes.get("new", new.wanted), changes.get("old", old.wanted)
        new = Fleet("new", wanted_new, wanted_new, min(wanted_new, new.available + lucky))
        old = Fleet("old", wanted_old, wanted_old, wanted_old)
        assert new.wanted + old.wanted <= replicas + surge
        assert new.available + old.available >= replicas - unavailable
    assert (new.wanted, new.available, old.wanted) == (replicas, replicas, 0)


def test_hash_depends_on_the_template_alone() -> None:
    """The same template, in whatever order of fields, gives the same ReplicaSet."""
    assert template_hash({"a": 1, "b": 2}) == template_hash({"b": 2, "a": 1}) != template_hash({"a": 1, "b": 3})


def test_status_counts_old_and_new() -> None:
    """The number of updated replicas counts the present template, everything else all of them."""

    def replica_set(label: str, count: int) -> dict[str, Any]:
        status = {"replicas": count, "readyReplicas": count, "availableReplicas": count}
        return {"metadata": {"labels": {"pod-template-hash": label}}, "spec": {}, "status": status}

    deployment = {"metadata": {"generation": 4}, "spec": {"replicas": 3}}
    found = deployment_status(deployment, [replica_set("new", 1), replica_set("old", 2)], current="new", now="t")
    assert (found["replicas"], found["updatedReplicas"], found["unavailableReplicas"]) == (3, 1, 0)
    assert [each["reason"] for each in found["conditions"]] == ["MinimumReplicasAvailable", "ReplicaSetUpdated"]
