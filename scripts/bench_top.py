"""Processor time of `vramshare top` at a terminal of 50 lines, on a made-up node with many busy containers.

The program itself runs on a pseudo terminal with its own pace (a look every two seconds); its regions are as large as
the interposer's. Start-up is left out: two readings of its processor time are taken, `--seconds` apart.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path
from typing import Final

from allocator.agent import region as layout

GPUS: Final = 8
SLOTS: Final = 64
USED: Final = 3
_SLOT: Final = layout._SLOT_FIXED + GPUS * layout._USE.size  # noqa: SLF001 - the layout has one definition, that one


def node(root: Path, containers: int) -> None:
    """A node's folders with so many containers, each with a slice that it uses."""
    for number in range(containers):
        uid = f"00000000-0000-4000-8000-{number:012x}"
        volumes = root / "var/lib/kubelet/pods" / uid / "volumes"
        allocation = volumes / "kubernetes.io~downward-api/vramshare-allocation-main"
        allocation.mkdir(parents=True)
        gpu = bytes([number % GPUS + 1]) * 16
        name = f"GPU-{layout.uuid.UUID(bytes=gpu)}"
        (allocation / "allocation").write_text(f"{name} memory={4 << 30} cores=10\n")
        region = volumes / "kubernetes.io~empty-dir/vramshare-region/main"
        region.mkdir(parents=True)
        (region / "region").write_bytes(_region(gpu, used=number << 20))
        (root / "var/log/pods" / f"team-{number % 7}_worker-{number}_{uid}").mkdir(parents=True)


def _region(gpu: bytes, *, used: int) -> bytes:
    """A usage region with a few processes."""
    gpu_at = 256
    slots_at = gpu_at + GPUS * layout._GPU.size  # noqa: SLF001 - as above
    header = layout._HEADER.pack(  # noqa: SLF001 - as above
        layout.MAGIC, layout.VERSION, 0, gpu_at, layout._GPU.size, GPUS,  # noqa: SLF001 - as above
        slots_at, _SLOT, SLOTS, layout._SLOT_FIXED, layout._USE.size, 0, 0, USED, 0,  # noqa: SLF001 - as above
    )  # fmt: skip
    raw = bytearray(slots_at + SLOTS * _SLOT)
    raw[: len(header)] = header
    layout._GPU.pack_into(raw, gpu_at, gpu, 4 << 30, 0, 0, 0, used, 0, 10**12, 10**11, 0, 0, 0, 0, 10**12)  # noqa: SLF001
    for slot in range(USED):
        at = slots_at + slot * _SLOT
        layout._SLOT.pack_into(raw, at, slot + 1, slot + 1, 0, 0, slot + 100, 0)  # noqa: SLF001 - as above
        layout._USE.pack_into(raw, at + layout._SLOT_FIXED, used // USED, 0, 0)  # noqa: SLF001 - as above
    return bytes(raw)


def processor(pid: int) -> float:
    """Seconds of processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(root: Path, seconds: float) -> float:
    """Percent of a core."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 180, 0, 0))
    program = Path(sys.executable).with_name("vramshare")
    argv = [program, "top", "--host-root", root, "--sort", "time"]
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)  # noqa: S603 - ours
    os.close(theirs)
    shown = threading.Event()

    def drain() -> None:
        with contextlib.suppress(OSError):
            while select.select([ours], [], [], 5)[0] and (text := os.read(ours, 1 << 16)):
                if b"team-" in text:
                    shown.set()

    threading.Thread(target=drain, daemon=True).start()
    try:
        if not shown.wait(60):
            sys.exit("vramshare top showed nothing within a minute")
        time.sleep(3)  # past the short first sample
        before, started = processor(process.pid), time.monotonic()
        time.sleep(seconds)
        return 100 * (processor(process.pid) - before) / (time.monotonic() - started)
    finally:
        process.terminate()
        process.wait()
        os.close(ours)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--containers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path, help="write the figure here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        node(Path(folder), options.containers)
        found = measure(Path(folder), options.seconds)
    print(f"{options.containers} containers, a look every 2 s: {found:.2f} % of a core")
    if options.json:
        options.json.write_text(json.dumps({"containers": options.containers, "percent_of_a_core": found}) + "\n")


if __name__ == "__main__":
    main()
