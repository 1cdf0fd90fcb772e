"""From runs to rows: what was measured, how often, median and spread; and which rows nobody has measured yet. Pure."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench_cap import caps, couples, shapes
from bench_cap_loads import MS, US, Shape
from report_store import Entry, of

MIB: Final = 1024**2
CAP_AIM: Final = "cap ± 2 points"
TENANT_AIM: Final = "cap ± 3 points"


@dataclass(frozen=True)
class Line:
    """A row of the report.

    Attributes:
        what: what was measured.
        values: one per run; none: not measured yet.
        unit: of the values.
        aim: what was aimed at.
        cap: percent of GPU time, where there is one.
        more: further columns.
    """

    what: str
    values: tuple[float, ...] = ()
    unit: str = "%"
    aim: str = ""
    cap: int = 0
    more: tuple[str, ...] = ()

    @property
    def median(self) -> float:
        """Of the values."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Largest less smallest."""
        return max(self.values) - min(self.values)


Key = tuple[str, int]


def cap_lines(entries: Sequence[Entry]) -> list[Line]:
    """One tenant under a cap: every row that bench-cap has, measured or not."""
    wanted = [(str(shape), cap) for shape, some in (*caps(), *shapes()) for cap in some]
    return _lines(of(entries, "cap"), "cap", wanted, aim=CAP_AIM)


def tenant_lines(entries: Sequence[Entry]) -> list[Line]:
    """Tenants of one GPU, each measured beside the others."""
    wanted = []
    for tenants, _ in couples(10.0):
        for one in tenants:
            others = " + ".join(f"{other.cores or 'no'} % {other.shape}" for other in tenants if other is not one)
            wanted.append((f"{one.shape} beside {others}", one.cores))
    return _lines(of(entries, "cap"), "tenant", wanted, aim=TENANT_AIM)


def torch_lines(entries: Sequence[Entry]) -> list[Line]:
    """PyTorch under a cap."""
    wanted = [("PyTorch, 2048² half-precision products", 50), ("PyTorch, decode step as a CUDA graph", 50)]
    return _lines(of(entries, "cap"), "torch", wanted, aim=CAP_AIM)


def free_lines(entries: Sequence[Entry]) -> list[Line]:
    """The interposer without any cap."""
    wanted = [(f"{Shape(kernel, 1, 'async')}, no cap", 0) for kernel in (20 * US, MS)]
    return _lines(of(entries, "cap"), "free", wanted, aim="≥ 99 %")


def step_rows(entries: Sequence[Entry]) -> list[Mapping[str, Any]]:
    """Changed shares: the newest row for each."""
    return _newest(entries, "step", lambda row: (round(row["before"]), row["cap"]))


def step_lines(entries: Sequence[Entry]) -> list[Line]:
    """How soon a changed share holds."""
    found = {row["cap"]: row for row in step_rows(entries)}
    lines = []
    for before, after in ((25, 75), (75, 25)):
        row = found.get(after)
        values = (row["settled_ms"],) if row else ()
        lines.append(Line(f"share from {before} to {after} %", values, "ms", "two cycles and 500 ms"))
    return lines


def lend_lines(entries: Sequence[Entry]) -> list[Line]:
    """Idle time lent, and given back."""
    found = {row["cap"]: row for row in _newest(entries, "lend", lambda row: row["cap"])}
    borrowed = (found[30]["share"],) if 30 in found else ()
    returned = (found[70]["settled_ms"],) if 70 in found else ()
    return [
        Line("share of a 30 % burst tenant while 70 % are idle", borrowed, "%", "≥ 90 %"),
        Line("until the owner has its share back", returned, "ms", "≤ 500 ms"),
    ]


def overhead_lines(entries: Sequence[Entry], tool: str, cases: Iterable[tuple[str, str, str]]) -> list[Line]:
    """What the interposer adds: name, unit and aim of each case; values are the added time, or the ratio."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in of(entries, tool):
        for row in entry.data:
            found.setdefault(row["name"], []).append(row)
    lines = []
    for name, unit, aim in cases:
        rows = found.get(name, [])
        by_ratio = unit in {"s", "tokens/s"}
        values = tuple(row["ratio"] if by_ratio else row["added"] for row in rows)
        more = (f"{rows[-1]['plain']:,.1f}", f"{rows[-1]['capped']:,.1f}") if rows else ("", "")
        lines.append(Line(name, values, f"times plain, {unit}" if by_ratio else unit, aim, more=more))
    return lines


def path_lines(entries: Sequence[Entry], names: Iterable[str]) -> list[Line]:
    """What the device lost before the first refusal, per allocation path; further columns: slice and finding."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in of(entries, "paths"):
        for row in entry.data:
            if not row["slice"]:  # a run without a wall has none
                continue
            found.setdefault(row["name"], []).append(row)
    lines = []
    for name in dict.fromkeys([*found, *names]):
        rows = found.get(name, [])
        values = tuple(row["used"] / MIB for row in rows)
        more = (f"{rows[-1]['slice'] // MIB}", rows[-1]["problem"] or "ok") if rows else ("", "")
        lines.append(Line(name, values, "MiB", "≤ slice", more=more))
    return lines


def e2e_lines(entries: Sequence[Entry]) -> list[Line]:
    """The end-to-end run: shares against caps, neighbours' change."""
    runs = [one.data for one in of(entries, "e2e")]
    lines = []
    for name, cap in (("worker-a", 25), ("worker-b", 40)):
        lines.append(
            Line(
                f"{name}: share when busy",
                tuple(run["share"][name] for run in runs if name in run["share"]),
                "%",
                "within the cap",
                cap=cap,
            )
        )
    pairs = (("beside the over-allocator", "around the over-allocator"), ("while B is killed", "around the kill"))
    for during, around in pairs:
        for name in ("worker-a", "worker-b"):
            values = tuple(
                100 * (run["rates"][during][name] / run["rates"][around][name] - 1)
                for run in runs
                if name in run["rates"].get(during, {}) and name in run["rates"].get(around, {})
            )
            if values or during.startswith("beside") or name == "worker-a":
                lines.append(Line(f"{name}: change {during}", values, "%", "± 2 %"))
    return lines


def _lines(entries: Iterable[Entry], kind: str, wanted: Iterable[Key], *, aim: str) -> list[Line]:
    """A line per wanted row, with every value that a run has for it."""
    found: dict[Key, list[Mapping[str, Any]]] = {}
    for row in (row for entry in entries for row in entry.data["rows"] if row["kind"] == kind):
        cap = 0 if row["cap"] == "none" else row["cap"]
        found.setdefault((row["work"], cap), []).append(row)
    return [
        Line(
            work,
            tuple(row["share"] for row in found.get((work, cap), [])),
            "%",
            aim,
            cap=cap,
            more=(_longest(found.get((work, cap), [])),),
        )
        for work, cap in wanted
    ]


def _longest(rows: Sequence[Mapping[str, Any]]) -> str:
    longest = max((row.get("longest_ms", 0.0) for row in rows), default=0.0)
    return f"{longest:.1f}" if longest else ""


def _newest(entries: Sequence[Entry], kind: str, key: Callable[[Mapping[str, Any]], object]) -> list[Mapping[str, Any]]:
    found: dict[object, Mapping[str, Any]] = {}
    for row in (row for entry in of(entries, "cap") for row in entry.data["rows"] if row["kind"] == kind):
        found[key(row)] = row
    return list(found.values())
