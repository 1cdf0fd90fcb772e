"""docs/benchmarks.md out of the runs. Pure, but for the names of plots that were drawn."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import report_rows as rows
from report_rows import Line
from report_store import Entry, of

MISSING: Final = "**missing**"
HEAD: Final = """# Benchmarks

Written by `scripts/bench-report` from [benchmarks.json](benchmarks.json), which holds every run as its benchmark wrote
it. Do not edit. A row that nobody has measured says *missing*; nothing here is estimated, and nothing simulated stands
in a table about GPUs. To measure on a machine with a GPU, and add to what is here:

```text
scripts/bench-report --run cap,native,paths,e2e --rounds 3
```

Capped runs stand between runs without the interposer in the same minute, and rounds repeat the whole list, so that a
clock that wanders shows as spread. Spread is the largest value less the smallest.
"""


def page(
    entries: Sequence[Entry],
    *,
    native: Sequence[tuple[str, str, str]],
    idle: Sequence[tuple[str, str, str]],
    paths: Sequence[str],
    drawn: Collection[str],
) -> str:
    """The whole page.

    Args:
        entries: all runs.
        native: the cases of bench-native on a GPU: name, unit, aim.
        idle: its cases on a driver that does nothing.
        paths: the allocation paths and frameworks that checks.py can check.
        drawn: names of the plots that exist.
    """

    def plot(name: str, text: str) -> str:
        return f"![{text}](benchmarks/{name}.svg)\n" if name in drawn else f"Plot of {text}: {MISSING}.\n"

    share = ("share, %", "longest launch, ms")
    parts = [
        HEAD,
        *_section("GPU time under a cap", plot("accuracy", "caps against shares")),
        _table(rows.cap_lines(entries), more=share[1:], cap=True),
        *_section("Neighbours, all busy", ""),
        _table(rows.tenant_lines(entries), more=share[1:], cap=True),
        *_section("A share that changes", plot("steps", "shares around a change")),
        _table([*rows.step_lines(entries), *rows.lend_lines(entries)]),
        *_section("PyTorch under a cap, and programs with no cap", ""),
        _table([*rows.torch_lines(entries), *rows.free_lines(entries)], more=share[1:], cap=True),
        *_section("The wall, path by path", plot("walls", "what each path got hold of")),
        _table(rows.path_lines(entries, paths), more=("slice, MiB", "found")),
        *_section("What the interposer costs on a GPU", ""),
        _table(rows.overhead_lines(entries, "native", native), more=("plain", "capped")),
        *_section(
            "What it costs alone, on a driver that does nothing", plot("overhead", "nanoseconds added to a call")
        ),
        _table(rows.overhead_lines(entries, "idle", idle), more=("plain", "capped")),
        *_section("End to end: two workers, an over-allocator, a kill", ""),
        _table(rows.e2e_lines(entries), cap=True),
        *_section("What people look at", ""),
        _table(_looks(entries)),
        *_section("The runs", ""),
        _runs(entries),
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def _section(title: str, text: str) -> tuple[str, str]:
    return f"## {title}\n", text


def _table(lines: Iterable[Line], *, more: Sequence[str] = (), cap: bool = False) -> str:
    """Lines as Markdown."""
    head = ["what", *["cap"] * cap, "median", "spread", "runs", "aim", *more]
    body = [head, ["---"] * len(head)]
    for line in lines:
        cells = [line.what, *[f"{line.cap} %" if line.cap else "none"] * cap]
        if line.values:
            spread = _figure(line.spread, line.unit) if len(line.values) > 1 else ""
            cells += [_figure(line.median, line.unit), spread, str(len(line.values))]
        else:
            cells += [MISSING, "", "0"]
        body.append([*cells, line.aim, *(line.more or [""] * len(more))][: len(head)])
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in body)


def _looks(entries: Sequence[Entry]) -> list[Line]:
    """The page and `top`."""
    pages, tops = of(entries, "page"), of(entries, "top")

    def milliseconds(name: str) -> tuple[float, ...]:
        return tuple(value for entry in pages for value in entry.data["milliseconds"].get(name, ()))

    return [
        Line("web page, 1,000 GPUs: first paint", milliseconds("first paint"), "ms", "< 200 ms"),
        Line("web page, 1,000 GPUs: first GPUs drawn", milliseconds("first bars"), "ms", ""),
        Line("web page: main thread per update", milliseconds("main thread per update"), "ms", "< 50 ms"),
        Line(
            "`vramshare top`, 200 containers",
            tuple(entry.data["percent_of_a_core"] for entry in tops),
            "% of a core",
            "< 5 %",
        ),
    ]


def _runs(entries: Sequence[Entry]) -> str:
    """Where each figure comes from."""
    body = ["| benchmark | when | commit | machine | versions | command |", "|---|---|---|---|---|---|"]
    for one in entries:
        versions = ", ".join(f"{name} {value}" for name, value in one.versions.items())
        mark = " (simulated, in no table)" if one.simulated else ""
        body.append(f"| {one.tool}{mark} | {one.at} | {one.commit} | {one.machine} | {versions} | `{one.command}` |")
    notes = [f"- {one.tool}, {one.at}: {one.note}" for one in entries if one.note]
    return "\n".join([*body, "", *notes]) + "\n"


def _figure(value: float, unit: str) -> str:
    digits = 3 if unit.startswith("times") else 1
    return f"{value:,.{digits}f} {unit}"
