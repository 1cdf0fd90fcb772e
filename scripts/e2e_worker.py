#!/usr/bin/env python3
"""The GPU program of scripts/e2e-gpu: PyTorch where it is installed with CUDA, else the driver by ctypes.

    e2e_worker.py --hold 1500 --size 1024 --pause 0.1     hold 1,500 MiB, multiply until stopped
    e2e_worker.py --hold 500 --greedy                     allocate until refused, let go, again, until stopped

An ordinary program that knows nothing of vramshare. It prints a line of JSON four times a second. The file named by
--control, if it is there, says how long to pause between products. The GPU is used by a child process, so that it
can be killed with -9 in a container, whose first process cannot.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

MIB: Final = 1024**2
EVERY: Final = 0.25
"""Seconds between two lines."""
STEP: Final = 256
"""MiB that the greedy one takes at a time."""


class Engine(Protocol):
    """A way to use the GPU."""

    name: str

    def hold(self, mib: int) -> None:
        """Take so much and keep it."""

    def matrices(self, size: int) -> Callable[[], None]:
        """Make matrices; gives what multiplies them once and waits until it is done."""

    def memory(self) -> tuple[int, int]:
        """Used and total bytes, as the program is shown them."""

    def overreach(self) -> tuple[int, str]:
        """Take until refused, let go: MiB that were had, and the refusal's own words."""


class Torch:
    """PyTorch."""

    def __init__(self) -> None:
        import torch  # noqa: PLC0415 - only where it is there

        if not torch.cuda.is_available():
            raise ImportError("PyTorch without a GPU")
        self._torch = torch
        self._kept: list[Any] = []
        self.name = f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}"

    def hold(self, mib: int) -> None:
        """A tensor of bytes."""
        self._kept.append(self._torch.empty(mib * MIB, dtype=self._torch.uint8, device="cuda"))

    def matrices(self, size: int) -> Callable[[], None]:
        """Half precision, as in training."""
        torch = self._torch
        left, right = (torch.randn(size, size, dtype=torch.half, device="cuda") for _ in range(2))
        product = torch.empty_like(left)

        def multiply() -> None:
            torch.matmul(left, right, out=product)
            torch.cuda.synchronize()

        multiply()
        return multiply

    def memory(self) -> tuple[int, int]:
        """What cudaMemGetInfo says."""
        free, total = self._torch.cuda.mem_get_info()
        return total - free, total

    def overreach(self) -> tuple[int, str]:
        """Until PyTorch raises its own error."""
        taken: list[Any] = []
        try:
            while True:
                taken.append(self._torch.empty(STEP * MIB, dtype=self._torch.uint8, device="cuda"))
        except self._torch.cuda.OutOfMemoryError as reason:
            words = f"{type(reason).__name__}: {str(reason).splitlines()[0]}"
        had = len(taken) * STEP
        taken.clear()
        self._torch.cuda.empty_cache()
        return had, words


class Driver:
    """The driver alone, by the demo's few calls: needs no package."""

    def __init__(self) -> None:
        import demo_worker  # noqa: PLC0415 - beside this file

        self._demo = demo_worker
        self._cuda = demo_worker.Cuda()
        self.name = f"driver API by ctypes on {self._cuda.model}"

    def hold(self, mib: int) -> None:
        """One allocation."""
        self._cuda.take(mib * MIB)

    def matrices(self, size: int) -> Callable[[], None]:
        """The demo's kernel."""
        matrices = self._demo.Matrices.made(self._cuda, size)

        def multiply() -> None:
            matrices.multiply()
            self._cuda.wait()

        multiply()
        return multiply

    def memory(self) -> tuple[int, int]:
        """What cuMemGetInfo says."""
        return self._cuda.memory()

    def overreach(self) -> tuple[int, str]:
        """Until the driver refuses."""
        taken: list[int] = []
        try:
            while True:
                taken.append(self._cuda.take(STEP * MIB))
        except self._demo.CudaError as reason:
            words = str(reason)
        for address in taken:
            self._cuda.free(address)
        return len(taken) * STEP, words


def engine() -> Engine:
    """PyTorch if there is one with a GPU."""
    try:
        return Torch()
    except ImportError:
        return Driver()


def work(options: argparse.Namespace) -> None:
    """Use the GPU until stopped."""
    gpu = engine()
    gpu.hold(options.hold)
    said = {"worker": options.name, "pid": os.getpid(), "engine": gpu.name}
    if options.greedy:
        while True:
            had, words = gpu.overreach()
            used, total = gpu.memory()
            print(json.dumps({**said, "at": time.time(), "had": had, "refusal": words, "total": total}), flush=True)
            time.sleep(EVERY)
    multiply, done, end = gpu.matrices(options.size), 0, time.monotonic() + (options.seconds or float("inf"))
    told = 0.0
    while time.monotonic() < end:
        multiply()
        done += 1
        now = time.monotonic()
        if now - told >= EVERY:
            told = now
            used, total = gpu.memory()
            line = {**said, "at": time.time(), "clock": now, "products": done, "used": used, "total": total}
            print(json.dumps(line), flush=True)
        if pause := paused(options):
            time.sleep(pause)


def paused(options: argparse.Namespace) -> float:
    """Seconds between two products."""
    with contextlib.suppress(OSError, ValueError):
        return float(options.control.read_text())
    return float(options.pause)


def guard(argv: list[str]) -> int:
    """Run the work in a child, pass signals on, end as it does."""
    child = subprocess.Popen([sys.executable, __file__, *argv, "--child"])  # noqa: S603 - this program
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: child.kill())
    code = child.wait()
    return code if code >= 0 else 128 - code


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="worker")
    parser.add_argument("--hold", type=int, required=True, metavar="MIB")
    parser.add_argument("--size", type=int, default=1024, help="rows of the matrices")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two products")
    parser.add_argument("--control", type=Path, default=Path("/opt/control/pause"))
    parser.add_argument("--seconds", type=float, help="then end; default: never")
    parser.add_argument("--greedy", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.child:
        return guard(sys.argv[1:])
    work(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
