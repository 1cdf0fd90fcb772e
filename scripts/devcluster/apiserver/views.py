"""Objects seen otherwise: as tables for printing, or as their metadata alone."""

from collections.abc import Callable
from typing import Any

import orjson

from devcluster.apiserver import status, tables
from devcluster.apiserver.call import Call
from devcluster.apiserver.machine import Machine
from devcluster.apiserver.negotiate import Accept
from devcluster.apiserver.rest.reading import Listing
from devcluster.apiserver.store import Entry

Json = dict[str, Any]
_PARTIAL = {"PartialObjectMetadata", "PartialObjectMetadataList"}


def of_object(call: Call, accept: Accept, entry: Entry, machine: Machine) -> bytes:
    """One object in the asked view.

    Raises:
        ApiError: 406 for a view that does not exist.
    """
    if accept.view == "Table":
        meta = {"resourceVersion": entry.obj["metadata"].get("resourceVersion", "")}
        return orjson.dumps(_table(call, accept, [entry], meta, machine, columns=True))
    if accept.view in _PARTIAL:
        return orjson.dumps(_partial(entry, accept))
    raise status.not_acceptable()


def of_list(call: Call, accept: Accept, listing: Listing, machine: Machine) -> bytes:
    """A list in the asked view.

    Raises:
        ApiError: 406 for a view that does not exist.
    """
    if accept.view == "Table":
        return orjson.dumps(_table(call, accept, listing.entries, listing.metadata, machine, columns=True))
    if accept.view in _PARTIAL:
        items = [_partial(entry, accept) for entry in listing.entries]
        head = {"kind": "PartialObjectMetadataList", "apiVersion": f"{accept.group}/{accept.version}"}
        return orjson.dumps({**head, "metadata": listing.metadata, "items": items})
    raise status.not_acceptable()


def shower(call: Call, accept: Accept, machine: Machine) -> Callable[[Entry], bytes]:
    """How a watch encodes objects: only its first table carries the column definitions."""
    if not accept.view:
        return lambda entry: entry.data
    if accept.view in _PARTIAL:
        return lambda entry: orjson.dumps(_partial(entry, accept))
    if accept.view != "Table":
        raise status.not_acceptable()
    first = True

    def show(entry: Entry) -> bytes:
        nonlocal first
        columns, first = first, False
        meta = {"resourceVersion": entry.obj["metadata"]["resourceVersion"]}
        return orjson.dumps(_table(call, accept, [entry], meta, machine, columns=columns))

    return show


def _partial(entry: Entry, accept: Accept) -> Json:
    version = f"{accept.group}/{accept.version}"
    return {"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": entry.obj["metadata"]}


def _table(call: Call, accept: Accept, entries: Any, meta: Json, machine: Machine, *, columns: bool) -> Json:
    printer = tables.printer_of(call.resource)
    include = call.query.get("includeObject", "Metadata")
    partial = Accept(view="PartialObjectMetadata", version=accept.version)
    now = machine.clock()
    rows = []
    for entry in entries:
        row: Json = {"cells": printer.cells(entry.obj, now)}
        conditions = printer.conditions(entry.obj)
        if conditions:
            row["conditions"] = conditions
        if include == "Object":
            row["object"] = entry.obj
        elif include != "None":
            row["object"] = _partial(entry, partial)
        rows.append(row)
    version = f"meta.k8s.io/{accept.version}"
    definitions = tables.definitions(printer, machine.schema) if columns else None
    return {"kind": "Table", "apiVersion": version, "metadata": meta, "columnDefinitions": definitions, "rows": rows}
