"""Server-side apply: a configuration merged into the live object, with an owner for every field."""

from typing import Any

from devcluster.apiserver import codec, managers, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.managers import Writer
from devcluster.apiserver.rest import changing, creating, writes
from devcluster.apiserver.store import Entry

Json = dict[str, Any]


async def apply(call: Call, machine: Machine) -> tuple[Entry, bool]:
    """PATCH with an apply configuration; true when it created the object.

    Raises:
        ApiError: 400 without a field manager, 409 on conflicts.
    """
    if not call.query.get("fieldManager"):
        cause = status.Cause("fieldManager", "Required value: is required for apply patch", "FieldValueRequired")
        raise status.invalid("meta.k8s.io", "PatchOptions", "", [cause])
    resource = call.resource
    tree = codec.parse_text(call.body, yaml_too=True)
    codec.check_kind(tree, group_version=resource.group_version, kind=resource.kind)
    if (tree.get("metadata") or {}).get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    declared = machine.type_of(resource)
    config = codec.typed(tree, declared, call, kind=resource.kind, version=resource.group_version)
    config = {"kind": resource.kind, "apiVersion": resource.group_version, **config}
    writes.check_namespace(config["metadata"], call)
    sub = call.target.subresource.name if call.target.subresource else ""
    writer = Writer(call.query["fieldManager"], resource.group_version, sub, machine.now())
    ignored = frozenset({"f:spec"}) if sub else frozenset({"f:status"})
    force = call.flag("force")

    def merged(live: Json | None) -> Json:
        result = managers.apply(live, config, declared, writer, force=force, ignored=ignored)
        result.pop("kind", None)
        result.pop("apiVersion", None)
        return codec.complete(result, resource)

    if machine.collection(resource).get(call.target.namespace, call.target.name) is None and not sub:
        return await creating.create_applied(merged(None), call, machine), True

    async def make(old: Json) -> Json:
        return merged(old)

    return await changing.change(call, machine, make), False
