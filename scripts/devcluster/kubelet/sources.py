"""The ConfigMaps and Secrets that a pod refers to, fetched before anything is decided from them."""

import base64
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any


class ConfigError(Exception):
    """The container cannot be configured now; its message is what people read in the container's status."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """Contents by name; a name that is absent does not exist in the pod's namespace."""

    configmaps: Mapping[str, Mapping[str, bytes]]
    secrets: Mapping[str, Mapping[str, bytes]]
    namespace: str = ""

    def read(self, kind: str, name: str, *, optional: bool = False) -> Mapping[str, bytes]:
        """Return the content of a ``configmap`` or ``secret``.

        Raises:
            ConfigError: it does not exist and is not optional.
        """
        content = (self.configmaps if kind == "configmap" else self.secrets).get(name)
        if content is None:
            if optional:
                return {}
            raise ConfigError(f'{kind} "{name}" not found')
        return content


def configmap_content(item: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the keys of a ConfigMap as bytes."""
    text = {key: value.encode() for key, value in (item.get("data") or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}


def secret_content(item: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the keys of a Secret as bytes."""
    return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}


def referenced(pod: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return (``configmap`` or ``secret``, name) of everything that the pod's env and volumes read."""
    spec = pod["spec"]
    found: set[tuple[str, str]] = set()
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        found.update(_of_env(container))
    for volume in spec.get("volumes") or []:
        found.update(_of_volume(volume))
        for source in (volume.get("projected") or {}).get("sources") or []:
            found.update(_of_projection(source))
    return found


def _of_env(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for entry in container.get("env") or []:
        origin = entry.get("valueFrom") or {}
        if "configMapKeyRef" in origin:
            yield "configmap", origin["configMapKeyRef"]["name"]
        if "secretKeyRef" in origin:
            yield "secret", origin["secretKeyRef"]["name"]
    for entry in container.get("envFrom") or []:
        yield from _of_references(entry)


def _of_references(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "configMapRef" in entry:
        yield "configmap", entry["configMapRef"]["name"]
    if "secretRef" in entry:
        yield "secret", entry["secretRef"]["name"]


def _of_volume(volume: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "configMap" in volume:
        yield "configmap", volume["configMap"]["name"]
    if "secret" in volume:
        yield "secret", volume["secret"]["secretName"]


def _of_projection(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field, kind in (("configMap", "configmap"), ("secret", "secret")):
        if field in source:
            yield kind, source[field]["name"]
