"""Columns, cells and ages: what all printers share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from devcluster.apiserver.schema import Schema

Json = dict[str, Any]
Cells = Callable[[Mapping[str, Any], datetime], list[Any]]
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
NONE = "<none>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `doc` is its description, or a definition and field whose description it borrows."""

    name: str
    doc: str | tuple[str, str] = ""
    type: str = "string"
    format: str = ""
    priority: int = 0


def _no_conditions(_obj: Mapping[str, Any]) -> list[Json]:
    return []


@dataclass(frozen=True, slots=True)
class Printer:
    """How a kind is printed."""

    columns: Sequence[Column]
    cells: Cells
    conditions: Callable[[Mapping[str, Any]], list[Json]] = _no_conditions


NAME = Column("Name", (META, "name"), format="name")
AGE = Column("Age", (META, "creationTimestamp"))


def definitions(printer: Printer, schema: Schema) -> list[Json]:
    """The columns as a table declares them."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": _described(column.doc, schema),
            "priority": column.priority,
        }
        for column in printer.columns
    ]


def _described(doc: str | tuple[str, str], schema: Schema) -> str:
    if isinstance(doc, str):
        return doc
    name, field = doc
    return str(schema.definitions[name]["properties"][field].get("description", ""))


def age(obj: Mapping[str, Any], now: datetime) -> str:
    """How long ago the object was created."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def since(moment: str | None, now: datetime) -> str:
    """How long ago a time was, as kubectl words it."""
    if not moment:
        return UNKNOWN
    return duration((now - datetime.fromisoformat(moment)).total_seconds())


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "y": 365 * 86_400}
# Up to how many seconds which units are told.
_UNITS = (
    (120, "s", ""),
    (600, "m", "s"),
    (3 * 3600, "m", ""),
    (8 * 3600, "h", "m"),
    (48 * 3600, "h", ""),
    (8 * 86_400, "d", "h"),
    (2 * 365 * 86_400, "d", ""),
    (8 * 365 * 86_400, "y", "d"),
)


def duration(seconds: float) -> str:
    """`13s`, `2m5s`, `3h20m`, `4d`: fewer units the longer it is."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    for limit, large, small in _UNITS:
        if whole < limit:
            return _units(whole, large, small)
    return _units(whole, "y", "")


def _units(seconds: int, large: str, small: str) -> str:
    """Seconds in whole units, with the rest in smaller ones where there is one."""
    rest = seconds % _SECONDS[large] // _SECONDS[small] if small else 0
    return f"{seconds // _SECONDS[large]}{large}" + (f"{rest}{small}" if rest else "")


def dig(obj: Any, *path: str) -> Any:
    """The value at a path of keys, or None."""
    for part in path:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(part)
    return obj
