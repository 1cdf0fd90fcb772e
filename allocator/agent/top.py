"""`vramshare top`: what each container on this node uses of its slice, now.

Reads the node's files alone: no API server, no driver, no rights beyond reading the kubelet's folder.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from allocator.agent.kubelet import LOGS, Container, containers, kubelet_folder
from allocator.api.errors import VramshareError
from allocator.api.quantities import Memory

HEADER: Final = ("POD", "CONTAINER", "GPU", "USED", "LIMIT", "USE%", "PEAK", "REFUSED", "PROCESSES")
_CLEAR: Final = "\x1b[H\x1b[2J"


class TopCommand:
    """The subcommand."""

    help = "show what each container on this node uses of its slice"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line may say."""
        parser.add_argument("--once", action="store_true", help="print one table and end; the default off a terminal")
        parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="time between two tables")
        parser.add_argument("--host-root", type=Path, default=Path("/"), help="where the node's file system is")
        parser.add_argument("--kubelet-dir", type=Path, help="the kubelet's folder; default: found under --host-root")

    def run(self, args: argparse.Namespace) -> int:
        """Print tables until interrupted, or one."""
        kubelet: Path | None = args.kubelet_dir or kubelet_folder(args.host_root)
        if kubelet is None:
            raise VramshareError(f"no kubelet folder under {args.host_root}; name it with --kubelet-dir")
        once = args.once or not sys.stdout.isatty()
        while True:
            lines = table(rows(containers(kubelet, logs=args.host_root / LOGS)))
            sys.stdout.write(("" if once else _CLEAR) + "\n".join(lines) + "\n")
            sys.stdout.flush()
            if once:
                return 0
            time.sleep(max(0.1, args.every))


command: Final = TopCommand()


def rows(found: Iterable[Container]) -> list[tuple[str, ...]]:
    """One row per container and GPU. Limits are the kubelet's; the rest is the container's own account."""
    result: list[tuple[str, ...]] = []
    for one in found:
        used = {gpu.uuid: gpu for gpu in one.region.gpus} if one.region else {}
        processes = str(len(one.region.processes)) if one.region else "-"
        for part in one.slices:
            gpu = used.get(part.uuid)
            total = gpu.total if gpu else 0
            share = f"{total * 100 // part.memory.count}%" if part.memory.count else "-"
            shown = (_mib(total), _mib(part.memory.count), share, _mib(gpu.peak if gpu else 0))
            refused = str(gpu.refused) if gpu else "0"
            result.append((one.pod, one.name, part.uuid, *shown, refused, processes))
        if one.problem:
            result.append((one.pod, one.name, f"({one.problem})", "", "", "", "", "", ""))
    return result


def table(body: Sequence[tuple[str, ...]]) -> list[str]:
    """Aligned columns under their header."""
    lines = [HEADER, *body]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _mib(count: int) -> str:
    return f"{count // Memory.mib(1).count}Mi"
