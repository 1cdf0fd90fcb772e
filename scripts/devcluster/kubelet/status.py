"""A pod's status from its containers' records. Pure; the rules are a real kubelet's."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from devcluster.clock import timestamp
from devcluster.kubelet.records import Ended, Record, Waiting


@dataclasses.dataclass(frozen=True)
class Place:
    """Where and since when a pod runs."""

    host_ip: str
    pod_ip: str
    started: float


def phase_of(records: Iterable[Record], policy: str) -> str:
    """Return the pod's phase under restartPolicy ``policy``."""
    everything = list(records)
    if any(record.kind == "init" and _failed(record) and policy == "Never" for record in everything):
        return "Failed"
    if any(_uninitialised(record) for record in everything):
        return "Pending"
    main = [record for record in everything if record.kind == "main"]
    if any(isinstance(record.state, Waiting) and record.last is None for record in main):
        return "Pending"
    if policy == "Always" or any(not isinstance(record.state, Ended) for record in main):
        return "Running"
    if not any(_failed(record) for record in main):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _uninitialised(record: Record) -> bool:
    if record.kind == "sidecar":
        return isinstance(record.state, Waiting) and record.last is None
    return record.kind == "init" and not record.ready


def _failed(record: Record) -> bool:
    return isinstance(record.state, Ended) and record.state.code != 0


def pod_status(
    records: Sequence[Record],
    *,
    phase: str,
    place: Place,
    before: Mapping[str, Any],
    now: float,
    reason: tuple[str, str] = ("", ""),
) -> dict[str, Any]:
    """Return the status to write: phase, addresses, container statuses, conditions.

    Args:
        records: all containers.
        phase: the pod's phase, usually :func:`phase_of`.
        place: where it runs.
        before: the status in the API, whose unchanged conditions keep their transition time.
        now: seconds since 1970.
        reason: reason and message of the pod itself, if any.
    """
    conditions = [
        {**condition, "lastTransitionTime": _since(condition, before, now)} for condition in _conditions(records, phase)
    ]
    status: dict[str, Any] = {
        "phase": phase,
        "hostIP": place.host_ip,
        "hostIPs": [{"ip": place.host_ip}],
        "podIP": place.pod_ip,
        "podIPs": [{"ip": place.pod_ip}],
        "startTime": timestamp(place.started),
        "conditions": conditions,
        "containerStatuses": [record.view() for record in records if record.kind == "main"],
    }
    initial = [record.view() for record in records if record.kind != "main"]
    if initial:
        status["initContainerStatuses"] = initial
    said = zip(("reason", "message"), reason, strict=True)
    return status | {field: value for field, value in said if value}


def _conditions(records: Sequence[Record], phase: str) -> list[dict[str, Any]]:
    unready = [record.name for record in records if record.kind == "main" and not record.ready]
    uninitialised = [record.name for record in records if _uninitialised(record)]
    if phase in {"Succeeded", "Failed"}:
        done = {"status": "False", "reason": "PodCompleted" if phase == "Succeeded" else "PodFailed"}
        ready, containers = done, done
    elif unready:
        why = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{' '.join(unready)}]"}
        ready = containers = {"status": "False", **why}
    else:
        ready = containers = {"status": "True"}
    initialised: dict[str, Any] = {"status": "True"}
    if uninitialised:
        message = f"containers with incomplete status: [{' '.join(uninitialised)}]"
        initialised = {"status": "False", "reason": "ContainersNotInitialized", "message": message}
    elif phase == "Succeeded":
        initialised["reason"] = "PodCompleted"
    sandbox = "False" if phase in {"Succeeded", "Failed"} else "True"
    return [
        {"type": "PodReadyToStartContainers", "status": sandbox},
        {"type": "Initialized", **initialised},
        {"type": "Ready", **ready},
        {"type": "ContainersReady", **containers},
    ]


def _since(condition: Mapping[str, Any], before: Mapping[str, Any], now: float) -> str:
    for old in before.get("conditions") or []:
        if old["type"] == condition["type"] and old["status"] == condition["status"]:
            return str(old.get("lastTransitionTime") or timestamp(now))
    return timestamp(now)
