"""Runs the benchmarks, keeps what they measured in docs/benchmarks.json, and writes docs/benchmarks.md with its plots.

    scripts/bench-report                                   write the page from what is kept
    scripts/bench-report --run cap,native,paths,e2e        measure on this machine's GPU first
    scripts/bench-report --run idle,page,top               what needs no GPU
    scripts/bench-report --add cap=cap.json --machine "NVIDIA H100, 580.159.04" --commit 1234567   take over a run

Each benchmark interleaves itself with runs without the interposer. With --rounds N the whole list is run N times.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Final

import report_plots
import report_rows as rows
from demo_folder import asked_path
from interpreters import itself, versions, with_torch
from report_page import page
from report_store import TOOLS, Entry, read, write

ROOT: Final = Path(__file__).resolve().parents[1]
STORE: Final = ROOT / "docs" / "benchmarks.json"
COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "cap": ("scripts/bench-cap",),
    "native": ("scripts/bench-native", "--gpu"),
    "idle": ("scripts/bench-native",),
    "paths": ("native/tests/gpu/checks.py", "--native"),
    "e2e": ("scripts/e2e-gpu",),
    "page": ("scripts/bench-page",),
    "top": ("scripts/bench-top",),
}
NEEDS_GPU: Final = frozenset({"cap", "native", "paths", "e2e"})
_TOLD: Final = frozenset({"cap", "e2e"})
"""Those that are told by --python where PyTorch is; `native` and `paths` run in that interpreter themselves."""


def main() -> None:
    """Measure, keep, write."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench-report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="", metavar="TOOLS", help=f"any of {', '.join(TOOLS)}, comma-separated")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--python", type=asked_path, help="interpreter that has PyTorch and the like; default: the first on PATH"
    )
    parser.add_argument("--add", action="append", default=[], metavar="TOOL=FILE", help="take over what a tool wrote")
    parser.add_argument("--machine", default="", help="of --add")
    parser.add_argument("--commit", default="", help="of --add")
    parser.add_argument("--at", default="", help="date of --add")
    parser.add_argument("--note", default="", help="what must be known to read the figures")
    parser.add_argument("--store", type=asked_path, default=STORE, help="where runs are kept")
    parser.add_argument("--out", type=asked_path, default=STORE.with_suffix(".md"), help="where the page is written")
    options = parser.parse_args()
    wanted = [name for name in options.run.split(",") if name]
    if unknown := set(wanted) - set(TOOLS):
        parser.error(f"--run {', '.join(sorted(unknown))}: write any of {', '.join(TOOLS)}")
    entries = read(options.store)
    for pair in options.add:
        entries.append(added(pair, options))
        write(options.store, entries)
    python = (itself(options.python) if options.python else with_torch()) if wanted else Path(sys.executable)
    failed = []
    for tool in (*wanted,) * options.rounds:
        found = measured(tool, note=options.note, python=python)
        if found is None:
            failed.append(tool)
            continue
        entries.append(found)
        write(options.store, entries)  # at once: a later one may fail, and GPU time is dear
    publish(entries, options.out)
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


def added(pair: str, options: argparse.Namespace) -> Entry:
    """A run that was made elsewhere."""
    tool, _, file = pair.partition("=")
    if tool not in TOOLS or not file or not options.machine or not options.commit:
        sys.exit(f"--add {pair}: write TOOL=FILE with one of {', '.join(TOOLS)}, and --machine and --commit beside it")
    data = json.loads(asked_path(file).read_text())
    simulated = isinstance(data, dict) and (data.get("simulated") is True or data.get("machine") == "simulated")
    return Entry(
        tool=tool,
        at=options.at or datetime.now(UTC).date().isoformat(),
        commit=options.commit,
        machine=options.machine,
        command=" ".join(COMMANDS[tool]),
        data=data,
        note=options.note,
        simulated=simulated,
    )


def measured(tool: str, *, note: str, python: Path) -> Entry | None:
    """A run made now; None: it failed, and its own words have been printed."""
    command = COMMANDS[tool]
    called: list[str | Path] = [*command, *(("--python", python) if tool in _TOLD else ())]
    if tool in {"native", "paths"}:
        called = [python, *command]
    if tool == "paths":
        subprocess.run(["make", "-s", "-C", "native/tests"], cwd=ROOT, check=True)  # noqa: S607 - our makefile
    print(f"== {' '.join(command)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        ended = subprocess.run([*called, "--json", file], cwd=ROOT, check=False)  # noqa: S603 - our own programs
        if not file.exists():
            print(f"{' '.join(command)} ended with {ended.returncode} and wrote nothing", file=sys.stderr)
            return None
        data = json.loads(file.read_text())
    return Entry(
        tool=tool,
        at=datetime.now(UTC).date().isoformat(),
        commit=_told(["git", "describe", "--always", "--dirty"]),
        machine=_machine(gpu=tool in NEEDS_GPU),
        command=" ".join(command),
        data=data,
        versions=versions(python) if tool in NEEDS_GPU else {"Python": platform.python_version()},
        note=note,
    )


def publish(entries: Sequence[Entry], out: Path) -> None:
    """Draw and write."""
    bench, checks = _program("scripts/bench-native"), _program("native/tests/gpu/checks.py")
    native = [(case.name, case.unit, case.aim) for case in bench.GPU_CASES]
    native += [
        ("64 processes initialise at once", "s", "ratio ≤ 1.05"),
        ("PyTorch eager decode", "tokens/s", "ratio ≥ 0.99"),
        ("PyTorch CUDA graph decode", "tokens/s", "ratio ≥ 0.995"),
    ]
    idle = [(case.name, case.unit, case.aim) for case in bench.IDLE_CASES]
    paths = [one[0] for one in checks.FRAMEWORKS]
    folder = out.with_suffix("")
    plots = {
        "accuracy": report_plots.accuracy(rows.cap_lines(entries), folder / "accuracy.svg"),
        "steps": report_plots.steps(rows.step_rows(entries), folder / "steps.svg"),
        "walls": report_plots.walls(rows.path_lines(entries, paths), folder / "walls.svg"),
        "overhead": report_plots.overhead(rows.overhead_lines(entries, "idle", idle), folder / "overhead.svg"),
    }
    drawn = {name for name, made in plots.items() if made}
    out.write_text(page(entries, native=native, idle=idle, paths=paths, drawn=drawn))
    print(f"wrote {os.path.relpath(out)} and {len(drawn)} plots")


def _program(name: str) -> ModuleType:
    """A script as a module, whatever its name ends with."""
    loader = SourceFileLoader(Path(name).name.replace("-", "_").removesuffix(".py"), str(ROOT / name))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None  # noqa: S101 - a source file has one
    module = module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


def _machine(*, gpu: bool) -> str:
    if gpu:
        return _told(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release().partition('-')[0]}"


def _told(command: Sequence[str]) -> str:
    """The first line that a program prints; empty where there is none."""
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - known tools
    except FileNotFoundError:
        return ""
    return (ended.stdout.strip().splitlines() or [""])[0]


if __name__ == "__main__":
    main()
