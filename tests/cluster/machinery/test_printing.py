"""What tables say: ages and the state of pods."""

from datetime import UTC, datetime
from typing import Any

import pytest
from devcluster.apiserver.tables.base import duration
from devcluster.apiserver.tables.pods import PRINTER, reason_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"), (10_799, "179m"),
        (10_800, "3h"), (12_000, "3h20m"), (28_800, "8h"), (172_799, "47h"), (172_800, "2d"), (180_000, "2d2h"),
        (691_200, "8d"), (63_071_999, "729d"), (63_072_000, "2y"), (-5, "<invalid>"),
    ],
)  # fmt: skip
def test_ages(seconds: int, wanted: str) -> None:
    """Ages are worded as kubectl words them."""
    assert duration(seconds) == wanted


def pod(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    """A pod in a state."""
    return {"metadata": {"name": "p", **meta}, "spec": {"containers": [{"name": "c"}]}, "status": status}


def container(**state: Any) -> dict[str, Any]:
    """A status with one container in a state."""
    return {"containerStatuses": [{"name": "c", "state": state}]}


GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}


@pytest.mark.parametrize(
    ("status", "meta", "wanted"),
    [
        ({"phase": "Running"}, {}, "Running"),
        ({"phase": "Running"}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "Terminating"),
        ({"phase": "Pending", **container(waiting={"reason": "ContainerCreating"})}, {}, "ContainerCreating"),
        ({"phase": "Failed", **container(terminated={"exitCode": 1, "reason": "Error"})}, {}, "Error"),
        ({"phase": "Failed", **container(terminated={"exitCode": 3})}, {}, "ExitCode:3"),
        ({"phase": "Pending", "conditions": [GATED]}, {}, "SchedulingGated"),
        ({"phase": "Failed", "reason": "Evicted"}, {}, "Evicted"),
    ],
)
def test_status_of_pods(status: dict[str, Any], meta: dict[str, Any], wanted: str) -> None:
    """One word says how a pod is."""
    assert reason_of(pod(status, **meta)) == wanted


def test_restarts_tell_when() -> None:
    """A pod that was restarted says how often and how long ago."""
    ended = {"terminated": {"finishedAt": "2025-12-31T23:59:00Z", "exitCode": 1}}
    state = {"running": {}}
    statuses = [{"name": "c", "restartCount": 2, "ready": True, "state": state, "lastState": ended}]
    assert PRINTER.cells(pod({"phase": "Running", "containerStatuses": statuses}), NOW)[1:4] == [
        "1/1",
        "Running",
        "2 (60s ago)",
    ]
