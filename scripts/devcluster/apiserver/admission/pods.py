"""In-tree plugins for pods: service account, priority, tolerations, runtime class."""

from typing import Any

from devcluster.apiserver.admission.lifecycle import refusal
from devcluster.apiserver.machine import Attributes, Machine, random_suffix

Json = dict[str, Any]
_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_TOKEN_SECONDS = 3607
_FILE_MODE = 420  # 0644
_TOLERATED_SECONDS = 300
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def service_account(attributes: Attributes, machine: Machine) -> None:
    """Name the account, and mount its token into every container without one.

    Raises:
        ApiError: 403 when the account does not exist.
    """
    spec = _spec(attributes)
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = machine.store.collection("/serviceaccounts").get(attributes.namespace, name)
    if account is None:
        where = f"{attributes.namespace}/{name}"
        raise refusal(attributes, f'error looking up service account {where}: serviceaccount "{name}" not found')
    mount = spec.get("automountServiceAccountToken", account.obj.get("automountServiceAccountToken", True))
    if mount:
        _mount_token(spec)


def _mount_token(spec: Json) -> None:
    containers = [c for key in ("initContainers", "containers") for c in spec.get(key) or ()]
    lacking = [
        container
        for container in containers
        if all(mount.get("mountPath") != _TOKEN_PATH for mount in container.get("volumeMounts") or ())
    ]
    if not lacking:
        return
    volume = next((v["name"] for v in spec.get("volumes") or () if v["name"].startswith("kube-api-access-")), "")
    if not volume:
        volume = f"kube-api-access-{random_suffix()}"
        spec.setdefault("volumes", []).append(_token_volume(volume))
    for container in lacking:
        mount = {"name": volume, "readOnly": True, "mountPath": _TOKEN_PATH}
        container.setdefault("volumeMounts", []).append(mount)


def _token_volume(name: str) -> Json:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": _FILE_MODE}}


def priority(attributes: Attributes, machine: Machine) -> None:
    """Turn the class into a number.

    Raises:
        ApiError: 403 for an unknown class or a number of the user's own.
    """
    spec = _spec(attributes)
    classes = machine.store.collection("scheduling.k8s.io/priorityclasses")
    name = spec.get("priorityClassName", "")
    if name:
        entry = classes.get("", name)
        if entry is None:
            raise refusal(attributes, f"no PriorityClass with name {name} was found")
    else:
        entry = next((found for found in classes.entries("") if found.obj.get("globalDefault")), None)
    value = entry.obj.get("value", 0) if entry else 0
    given = spec.get("priority")
    if given is not None and given != value:
        raise refusal(
            attributes,
            f"the integer value of priority ({given}) must not be provided in pod spec; priority admission controller "
            f"computed {value} from the given PriorityClass name",
        )
    if entry:
        spec["priorityClassName"] = entry.name
    spec["priority"] = value
    spec.setdefault("preemptionPolicy", entry.obj.get("preemptionPolicy") if entry else "PreemptLowerPriority")


def tolerations(pod: Json) -> None:
    """A pod stays five minutes on a node that is not ready, unless it says otherwise."""
    spec = pod.get("spec")
    if spec is None:
        return
    present = spec.get("tolerations") or []
    missing = [
        {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATED_SECONDS}
        for taint in _TAINTS
        if not any(t.get("key", "") in {taint, ""} and t.get("effect", "") in {"NoExecute", ""} for t in present)
    ]
    if missing:
        spec["tolerations"] = [*present, *missing]


def runtime_class(attributes: Attributes, machine: Machine) -> None:
    """Merge the class's node selector, tolerations and overhead.

    Raises:
        ApiError: 403 when the class does not exist or contradicts the pod.
    """
    spec = _spec(attributes)
    name = spec.get("runtimeClassName")
    if not name:
        return
    entry = machine.store.collection("node.k8s.io/runtimeclasses").get("", name)
    if entry is None:
        raise refusal(attributes, f'pod rejected: RuntimeClass "{name}" not found')
    overhead = (entry.obj.get("overhead") or {}).get("podFixed")
    if overhead:
        if spec.get("overhead") not in (None, overhead):
            raise refusal(attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        spec["overhead"] = dict(overhead)
    scheduling = entry.obj.get("scheduling") or {}
    selector, wanted = spec.get("nodeSelector") or {}, scheduling.get("nodeSelector") or {}
    if any(selector.get(key, value) != value for key, value in wanted.items()):
        both = f"runtimeClass.scheduling.nodeSelector = {wanted}; pod.spec.nodeSelector = {selector}"
        why = f"pod rejected: conflict: {both}"
        raise refusal(attributes, why)
    if wanted:
        spec["nodeSelector"] = {**selector, **wanted}
    extra = [t for t in scheduling.get("tolerations") or () if t not in (spec.get("tolerations") or ())]
    if extra:
        spec["tolerations"] = [*(spec.get("tolerations") or []), *extra]


def _spec(attributes: Attributes) -> Json:
    spec: Json = (attributes.obj or {}).get("spec") or {}
    return spec
