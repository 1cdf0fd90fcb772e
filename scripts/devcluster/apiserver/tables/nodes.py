"""How nodes are printed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from devcluster.apiserver.tables.base import AGE, NAME, NONE, UNKNOWN, Column, Printer, age, dig

Json = Mapping[str, Any]
_INFO, _STATUS = "io.k8s.api.core.v1.NodeSystemInfo", "io.k8s.api.core.v1.NodeStatus"
_ROLE_PREFIX = "node-role.kubernetes.io/"
COLUMNS = (
    NAME,
    Column("Status", "The status of the node"),
    Column("Roles", "The roles of the node"),
    AGE,
    Column("Version", (_INFO, "kubeletVersion")),
    Column("Internal-IP", (_STATUS, "addresses"), priority=1),
    Column("External-IP", (_STATUS, "addresses"), priority=1),
    Column("OS-Image", (_INFO, "osImage"), priority=1),
    Column("Kernel-Version", (_INFO, "kernelVersion"), priority=1),
    Column("Container-Runtime", (_INFO, "containerRuntimeVersion"), priority=1),
)


def _cells(node: Json, now: datetime) -> list[Any]:
    info = dig(node, "status", "nodeInfo") or {}
    addresses = {a["type"]: a["address"] for a in dig(node, "status", "addresses") or ()}
    return [
        node["metadata"]["name"],
        _status(node),
        _roles(node),
        age(node, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _status(node: Json) -> str:
    ready = next((c for c in dig(node, "status", "conditions") or () if c["type"] == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"]
    if dig(node, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Json) -> str:
    labels = node["metadata"].get("labels") or {}
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    return ",".join(sorted(roles)) or NONE


PRINTER = Printer(COLUMNS, _cells)
