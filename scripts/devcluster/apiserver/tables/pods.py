"""How pods are printed: readiness, the one word that says how it goes, restarts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from devcluster.apiserver.tables.base import AGE, NAME, NONE, Column, Printer, age, dig, since

Json = Mapping[str, Any]
_SPEC, _STATUS = "io.k8s.api.core.v1.PodSpec", "io.k8s.api.core.v1.PodStatus"
_READY = "The aggregate readiness state of this pod for accepting traffic."
_STATE = "The aggregate status of the containers in this pod."
_RESTARTS = (
    "The number of times the containers in this pod have been restarted and when the last container in this pod has "
    "restarted."
)
COLUMNS = (
    NAME,
    Column("Ready", _READY),
    Column("Status", _STATE),
    Column("Restarts", _RESTARTS),
    AGE,
    Column("IP", (_STATUS, "podIP"), priority=1),
    Column("Node", (_SPEC, "nodeName"), priority=1),
    Column("Nominated Node", (_STATUS, "nominatedNodeName"), priority=1),
    Column("Readiness Gates", (_SPEC, "readinessGates"), priority=1),
)


def _cells(pod: Json, now: datetime) -> list[Any]:
    spec, state = pod["spec"], pod.get("status") or {}
    sidecars = {c["name"] for c in spec.get("initContainers", ()) if c.get("restartPolicy") == "Always"}
    statuses = [*state.get("containerStatuses", ())]
    sidecar_statuses = [s for s in state.get("initContainerStatuses", ()) if s["name"] in sidecars]
    total = len(spec.get("containers") or ()) + len(sidecars)
    ready = sum(1 for s in [*statuses, *sidecar_statuses] if s.get("ready"))
    return [
        pod["metadata"]["name"],
        f"{ready}/{total}",
        reason_of(pod),
        _restarts(pod, now),
        age(pod, now),
        dig(state, "podIP") or NONE,
        spec.get("nodeName") or NONE,
        state.get("nominatedNodeName") or NONE,
        _gates(spec, state),
    ]


def _gates(spec: Json, state: Json) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return NONE
    true = {c["type"] for c in state.get("conditions") or () if c["status"] == "True"}
    return f"{sum(1 for gate in gates if gate['conditionType'] in true)}/{len(gates)}"


def reason_of(pod: Json) -> str:
    """The Status column."""
    state = pod.get("status") or {}
    reason = state.get("reason") or state.get("phase") or ""
    if any(c.get("reason") == "SchedulingGated" and c["type"] == "PodScheduled" for c in state.get("conditions") or ()):
        reason = "SchedulingGated"
    reason = _init_reason(pod, state) or _main_reason(state, reason)
    if "deletionTimestamp" in pod["metadata"]:
        if state.get("reason") == "NodeLost":
            return "Unknown"
        return reason if state.get("phase") in {"Failed", "Succeeded"} else "Terminating"
    return str(reason)


def _init_reason(pod: Json, state: Json) -> str:
    """What the first unfinished init container says."""
    specs = {c["name"]: c for c in pod["spec"].get("initContainers") or ()}
    for index, status in enumerate(state.get("initContainerStatuses") or ()):
        ended = dig(status, "state", "terminated")
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if specs.get(status["name"], {}).get("restartPolicy") == "Always" and status.get("started"):
            continue
        if ended is not None:
            return f"Init:{_ended(ended)}"
        waiting = dig(status, "state", "waiting", "reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{len(specs)}"
    return ""


def _ended(ended: Json) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _main_reason(state: Json, reason: str) -> str:
    running = False
    for status in reversed(state.get("containerStatuses") or ()):
        waiting, ended = dig(status, "state", "waiting", "reason"), dig(status, "state", "terminated")
        if waiting:
            reason = waiting
        elif ended is not None:
            reason = _ended(ended)
        elif status.get("ready") and dig(status, "state", "running") is not None:
            running = True
    if reason == "Completed" and running:
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in state.get("conditions") or ())
        return "Running" if ready else "NotReady"
    return reason


def _restarts(pod: Json, now: datetime) -> str:
    """The count, and when the last restart was."""
    state = pod.get("status") or {}
    statuses = state.get("containerStatuses") or ()
    count = sum(status.get("restartCount", 0) for status in statuses)
    ends = [dig(status, "lastState", "terminated", "finishedAt") for status in statuses]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({since(last, now)} ago)" if count and last else str(count)


def _conditions(pod: Json) -> list[dict[str, Any]]:
    """Pods that ended are marked, so that kubectl can grey them out."""
    phase = (pod.get("status") or {}).get("phase")
    reasons = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
    if phase not in reasons:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": reasons[phase]}]


PRINTER = Printer(COLUMNS, _cells, _conditions)
