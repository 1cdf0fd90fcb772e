"""Decoding of request bodies against their type, as Go's decoder and encoder would leave them.

Unknown fields are dropped (and reported), nulls and empty optional lists disappear, quantities and times take
their canonical form. What is stored is therefore what a client of a real server would read back.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from devcluster.apiserver import quantity
from devcluster.apiserver.schema import List, Map, Struct, Type

_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
_MICRO = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
_GO_KINDS = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
# Go fields without a pointer: a zero value is as good as none, and is not written back.
_ZERO_IS_ABSENT = {
    "Container": {"stdin", "stdinOnce", "tty", "workingDir", "terminationMessagePath", "imagePullPolicy", "image"},
    "ContainerPort": {"hostPort", "name", "hostIP"},
    "EnvVar": {"value"},
    "VolumeMount": {"readOnly", "subPath", "subPathExpr"},
    "PodSpec": {"hostNetwork", "hostPID", "hostIPC", "nodeName", "hostname", "subdomain", "schedulerName",
                "priorityClassName", "serviceAccountName", "serviceAccount"},
    "NodeSpec": {"unschedulable", "podCIDR", "providerID"},
    "DeploymentSpec": {"paused", "minReadySeconds"},
    "ReplicaSetSpec": {"minReadySeconds"},
    "DaemonSetSpec": {"minReadySeconds"},
    "StatefulSetSpec": {"minReadySeconds"},
    "DeploymentStatus": {"replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas",
                         "observedGeneration"},
    "ReplicaSetStatus": {"readyReplicas", "availableReplicas", "fullyLabeledReplicas", "observedGeneration"},
    "Probe": {"initialDelaySeconds"},
    "ObjectMeta": {"name", "generateName", "namespace", "uid", "resourceVersion", "generation", "selfLink"},
    "PodCondition": {"reason", "message", "observedGeneration"},
    "NodeCondition": {"reason", "message"},
    "DeploymentCondition": {"reason", "message"},
    "Event": {"reason", "message", "type", "count", "action"},
    "ObjectReference": {"kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"},
    "Taint": {"value"},
    "Toleration": {"key", "operator", "value", "effect"},
}  # fmt: skip
# Times that Go writes even when they are not set.
_ALWAYS = {"PodCondition": ("lastProbeTime", "lastTransitionTime")}


class Decoder:
    """One body's decoding: collects unknown fields, fails on wrong types."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def decode(self, declared: Type, value: Any, path: str) -> Any:
        """The value in its stored form.

        Raises:
            ValueError: a value of the wrong JSON type, a bad quantity or time.
        """
        if isinstance(declared, Struct):
            return self._struct(declared, value, path)
        if isinstance(declared, List):
            if not isinstance(value, list):
                raise ValueError(_mismatch(value, path, "array"))  # noqa: TRY004 - one error for all bad bodies
            return [
                _null_item(declared.item) if item is None else self.decode(declared.item, item, f"{path}[{index}]")
                for index, item in enumerate(value)
            ]
        if isinstance(declared, Map):
            if not isinstance(value, dict):
                raise ValueError(_mismatch(value, path, "map"))  # noqa: TRY004 - one error for all bad bodies
            return {
                key: _null_item(declared.value) if item is None else self.decode(declared.value, item, f"{path}.{key}")
                for key, item in value.items()
            }
        return _scalar(declared.kind, value, path)

    def _struct(self, declared: Struct, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            wanted = declared.name.rsplit(".", 1)[-1]
            raise ValueError(_mismatch(value, path, wanted))  # noqa: TRY004 - one error for all bad bodies
        short = declared.name.rsplit(".", 1)[-1]
        absent = _ZERO_IS_ABSENT.get(short, ())
        fields = declared.fields
        decoded = {}
        for key, item in value.items():
            kind = fields.get(key)
            if kind is None:
                self.unknown.append(f"{path}.{key}" if path else key)
                continue
            if item is None:
                continue
            result = self.decode(kind, item, f"{path}.{key}" if path else key)
            if not result and (key in absent or _empty(kind, result)) and key not in declared.required:
                continue
            decoded[key] = result
        for key in _ALWAYS.get(short, ()):
            decoded.setdefault(key, None)
        return decoded


def _empty(declared: Type, value: Any) -> bool:
    """Is this an empty list or free-key map, which Go leaves out?"""
    return isinstance(declared, List | Map) and not value


def _null_item(declared: Type) -> Any:
    """What Go makes of a null inside a list or map."""
    if isinstance(declared, Struct | Map):
        return {}
    if isinstance(declared, List):
        return []
    return {"string": "", "integer": 0, "number": 0, "boolean": False, "quantity": "0"}.get(declared.kind)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Which JSON values each kind of leaf takes.
_ACCEPTS: dict[str, Callable[[Any], bool]] = {
    "string": _text,
    "bytes": _text,
    "time": _text,
    "microtime": _text,
    "integer": lambda value: _whole(value) or (isinstance(value, float) and value.is_integer()),
    "number": _number,
    "boolean": lambda value: isinstance(value, bool),
    "quantity": lambda value: _text(value) or _number(value),
    "intstr": lambda value: _text(value) or _whole(value),
}


def _scalar(kind: str, value: Any, path: str) -> Any:
    accepts = _ACCEPTS.get(kind)
    if accepts is None:
        return value
    if not accepts(value):
        raise ValueError(_mismatch(value, path, kind))
    if kind == "quantity":
        return quantity.canonical(str(value))
    if kind in {"time", "microtime"}:
        return _time(kind, value, path)
    return int(value) if kind == "integer" else value


def _time(kind: str, text: str, path: str) -> str:
    """RFC 3339 in UTC, whole seconds or microseconds."""
    if (_TIME if kind == "time" else _MICRO).match(text):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse ({path})') from None
    if moment.tzinfo is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"')
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if kind == "time" else "%Y-%m-%dT%H:%M:%S.%fZ")


def _mismatch(value: Any, path: str, wanted: str) -> str:
    found = _GO_KINDS.get(type(value), type(value).__name__)
    return f"json: cannot unmarshal {found} into Go struct field {path} of type {wanted}"
