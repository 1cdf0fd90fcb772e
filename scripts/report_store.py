"""The runs that docs/benchmarks.md is written from: docs/benchmarks.json, one entry per run of a benchmark.

An entry keeps what the benchmark itself wrote, and where it was measured. Entries are only ever added: a figure in the
report can be followed to its run.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

TOOLS: Final = ("cap", "native", "idle", "paths", "e2e", "page", "top")
"""cap: bench-cap. native: bench-native --gpu. idle: bench-native on a driver that does nothing. paths:
native/tests/gpu/checks.py. e2e: e2e-gpu. page, top: bench-page, bench-top."""


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        tool: one of TOOLS.
        at: when, as a date.
        commit: of vramshare.
        machine: what it ran on: the GPU and its driver where there is one.
        versions: of what it used.
        command: what was typed.
        data: what the benchmark wrote.
        note: what must be known to read the figures.
        simulated: whether the GPU was.
    """

    tool: str
    at: str
    commit: str
    machine: str
    command: str
    data: Any
    versions: dict[str, str] = field(default_factory=dict)
    note: str = ""
    simulated: bool = False


def read(file: Path) -> list[Entry]:
    """All runs, oldest first; none where there is no file yet."""
    return [Entry(**one) for one in json.loads(file.read_text())] if file.exists() else []


def write(file: Path, entries: Iterable[Entry]) -> None:
    """Replace the file at once; a line per run, so that a change shows as what it is."""
    lines = ",\n".join(json.dumps(asdict(one), ensure_ascii=False) for one in entries)
    part = file.with_suffix(".part")
    part.write_text(f"[\n{lines}\n]\n")
    part.replace(file)


def of(entries: Sequence[Entry], tool: str) -> list[Entry]:
    """The runs of one benchmark on the real thing."""
    return [one for one in entries if one.tool == tool and not one.simulated]
