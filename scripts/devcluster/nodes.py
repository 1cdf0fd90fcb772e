"""The description of the cluster's nodes: what ``nodes.yaml`` says."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml

_DEFAULT_CAPACITY = {"cpu": "16", "memory": "64Gi", "pods": "110"}
_FIELDS = ("name", "capacity", "labels", "taints", "gpus", "runtime", "kubelet")


@dataclasses.dataclass(frozen=True)
class NodeSpec:
    """One node."""

    name: str
    capacity: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Resources by name; what is missing of CPU, memory and pods is taken from a default."""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    gpus: str = "none"
    """Path of a description of simulated GPUs, ``real`` for the machine's own, or ``none``."""
    runtime: str = "env"
    """Mode of the NVIDIA container runtime: ``env`` (UUIDs) or ``cdi`` (qualified names)."""
    kubelet: bool = True
    """False: the node is registered and stays ready, but nothing runs on it."""

    @property
    def resources(self) -> dict[str, str]:
        """Capacity with defaults."""
        return {**_DEFAULT_CAPACITY, **self.capacity}


def parse_nodes(items: Any, *, base: pathlib.Path) -> list[NodeSpec]:
    """Read a list of nodes; relative paths are relative to ``base``.

    Raises:
        ValueError: a node is described wrongly; the message says which field.
    """
    if not isinstance(items, list):
        raise ValueError("nodes: write a list of nodes, each with a name")  # noqa: TRY004 - a value of the user's file
    return [_parse_node(item, base) for item in items]


def _parse_node(item: Any, base: pathlib.Path) -> NodeSpec:
    if not isinstance(item, dict) or not item.get("name"):
        raise ValueError(f"nodes: {item!r} has no name; write `name: <node name>`")
    unknown = sorted(item.keys() - set(_FIELDS))
    if unknown:
        raise ValueError(f"node {item['name']}: unknown field {unknown[0]!r}; known are {', '.join(_FIELDS)}")
    if item.get("runtime", "env") not in {"env", "cdi"}:
        raise ValueError(f"node {item['name']}: runtime {item['runtime']!r}; write env or cdi")
    gpus = str(item.get("gpus", "none"))
    return NodeSpec(
        name=item["name"],
        capacity={name: str(amount) for name, amount in (item.get("capacity") or {}).items()},
        labels={name: str(value) for name, value in (item.get("labels") or {}).items()},
        taints=tuple(item.get("taints") or ()),
        gpus=gpus if gpus in {"none", "real"} else str(base / gpus),
        runtime=item.get("runtime", "env"),
        kubelet=bool(item.get("kubelet", True)),
    )


def read_nodes(path: pathlib.Path) -> list[NodeSpec]:
    """Read a ``nodes.yaml``.

    Raises:
        ValueError: it describes a node wrongly.
        OSError: it cannot be read.
    """
    return parse_nodes(yaml.safe_load(path.read_text(encoding="utf-8")), base=path.resolve().parent)


def default_nodes() -> list[NodeSpec]:
    """Return what a cluster has when nobody says: three nodes without GPUs."""
    return [NodeSpec(name=f"node-{number}") for number in (1, 2, 3)]
