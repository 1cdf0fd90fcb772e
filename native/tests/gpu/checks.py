#!/usr/bin/env python3
"""Checks the wall on a real GPU, and prints one table.

    native/tests/gpu/checks.py [--json FILE] [--only WORD] [--frameworks-only | --paths-only]

Every path of `take` tries to get 8 GiB under a slice of 2 GiB; every framework that is installed runs under a slice
of 6 GiB, looks at it, runs into it and goes on. What the device really lost is read by a program that runs without
the interposer. Needs `make -C native && make -C native/tests`; nobody else may use the GPU meanwhile.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"
TAKE, OBSERVE = BUILD / "tests" / "take", BUILD / "tests" / "observe"
MIB = 1 << 20
PATH_SLICE, FRAMEWORK_SLICE = 2048 * MIB, 6144 * MIB
CHUNK, WANTED = 2 * MIB, 8192 * MIB
OUT_OF_MEMORY = 2
PATIENCE_S = 120  # for each half of a program: one that hangs must not cost a run on a lent GPU

# name, program, arguments, extra environment, packages that it needs
FRAMEWORKS: tuple[tuple[str, str, tuple[str, ...], Mapping[str, str], tuple[str, ...]], ...] = (
    ("PyTorch", "with_torch.py", (), {}, ("torch",)),
    (
        "PyTorch expandable_segments",
        "with_torch.py",
        (),
        {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
        ("torch",),
    ),
    (
        "PyTorch cudaMallocAsync",
        "with_torch.py",
        (),
        {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"},
        ("torch",),
    ),
    ("PyTorch CUDA graph", "with_torch.py", ("graph",), {}, ("torch",)),
    ("Triton", "with_torch.py", ("triton",), {}, ("torch", "triton")),
    ("NCCL, one rank", "with_torch.py", ("nccl",), {}, ("torch",)),
    ("JAX preallocating", "with_jax.py", (), {}, ("jax",)),
    ("JAX on demand", "with_jax.py", (), {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}, ("jax",)),
    ("CuPy pool", "with_cupy.py", (), {}, ("cupy",)),
    ("CuPy async pool", "with_cupy.py", ("async",), {}, ("cupy",)),
)


@dataclass(frozen=True)
class Check:
    """What came of one check. Sizes are bytes; `problem` is empty when all is well."""

    name: str
    slice: int
    used: int
    told: str
    problem: str


def words(line: str) -> dict[str, int]:
    """The `name=number` words of a line."""
    pairs = (word.split("=", 1) for word in line.split() if "=" in word)
    return {name: int(value) for name, value in pairs if value.lstrip("-").isdigit()}


def device_used() -> int:
    """What the device has lost, as NVML says without the interposer."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    first = subprocess.check_output([OBSERVE], env=environment, text=True).splitlines()[0]  # noqa: S603 - ours
    return words(first)["used"]


def behind(size: int, folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program behind a slice."""
    return {
        **os.environ,
        "LD_PRELOAD": str(BUILD / "libvramshare.so"),
        "VRAMSHARE_MEMORY": str(size),
        "VRAMSHARE_REGION": str(folder / "region"),
        **more,
    }


def converse(command: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], int, str, int]:
    """Runs a program up to its waiting point, reads the device, and lets it end.

    Returns what it printed up to there, how much the device lost, what it printed after, and its exit code.
    """
    before = device_used()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(  # noqa: S603 - the project's own programs
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        lines: list[str] = []
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        while line := process.stdout.readline() if process.stdout else "":
            lines.append(line.strip())
            if line.startswith(("refused", "took", "failed")):
                break
        watchdog.cancel()
        used = device_used() - before
        try:
            after, _ = process.communicate("\n", timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            after = "hangs after the refusal"
            process.communicate()
        errors.seek(0)
        tail = errors.read()[-400:] if process.returncode else ""
    return lines, used, (after.strip() + " " + tail).strip(), process.returncode


def judge(*, used: int, size: int, least: int, lines: Sequence[str], after: str, code: int) -> str:
    """What is wrong, or nothing."""
    last = lines[-1] if lines else ""
    if used > size:
        return f"{(used - size) / MIB:.0f} MiB past the slice"
    if not last.startswith("refused"):
        return f"not refused: {last} {after}"
    if used < least:
        return f"refused {(size - used) / MIB:.0f} MiB below the slice"
    if code != 0 or not after.endswith("healthy"):
        return f"not healthy after the refusal: {after}"
    return ""


def check_path(name: str, *, kind: str, folder: Path) -> Check:
    """One allocation path under the slice."""
    environment = behind(PATH_SLICE, folder, {})
    chunk = PATH_SLICE if kind == "shared" else CHUNK
    lines, used, after, code = converse([str(TAKE), name, str(chunk), str(WANTED)], environment)
    least = PATH_SLICE - max(PATH_SLICE // 100, 32 * MIB) if kind == "exact" else 0
    problem = judge(used=used, size=PATH_SLICE, least=least, lines=lines, after=after, code=code)
    if not problem and words(lines[-1]).get("code") != OUT_OF_MEMORY:
        problem = f"refused with another error than out of memory: {lines[-1]}"
    return Check(name, PATH_SLICE, used, lines[-1] if lines else "", problem)


def check_native(name: str) -> Check:
    """The same path without a wall: it must be able to take more than the slice."""
    lines, used, after, code = converse([str(TAKE), name, str(32 * MIB), str(PATH_SLICE * 3 // 2)], os.environ)
    last = lines[-1] if lines else ""
    light = name == "green-contexts"  # a few MiB each: it shows that they can be made
    fine = last.startswith("took") and (light or used > PATH_SLICE) and code == 0
    problem = "" if fine else f"does not take what it should without a wall: {last} {after}"
    return Check(f"{name}, no wall", 0, used, last, problem)


def check_framework(name: str, program: str, arguments: Sequence[str], more: Mapping[str, str], folder: Path) -> Check:
    """One framework under the slice."""
    command = [sys.executable, str(HERE / "programs" / program), *arguments]
    lines, used, after, code = converse(command, behind(FRAMEWORK_SLICE, folder, more))
    problem = judge(used=used, size=FRAMEWORK_SLICE, least=0, lines=lines, after=after, code=code)
    seen = next((words(line).get("total", 0) for line in lines if line.startswith("seen")), 0)
    if not problem and not 0 < seen <= FRAMEWORK_SLICE:
        problem = f"sees {seen / MIB:.0f} MiB instead of the slice"
    return Check(name, FRAMEWORK_SLICE, used, " / ".join(lines)[:240], problem)


def check_smi(folder: Path) -> Check:
    """`nvidia-smi` shows the slice."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(  # noqa: S603 - nvidia-smi of this machine
        command, env=behind(PATH_SLICE, folder, {}), capture_output=True, text=True, check=False
    )
    shown = done.stdout.strip()
    problem = "" if shown == str(PATH_SLICE // MIB) else f"shows {shown or done.stderr.strip()} MiB"
    return Check("nvidia-smi", PATH_SLICE, 0, shown, problem)


def paths() -> dict[str, str]:
    """The paths that `take` knows, and how near they come to the slice: exact, loose, or shared."""
    listed = subprocess.check_output([TAKE, "--list"], text=True).splitlines()  # noqa: S603 - ours
    return dict(line.split() for line in listed)


def run_checks(options: argparse.Namespace, folder: Path) -> Iterable[Check]:
    """All checks that were asked for and can run here."""
    if not options.frameworks_only:
        for name, kind in paths().items():
            if options.only in name:
                yield check_path(name, kind=kind, folder=folder)
        for name, kind in paths().items() if options.native else ():
            if options.only in name and kind != "shared":
                yield check_native(name)
    if options.paths_only:
        return
    if shutil.which("nvidia-smi") and options.only in "nvidia-smi":
        yield check_smi(folder)
    for name, program, arguments, more, packages in FRAMEWORKS:
        if options.only in name and all(importlib.util.find_spec(package) for package in packages):
            yield check_framework(name, program, arguments, more, folder)


def main() -> None:
    """Runs and prints; exits 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results here, too")
    parser.add_argument("--only", default="", help="checks whose name contains this")
    parser.add_argument("--frameworks-only", action="store_true")
    parser.add_argument("--paths-only", action="store_true")
    parser.add_argument("--native", action="store_true", help="also show that each path works without a wall")
    options = parser.parse_args()
    done: list[Check] = []
    print("| check | slice MiB | device lost MiB | result | told |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for check in run_checks(options, Path(folder)):
            done.append(check)
            size = f"{check.slice / MIB:.0f}" if check.slice else "-"
            print(
                f"| {check.name} | {size} | {check.used / MIB:.1f} | {check.problem or 'ok'} | {check.told} |",
                flush=True,
            )
            if options.json:
                options.json.write_text(json.dumps([asdict(one) for one in done], indent=1))
    sys.exit(any(check.problem for check in done))


if __name__ == "__main__":
    main()
