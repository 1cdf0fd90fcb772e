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


def duration(seconds: float) -> str:
    """`13s`, `2m5s`, `3h20m`, `4d`: fewer units the longer it is."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return _two(years, "y", rest, "d") if years < 8 else f"{years}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}" + (f"{small}{small_unit}" if small else "")


def dig(obj: Any, *path: str) -> Any:
    """The value at a path of keys, or None."""
    for part in path:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(part)
    return obj
