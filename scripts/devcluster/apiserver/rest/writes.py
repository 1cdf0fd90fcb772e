"""What every write shares: the checks of names, the record of owners, the question to admission."""

from typing import Any

from devcluster.apiserver import managers, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.machine import Attributes, Machine
from devcluster.apiserver.managers import Writer
from devcluster.apiserver.resources import Resource

Json = dict[str, Any]
SYSTEM_META = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_NO_STATUS: frozenset[str] = frozenset({"f:status"})
_NOTHING: frozenset[str] = frozenset()


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


def without_status(resource: Resource) -> frozenset[str]:
    """What the main door of the resource cannot own."""
    return _NO_STATUS if "status" in resource.by_name else _NOTHING


def own(old: Json | None, new: Json, call: Call, machine: Machine, *, ignored: frozenset[str]) -> None:
    """Record the caller as owner of what changed."""
    sub = call.target.subresource.name if call.target.subresource else ""
    writer = Writer(call.manager, call.resource.group_version, sub, machine.now())
    managers.record_update(old, new, machine.type_of(call.resource), writer, ignored=ignored)


def attributes_of(operation: str, call: Call, *, obj: Json | None, old: Json | None, name: str) -> Attributes:
    """The write as admission sees it."""
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
