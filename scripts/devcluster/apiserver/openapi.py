"""OpenAPI v3: the index, and a document per group version with the definitions that it reaches.

kubectl reads from it whether a server validates fields, which query parameters a verb takes, and what
`kubectl explain` prints.
"""

import functools
import hashlib
from typing import Any

import orjson
from aiohttp import hdrs, web

from devcluster.apiserver import status
from devcluster.apiserver.resources import RESOURCES, Resource
from devcluster.apiserver.schema import Schema

Json = dict[str, Any]
_OLD_REF, _NEW_REF = "#/$defs/", "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "pretty")
_JSON_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_PATCH_TYPES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


def answer(schema: Schema, path: str, accept: str) -> web.Response:
    """A document.

    Raises:
        ApiError: 404, 406 for the binary form of v2, which this server does not have.
    """
    if path == "/openapi/v3":
        return _response(_index(schema), "application/json")
    if path.startswith("/openapi/v3/"):
        document = _document(schema, path.removeprefix("/openapi/v3/"))
        if document is not None:
            return _response(document, "application/json")
    if path == "/openapi/v2":
        if "json" not in accept and "*/*" not in accept and accept:
            raise status.not_acceptable()
        return _response(_v2(schema), "application/json")
    raise status.no_such_path()


def _response(body: bytes, content_type: str) -> web.Response:
    tag = hashlib.sha256(body).hexdigest()[:32]
    headers = {hdrs.CONTENT_TYPE: content_type, "ETag": f'"{tag}"', "Cache-Control": "no-cache, private"}
    return web.Response(body=body, headers=headers)


@functools.cache
def _group_paths() -> dict[str, list[Resource]]:
    """`api/v1`, `apis/apps/v1`: the index's paths and what they hold."""
    found: dict[str, list[Resource]] = {}
    for resource in RESOURCES:
        prefix = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
        found.setdefault(prefix, []).append(resource)
    return found


@functools.cache
def _index(schema: Schema) -> bytes:
    paths = {}
    for path in _group_paths():
        digest = hashlib.sha512(_document(schema, path) or b"").hexdigest().upper()
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return orjson.dumps({"paths": paths})


@functools.cache
def _document(schema: Schema, path: str) -> bytes | None:
    resources = _group_paths().get(path)
    if resources is None:
        return None
    paths: Json = {}
    wanted = {_META + "DeleteOptions", _META + "Status", _META + "Patch"}
    for resource in resources:
        wanted |= {resource.definition, resource.definition + "List"}
        wanted |= {sub.definition for sub in resource.subresources if sub.definition}
        paths |= _paths(resource, f"/{path}")
    components = _reachable(schema, wanted)
    info = {"title": "Kubernetes", "version": "v1.36.2"}
    return orjson.dumps({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": components}})


def _paths(resource: Resource, prefix: str) -> Json:
    base = (
        f"{prefix}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{prefix}/{resource.plural}"
    )
    item = f"{base}/{{name}}"
    gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    verbs = set(resource.verbs)
    paths: Json = {base: {}}
    if "list" in verbs:
        paths[base]["get"] = _operation("list", gvk, resource.definition + "List")
    if "create" in verbs:
        paths[base]["post"] = _operation("post", gvk, resource.definition, body=_JSON_TYPES)
    if "deletecollection" in verbs:
        paths[base]["delete"] = _operation("deletecollection", gvk, _META + "Status")
    if "get" in verbs:
        paths[item] = {
            "get": _operation("get", gvk, resource.definition),
            "put": _operation("put", gvk, resource.definition, body=_JSON_TYPES),
            "patch": _operation("patch", gvk, resource.definition, body=_PATCH_TYPES),
            "delete": _operation("delete", gvk, _META + "Status"),
        }
    for sub in resource.subresources:
        group = resource.group if sub.group is None else sub.group
        kind = {"group": group, "version": sub.version or resource.version, "kind": sub.kind or resource.kind}
        definition = sub.definition or resource.definition
        methods = {"create": "post", "get": "get", "update": "put", "patch": "patch"}
        paths[f"{item}/{sub.name}"] = {
            methods[verb]: _operation(methods[verb], kind, definition, body=_bodies(verb)) for verb in sub.verbs
        }
    return paths


def _bodies(verb: str) -> tuple[str, ...]:
    return {"create": _JSON_TYPES, "update": _JSON_TYPES, "patch": _PATCH_TYPES}.get(verb, ())


def _operation(action: str, gvk: Json, definition: str, *, body: tuple[str, ...] = ()) -> Json:
    reference = {"$ref": _NEW_REF + definition}
    names = _WRITE_PARAMETERS if body else ("pretty",)
    if action == "patch":
        names = (*names, "force")
    operation: Json = {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
        "parameters": [_parameter(name) for name in names],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
    }
    if body:
        shape = {"$ref": _NEW_REF + _META + "Patch"} if action == "patch" else reference
        operation["requestBody"] = {"content": {media: {"schema": shape} for media in body}, "required": True}
    return operation


def _parameter(name: str) -> Json:
    kind = "boolean" if name == "force" else "string"
    return {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}


def _reachable(schema: Schema, wanted: set[str]) -> Json:
    """The definitions and all that they refer to, in OpenAPI form."""
    found: Json = {}
    pending = [name for name in wanted if name in schema.definitions]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found[name] = _converted(schema.definitions[name])
        pending += [ref for ref in _references(found[name]) if ref not in found]
    if _META + "Patch" not in found:
        found[_META + "Patch"] = {"type": "object", "description": "A patch of one of the accepted kinds."}
    return {name: found[name] for name in sorted(found)}


def _converted(node: Any) -> Any:
    """OpenAPI has no null type, and refers to components."""
    if isinstance(node, list):
        return [_converted(item) for item in node]
    if not isinstance(node, dict):
        return node
    converted = {key: _converted(value) for key, value in node.items()}
    reference = converted.pop("$ref", None)
    if isinstance(reference, str):
        # Siblings of a reference are ignored by readers: wrap it, as the real documents do.
        target = {"$ref": _NEW_REF + reference.removeprefix(_OLD_REF)}
        return {**converted, "allOf": [target]} if converted else target
    kind = converted.get("type")
    if isinstance(kind, list):
        converted["type"] = next(name for name in kind if name != "null")
    return converted


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"].removeprefix(_NEW_REF)] if isinstance(node.get("$ref"), str) else []
    return own + [name for value in node.values() for name in _references(value)]


@functools.cache
def _v2(schema: Schema) -> bytes:
    """The older document, for clients that still read it: definitions of what is served, and no paths."""
    wanted = {resource.definition for resource in RESOURCES}
    text = orjson.dumps(_reachable(schema, wanted)).replace(_NEW_REF.encode(), b"#/definitions/")
    head = {"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": {}}
    return orjson.dumps(head)[:-1] + b',"definitions":' + text + b"}"
