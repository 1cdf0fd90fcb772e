"""Discovery: which groups, versions and resources there are, in the old form and the aggregated one."""

import base64
import functools
import hashlib
from typing import Any

import orjson

from devcluster.apiserver.resources import RESOURCES, Resource, Subresource

Json = dict[str, Any]
VERSION: Json = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2+devcluster",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
_JSON = "application/json"
_AGGREGATED = "as=APIGroupDiscoveryList"


def answer(path: str, accept: str, *, address: str) -> tuple[bytes, str] | None:
    """The document at a discovery path and its content type; None elsewhere."""
    if path in {"/api", "/apis"}:
        if _AGGREGATED in accept and "v=v2" in accept:
            version = "v2" if "v=v2;" in accept or "v=v2," in accept or accept.endswith("v=v2") else "v2beta1"
            content_type = f"{_JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            return _aggregated(path == "/api", version), content_type
        return (_versions(address) if path == "/api" else _groups()), _JSON
    parts = path.split("/")[1:]
    if path == "/api/v1":
        return _resources("", "v1"), _JSON
    if parts[0] == "apis" and len(parts) in {2, 3} and parts[1] in _by_group():
        if len(parts) == 2:
            return orjson.dumps({"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1])}), _JSON
        if parts[2] in _by_group()[parts[1]]:
            return _resources(parts[1], parts[2]), _JSON
    return None


@functools.cache
def _by_group() -> dict[str, dict[str, list[Resource]]]:
    """Group, then version, then resources; the core group is the empty name."""
    found: dict[str, dict[str, list[Resource]]] = {}
    for resource in RESOURCES:
        found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
    return found


def _versions(address: str) -> bytes:
    ranges = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return orjson.dumps({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": ranges})


def _group(name: str) -> Json:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in _by_group()[name]]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


@functools.cache
def _groups() -> bytes:
    groups = [_group(name) for name in _by_group() if name]
    return orjson.dumps({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})


@functools.cache
def _resources(group: str, version: str) -> bytes:
    rows: list[Json] = []
    for resource in _by_group()[group][version]:
        rows.append(_row(resource))
        rows += [_sub_row(resource, sub) for sub in resource.subresources]
    name = f"{group}/{version}" if group else version
    listing: Json = {
        "kind": "APIResourceList",
        "groupVersion": name,
        "resources": sorted(rows, key=lambda r: r["name"]),
    }
    if group:
        listing["apiVersion"] = "v1"
    return orjson.dumps(listing)


def _row(resource: Resource) -> Json:
    row: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short:
        row["shortNames"] = list(resource.short)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if resource.stored:
        digest = hashlib.sha256(f"{resource.group}/{resource.version}/{resource.kind}".encode()).digest()[:8]
        row["storageVersionHash"] = base64.b64encode(digest).decode()
    return row


def _sub_row(resource: Resource, sub: Subresource) -> Json:
    row: Json = {"name": f"{resource.plural}/{sub.name}", "singularName": "", "namespaced": resource.namespaced}
    if sub.group is not None:
        row |= {"group": sub.group, "version": sub.version}
    return row | {"kind": sub.kind or resource.kind, "verbs": list(sub.verbs)}


@functools.cache
def _aggregated(core: bool, version: str) -> bytes:  # noqa: FBT001 - a cache key
    items = []
    for group, versions in _by_group().items():
        if (group == "") is not core:
            continue
        meta = {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None}
        items.append({"metadata": meta, "versions": [_aggregated_version(v, rows) for v, rows in versions.items()]})
    head = {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {}}
    return orjson.dumps({**head, "items": items})


def _aggregated_version(version: str, resources: list[Resource]) -> Json:
    rows = []
    for resource in sorted(resources, key=lambda r: r.plural):
        row: Json = {
            "resource": resource.plural,
            "responseKind": {"group": "", "version": "", "kind": resource.kind},
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "singularResource": resource.singular,
            "verbs": list(resource.verbs),
        }
        if resource.short:
            row["shortNames"] = list(resource.short)
        if resource.categories:
            row["categories"] = list(resource.categories)
        if resource.subresources:
            row["subresources"] = [_aggregated_sub(resource, sub) for sub in resource.subresources]
        rows.append(row)
    return {"version": version, "resources": rows, "freshness": "Current"}


def _aggregated_sub(resource: Resource, sub: Subresource) -> Json:
    # Empty group and version stand for the parent's, as real servers leave them.
    kind = {"group": sub.group or "", "version": sub.version or "", "kind": sub.kind or resource.kind}
    return {"subresource": sub.name, "responseKind": kind, "verbs": list(sub.verbs)}
