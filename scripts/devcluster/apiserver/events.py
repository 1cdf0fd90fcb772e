"""The two views of events: stored as core/v1, shown as events.k8s.io/v1 too."""

from typing import Any

from devcluster.apiserver.machine import loose_entry
from devcluster.apiserver.store import Entry

Json = dict[str, Any]
GROUP = "events.k8s.io"
_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_BACK = {core: name for name, core in _NAMES.items()}


def to_core(event: Json) -> Json:
    """An events.k8s.io/v1 body as core/v1."""
    return {_NAMES.get(key, key): value for key, value in event.items()} | {"apiVersion": "v1"}


def to_view(entry: Entry) -> Entry:
    """A stored event as events.k8s.io/v1."""
    obj = {_BACK.get(key, key): value for key, value in entry.obj.items()}
    obj["apiVersion"] = f"{GROUP}/v1"
    shown = loose_entry(obj)
    return Entry(entry.namespace, entry.name, obj, shown.data, entry.revision)
