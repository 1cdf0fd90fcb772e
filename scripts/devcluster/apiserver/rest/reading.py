"""get and list: single objects, consistent chunks, lists at an older revision."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from devcluster.apiserver import events, selectors, status
from devcluster.apiserver.call import Call
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.resources import Resource
from devcluster.apiserver.selectors import Predicate
from devcluster.apiserver.store import Entry

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """A chunk of a list: its entries, and the list's own metadata."""

    entries: Sequence[Entry]
    metadata: Json


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list or watch selects."""

    labels: Predicate | None
    fields: Predicate | None

    def __call__(self, obj: Json) -> bool:
        """Is the object selected?"""
        return (self.labels is None or self.labels(obj)) and (self.fields is None or self.fields(obj))

    @property
    def open(self) -> bool:
        """Does it select everything?"""
        return self.labels is None and self.fields is None


def filter_of(call: Call) -> Filter:
    """The selectors of the query.

    Raises:
        ApiError: 400.
    """
    fields = selectors.field_predicate(call.query.get("fieldSelector", ""), call.resource)
    if call.target.name:  # watching or listing one object by its path
        name = call.target.name
        fields = _both(fields, lambda obj: obj["metadata"]["name"] == name)
    return Filter(selectors.label_predicate(call.query.get("labelSelector", "")), fields)


def _both(left: Predicate | None, right: Predicate) -> Predicate:
    if left is None:
        return right
    return lambda obj: left(obj) and right(obj)


def get(call: Call, machine: Machine) -> Entry:
    """One object.

    Raises:
        ApiError: 404.
    """
    entry = find(machine, call.resource, call.target.namespace, call.target.name)
    return shown(call.resource, entry)


def find(machine: Machine, resource: Resource, namespace: str, name: str) -> Entry:
    """One stored object.

    Raises:
        ApiError: 404.
    """
    entry = machine.collection(resource).get(namespace, name)
    if entry is None:
        raise status.not_found(resource.group, resource.plural, name)
    return entry


def shown(resource: Resource, entry: Entry) -> Entry:
    """The entry as this resource shows it."""
    return events.to_view(entry) if resource.group == events.GROUP else entry


def list_objects(call: Call, machine: Machine) -> Listing:
    """A list, whole or a chunk.

    Raises:
        ApiError: 400 for bad options, 410 for a revision or token that is too old, 504 for one from the future.
    """
    chosen = filter_of(call)
    collection = machine.collection(call.resource)
    namespace = None if call.target.all_namespaces or not call.resource.namespaced else call.target.namespace
    revision, start = _position(call, machine)
    if revision == machine.store.revision:
        entries = collection.entries(namespace)
    else:
        entries = collection.entries_at(revision, namespace)
    if start:
        entries = [entry for entry in entries if _key(entry) >= start]
    if not chosen.open:
        entries = [entry for entry in entries if chosen(entry.obj)]
    metadata: Json = {"resourceVersion": str(revision)}
    limit = call.number("limit") or 0
    if 0 < limit < len(entries):
        metadata["continue"] = _token(revision, _key(entries[limit - 1]) + "\0")
        if chosen.open:
            metadata["remainingItemCount"] = len(entries) - limit
        entries = entries[:limit]
    return Listing([shown(call.resource, entry) for entry in entries], metadata)


def _key(entry: Entry) -> str:
    """The place of an entry in list order."""
    return f"{entry.namespace}/{entry.name}"


def _position(call: Call, machine: Machine) -> tuple[int, str]:
    """The revision to list at, and the key to start from."""
    current = machine.store.revision
    token = call.query.get("continue")
    if token:
        return _parse_token(token, machine, call)
    asked = call.number("resourceVersion") or 0
    if asked > current:
        raise status.too_large_version(asked, current)
    match = call.query.get("resourceVersionMatch", "")
    if match not in {"", "Exact", "NotOlderThan"} or (match and not call.query.get("resourceVersion")):
        wrong = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
        if match in {"Exact", "NotOlderThan"}:
            wrong = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise status.invalid("meta.k8s.io", "ListOptions", "", [status.Cause("resourceVersionMatch", wrong)])
    return (asked if match == "Exact" else current), ""


def _token(revision: int, start: str) -> str:
    body = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start})
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def _parse_token(token: str, machine: Machine, call: Call) -> tuple[int, str]:
    try:
        body = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        revision, start = int(body["rv"]), str(body["start"])
    except (ValueError, KeyError, TypeError) as error:
        raise status.bad_request("continue key is not valid: the token cannot be decoded") from error
    if revision < machine.collection(call.resource).compacted:
        raise status.expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list "
            "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
            "the results. Continuing with the provided token results in an inconsistent list - objects that were "
            "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
            "list."
        )
    return revision, start


def encode_list(resource: Resource, listing: Listing) -> bytes:
    """The list object, from encodings that the entries already carry."""
    version = resource.group_version
    prefix = len(b'{"kind":"","apiVersion":"",') + len(resource.kind) + len(version)
    head = orjson.dumps({"kind": f"{resource.kind}List", "apiVersion": version, "metadata": listing.metadata})
    items = b",".join(b"{" + entry.data[prefix:] for entry in listing.entries)
    return head[:-1] + b',"items":[' + items + b"]}"
