"""A container's environment and command, resolved. Pure."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from devcluster.kubelet.expansion import expand
from devcluster.kubelet.fields import FieldError, field_value, resource_value
from devcluster.kubelet.sources import ConfigError, Sources


@dataclasses.dataclass(frozen=True)
class Context:
    """What a container's configuration is resolved from, beside its own spec."""

    pod: Mapping[str, Any]
    """With podIP and hostIP in its status."""
    sources: Sources
    allocatable: Mapping[str, str]
    """The node's, for limits that are not set."""
    base: Mapping[str, str]
    """What an image and the cluster would contribute: PATH, HOSTNAME, KUBERNETES_SERVICE_HOST."""


def resolve_env(container: Mapping[str, Any], context: Context) -> dict[str, str]:
    """Return the environment of ``container``: base, then envFrom, then env, where later entries win.

    ``$(NAME)`` refers to entries that stand earlier.

    Raises:
        ConfigError: something that is referred to does not exist.
    """
    known = dict(context.base)
    for entry in container.get("envFrom") or []:
        known.update(_from_object(entry, context.sources))
    for entry in container.get("env") or []:
        if "valueFrom" in entry:
            value = _referred(container, entry["valueFrom"], context)
            if value is not None:
                known[entry["name"]] = value
        else:
            known[entry["name"]] = expand(entry.get("value", ""), known)
    return known


def resolve_command(
    container: Mapping[str, Any], env: Mapping[str, str], entrypoint: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return command and arguments with references replaced; empty if the image would have to say and is not known.

    Args:
        container: its spec.
        env: its environment.
        entrypoint: the image's, which a command replaces.
    """
    command = [expand(word, env) for word in container.get("command") or ()] or list(entrypoint)
    return (*command, *(expand(word, env) for word in container.get("args") or ())) if command else ()


def _from_object(entry: Mapping[str, Any], sources: Sources) -> Iterator[tuple[str, str]]:
    prefix = entry.get("prefix", "")
    for field, kind in (("configMapRef", "configmap"), ("secretRef", "secret")):
        if field in entry:
            reference = entry[field]
            content = sources.read(kind, reference["name"], optional=bool(reference.get("optional")))
            for key, value in content.items():
                yield prefix + key, value.decode(errors="replace")


def _referred(container: Mapping[str, Any], origin: Mapping[str, Any], context: Context) -> str | None:
    try:
        if "fieldRef" in origin:
            return field_value(context.pod, origin["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in origin:
            reference = {"containerName": container["name"], **origin["resourceFieldRef"]}
            return resource_value(context.pod, reference, context.allocatable)
    except FieldError as error:
        raise ConfigError(str(error)) from error
    if "configMapKeyRef" in origin:
        return _key(origin["configMapKeyRef"], context, kind="configmap")
    return _key(origin["secretKeyRef"], context, kind="secret")


def _key(reference: Mapping[str, Any], context: Context, *, kind: str) -> str | None:
    optional = bool(reference.get("optional"))
    content = context.sources.read(kind, reference["name"], optional=optional)
    if reference["key"] in content:
        return content[reference["key"]].decode(errors="replace")
    if optional:
        return None
    label = "ConfigMap" if kind == "configmap" else "Secret"
    where = f"{context.pod['metadata'].get('namespace', '')}/{reference['name']}"
    raise ConfigError(f"couldn't find key {reference['key']} in {label} {where}")
