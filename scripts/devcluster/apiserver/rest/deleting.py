"""delete and deletecollection: grace, preconditions, finalizers, propagation."""

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from devcluster.apiserver import codec, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.machine import Attributes, Machine
from devcluster.apiserver.resources import Resource
from devcluster.apiserver.rest import reading
from devcluster.apiserver.store import Entry

Json = dict[str, Any]
_PROTECTED_NAMESPACES = {"default", "kube-system", "kube-public"}
# Kinds whose deletion answers with the object even when it is gone at once.
_RETURN_OBJECT = {"/pods", "/namespaces", "/services", "/serviceaccounts", "/persistentvolumeclaims",
                  "/persistentvolumes", "/resourcequotas", "/podtemplates"}  # fmt: skip
_ENDED = {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class Options:
    """DeleteOptions, from body and query."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False

    def as_json(self, grace: int | None) -> Json:
        """As an admission review shows them."""
        options: Json = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if self.propagation:
            options["propagationPolicy"] = self.propagation
        if self.uid or self.resource_version:
            both = {"uid": self.uid, "resourceVersion": self.resource_version}
            options["preconditions"] = {key: value for key, value in both.items() if value}
        if self.dry_run:
            options["dryRun"] = ["All"]
        return options


def options_of(call: Call, body: Json | None = None) -> Options:
    """The options of a delete or eviction.

    Raises:
        ApiError: 400 or 422 for values that are not allowed.
    """
    given = body if body is not None else (codec.parse_body(call) if call.body else {})
    grace = call.number("gracePeriodSeconds")
    propagation = call.query.get("propagationPolicy") or given.get("propagationPolicy") or ""
    if propagation not in {"", "Background", "Foreground", "Orphan"}:
        wrong = f'Unsupported value: "{propagation}": supported values: "Foreground", "Background", "Orphan"'
        cause = status.Cause("propagationPolicy", wrong, "FieldValueNotSupported")
        raise status.invalid("meta.k8s.io", "DeleteOptions", "", [cause])
    if given.get("orphanDependents"):
        propagation = "Orphan"
    wanted = given.get("preconditions") or {}
    return Options(
        grace=given.get("gracePeriodSeconds") if grace is None else grace,
        propagation=propagation,
        uid=wanted.get("uid", ""),
        resource_version=wanted.get("resourceVersion", ""),
        dry_run=call.dry_run or "All" in (given.get("dryRun") or ()),
    )


async def delete(call: Call, machine: Machine) -> tuple[int, Entry | Json]:
    """DELETE of one object: the status code, and the object or a Status.

    Raises:
        ApiError: 404, 409 on a failed precondition, or a refusal.
    """
    entry = reading.find(machine, call.resource, call.target.namespace, call.target.name)
    options = options_of(call)
    last, gone = await remove(entry, options, call, machine)
    if call.resource.storage in _RETURN_OBJECT or not gone:
        return 200, reading.shown(call.resource, last)
    details = status.details_of(call.resource.group, call.resource.plural, entry.name)
    details["uid"] = entry.obj["metadata"]["uid"]
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return 200, success


async def delete_collection(call: Call, machine: Machine) -> reading.Listing:
    """DELETE of everything that the selectors choose.

    Raises:
        ApiError: the first refusal.
    """
    listing = reading.list_objects(call, machine)
    options = options_of(call)
    for shown in listing.entries:
        entry = machine.collection(call.resource).get(shown.namespace, shown.name)
        if entry is not None:
            await remove(entry, options, call, machine)
    return listing


async def remove(entry: Entry, options: Options, call: Call, machine: Machine) -> tuple[Entry, bool]:
    """Delete, or begin to. The last state, and whether it is gone.

    Raises:
        ApiError: 403, 409, or a plugin's refusal.
    """
    resource = call.resource
    if resource.storage == "/namespaces" and entry.name in _PROTECTED_NAMESPACES:
        raise status.forbidden("", "namespaces", entry.name, why="this namespace may not be deleted")
    _check_preconditions(entry, options, resource)
    grace = _grace(entry, options, resource)
    await _admit(entry, options.as_json(grace), call, machine, dry_run=options.dry_run)
    for _ in range(8):
        current = machine.collection(resource).get(*entry.key)
        if current is None or current.obj["metadata"]["uid"] != entry.obj["metadata"]["uid"]:
            raise status.not_found(resource.group, resource.plural, entry.name)
        done = _remove_once(current, options, resource, machine)
        if done is not None:
            return done
    raise status.conflict(resource.group, resource.plural, entry.name)


def _check_preconditions(entry: Entry, options: Options, resource: Resource) -> None:
    uid = entry.obj["metadata"]["uid"]
    why = ""
    if options.uid and options.uid != uid:
        why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {uid}"
    elif options.resource_version and options.resource_version != str(entry.revision):
        why = (
            f"Precondition failed: ResourceVersion in precondition: {options.resource_version}, "
            f"ResourceVersion in object meta: {entry.revision}"
        )
    if why:
        raise status.conflict(resource.group, resource.plural, entry.name, why=why)


def _grace(entry: Entry, options: Options, resource: Resource) -> int | None:
    """Seconds of grace of a pod: none when nothing runs. Other kinds have none."""
    if resource.storage != "/pods":
        return options.grace
    spec = entry.obj.get("spec") or {}
    if not spec.get("nodeName") or (entry.obj.get("status") or {}).get("phase") in _ENDED:
        return 0
    if options.grace is not None:
        return max(options.grace, 0)
    return int(spec.get("terminationGracePeriodSeconds", 30))


async def _admit(entry: Entry, options: Json, call: Call, machine: Machine, *, dry_run: bool) -> None:
    attributes = Attributes(
        operation="DELETE",
        resource=call.resource,
        subresource=None,
        namespace=entry.namespace,
        name=entry.name,
        obj=None,
        old=entry.obj,
        options=options,
        dry_run=dry_run,
        user=call.user,
        warnings=call.warnings,
        audit=call.audit,
    )
    await machine.admission.mutate(attributes)
    # A real server validates a deletion without grace three times on its way through the layers of its storage.
    forced = call.resource.storage == "/pods" and options.get("gracePeriodSeconds") == 0
    for _ in range(3 if forced else 1):
        await machine.admission.validate(attributes)


def _remove_once(entry: Entry, options: Options, resource: Resource, machine: Machine) -> tuple[Entry, bool] | None:
    meta = entry.obj["metadata"]
    grace = _grace(entry, options, resource) if resource.storage == "/pods" else 0
    finalizers = _finalizers(meta.get("finalizers") or [], options)
    waits = bool(finalizers) or bool(grace)
    if resource.storage == "/namespaces":
        waits = waits or bool((entry.obj.get("spec") or {}).get("finalizers"))
    if "deletionTimestamp" in meta and waits and not _shortens(meta, grace):
        return entry, False
    dying = _dying(entry, grace or 0, finalizers, machine, resource)
    if options.dry_run:
        return Entry(entry.namespace, entry.name, dying, entry.data, entry.revision), not waits
    collection = machine.collection(resource)
    if waits:
        stored = collection.write(dying, namespace=entry.namespace, name=entry.name, expected=entry)
        return (stored, False) if stored else None
    last = dying if resource.storage == "/pods" else entry.obj
    removed = collection.remove(entry, last)
    return (removed, True) if removed else None


def _shortens(meta: Json, grace: int | None) -> bool:
    """Is this a second deletion with less grace than the first?"""
    return grace is not None and grace < meta.get("deletionGracePeriodSeconds", 0)


def _finalizers(present: list[str], options: Options) -> list[str]:
    """With the finalizer that the propagation policy asks for."""
    asked = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.propagation)
    if options.propagation == "Background":
        return [name for name in present if name not in {"foregroundDeletion", "orphan"}]
    return [*present, asked] if asked and asked not in present else present


def _dying(entry: Entry, grace: int, finalizers: list[str], machine: Machine, resource: Resource) -> Json:
    """The object as it is while its deletion goes on."""
    meta = dict(entry.obj["metadata"])
    when = machine.clock().astimezone(UTC) + timedelta(seconds=grace)
    if "deletionTimestamp" not in meta and resource.generations:
        meta["generation"] = meta.get("generation", 0) + 1
    if "deletionTimestamp" not in meta or grace < meta.get("deletionGracePeriodSeconds", 0):
        meta["deletionTimestamp"] = when.strftime("%Y-%m-%dT%H:%M:%SZ")
        meta["deletionGracePeriodSeconds"] = grace
    meta.pop("finalizers", None)
    if finalizers:
        meta["finalizers"] = finalizers
    dying = {**entry.obj, "metadata": meta}
    if resource.storage == "/namespaces":
        meta.pop("deletionGracePeriodSeconds", None)
        dying["status"] = {**(entry.obj.get("status") or {}), "phase": "Terminating"}
    return dying
