"""What scripts/e2e-gpu measures: workers by what they print, the agent's and NVML's view of them, runs without us."""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pynvml
from demo_install import TEAM, VRAMSHARE
from demo_nodes import DemoNode
from demo_show import DemoError
from demo_stage import Stage, fake_driver

MIB: Final = 1024**2
PATIENCE: Final = 120.0
"""Seconds within which anything that the cluster has to do is done; PyTorch takes its time to load."""
_WORKER: Final = Path(__file__).with_name("e2e_worker.py")
_NVML: Final = """
import json, sys, pynvml
pynvml.nvmlInit()
at = pynvml.nvmlDeviceGetHandleByUUID(sys.argv[1])
print(pynvml.nvmlDeviceGetMemoryInfo(at).used)
"""


@dataclass(frozen=True)
class Worker:
    """A worker of the story.

    Attributes:
        name: its Deployment's.
        memory: what it asks, percent of the GPU.
        cores: percent of the GPU's time.
        hold: MiB that it keeps.
        size: rows of its matrices.
        pause: seconds between two products, to begin with.
    """

    name: str
    memory: int
    cores: int
    hold: int
    size: int
    pause: float


A: Final = Worker("worker-a", memory=20, cores=25, hold=1500, size=1024, pause=0.1)
B: Final = Worker("worker-b", memory=30, cores=40, hold=2000, size=2048, pause=0.05)


@dataclass(frozen=True)
class OneGpu:
    """The GPU that everything happens on, of however many.

    Attributes:
        uuid: its UUID.
        name: what it is, with the driver's version, for the table.
    """

    uuid: str
    name: str


def first_gpu() -> OneGpu:
    """The machine's first."""
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    name = f"{pynvml.nvmlDeviceGetName(handle)}, {pynvml.nvmlSystemGetDriverVersion()}"
    return OneGpu(uuid=pynvml.nvmlDeviceGetUUID(handle), name=name)


def simulated_gpu(node: DemoNode) -> OneGpu:
    """A simulated node's first."""
    return OneGpu(uuid=node.description(1).partition("]")[0][1:], name=node.model)


@dataclass(frozen=True)
class Meter:
    """Reads figures.

    Attributes:
        stage: the cluster.
        node: the node with the GPU.
        gpu: which one.
        python: interpreter of the workers.
        seconds: of each measurement.
    """

    stage: Stage
    node: DemoNode
    gpu: OneGpu
    python: Path
    seconds: float

    def lines(self, name: str, *, tail: int) -> list[dict[str, Any]]:
        """What the worker's present container has printed."""
        text = self.stage.show.text(f"kubectl -n {TEAM} logs -l app={name} --tail={tail}")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    def latest(self, name: str, *, until: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """Its newest line, once there is one that will do."""

        def look() -> dict[str, Any] | None:
            self.stage.processes.check()
            found = [line for line in self.lines(name, tail=3) if until(line)]
            return found[-1] if found else None

        try:
            return self.stage.show.until(f"{name} prints what it should", look, seconds=PATIENCE)
        except DemoError as reason:
            raise DemoError(f"{reason}\n{self._words(name)}") from None

    def _words(self, name: str) -> str:
        """A worker's last words, those before its latest restart too."""
        logs = f"kubectl -n {TEAM} logs -l app={name} --tail=8"
        return f"{self.stage.show.text(f'{logs} --previous')}{self.stage.show.text(logs)}".strip()

    def rates(self, *workers: Worker, seconds: float = 0.0) -> dict[str, float]:
        """Products a second of each, over the same stretch of time from now on."""
        began = time.time()
        time.sleep(seconds or self.seconds)
        ended = time.time()
        tail = 100 + int(8 * (ended - began))
        return {
            one.name: rate([line for line in self.lines(one.name, tail=tail) if began <= line["at"] <= ended])
            for one in workers
        }

    def views(self, *workers: Worker) -> dict[str, dict[str, float]]:
        """MiB of each: as it is shown to itself and as the agent's account has it; and of the whole GPU by NVML."""
        top = subprocess.run(  # noqa: S603 - our own program
            [VRAMSHARE, "top", "--once", "-o", "json", "--host-root", self.stage.host_root(self.node)],
            env=dict(self.stage.show.environment),
            capture_output=True,
            text=True,
            check=True,
        )
        slices = json.loads(top.stdout)["slices"]
        found: dict[str, dict[str, float]] = {}
        for one in workers:
            line = self.latest(one.name)
            mine = next((row for row in slices if re.match(rf"{TEAM}/{one.name}-", row["pod"])), None)
            found[one.name] = {
                "inside": line["used"] // MIB,
                "slice": line["total"] // MIB,
                "agent": mine["used"] // MIB if mine else -1,
                "agent_gpu_time": round(mine["time"], 2) if mine and mine["time"] is not None else -1,
            }
        found["gpu"] = {"nvml": self.nvml() // MIB}
        return found

    def nvml(self) -> int:
        """Bytes that NVML says are used of the GPU, by a program outside of any slice."""
        ended = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", _NVML, self.gpu.uuid], env=self.plain(), capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise DemoError(f"NVML cannot be asked: {ended.stderr[-300:]}")
        return int(ended.stdout)

    def plain(self) -> dict[str, str]:
        """Environment of a program on the node that vramshare has no part in."""
        return plain(self.gpu, None if self.node.real else self.stage.host_root(self.node) / "run/fakegpu")


def plain(gpu: OneGpu, state: Path | None) -> dict[str, str]:
    """Environment with the real driver and this GPU, or with the fake one and its state in this folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VRAMSHARE_", "LD_PRELOAD"))}
    if state is None:
        return {**kept, "CUDA_VISIBLE_DEVICES": gpu.uuid}
    return {**kept, **fake_driver(state)}


def rate(lines: Sequence[Mapping[str, Any]]) -> float:
    """Products a second between the first and the last line; 0 where a container says less than twice."""
    if len(lines) < 2 or lines[-1]["pid"] != lines[0]["pid"]:
        return 0.0
    return float((lines[-1]["products"] - lines[0]["products"]) / (lines[-1]["clock"] - lines[0]["clock"]))


def alone(worker: Worker, *, python: Path, environment: Mapping[str, str], seconds: float) -> tuple[float, str]:
    """Products a second without vramshare and without neighbours, and by what they were made."""
    argv = [python, _WORKER, f"--hold={worker.hold}", f"--size={worker.size}", f"--seconds={seconds}"]
    ended = subprocess.run(  # noqa: S603 - our own program
        [*argv, "--control=/nonexistent"], env=dict(environment), capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise DemoError(f"{worker.name} cannot run on this machine without vramshare: {ended.stderr[-500:]}")
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    return rate(lines), lines[-1]["engine"]


def spread(values: Sequence[float]) -> float:
    """How far apart runs of the same thing are, percent of their mean."""
    mean = statistics.mean(values)
    return 100 * (max(values) - min(values)) / mean if mean else 0.0
