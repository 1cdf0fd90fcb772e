"""What a cluster holds before anybody has done anything, and what each new namespace gets."""

from typing import Any

from devcluster.apiserver.machine import Machine, new_uid
from devcluster.apiserver.resources import BY_PATH

Json = dict[str, Any]
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_ROOT_CA = "kube-root-ca.crt"
_ROOT_CA_TEXT = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


async def populate(machine: Machine) -> None:
    """Write the first namespaces, priority classes and the `kubernetes` service."""
    if machine.store.collection("/namespaces").get("", "default") is not None:
        return
    for name in _NAMESPACES:
        namespace = _object("Namespace", "v1", {"name": name, "labels": {"kubernetes.io/metadata.name": name}})
        namespace |= {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        _write(machine, "namespaces", "", namespace)
        furnish(machine, name)
    for name, value in _PRIORITIES.items():
        meta = {"name": name, "generation": 1}
        rest = {
            "value": value,
            "description": "Used for system critical pods.",
            "preemptionPolicy": "PreemptLowerPriority",
        }
        _write(
            machine,
            "priorityclasses",
            "scheduling.k8s.io",
            _object("PriorityClass", "scheduling.k8s.io/v1", meta) | rest,
        )
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]
    spec = {
        "clusterIP": "10.0.0.1",
        "clusterIPs": ["10.0.0.1"],
        "ports": ports,
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }
    service = _object("Service", "v1", {"name": "kubernetes", "namespace": "default"})
    _write(machine, "services", "", service | {"spec": spec, "status": {"loadBalancer": {}}})


def furnish(machine: Machine, namespace: str) -> None:
    """Give a namespace its service account and the cluster's CA, as two controllers of a real cluster do."""
    accounts = machine.store.collection("/serviceaccounts")
    if accounts.get(namespace, "default") is None:
        _write(
            machine, "serviceaccounts", "", _object("ServiceAccount", "v1", {"name": "default", "namespace": namespace})
        )
    if machine.store.collection("/configmaps").get(namespace, _ROOT_CA) is None:
        meta = {"name": _ROOT_CA, "namespace": namespace, "annotations": {"kubernetes.io/description": _ROOT_CA_TEXT}}
        _write(machine, "configmaps", "", _object("ConfigMap", "v1", meta) | {"data": {"ca.crt": machine.ca_pem}})


def _object(kind: str, version: str, meta: Json) -> Json:
    return {"kind": kind, "apiVersion": version, "metadata": dict(meta)}


def _write(machine: Machine, plural: str, group: str, obj: Json) -> None:
    meta = obj["metadata"]
    obj["metadata"] = {**meta, "uid": new_uid(), "creationTimestamp": machine.now()}
    collection = machine.collection(BY_PATH[group, "v1", plural])
    collection.write(obj, namespace=meta.get("namespace", ""), name=meta["name"], expected=None)
