"""How exactly GPU time is held to its share, beside the uncapped run. One table; needs root where tenants meet.

    scripts/bench-cap [--seconds 10] [--rows ROWS] [--json FILE] [--simulated]

    caps     every cap, kernels of 20 µs, 1 ms and 50 ms; cpu% is the whole program's, limiter% what the cap adds to it
    shapes   every other way to launch, at one cap
    free     with the interposer and no cap, beside a run without the interposer
    tenants  neighbours at once, one of them without a share
    step     a share that is changed while the program runs, from two cycles and half a second after the change
    lend     idle time lent to a burst tenant, and how long its owner waits to have it back
    torch    PyTorch's own rate

On a machine with a GPU; --simulated takes the fake driver instead, whose figures say nothing about a GPU. Every capped
run stands beside uncapped ones of the same shape before and after it: clock rates wander.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_cap_change import lend, step
from bench_cap_loads import BUILD, MS, ROOT, US, Bench, Neighbour, Shape, output

GROUPS = ("caps", "shapes", "free", "tenants", "step", "lend", "torch")
DESCRIPTION = "[GPU-11111111-2222-3333-4444-555555555555]\nmodel = Tesla T4\nmemory = 15360Mi\n"


def caps() -> Iterator[tuple[Shape, Sequence[int]]]:
    """Every cap with one shape per length of kernel."""
    for kernel in (20 * US, MS, 50 * MS):
        yield Shape(kernel, 1, "async"), (10, 25, 40, 50, 75)


def shapes() -> Iterator[tuple[Shape, Sequence[int]]]:
    """Every other shape, at one cap."""
    for kernel in (20 * US, MS, 50 * MS):
        for blocks in (1, 64):
            for pattern in ("async", "sync", "graph1", "graph20"):
                # A graph of 20 kernels of 50 ms is a second long: longer than any window.
                if (blocks, pattern) != (1, "async") and (kernel, pattern) != (50 * MS, "graph20"):
                    yield Shape(kernel, blocks, pattern), (25,)


def couples(seconds: float) -> Iterator[tuple[list[Neighbour], float]]:
    """Neighbours: both busy, with equal and with unequal work, and one without a share; long units for longer."""
    for first in (30, 10):
        for kernel, times in ((MS, 1), (20 * US, 1), (5 * MS, 1), (50 * MS, 3)):
            shape = Shape(kernel, 1, "async")
            yield [Neighbour(first, shape), Neighbour(100 - first, shape)], seconds * times
    yield [Neighbour(30, Shape(20 * US, 1, "async")), Neighbour(70, Shape(5 * MS, 1, "async"))], seconds
    yield [Neighbour(40, Shape(MS, 1, "async")), Neighbour(0, Shape(MS, 1, "async"))], seconds


def _environment(folder: Path, *, simulated: bool) -> tuple[dict[str, str], str, str]:
    """The programs' environment, the GPU's UUID, and what machine it is."""
    environment = dict(os.environ)
    if not simulated:
        shown = output(["nvidia-smi", "--query-gpu=uuid,name,driver_version", "--format=csv,noheader"], environment)
        uuid, _, rest = shown.splitlines()[0].partition(", ")
        return environment, uuid, rest
    (folder / "gpus.ini").write_text(DESCRIPTION)
    environment |= {"FAKEGPU_DIR": str(folder), "LD_LIBRARY_PATH": str(BUILD / "fakegpu")}
    return environment, DESCRIPTION[1:41], "simulated"


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each capped run")
    parser.add_argument("--rows", default=",".join(GROUPS), help="which groups, in order")
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--simulated", action="store_true", help="on the fake driver")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no new row is begun")
    arguments = parser.parse_args()
    began = time.monotonic()
    if shutil.which("make"):
        for target in ("native", "native/tests"):
            output(["make", "-s", "-C", str(ROOT / target)], dict(os.environ))
    with tempfile.TemporaryDirectory() as name:
        environment, uuid, machine = _environment(Path(name), simulated=arguments.simulated)
        bench = Bench(
            seconds=arguments.seconds,
            folder=Path(name),
            environment=environment,
            uuid=uuid,
            python=arguments.python,
        )
        print(f"machine: {machine}\n cap   share%  spread  longest ms    cpu%  limiter%  work", flush=True)
        for work in _plan(bench, arguments.rows.split(",")):
            if time.monotonic() - began > arguments.budget:
                print("out of budget; the remaining rows were not measured")
                break
            work()
            if arguments.json:  # at once: a later row may fail, and GPU time is dear
                arguments.json.write_text(json.dumps({"machine": machine, "rows": bench.rows}, indent=1) + "\n")


def _plan(bench: Bench, groups: Sequence[str]) -> Iterator["Work"]:
    for group in groups:
        if group in ("caps", "shapes"):
            yield from (Work(bench.caps, pair) for pair in (caps() if group == "caps" else shapes()))
        elif group == "free":
            yield from (Work(bench.free, (Shape(kernel, 1, "async"),)) for kernel in (20 * US, MS))
        elif group == "tenants":
            yield from (Work(bench.tenants, pair) for pair in couples(bench.seconds))
        elif group == "step":
            yield from (Work(step, (bench, *pair)) for pair in ((25, 75), (75, 25)))
        elif group == "lend":
            yield Work(lend, (bench,))
        elif group == "torch" and not bench.has_torch():
            print(f"no PyTorch in {bench.python}: its rows are left out; name one that has it by --python")
        elif group == "torch":
            yield Work(bench.torch, ("matmul", "PyTorch, 2048² half-precision products", 50))
            yield Work(bench.torch, ("decode", "PyTorch, decode step as a CUDA graph", 50))
        else:
            sys.exit(f"--rows {group}: write any of {', '.join(GROUPS)}")


@dataclass(frozen=True)
class Work:
    """Rows to be measured."""

    run: Callable[..., None]
    arguments: Sequence[object]

    def __call__(self) -> None:
        """Measure them."""
        self.run(*self.arguments)
