"""The loads of scripts/bench-cap, and one row of its table for each."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from allocator.core.timetable import Tenant, build

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "native" / "build"
INTERPOSER = BUILD / "libvramshare.so"
LOAD = BUILD / "tests" / "load"
SLICE = 2 << 30
VIEW = {"/etc/vramshare": "allocation", "/run/vramshare": "run", "/opt/vramshare": "library"}
US, MS = 1_000, 1_000_000
START_UP = 3.0
"""Seconds that neighbours are given to start and to settle before they are measured."""
PATIENCE = 120.0
"""Seconds beyond its own that a program is given to end: one that hangs must not cost a run on a lent GPU."""
LONGEST = 300.0
"""Seconds that any program runs."""


@dataclass(frozen=True)
class Shape:
    """A kind of work: nanoseconds of a kernel, blocks per multiprocessor, and how it is launched."""

    kernel: int
    blocks: int
    pattern: str

    @property
    def unit(self) -> int:
        """Nanoseconds of what is launched at once."""
        return self.kernel * int(self.pattern.removeprefix("graph")) if "graph" in self.pattern else self.kernel

    def __str__(self) -> str:
        return f"{_time(self.kernel)}, {self.blocks} block{'s' * (self.blocks > 1)}/SM, {self.pattern}"


@dataclass(frozen=True)
class Neighbour:
    """One of several tenants of a GPU: its share (0: none) and its work."""

    cores: int
    shape: Shape


@dataclass
class Bench:
    """Runs loads and collects rows."""

    seconds: float
    folder: Path
    environment: dict[str, str]
    uuid: str
    python: str = sys.executable
    rows: list[dict[str, object]] = field(default_factory=list)
    _steps: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def library(self) -> Path:
        """What all containers see as /opt/vramshare."""
        return self.folder / "library"

    def steps(self, shape: Shape) -> int:
        """Steps that make the shape's kernel as long as it says, measured once without the interposer."""
        key = (shape.kernel, shape.blocks)
        if key not in self._steps:
            environment = self.environment | {"FAKEGPU_KERNEL_NS": str(shape.kernel)}
            self._steps[key] = int(output([LOAD, "calibrate", shape.kernel, shape.blocks], environment))
        return self._steps[key]

    def command(self, shape: Shape, *, at: float = 0.0, seconds: float = 0.0, bins: int = 0) -> list[str]:
        """The load of this shape; with `bins` milliseconds it also tells how it went over time."""
        parts = [LOAD, "run", self.steps(shape), shape.blocks, shape.pattern, at, seconds or self.seconds, shape.unit]
        return [str(part) for part in (*parts, *((bins,) if bins else ()))]

    def rate(
        self, shape: Shape, *, cores: int = 0, seconds: float = 0.0, interposed: bool = False
    ) -> tuple[float, float, float]:
        """Units per second, longest launch in milliseconds, processor use in percent; capped if `cores` is not 0."""
        environment = self.environment | {"FAKEGPU_KERNEL_NS": str(shape.kernel)}
        if cores or interposed:
            environment |= {"LD_PRELOAD": str(INTERPOSER), "VRAMSHARE_MEMORY": "2Gi"}
        if cores:
            environment |= {"VRAMSHARE_CORES": str(cores)}
        units, took, longest, processor = map(float, output(self.command(shape, seconds=seconds), environment).split())
        return units / took, longest, 100 * processor / took

    def caps(self, shape: Shape, caps: Sequence[int]) -> None:
        """Capped runs between two uncapped ones."""
        native = max(1.2, min(self.seconds / 3, 4.0))
        before, _, first = self.rate(shape, seconds=native)
        found = [(cores, *self.rate(shape, cores=cores)) for cores in caps]
        after, _, second = self.rate(shape, seconds=native)
        alone = statistics.mean((before, after))
        spread = 100 * abs(before - after) / alone
        for cores, rate, longest, processor in found:
            row: dict[str, object] = {"cap": cores, "share": 100 * rate / alone, "spread": spread}
            if shape.pattern != "sync":  # who waits for each unit by turning round and round uses a whole core anyway
                row["limiter"] = processor - statistics.mean((first, second)) * rate / alone
            self.add(kind="cap", work=str(shape), longest_ms=longest, processor=processor, **row)

    def free(self, shape: Shape, pairs: int = 5) -> None:
        """Runs with the interposer and no cap on the GPU, and runs without it, in turns."""
        ratios, longest, processor = [], 0.0, 0.0
        for _ in range(pairs):
            plain, *_ = self.rate(shape, seconds=self.seconds / 3)
            rate, longest, processor = self.rate(shape, seconds=self.seconds / 3, interposed=True)
            ratios.append(100 * rate / plain)
        row = {"cap": "none", "share": statistics.median(ratios), "spread": max(ratios) - min(ratios)}
        self.add(kind="free", work=f"{shape}, no cap", longest_ms=longest, processor=processor, **row)

    def tenants(self, tenants: Sequence[Neighbour], seconds: float) -> None:
        """Several tenants at once, each in the view of a container of its own."""
        alone = {shape: self.rate(shape, seconds=1.5)[0] for shape in {one.shape for one in tenants}}
        names = [f"t{index}/load" for index in range(len(tenants))]
        table = build(
            [Tenant(name, {self.uuid: one.cores}) for name, one in zip(names, tenants, strict=True)],
            {self.uuid: max(one.shape.unit for one in tenants)},
        ).get(self.uuid)
        at = time.monotonic() + START_UP
        with ExitStack() as stack:
            running = []
            for name, one in zip(names, tenants, strict=True):
                line = f"{self.uuid} memory={SLICE} cores={one.cores} tenant={name}\n"
                command = self.view(
                    name, line, table.to_text() if table else "", self.command(one.shape, at=at, seconds=seconds)
                )
                environment = self.environment | {"FAKEGPU_KERNEL_NS": str(one.shape.kernel)}
                process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
                running.append(stack.enter_context(process))
                stack.callback(process.kill)  # nobody waits for one that hangs
            outputs = [ended(process, START_UP + seconds).split() for process in running]
        for one, output in zip(tenants, outputs, strict=True):
            units, took, longest, processor = map(float, output)
            share = 100 * units / took / alone[one.shape]
            others = " + ".join(f"{other.cores or 'no'} % {other.shape}" for other in tenants if other is not one)
            work = f"{one.shape} beside {others}"
            row = {"cap": one.cores, "share": share, "spread": 0.0, "longest_ms": longest}
            self.add(kind="tenant", work=work, processor=100 * processor / took, **row)
        for left in (self.library / "gpus").iterdir():
            left.unlink()

    def view(self, name: str, allocation: str, table: str, command: Sequence[str]) -> list[str]:
        """The command with the files of a GPU container, in a mount namespace of its own."""
        folder = self.folder / name.replace("/", "-")
        for part in ("allocation", "run"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (self.library / "gpus").mkdir(parents=True, exist_ok=True)
        put(folder / "allocation/allocation", allocation)
        put(self.library / "gpus" / self.uuid, table)
        lines = ["set -e"]
        for target, source in VIEW.items():
            parent = Path(target).parent
            shown = f"{folder}/view{parent}"
            # A folder of ours in a system folder that must not change: the system folder's entries, bound one by one.
            lines += [f"mkdir -p {shown}", f"mount -t tmpfs none {shown}"]
            entry = (
                "if [ -L $one ]; then cp -P $one $to; elif [ -d $one ]; then mkdir -p $to; mount --rbind $one $to; "
                "elif [ -f $one ]; then touch $to; mount --bind $one $to; fi"
            )
            lines += [
                f"for one in {parent}/*; do to={shown}/$(basename $one); {entry}; done",
                f"mkdir -p {shown}/vramshare",
                f"mount --bind {self.library if source == 'library' else folder / source} {shown}/vramshare",
                f"mount --rbind {shown} {parent}",
            ]
        lines.append(f"export LD_PRELOAD={INTERPOSER}")
        lines.append("exec " + " ".join(command))
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines)]

    def has_torch(self) -> bool:
        """Whether there is a PyTorch to measure."""
        probe = [self.python, "-c", "import torch"]
        return not subprocess.run(probe, capture_output=True, check=False).returncode  # noqa: S603 - an interpreter

    def torch(self, program: str, label: str, cores: int) -> None:
        """PyTorch's own rate of something, capped, between two uncapped runs."""
        command = [self.python, str(ROOT / "native/tests/cap/torch_load.py"), program, str(self.seconds)]
        capped = {"LD_PRELOAD": str(INTERPOSER), "VRAMSHARE_CORES": str(cores), "VRAMSHARE_MEMORY": "16Gi"}
        before = float(output(command, self.environment))
        found = float(output(command, self.environment | capped))
        after = float(output(command, self.environment))
        native = statistics.mean((before, after))
        spread = 100 * abs(before - after) / native
        self.add(
            kind="torch",
            work=label,
            cap=cores,
            share=100 * found / native,
            spread=spread,
            longest_ms=0.0,
            processor=0.0,
        )

    def add(self, **row: object) -> None:
        """Prints a row at once, and keeps it."""
        self.rows.append(row)
        figures = f"{row['share']:7.2f}  {row['spread']:6.2f}  {row['longest_ms']:10.1f}  {row['processor']:6.2f}"
        limiter = f"{row['limiter']:8.2f}" if "limiter" in row else "       -"
        print(f"{row['cap']:>4}  {figures}  {limiter}  {row['work']}", flush=True)


def put(path: Path, text: str) -> None:
    """A file replaced at once, as the kubelet and the agent do."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


def _time(nanoseconds: int) -> str:
    return f"{nanoseconds // MS} ms" if nanoseconds >= MS else f"{nanoseconds // US} µs"


def output(command: Sequence[object], environment: dict[str, str]) -> str:
    """What a command prints; if it fails, the bench ends and shows why."""
    parts = [str(part) for part in command]
    try:
        done = subprocess.run(  # noqa: S603 - the bench's own commands
            parts, env=environment, capture_output=True, text=True, check=False, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"{' '.join(parts)} has not ended after {LONGEST:.0f} s")
    if done.returncode:
        sys.exit(f"{' '.join(parts)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def ended(process: "subprocess.Popen[str]", seconds: float) -> str:
    """What a program prints that works for so long; one that hangs is killed, and the bench ends."""
    try:
        return process.communicate(timeout=seconds + PATIENCE)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        sys.exit(f"{process.args} has not ended {PATIENCE:.0f} s after its time")
