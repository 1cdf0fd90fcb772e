"""Defaults of pods and pod templates, as a real server fills them in before admission sees them."""

from collections.abc import Iterator
from typing import Any

from devcluster.apiserver.quantity import parse

Json = dict[str, Any]
_FILE_MODE = 420  # 0644
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_TOKEN_SECONDS = 3600
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def default_pod(pod: Json) -> None:
    """A pod: its spec, and what templates do not get."""
    spec = pod.setdefault("spec", {})
    default_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in containers(spec):
        _requests_from_limits(container)
        if spec.get("hostNetwork"):
            _host_ports(container)


def default_spec(spec: Json) -> None:
    """What pods and templates share."""
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in containers(spec):
        _container(container)
    for volume in spec.get("volumes", ()):
        _volume(volume)


def containers(spec: Json) -> Iterator[Json]:
    """Every container of a spec, of all three sorts."""
    for key in _CONTAINERS:
        yield from spec.get(key) or ()


def _container(container: Json) -> None:
    image = container.get("image", "")
    container.setdefault("imagePullPolicy", "Always" if _latest(image) else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", ()):
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        _http(hook)


def _latest(image: str) -> bool:
    """Is the image's tag `latest`, said or implied?"""
    if "@" in image:
        return False
    last = image.rsplit("/", 1)[-1]
    return ":" not in last or last.endswith(":latest")


def _probe(probe: Json) -> None:
    for key, value in _PROBE.items():
        probe.setdefault(key, value)
    _http(probe)
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _http(handler: Any) -> None:
    if isinstance(handler, dict) and "httpGet" in handler:
        handler["httpGet"].setdefault("path", "/")
        handler["httpGet"].setdefault("scheme", "HTTP")


def _requests_from_limits(container: Json) -> None:
    """A limit without a request is the request."""
    limits = container["resources"].get("limits")
    if limits:
        requests = container["resources"].setdefault("requests", {})
        for name, value in limits.items():
            requests.setdefault(name, value)


def _host_ports(container: Json) -> None:
    for port in container.get("ports", ()):
        port.setdefault("hostPort", port["containerPort"])


def _volume(volume: Json) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if source in volume:
            volume[source].setdefault("defaultMode", _FILE_MODE)
    _downward(volume.get("downwardAPI"))
    for source in (volume.get("projected") or {}).get("sources", ()):
        _downward(source.get("downwardAPI"))
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", _TOKEN_SECONDS)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")


def _downward(source: Json | None) -> None:
    for item in (source or {}).get("items", ()):
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")


def qos_class(spec: Json) -> str:
    """Guaranteed, Burstable or BestEffort, by CPU and memory of all containers."""
    measured = [c.get("resources") or {} for key in ("initContainers", "containers") for c in spec.get(key) or ()]
    names = ("cpu", "memory")
    asked = [
        (resources.get(kind) or {}).get(name)
        for resources in measured
        for kind in ("requests", "limits")
        for name in names
    ]
    if not any(value and parse(value) for value in asked):
        return "BestEffort"
    guaranteed = all(
        (resources.get("limits") or {}).get(name) is not None
        and (resources.get("limits") or {}).get(name) == (resources.get("requests") or {}).get(name)
        for resources in measured
        for name in names
    )
    return "Guaranteed" if guaranteed else "Burstable"
