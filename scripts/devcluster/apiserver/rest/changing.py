"""update and patch: make the new object, own, admit, validate, store; again when somebody else was faster."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from devcluster.apiserver import codec, names, negotiate, patching, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.kinds import pod_update, strategy_of
from devcluster.apiserver.machine import Machine, fresh
from devcluster.apiserver.resources import Resource
from devcluster.apiserver.rest import creating, reading, storing, writes
from devcluster.apiserver.store import Entry

Json = dict[str, Any]
Make = Callable[[Json], Awaitable[Json]]
_ATTEMPTS = 6
_POD_PARTS = {"ephemeralcontainers", "resize"}


async def update(call: Call, machine: Machine) -> tuple[Entry, bool]:
    """PUT of an object or its status; true when it was created."""
    tree = codec.parse_body(call)
    body = codec.read_object(tree, call, machine)
    writes.check_namespace(body["metadata"], call)
    missing = machine.collection(call.resource).get(call.target.namespace, call.target.name) is None
    if missing and call.resource.put_creates and call.target.subresource is None:
        return await creating.create_object(body, call, machine), True
    given = body["metadata"].get("resourceVersion", "")
    if not given and not call.resource.unconditional:
        cause = status.Cause("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")
        raise status.invalid(call.resource.group, call.resource.kind, call.target.name, [cause])
    encoded = orjson.dumps(body)

    async def make(_old: Json) -> Json:
        copy: Json = orjson.loads(encoded)
        return copy

    return await change(call, machine, make), False


async def patch(call: Call, machine: Machine) -> tuple[Entry, bool]:
    """PATCH of an object or its status; true when an apply created it."""
    media = negotiate.body_type(call.headers.get("Content-Type", ""), patch=True)
    if media == "application/apply-patch+yaml":
        from devcluster.apiserver.rest import applying  # noqa: PLC0415 - applying needs this module

        return await applying.apply(call, machine)
    operations = parse_patch(call.body)

    async def make(old: Json) -> Json:
        return codec.read_object(patched(old, operations, media, call, machine), call, machine)

    return await change(call, machine, make), False


def parse_patch(body: bytes) -> Any:
    """The patch document.

    Raises:
        ApiError: 400 when it is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise status.bad_request(f"error decoding patch: {error}") from error


def patched(old: Json, operations: Any, media: str, call: Call, machine: Machine) -> Json:
    """The tree that the patch makes of the object.

    Raises:
        ApiError: 422 when it does not apply.
    """
    try:
        if media == "application/json-patch+json":
            result = patching.json_patch(old, operations)
        elif media == "application/merge-patch+json":
            result = patching.merge_patch(old, operations)
        else:
            result = patching.strategic_merge(old, operations, machine.type_of(call.resource))
    except patching.PatchError as error:
        if media == "application/json-patch+json":
            raise status.ApiError(
                422, "Invalid", "the server rejected our request due to an error in our request", details={}
            ) from error
        raise status.bad_request(str(error)) from error
    if not isinstance(result, dict):
        raise status.bad_request("the patched object is no object")
    return result


async def change(call: Call, machine: Machine, make: Make) -> Entry:
    """Store what `make` makes of the current object, retrying while others write in between.

    Raises:
        ApiError: 404, 409, or a refusal.
    """
    for _ in range(_ATTEMPTS):
        current = reading.find(machine, call.resource, call.target.namespace, call.target.name)
        stored = await _change_once(current, call, machine, make)
        if stored is not None:
            return stored
    raise status.conflict(call.resource.group, call.resource.plural, call.target.name)


async def _change_once(current: Entry, call: Call, machine: Machine, make: Make) -> Entry | None:
    """One attempt; None when it lost a race that it may try again."""
    resource = call.resource
    new = await make(fresh(current))
    meta, old = new["metadata"], current.obj
    given = meta.get("resourceVersion", "")
    writes.check_namespace(meta, call)
    _check_identity(meta, current, call, given)
    applied = call.headers.get("Content-Type", "").startswith("application/apply-patch")
    _restore(new, old, call)
    if not applied:
        ignored = frozenset({"f:spec"}) if call.target.subresource else writes.without_status(resource)
        writes.own(old, new, call, machine, ignored=ignored)
    attributes = writes.attributes_of("UPDATE", call, obj=new, old=old, name=current.name)
    await machine.admission.mutate(attributes)
    new = attributes.obj or new
    _restore(new, old, call)
    _prepare_update(new, old, call)
    _count_generation(new, old, resource)
    causes = _changed_causes(new, old, call)
    if causes:
        raise status.invalid(resource.group, resource.kind, current.name, causes)
    attributes.obj = new
    await machine.admission.validate(attributes)
    return storing.store_change(machine, current, new, dry_run=call.dry_run, resource=resource, conditional=bool(given))


def _prepare_update(new: Json, old: Json, call: Call) -> None:
    """The kind's own preparation; finalizing a namespace writes what otherwise is kept."""
    sub = call.target.subresource.name if call.target.subresource else ""
    if sub == "finalize":
        new["status"] = old.get("status", {})
    else:
        strategy_of(call.resource).prepare_update(new, old)


def _changed_causes(new: Json, old: Json, call: Call) -> list[status.Cause]:
    """What is wrong with an update through this door."""
    strategy = strategy_of(call.resource)
    sub = call.target.subresource.name if call.target.subresource else ""
    meta = names.check(new["metadata"], strategy.names, generated=False)
    if sub in {"status", "finalize"}:
        return meta
    if sub in _POD_PARTS:
        return meta + pod_update.validate_part(sub, new, old) + strategy.validate(new)
    return meta + (strategy.validate_update(new, old) or strategy.validate(new))


def _check_identity(meta: Json, current: Entry, call: Call, given: str) -> None:
    """The resourceVersion and UID in the body must be the stored object's, if given."""
    resource = call.resource
    if given and given != str(current.revision):
        raise status.conflict(resource.group, resource.plural, current.name)
    uid = current.obj["metadata"]["uid"]
    if meta.get("uid") and meta["uid"] != uid:
        why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {uid}"
        raise status.conflict(resource.group, resource.plural, current.name, why=why)


def _restore(new: Json, old: Json, call: Call) -> None:
    """Put back what this door may not change: system metadata, and spec or status."""
    meta, before = new["metadata"], old["metadata"]
    for key in (*writes.SYSTEM_META, "generation"):
        if key in before:
            meta[key] = before[key]
        else:
            meta.pop(key, None)
    meta["resourceVersion"] = before["resourceVersion"]
    sub = call.target.subresource.name if call.target.subresource else ""
    if sub == "status":
        kept = {key: value for key, value in old.items() if key not in {"metadata", "status"}}
        for key in [key for key in new if key not in kept and key not in {"metadata", "status"}]:
            del new[key]
        new.update(kept)
    elif sub in _POD_PARTS:
        pod_update.restrict(sub, new, old)
    elif "status" in call.resource.by_name and sub != "finalize":
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)


def _count_generation(new: Json, old: Json, resource: Resource) -> None:
    """A changed spec is a new generation."""
    if not resource.generations:
        return
    ignored = {"metadata", "status", "kind", "apiVersion"}
    changed = any(new.get(key) != old.get(key) for key in {*new, *old} - ignored)
    new["metadata"]["generation"] = old["metadata"].get("generation", 0) + (1 if changed else 0)
