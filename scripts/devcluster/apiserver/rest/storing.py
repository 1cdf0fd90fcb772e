"""The last step of every change: the compare-and-swap."""

from typing import Any

from devcluster.apiserver import status
from devcluster.apiserver.machine import Machine, loose_entry
from devcluster.apiserver.resources import Resource
from devcluster.apiserver.store import Entry

Json = dict[str, Any]


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
