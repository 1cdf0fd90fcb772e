"""vramshare on a real GPU from end to end: two workers, an over-allocator, a kill, a restart, a resize, an eviction.

Embedded cluster, webhook, allocator, NVML agent and interposer are the product's own; the workers are PyTorch where
--python has it (by default the first python3 on PATH that does), and the driver's API otherwise. What is measured is
printed as it is found, then as a table, and written as JSON. With --fake the GPU is simulated: the same story, and
figures that say nothing about a GPU.
"""

import argparse
import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from demo_folder import Workspace, asked_path, played
from demo_main import catch_signals
from demo_nodes import REAL, SIMULATED
from demo_show import DemoError, Show
from demo_stage import real_gpu, set_up
from e2e_measure import A, B, Meter, OneGpu, alone, first_gpu, plain, simulated_gpu, spread
from e2e_story import Results, tell
from interpreters import itself, with_torch

FAKE = SIMULATED[0]


def main() -> int:
    """Tell the story; 0: every claim held."""
    parser = argparse.ArgumentParser(
        prog="scripts/e2e-gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fake", action="store_true", help="on the simulated driver")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--python", type=asked_path, help="interpreter of the workers")
    parser.add_argument("--json", type=asked_path, help="write what was measured there")
    parser.add_argument("--dir", type=asked_path, help="folder for files and logs, kept; default: a temporary one")
    options = parser.parse_args()
    if not options.fake and not real_gpu():
        parser.error("no NVIDIA GPU here; --fake plays the story on the simulated driver")
    if options.python and not options.python.is_file():
        parser.error(f"--python {options.python}: there is no such file; name an interpreter by its path")
    if options.python:
        options.python = itself(options.python)
    else:
        options.python = Path(sys.executable) if options.fake else with_torch()
    catch_signals()
    return played(options.dir, prefix="vramshare-e2e-", what="It", play=partial(_play, options))


def _play(options: argparse.Namespace, space: Workspace) -> int:
    """The story in its folder."""
    folder = space.path
    node = FAKE if options.fake else REAL
    gpu = simulated_gpu(node) if options.fake else first_gpu()
    before = _native(options, folder, gpu)
    with set_up(folder, given=None, nodes=(node,), nvml=True) as stage:
        if stage.unwalled:
            raise DemoError(stage.unwalled)
        results = Results(native={name: rate for name, (rate, _) in before.items()}, engine=before[A.name][1])
        show = stage.show
        try:
            tell(Meter(stage, node, gpu, options.python, options.seconds), results)
        except DemoError as reason:  # what was measured so far is still worth having
            results.missing["the rest of the story"] = str(reason)
            show.claim("the story comes to its end", held=False, found=str(reason))
    after = _native(options, folder, gpu)
    said = _document(options, results, {name: (before[name][0], after[name][0]) for name in before}, show)
    said["gpu"] = gpu.name
    show.title(f"{show.held} claims held, {len(show.failed)} failed, {len(show.skipped)} skipped")
    print(table(said), flush=True)
    if options.json:
        options.json.write_text(json.dumps(said, indent=1) + "\n")
    return 1 if show.failed else 0


def _native(options: argparse.Namespace, folder: Path, gpu: OneGpu) -> dict[str, tuple[float, str]]:
    """Each worker alone and without vramshare."""
    state = None
    if options.fake:
        state = folder / "native"
        state.mkdir(exist_ok=True)
        (state / "gpus.ini").write_text(FAKE.description(1))
    return {
        one.name: alone(one, python=options.python, environment=plain(gpu, state), seconds=min(options.seconds, 3.0))
        for one in (A, B)
    }


def _document(
    options: argparse.Namespace, results: Results, native: dict[str, tuple[float, float]], show: Show
) -> dict[str, Any]:
    """All that was found, for machines."""
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - git
    return {
        "what": "e2e-gpu",
        "simulated": options.fake,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": platform.platform(),
        "engine": results.engine,
        "seconds": options.seconds,
        "native": {name: {"before": one[0], "after": one[1], "spread": spread(one)} for name, one in native.items()},
        "rates": results.rates,
        "share": {one.name: results.share("busy", one) for one in (A, B) if "busy" in results.rates},
        "cap": {one.name: one.cores for one in (A, B)},
        "memory": results.memory,
        "said": results.said,
        "missing": results.missing,
        "failed": show.failed,
        "skipped": show.skipped,
    }


def table(said: dict[str, Any]) -> str:
    """The same for people."""
    mark = "SIMULATED, says nothing about a GPU: " if said["simulated"] else ""
    lines = [f"{mark}{said['gpu']}; {said['engine']}; commit {said['commit']}; {said['seconds']:g} s each", ""]
    lines += [f"{'products a second':32} {'worker-a':>10} {'worker-b':>10}"]
    native = said["native"]
    for when in ("before", "after"):
        lines.append(_row(f"alone, without vramshare, {when}", {name: one[when] for name, one in native.items()}))
    lines += [_row(chapter, rates) for chapter, rates in said["rates"].items() if chapter != "settling"]
    lines.append(_row("share of alone when busy, %", said["share"]))
    lines.append(_row("cap, %", said["cap"]))
    lines += ["", f"{'MiB':38} {'inside':>8} {'slice':>8} {'agent':>8} {'NVML, whole GPU':>16}"]
    for chapter, views in said["memory"].items():
        for one in (A, B):
            seen, whole = views[one.name], views["gpu"]["nvml"]
            figures = f"{seen['inside']:>8g} {seen['slice']:>8g} {seen['agent']:>8g} {whole:>16g}"
            lines.append(f"{f'{one.name}, {chapter}':38} {figures}")
    lines += ["", *(f"{what}: {text}" for what, text in said["said"].items())]
    lines += [f"not measured: {what}: {why}" for what, why in said["missing"].items()]
    return "\n".join(lines)


def _row(text: str, found: dict[str, float]) -> str:
    cells = [f"{found[one.name]:10.1f}" if one.name in found else f"{'-':>10}" for one in (A, B)]
    return f"{text:32} {' '.join(cells)}"


if __name__ == "__main__":
    sys.exit(main())
