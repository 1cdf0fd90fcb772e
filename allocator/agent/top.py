"""`vramshare top`: what each container on this node uses of its slice, now.

Reads the node's files alone: no API server, no driver, no rights beyond reading the kubelet's folder.

GPU time is told as of the time between two readings. It is counted only on GPUs where some tenant has a cap.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from allocator.agent.kubelet import LOGS, Container, containers, kubelet_folder
from allocator.agent.region import GpuUse
from allocator.api.allocation import Slice
from allocator.api.errors import VramshareError
from allocator.api.quantities import CoresPolicy, Memory

HEADER: Final = (
    "POD",
    "CONTAINER",
    "GPU",
    "USED",
    "LIMIT",
    "USE%",
    "PEAK",
    "REFUSED",
    "TIME%",
    "CAP",
    "WAIT%",
    "DEBT",
    "PROCESSES",
)
_CLEAR: Final = "\x1b[H\x1b[2J"


class TopCommand:
    """The subcommand."""

    help = "show what each container on this node uses of its slice"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line may say."""
        parser.add_argument("--once", action="store_true", help="print one table and end; the default off a terminal")
        parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="time between two tables")
        parser.add_argument(
            "--sample", type=float, default=0.5, metavar="SECONDS", help="what the first table looks at"
        )
        parser.add_argument("--host-root", type=Path, default=Path("/"), help="where the node's file system is")
        parser.add_argument("--kubelet-dir", type=Path, help="the kubelet's folder; default: found under --host-root")

    def run(self, args: argparse.Namespace) -> int:
        """Print tables until interrupted, or one."""
        kubelet: Path | None = args.kubelet_dir or kubelet_folder(args.host_root)
        if kubelet is None:
            raise VramshareError(f"no kubelet folder under {args.host_root}; name it with --kubelet-dir")
        once = args.once or not sys.stdout.isatty()
        before = read(kubelet, args.host_root)
        time.sleep(args.sample)
        while True:
            now = read(kubelet, args.host_root)
            lines = table(rows(now, before))
            before = now
            sys.stdout.write(("" if once else _CLEAR) + "\n".join(lines) + "\n")
            sys.stdout.flush()
            if once:
                return 0
            time.sleep(max(0.1, args.every))


command: Final = TopCommand()


@dataclass(frozen=True, slots=True)
class Reading:
    """The node at one moment.

    Attributes:
        at: when it was read, in nanoseconds.
        containers: all with slices.
    """

    at: int
    containers: Sequence[Container]

    def use(self, tenant: Container, uuid: str) -> GpuUse | None:
        """What a container used of a GPU; None: not there then, or it had not touched it."""
        regions = (one.region for one in self.containers if (one.uid, one.name) == (tenant.uid, tenant.name))
        return next((gpu for region in regions if region for gpu in region.gpus if gpu.uuid == uuid), None)


def read(kubelet: Path, root: Path) -> Reading:
    """The node now."""
    return Reading(at=time.monotonic_ns(), containers=tuple(containers(kubelet, logs=root / LOGS)))


def rows(now: Reading, before: Reading) -> list[tuple[str, ...]]:
    """One row per container and GPU. Limits are the kubelet's; the rest is the container's own account."""
    result: list[tuple[str, ...]] = []
    for one in now.containers:
        used = {gpu.uuid: gpu for gpu in one.region.gpus} if one.region else {}
        processes = str(len(one.region.processes)) if one.region else "-"
        for part in one.slices:
            gpu = used.get(part.uuid)
            total = gpu.total if gpu else 0
            share = f"{total * 100 // part.memory.count}%" if part.memory.count else "-"
            shown = (_mib(total), _mib(part.memory.count), share, _mib(gpu.peak if gpu else 0))
            refused = str(gpu.refused) if gpu else "0"
            turns = _time(part, gpu, before.use(one, part.uuid), passed=now.at - before.at)
            result.append((one.pod, one.name, part.uuid, *shown, refused, *turns, processes))
        if one.problem:
            result.append((one.pod, one.name, f"({one.problem})", *[""] * (len(HEADER) - 3)))
    return result


def _time(part: Slice, now: GpuUse | None, before: GpuUse | None, *, passed: int) -> tuple[str, str, str, str]:
    """GPU time used, cap (with a plus where it may borrow), time that launches were held back, time owed."""
    cap = "-" if not part.cores else f"{part.cores}%" + "+" * (part.policy is CoresPolicy.BURST)
    if now is None or before is None or not now.time_used or passed <= 0:
        return "-", cap, "-", "-"

    def rate(count: int) -> str:
        return f"{max(0, count) * 100 // passed}%"

    used, waited = rate(now.time_used - before.time_used), rate(now.time_waited - before.time_waited)
    return used, cap, waited, f"{now.time_debt / 1e6:.1f}ms"


def table(body: Sequence[tuple[str, ...]]) -> list[str]:
    """Aligned columns under their header."""
    lines = [HEADER, *body]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _mib(count: int) -> str:
    return f"{count // Memory.mib(1).count}Mi"
