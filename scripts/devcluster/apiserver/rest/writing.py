"""create, update and patch: decode, own, admit, validate, store; again when somebody else was faster."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from devcluster.apiserver import bootstrap, codec, managers, names, negotiate, patching, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.kinds import pod_update, strategy_of
from devcluster.apiserver.machine import Attributes, Machine, fresh, generated_name, loose_entry, new_uid
from devcluster.apiserver.managers import Writer
from devcluster.apiserver.resources import Resource
from devcluster.apiserver.rest import reading
from devcluster.apiserver.store import Entry

Json = dict[str, Any]
Make = Callable[[Json], Awaitable[Json]]
_ATTEMPTS = 6
_SYSTEM_META = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_NO_STATUS: frozenset[str] = frozenset({"f:status"})
_NOTHING: frozenset[str] = frozenset()
_POD_PARTS = {"ephemeralcontainers", "resize"}


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
    check_namespace(meta, call)
    if meta.pop("resourceVersion", None):
        raise status.bad_request("resourceVersion should not be set on objects to be created")
    for key in ("selfLink", *_SYSTEM_META, "generation", "managedFields"):
        meta.pop(key, None)
    _own(None, obj, call, machine, ignored=_without_status(call.resource))
    return await create_applied(obj, call, machine)


async def create_applied(obj: Json, call: Call, machine: Machine) -> Entry:
    """Create an object whose managedFields are already set."""
    meta = obj["metadata"]
    attributes = _attributes("CREATE", call, obj=obj, old=None, name=meta.get("name", ""))
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


def check_namespace(meta: Json, call: Call) -> None:
    """The body's namespace and name must be the path's.

    Raises:
        ApiError: 400.
    """
    namespace = call.target.namespace
    if call.resource.namespaced:
        if meta.setdefault("namespace", namespace) != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
    elif meta.pop("namespace", None):
        raise status.bad_request("namespace may not be set on a cluster-scoped object")
    if call.target.name and meta.setdefault("name", call.target.name) != call.target.name:
        raise status.bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({call.target.name})"
        )


def _without_status(resource: Resource) -> frozenset[str]:
    return _NO_STATUS if "status" in resource.by_name else _NOTHING


def _own(old: Json | None, new: Json, call: Call, machine: Machine, *, ignored: frozenset[str]) -> None:
    """Record the caller as owner of what changed."""
    sub = call.target.subresource.name if call.target.subresource else ""
    writer = Writer(call.manager, call.resource.group_version, sub, machine.now())
    managers.record_update(old, new, machine.type_of(call.resource), writer, ignored=ignored)


def _attributes(operation: str, call: Call, *, obj: Json | None, old: Json | None, name: str) -> Attributes:
    kinds = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
    kind = "PatchOptions" if call.method == "PATCH" and operation == "UPDATE" else kinds[operation]
    options: Json = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if call.dry_run:
        options["dryRun"] = ["All"]
    for key in ("fieldManager", "fieldValidation"):
        if call.query.get(key):
            options[key] = call.query[key]
    if call.flag("force"):
        options["force"] = True
    return Attributes(
        operation=operation,
        resource=call.resource,
        subresource=call.target.subresource,
        namespace=call.target.namespace,
        name=name,
        obj=obj,
        old=old,
        options=options,
        dry_run=call.dry_run,
        user=call.user,
        warnings=call.warnings,
        audit=call.audit,
    )


async def update(call: Call, machine: Machine) -> tuple[Entry, bool]:
    """PUT of an object or its status; true when it was created."""
    tree = codec.parse_body(call)
    body = codec.read_object(tree, call, machine)
    check_namespace(body["metadata"], call)
    missing = machine.collection(call.resource).get(call.target.namespace, call.target.name) is None
    if missing and call.resource.put_creates and call.target.subresource is None:
        return await create_object(body, call, machine), True
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
    check_namespace(meta, call)
    _check_identity(meta, current, call, given)
    applied = call.headers.get("Content-Type", "").startswith("application/apply-patch")
    _restore(new, old, call)
    if not applied:
        ignored = frozenset({"f:spec"}) if call.target.subresource else _without_status(resource)
        _own(old, new, call, machine, ignored=ignored)
    attributes = _attributes("UPDATE", call, obj=new, old=old, name=current.name)
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
    return store_change(machine, current, new, dry_run=call.dry_run, resource=resource, conditional=bool(given))


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
    for key in (*_SYSTEM_META, "generation"):
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


def store_change(
    machine: Machine, current: Entry, new: Json, *, dry_run: bool, resource: Resource, conditional: bool
) -> Entry | None:
    """Write unless nothing changed; finish a deletion whose last finalizer went. None: lost a race."""
    if machine.collection(resource).get(*current.key) is not current:
        if conditional:
            raise status.conflict(resource.group, resource.plural, current.name)
        return None
    if dry_run:
        return loose_entry(new)
    if _same(new, current.obj):
        return current
    if _finished(new, resource):
        return machine.collection(resource).remove(current, new)
    return machine.collection(resource).write(new, namespace=current.namespace, name=current.name, expected=current)


def _finished(new: Json, resource: Resource) -> bool:
    """Was it only finalizers that kept a deleted object?"""
    meta = new["metadata"]
    if "deletionTimestamp" not in meta or meta.get("finalizers"):
        return False
    if resource.storage == "/namespaces":
        return not (new.get("spec") or {}).get("finalizers")
    return bool(meta.get("deletionGracePeriodSeconds", 0) == 0)


def _same(new: Json, old: Json) -> bool:
    """Equal but for the times in managedFields."""
    if new.keys() != old.keys() or any(new[key] != old[key] for key in new if key != "metadata"):
        return False
    left, right = dict(new["metadata"]), dict(old["metadata"])
    owners = [[{**e, "time": ""} for e in meta.pop("managedFields", None) or ()] for meta in (left, right)]
    return left == right and owners[0] == owners[1]
