"""How deployments and their kin are printed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from devcluster.apiserver.tables.base import AGE, NAME, NONE, Column, Printer, age, dig, duration

Json = Mapping[str, Any]
_APPS, _BATCH = "io.k8s.api.apps.v1.", "io.k8s.api.batch.v1."
_CONTAINERS = Column("Containers", "Names of each container in the template.", priority=1)
_IMAGES = Column("Images", "Images referenced by each container in the template.", priority=1)


def _number(name: str, definition: str, field: str) -> Column:
    return Column(name, (definition, field), type="integer")


def _selector(definition: str) -> Column:
    return Column("Selector", (definition, "selector"), priority=1)


def _template(obj: Json) -> list[str]:
    containers = dig(obj, "spec", "template", "spec", "containers") or ()
    return [",".join(c["name"] for c in containers), ",".join(c.get("image", "") for c in containers)]


def selector_text(selector: Json | None) -> str:
    """A label selector on one line."""
    if not selector:
        return NONE
    words = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        values = f" ({','.join(expression.get('values') or ())})" if expression.get("values") else ""
        operators = {"In": " in", "NotIn": " notin", "Exists": "", "DoesNotExist": ""}
        prefix = "!" if expression["operator"] == "DoesNotExist" else ""
        words.append(f"{prefix}{expression['key']}{operators[expression['operator']]}{values}")
    return ",".join(words) or NONE


def _deployment(obj: Json, now: datetime) -> list[Any]:
    state, wanted = obj.get("status") or {}, dig(obj, "spec", "replicas")
    return [
        obj["metadata"]["name"],
        f"{state.get('readyReplicas', 0)}/{wanted if wanted is not None else 1}",
        state.get("updatedReplicas", 0),
        state.get("availableReplicas", 0),
        age(obj, now),
        *_template(obj),
        selector_text(dig(obj, "spec", "selector")),
    ]


def _replica_set(obj: Json, now: datetime) -> list[Any]:
    state = obj.get("status") or {}
    selector = dig(obj, "spec", "selector") or {}
    labels = selector if obj["kind"] == "ReplicaSet" else {"matchLabels": selector}
    return [
        obj["metadata"]["name"],
        dig(obj, "spec", "replicas") or 0,
        state.get("replicas", 0),
        state.get("readyReplicas", 0),
        age(obj, now),
        *_template(obj),
        selector_text(labels),
    ]


def _daemon_set(obj: Json, now: datetime) -> list[Any]:
    state = obj.get("status") or {}
    counts = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    node_selector = dig(obj, "spec", "template", "spec", "nodeSelector") or {}
    return [
        obj["metadata"]["name"],
        *(state.get(name, 0) for name in counts),
        selector_text({"matchLabels": node_selector}) if node_selector else NONE,
        age(obj, now),
        *_template(obj),
        selector_text(dig(obj, "spec", "selector")),
    ]


def _stateful_set(obj: Json, now: datetime) -> list[Any]:
    ready, wanted = dig(obj, "status", "readyReplicas") or 0, dig(obj, "spec", "replicas")
    return [obj["metadata"]["name"], f"{ready}/{wanted if wanted is not None else 1}", age(obj, now), *_template(obj)]


def _job(obj: Json, now: datetime) -> list[Any]:
    state, spec = obj.get("status") or {}, obj.get("spec") or {}
    wanted = spec.get("completions")
    done = f"{state.get('succeeded', 0)}/{wanted}" if wanted is not None else f"{state.get('succeeded', 0)}/1"
    return [
        obj["metadata"]["name"],
        _job_status(obj),
        done,
        _job_duration(state, now),
        age(obj, now),
        *_template(obj),
        selector_text(spec.get("selector")),
    ]


def _job_status(obj: Json) -> str:
    true = {c["type"] for c in dig(obj, "status", "conditions") or () if c["status"] == "True"}
    for kind, word in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended"),
                       ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet")):  # fmt: skip
        if kind in true:
            return word
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else "Running"


def _job_duration(state: Json, now: datetime) -> str:
    if not state.get("startTime"):
        return ""
    end = datetime.fromisoformat(state["completionTime"]) if state.get("completionTime") else now
    return duration((end - datetime.fromisoformat(state["startTime"])).total_seconds())


def _replica_columns(definition: str) -> Sequence[Column]:
    return (
        NAME,
        _number("Desired", definition + "Spec", "replicas"),
        _number("Current", definition + "Status", "replicas"),
        _number("Ready", definition + "Status", "readyReplicas"),
        AGE,
        _CONTAINERS,
        _IMAGES,
        _selector(definition + "Spec"),
    )


_DEPLOYMENT = (
    NAME,
    Column("Ready", "Number of the pod with ready state"),
    _number("Up-to-date", _APPS + "DeploymentStatus", "updatedReplicas"),
    _number("Available", _APPS + "DeploymentStatus", "availableReplicas"),
    AGE,
    _CONTAINERS,
    _IMAGES,
    _selector(_APPS + "DeploymentSpec"),
)
_DAEMON_SET = (
    NAME,
    _number("Desired", _APPS + "DaemonSetStatus", "desiredNumberScheduled"),
    _number("Current", _APPS + "DaemonSetStatus", "currentNumberScheduled"),
    _number("Ready", _APPS + "DaemonSetStatus", "numberReady"),
    _number("Up-to-date", _APPS + "DaemonSetStatus", "updatedNumberScheduled"),
    _number("Available", _APPS + "DaemonSetStatus", "numberAvailable"),
    Column("Node Selector", ("io.k8s.api.core.v1.PodSpec", "nodeSelector")),
    AGE,
    _CONTAINERS,
    _IMAGES,
    _selector(_APPS + "DaemonSetSpec"),
)
_STATEFUL_SET = (NAME, Column("Ready", "Number of the pod with ready state"), AGE, _CONTAINERS, _IMAGES)
_JOB = (
    NAME,
    Column("Status", "Status of the job."),
    Column("Completions", (_BATCH + "JobStatus", "succeeded")),
    Column("Duration", "Time required to complete the job."),
    AGE,
    _CONTAINERS,
    _IMAGES,
    _selector(_BATCH + "JobSpec"),
)
PRINTERS = {
    "apps/deployments": Printer(_DEPLOYMENT, _deployment),
    "apps/replicasets": Printer(_replica_columns(_APPS + "ReplicaSet"), _replica_set),
    "/replicationcontrollers": Printer(_replica_columns("io.k8s.api.core.v1.ReplicationController"), _replica_set),
    "apps/daemonsets": Printer(_DAEMON_SET, _daemon_set),
    "apps/statefulsets": Printer(_STATEFUL_SET, _stateful_set),
    "batch/jobs": Printer(_JOB, _job),
}
