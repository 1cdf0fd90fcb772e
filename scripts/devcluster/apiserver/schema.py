"""Types of the API, compiled once from the published definitions into objects that can be walked fast.

The definitions (package `kubernetes-validate`) say which fields a type has, which lists are maps keyed by
which fields, and how a strategic merge treats them. Decoding, patches and field ownership all walk these types.
"""

import functools
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = "v1.36.0-local"
_REF = "#/$defs/"
_SPECIAL = {
    "Quantity": "quantity",
    "IntOrString": "intstr",
    "Time": "time",
    "MicroTime": "microtime",
    "RawExtension": "any",
    "FieldsV1": "any",
    "JSON": "any",
    "JSONSchemaPropsOrArray": "any",
    "JSONSchemaPropsOrBool": "any",
    "JSONSchemaPropsOrStringArray": "any",
}


@dataclass(slots=True)
class Scalar:
    """A leaf. `kind` is string, integer, number, boolean, bytes, quantity, intstr, time, microtime or any."""

    kind: str


@dataclass(slots=True)
class Struct:
    """An object with named fields."""

    name: str
    fields: dict[str, "Type"] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    atomic: bool = False
    strategies: dict[str, frozenset[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Map:
    """An object with free keys."""

    value: "Type"
    atomic: bool = False


@dataclass(slots=True)
class List:
    """A list: `kind` atomic, set or map (then identified by `keys`)."""

    item: "Type"
    kind: str = "atomic"
    keys: tuple[str, ...] = ()
    merge_key: str = ""
    merges: bool = False
    defaults: dict[str, Any] = field(default_factory=dict)


Type = Scalar | Struct | Map | List
ANY = Scalar("any")
# Key fields that an item may leave out, with the value that then identifies it.
_KEY_DEFAULTS: dict[str, Any] = {"protocol": "TCP"}


class Schema:
    """All types of one API version, by definition name."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self.definitions = definitions
        self._types: dict[str, Type] = {}

    def type_of(self, name: str) -> Type:
        """The type of a definition such as `io.k8s.api.core.v1.Pod`."""
        known = self._types.get(name)
        if known is not None:
            return known
        special = _SPECIAL.get(name.rsplit(".", 1)[-1])
        definition = self.definitions[name]
        if special:
            compiled: Type = Scalar(special)
            self._types[name] = compiled
            return compiled
        struct = Struct(name)
        self._types[name] = struct
        self._fill(struct, definition)
        return struct

    def _fill(self, struct: Struct, definition: Mapping[str, Any]) -> None:
        struct.required = frozenset(definition.get("required", ()))
        struct.atomic = definition.get("x-kubernetes-map-type") == "atomic"
        for name, declared in definition.get("properties", {}).items():
            struct.fields[name] = self._compile(declared)
            strategy = declared.get("x-kubernetes-patch-strategy")
            if strategy:
                struct.strategies[name] = frozenset(strategy.split(","))

    def _compile(self, declared: Mapping[str, Any]) -> Type:
        if "$ref" in declared:
            compiled = self.type_of(declared["$ref"].removeprefix(_REF))
            if isinstance(compiled, Struct) and declared.get("x-kubernetes-map-type") == "atomic":
                return Struct(compiled.name, compiled.fields, compiled.required, atomic=True)
            return compiled
        kinds = declared.get("type")
        kind = kinds if isinstance(kinds, str) else next((k for k in kinds or () if k != "null"), "any")
        if kind == "array":
            return self._list(declared)
        if kind == "object":
            values = declared.get("additionalProperties")
            atomic = declared.get("x-kubernetes-map-type") == "atomic"
            return ANY if values is None else Map(self._compile(values), atomic=atomic)
        return Scalar("bytes" if kind == "string" and declared.get("format") == "byte" else kind)

    def _list(self, declared: Mapping[str, Any]) -> List:
        keys = tuple(declared.get("x-kubernetes-list-map-keys", ()))
        strategies = declared.get("x-kubernetes-patch-strategy", "").split(",")
        return List(
            item=self._compile(declared["items"]),
            kind=declared.get("x-kubernetes-list-type", "atomic"),
            keys=keys,
            merge_key=declared.get("x-kubernetes-patch-merge-key", ""),
            merges="merge" in strategies,
            defaults={key: _KEY_DEFAULTS[key] for key in keys if key in _KEY_DEFAULTS},
        )


@functools.cache
def load() -> Schema:
    """The schema of the emulated version, read once per process."""
    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema" / VERSION
    return Schema(json.loads((folder / "_definitions.json").read_bytes())["$defs"])
