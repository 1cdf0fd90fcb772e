"""What an agent costs on a full node: processor time at its real pace, memory, a look, a scrape.

Real are the agent with all its duties, its files, /proc, and the GPU processes: that many processes sleep with the
interposer in them. Simulated are what the driver says of them, their regions, and the API server (in memory).
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from allocator.agent import region
from allocator.agent.interposer import install
from allocator.agent.simulated_proc import RECORDS

ROOT: Final = Path(__file__).resolve().parents[1]
INTERPOSER: Final = ROOT / "native" / "build" / "libvramshare.so"
GIB: Final = 1 << 30
NODE: Final = "gpu-node-0001"
SLOTS_AT, SLOT, SLOTS, USE_AT, USE = 4096, 1664, 1024, 128, 96


@dataclass(frozen=True, slots=True)
class Tenant:
    """One container of the node; all its names follow from its number."""

    number: int
    gpus: int

    @property
    def uid(self) -> str:
        """Its pod's."""
        return f"0b6f7a1e-0000-4000-8000-{self.number:012x}"

    @property
    def gpu(self) -> str:
        """The GPU that it has a slice of."""
        return f"GPU-{self.number % self.gpus:08x}-0000-4000-8000-{self.number % self.gpus:012x}"

    @property
    def allocation(self) -> str:
        """Its grant's id."""
        return f"{self.number:016x}"

    @property
    def pod(self) -> str:
        """Its pod's name."""
        return f"inference-7d4b9c6f5b-{self.number:05x}"


@contextmanager
def node(root: Path, tenants: Sequence[Tenant]) -> Iterator[None]:
    """A host's files below `root`, and a process for each container."""
    installed = install(INTERPOSER, host_dir=root / "var/lib/vramshare", version="0.1.0")
    environment = {**os.environ, "LD_PRELOAD": str(installed.file)}
    (root / RECORDS).mkdir(parents=True)
    held: dict[str, list[int]] = {}
    with ExitStack() as stack:
        for one in tenants:
            process = stack.enter_context(subprocess.Popen(["sleep", "3600"], env=environment))  # noqa: S607 - a program that every system has
            stack.callback(process.kill)
            held.setdefault(one.gpu, []).append(process.pid)
            write_tenant(root, one, process.pid)
        (root / "processes.json").write_text(json.dumps(held))
        yield


def write_tenant(root: Path, one: Tenant, pid: int) -> None:
    """What kubelet, runtime and interposer leave of a container with one process."""
    start = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    record = f"{start}\n0::/kubepods/burstable/pod{one.uid}/{one.number:064x}\nmain\n"
    (root / RECORDS / str(pid)).write_text(record)
    volumes = root / "var/lib/kubelet/pods" / one.uid / "volumes"
    allocation = volumes / "kubernetes.io~downward-api/vramshare-allocation-main"
    (allocation / "..1").mkdir(parents=True)
    (allocation / "..data").symlink_to("..1")
    (allocation / "allocation").symlink_to("..data/allocation")
    line = f"{one.gpu} memory={2 * GIB} cores=2 tenant={one.allocation}/main\n"
    (allocation / "..1/allocation").write_text(line)
    folder = volumes / "kubernetes.io~empty-dir/vramshare-region/main"
    folder.mkdir(parents=True)
    namespace = Path(f"/proc/{pid}/ns/pid").stat().st_ino
    write_region(folder / "region", one, pid=pid, start=int(start), namespace=namespace)
    (root / "var/log/pods" / f"team-{one.number % 20}_{one.pod}_{one.uid}").mkdir(parents=True)


def write_region(file: Path, one: Tenant, *, pid: int, start: int, namespace: int) -> None:
    """A region of one process that holds 1 GiB, as native/include/region.h lays it out."""
    size = SLOTS_AT + SLOTS * (SLOT + 32)
    head = (region.MAGIC, 1, SLOTS_AT, 256, 192, 16, SLOTS_AT, SLOT, SLOTS, USE_AT, USE, size, 1, 1, 0)
    raw = bytearray(SLOTS_AT + SLOT)
    struct.pack_into("<QIIIIIIIIIIQQII", raw, 0, *head)
    uuid = bytes.fromhex(one.gpu.removeprefix("GPU-").replace("-", ""))
    struct.pack_into("<16s6Q", raw, 256, uuid, 2 * GIB, 300 << 20, 0, 0, GIB, 2)
    struct.pack_into("<QQQQII", raw, SLOTS_AT, 1, 1, namespace, start, pid, 0)
    struct.pack_into("<3Q", raw, SLOTS_AT + USE_AT, GIB - (300 << 20), 300 << 20, 0)
    with file.open("wb") as stream:
        stream.write(raw)
        stream.truncate(size)


def scrape(port: int) -> tuple[float, int]:
    """Seconds and bytes of one."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    begun = time.perf_counter()
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read()
    return time.perf_counter() - begun, len(text)


def measure(root: Path, *, seconds: float, containers: int, gpus: int) -> dict[str, Any]:
    """Run the agent in a process of its own for so long; what it says of itself, and what scrapes took."""
    argv = [
        sys.executable,
        str(ROOT / "scripts/bench_agent_run.py"),
        str(root),
        str(seconds),
        str(containers),
        str(gpus),
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as agent:  # noqa: S603 - our own program
        assert agent.stdout is not None  # noqa: S101 - a pipe was asked for
        port = int(agent.stdout.readline())
        scrapes = [scrape(port) for _ in range(20)]
        found: dict[str, Any] = json.loads(agent.stdout.readline())
    found["scrape"] = median(one[0] for one in scrapes)
    found["worst_scrape"] = max(one[0] for one in scrapes)
    found["scraped"] = scrapes[-1][1]
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=200)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the agent runs at its real pace")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tenants = [Tenant(number, args.gpus) for number in range(args.containers)]
        with node(root, tenants):
            found = measure(root, seconds=args.seconds, containers=args.containers, gpus=args.gpus)
    judged = ", ".join(f"{count} {state}" for state, count in sorted(found["states"].items()))
    print(f"{args.containers} containers on {args.gpus} GPUs: {judged}")
    print(f"processor   {found['cpu'] * 100:.2f} % of a core over {found['seconds']:.0f} s at the real pace")
    for name, share in sorted(found["shares"].items()):
        print(f"  {name:<10}{share * 100:.2f} %")
    print(f"memory      {found['rss'] / 2**20:.0f} MiB resident, {found['peak'] / 2**20:.0f} MiB at most")
    look, first = found["look"] * 1000, found["first"] * 1000
    print(f"one look    {look:.1f} ms of processor time (middle of {found['looks']}); the first {first:.1f} ms")
    middle, worst = found["scrape"] * 1000, found["worst_scrape"] * 1000
    print(f"one scrape  {middle:.1f} ms (worst {worst:.1f} ms), {found['scraped']} bytes")


if __name__ == "__main__":
    main()
