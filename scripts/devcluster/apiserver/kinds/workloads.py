"""Defaults, preparation and validation of deployments and their kin."""

from typing import Any

from devcluster.apiserver.kinds.pod_defaults import default_spec
from devcluster.apiserver.kinds.pod_validation import invalid, required, validate_spec
from devcluster.apiserver.selectors import selector_matches
from devcluster.apiserver.status import Cause

Json = dict[str, Any]


def default_template(obj: Json) -> Json:
    """The spec of a workload, with its template's defaults set."""
    spec: Json = obj.setdefault("spec", {})
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    default_spec(template.setdefault("spec", {}))
    return spec


def default_deployment(obj: Json) -> None:
    """apps/v1 Deployment."""
    spec = default_template(obj)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def default_replica_set(obj: Json) -> None:
    """apps/v1 ReplicaSet."""
    default_template(obj).setdefault("replicas", 1)
    labels = obj["spec"]["template"]["metadata"].get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def default_replication_controller(obj: Json) -> None:
    """v1 ReplicationController: its selector is that of its template unless given."""
    spec = default_template(obj)
    spec.setdefault("replicas", 1)
    labels = spec["template"]["metadata"].get("labels")
    if labels:
        spec.setdefault("selector", dict(labels))
        obj["metadata"].setdefault("labels", dict(labels))


def default_daemon_set(obj: Json) -> None:
    """apps/v1 DaemonSet."""
    spec = default_template(obj)
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)


def default_stateful_set(obj: Json) -> None:
    """apps/v1 StatefulSet."""
    spec = default_template(obj)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"})
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)


def default_job(obj: Json) -> None:
    """batch/v1 Job."""
    spec = default_template(obj)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)


def prepare_job(obj: Json) -> None:
    """A job selects its pods by its own UID."""
    if obj["spec"].get("manualSelector"):
        return
    uid, name = obj["metadata"]["uid"], obj["metadata"]["name"]
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    meta = obj["spec"]["template"]["metadata"]
    meta["labels"] = {**meta.get("labels", {}), **labels}
    obj["spec"].setdefault("selector", {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})


def prepare_workload(obj: Json) -> None:
    """A new workload has seen nothing yet."""
    obj["status"] = {}


def prepare_replicated(obj: Json) -> None:
    """The same, where the count of replicas is always written."""
    obj["status"] = {"replicas": 0}


def prepare_daemon_set(obj: Json) -> None:
    """The same for daemon sets."""
    names = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    obj["status"] = dict.fromkeys(names, 0)


def validate_workload(obj: Json) -> list[Cause]:
    """Selector, template and replicas fit together."""
    spec = obj["spec"]
    causes: list[Cause] = []
    if spec.get("replicas", 0) < 0:
        causes.append(invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0"))
    selector, template = spec.get("selector"), spec["template"]
    if not selector:
        causes.append(required("spec.selector"))
    elif obj["kind"] != "ReplicationController":
        labels = template["metadata"].get("labels") or {}
        if not selector_matches(selector, labels):
            shown = "{" + ",".join(f'"{key}":"{value}"' for key, value in sorted(labels.items())) + "}"
            wrong = "`selector` does not match template `labels`"
            causes.append(Cause("spec.template.metadata.labels", f"Invalid value: {shown}: {wrong}"))
    return causes + validate_spec(template["spec"], "spec.template.spec")


def validate_selector_kept(new: Json, old: Json) -> list[Cause]:
    """The selector of a workload cannot change."""
    if new["spec"].get("selector") == old["spec"].get("selector"):
        return []
    shown = repr(new["spec"].get("selector")).replace("'", '"')
    return [Cause("spec.selector", f"Invalid value: {shown}: field is immutable")]
