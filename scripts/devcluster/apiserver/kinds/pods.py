"""Preparation of pods: their first status, and what a status update may not touch."""

from typing import Any

from devcluster.apiserver.kinds.pod_defaults import qos_class

Json = dict[str, Any]
GATED = {
    "type": "PodScheduled",
    "status": "False",
    "lastProbeTime": None,
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


def prepare_create(pod: Json) -> None:
    """A new pod is pending; a gated one says so."""
    state: Json = {"phase": "Pending", "qosClass": qos_class(pod["spec"])}
    if pod["spec"].get("schedulingGates"):
        state["conditions"] = [{**GATED, "lastTransitionTime": pod["metadata"]["creationTimestamp"]}]
    pod["status"] = state


def prepare_update(new: Json, old: Json) -> None:
    """The class of service stands."""
    before = (old.get("status") or {}).get("qosClass")
    if before and isinstance(new.get("status"), dict):
        new["status"]["qosClass"] = before
