"""create: decode, own, admit, name, validate, store."""

from typing import Any

from devcluster.apiserver import bootstrap, codec, names, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.kinds import strategy_of
from devcluster.apiserver.machine import Attributes, Machine, generated_name, loose_entry, new_uid
from devcluster.apiserver.resources import Resource
from devcluster.apiserver.rest import writes
from devcluster.apiserver.store import Entry

Json = dict[str, Any]


async def create(call: Call, machine: Machine) -> Entry:
    """POST to a collection.

    Raises:
        ApiError: whatever is wrong with the object, or an admission plugin's refusal.
    """
    obj = codec.read_object(codec.parse_body(call), call, machine)
    return await create_object(obj, call, machine)


async def create_object(obj: Json, call: Call, machine: Machine) -> Entry:
    """Create an object that is already decoded."""
    meta = obj["metadata"]
    writes.check_namespace(meta, call)
    if meta.pop("resourceVersion", None):
        raise status.bad_request("resourceVersion should not be set on objects to be created")
    for key in ("selfLink", *writes.SYSTEM_META, "generation", "managedFields"):
        meta.pop(key, None)
    writes.own(None, obj, call, machine, ignored=writes.without_status(call.resource))
    return await create_applied(obj, call, machine)


async def create_applied(obj: Json, call: Call, machine: Machine) -> Entry:
    """Create an object whose managedFields are already set."""
    meta = obj["metadata"]
    attributes = writes.attributes_of("CREATE", call, obj=obj, old=None, name=meta.get("name", ""))
    await machine.admission.mutate(attributes)
    if attributes.obj is None:
        raise status.internal("admission lost the object")
    return await _persist(attributes, call, machine)


async def _persist(attributes: Attributes, call: Call, machine: Machine) -> Entry:
    resource = call.resource
    obj: Json = attributes.obj or {}
    meta = obj["metadata"]
    generated = not meta.get("name") and bool(meta.get("generateName"))
    if generated:
        meta["name"] = generated_name(meta["generateName"])
    _stamp(obj, resource, machine)
    strategy = strategy_of(resource)
    strategy.prepare_create(obj)
    causes = [*names.check(meta, strategy.names, generated=generated), *strategy.validate(obj)]
    if causes:
        raise status.invalid(resource.group, resource.kind, meta.get("name", ""), causes)
    attributes.name = meta["name"]
    attributes.obj = obj
    await machine.admission.validate(attributes)
    if machine.collection(resource).get(call.target.namespace, meta["name"]) is not None:
        raise status.already_exists(resource.group, resource.plural, meta["name"])
    if call.dry_run:
        return loose_entry(obj)
    entry = machine.collection(resource).write(obj, namespace=call.target.namespace, name=meta["name"], expected=None)
    if entry is None:
        raise status.already_exists(resource.group, resource.plural, meta["name"])
    if resource.storage == "/namespaces":
        bootstrap.furnish(machine, entry.name)
    return entry


def _stamp(obj: Json, resource: Resource, machine: Machine) -> None:
    """Give a new object its identity."""
    meta = obj["metadata"]
    identity: Json = {"uid": new_uid(), "creationTimestamp": machine.now()}
    if resource.generations:
        identity["generation"] = 1
    rest = {key: value for key, value in meta.items() if key not in identity}
    first = {key: rest.pop(key) for key in ("name", "generateName", "namespace") if key in rest}
    obj["metadata"] = {**first, **identity, **rest}
