"""Defaults, preparation and validation of the small core kinds."""

import base64
import ipaddress
import itertools
from typing import Any

from devcluster.apiserver.kinds.pod_validation import forbidden, invalid, required
from devcluster.apiserver.status import Cause

Json = dict[str, Any]
_DATA_LIMIT = 1024 * 1024
_CLUSTER_IPS = (str(ip) for ip in itertools.islice(ipaddress.ip_network("10.0.0.0/16").hosts(), 100, None))


def default_namespace(obj: Json) -> None:
    """Every namespace carries its name as a label."""
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def prepare_namespace(obj: Json) -> None:
    """A new namespace is active, and kept until its content is gone. A generated name is known only now."""
    default_namespace(obj)
    obj["status"] = {"phase": "Active"}
    finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def update_namespace(new: Json, old: Json) -> None:
    """Finalizers change by `finalize` only."""
    new["spec"] = old.get("spec", {})


def prepare_node(obj: Json) -> None:
    """A node's status may come with it, as kubelets send it."""
    obj.setdefault("spec", {})
    obj.setdefault("status", {})


def default_secret(obj: Json) -> None:
    """Opaque unless said; plain strings become data."""
    obj.setdefault("type", "Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        obj["data"] = {**obj.get("data", {}), **encoded}


def validate_config_map(obj: Json) -> list[Cause]:
    """Keys are file names; the whole is at most 1 MiB."""
    return _data(obj, {**obj.get("data", {}), **obj.get("binaryData", {})})


def validate_secret(obj: Json) -> list[Cause]:
    """The same as for config maps."""
    return _data(obj, obj.get("data") or {})


def _data(obj: Json, data: Json) -> list[Cause]:
    causes = [
        invalid(f"data[{key}]", key, "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
                "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')")
        for key in data
        if not key or len(key) > 253 or not all(char.isalnum() or char in "-_." for char in key)
    ]  # fmt: skip
    binary = obj.get("binaryData", {}) if obj["kind"] == "ConfigMap" else data
    size = sum(len(value.encode()) for key, value in data.items() if key not in binary)
    size += sum(len(value) * 3 // 4 for value in binary.values())
    if size > _DATA_LIMIT:
        field = "[]" if obj["kind"] == "ConfigMap" else "data"
        causes.append(Cause(field, f"Too long: may not be more than {_DATA_LIMIT} bytes", "FieldValueTooLong"))
    return causes


def validate_immutable(new: Json, old: Json) -> list[Cause]:
    """Immutable config maps and secrets stay as they are; a secret's type too."""
    causes = []
    if new.get("type") != old.get("type"):
        causes.append(invalid("type", new.get("type", ""), "field is immutable"))
    if old.get("immutable"):
        if not new.get("immutable"):
            causes.append(forbidden("immutable", "field is immutable when `immutable` is set"))
        causes += [
            forbidden(key, "field is immutable when `immutable` is set")
            for key in ("data", "binaryData")
            if new.get(key) != old.get(key)
        ]
    return causes


def default_service(obj: Json) -> None:
    """A cluster IP service unless said."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")


def prepare_service(obj: Json) -> None:
    """Give the service its address."""
    spec = obj["spec"]
    obj["status"] = {"loadBalancer": {}}
    if spec["type"] == "ExternalName":
        return
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if not spec.get("clusterIP"):
        spec["clusterIP"] = next(_CLUSTER_IPS)
    spec.setdefault("clusterIPs", [spec["clusterIP"]])


def update_service(new: Json, old: Json) -> None:
    """An update without an address keeps the one there is."""
    if new["spec"]["type"] != "ExternalName":
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if key in old["spec"]:
                new["spec"].setdefault(key, old["spec"][key])


def validate_service(obj: Json) -> list[Cause]:
    """A service has ports, unless it is an alias or headless."""
    spec = obj["spec"]
    if spec["type"] == "ExternalName":
        return [] if spec.get("externalName") else [required("spec.externalName")]
    return [] if spec.get("ports") or spec.get("clusterIP") == "None" else [required("spec.ports")]


def default_claim(obj: Json) -> None:
    """A volume claim is a file system unless said."""
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def prepare_pending(obj: Json) -> None:
    """Nothing is bound to it yet."""
    obj["status"] = {"phase": "Pending"}


def default_endpoints(obj: Json) -> None:
    """Ports are TCP unless said."""
    for subset in obj.get("subsets", ()):
        for port in subset.get("ports", ()):
            port.setdefault("protocol", "TCP")


def validate_event(obj: Json) -> list[Cause]:
    """An event lives in the namespace of what it tells about."""
    namespace = obj["metadata"].get("namespace", "")
    about = (obj.get("involvedObject") or {}).get("namespace", "")
    if (about and about != namespace) or (not about and namespace not in {"default", "kube-system"}):
        return [invalid("involvedObject.namespace", about, "does not match event.namespace")]
    return []


def default_limit_range(obj: Json) -> None:
    """Of containers: the default limit is the maximum, the default request the default limit, else the minimum."""
    for item in (obj.get("spec") or {}).get("limits", ()):
        if item.get("type") != "Container":
            continue
        for target, source in (("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")):
            for name, value in (item.get(source) or {}).items():
                item.setdefault(target, {}).setdefault(name, value)


def prepare_quota(obj: Json) -> None:
    """Nothing is counted yet."""
    obj["status"] = {}
